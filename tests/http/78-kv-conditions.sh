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
