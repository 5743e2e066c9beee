#!/bin/sh
# A change of a key may be tied to the value that is there: If-Match and If-None-Match, as RFC 9110 has them.
. "$(dirname "$0")/lib.sh"
start_server --workers 2
kv=/v1/groups/world/kv

# put KEY VALUE [CURL OPTION...]
put() {
    key=$1 value=$2
    shift 2
    request PUT "$kv/$key" -H 'Content-Type: application/json' -d "$value" "$@"
}

# Where there is no value, none matches; that is said at once.
begun=$(date +%s)
for match in '*' '"v_01M8C2J5WC7RF0ZHQEHHNDC8K4"'; do
    request DELETE "$kv/absent?wait=50" -H "If-Match: $match"
    expect_problem 412 precondition_failed
    request DELETE "$kv/absent" -H "If-Match: $match"
    expect_problem 412 precondition_failed
    put absent 1 -H "If-Match: $match"
    expect_problem 412 precondition_failed
done
[ $(($(date +%s) - begun)) -lt 30 ] || fail 'it was told late'
request DELETE "$kv/absent"
expect_problem 404 key_unknown

# One ETag of several; a weak one, and one of another making, are no value's.
put name 1
expect_status 201
first=$(header ETag)
put name 2
expect_status 204
second=$(header ETag)
put name 3 -H "If-Match: $first, W/$second, \"other\""
expect_problem 412 precondition_failed
put name 3 -H "If-Match: $first , ,$second"
expect_status 204
third=$(header ETag)
request DELETE "$kv/name" -H "If-Match: $first,$second"
expect_problem 412 precondition_failed
request DELETE "$kv/name" -H "If-Match: $third,$second"
expect_status 200
expect . 3
for match in rubbish "$first $second" "$first,*" "*,$first" "${first}x" '"v_' 'W/' ',' '"'; do
    put name 4 -H "If-Match: $match"
    expect_problem 400 bad_header
done

# A second header of that name is not overlooked.
put name 5 -H "If-Match: $first" -H "If-Match: $second"
expect_problem 400 bad_header
put name 5 -H 'If-None-Match: *' -H 'If-None-Match: "x"'
expect_problem 400 bad_header
get "$kv/name"
expect_problem 404 key_unknown
