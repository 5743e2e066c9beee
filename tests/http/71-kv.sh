#!/bin/sh
# Keys of a group: put, read, wait for, compare and set, pop, expire, list; over a restart and from many at once.
. "$(dirname "$0")/lib.sh"
start_server --workers 2
kv=/v1/groups/world/kv

# ask METHOD PATH [CURL OPTION...]: a request whose status, head and body are kept
ask() {
    method=$1 path=$2
    shift 2
    status=$(curl -sS -g --max-time 60 -X "$method" -D "$here/head" -o "$here/body" -w '%{http_code}' "$@" "$url$path")
}
typed='Content-Type: application/json'
put() {
    key=$1 value=$2
    shift 2
    printf '%s' "$value" >"$here/value"
    ask PUT "$kv/$key" -H "$typed" --data-binary "@$here/value" "$@"
}
tag() {
    sed -n 's/^[Ee][Tt]ag: //p' "$here/head" | tr -d '\r'
}

put name '{"a": [1, null, "é"]}'
expect_status 201
first=$(tag)
get "$kv/name"
expect_status 200
expect . '{"a":[1,null,"é"]}'
[ "$(tag)" = "$first" ] || fail 'another ETag'
put name 2
expect_status 204
[ "$(tag)" != "$first" ] || fail 'the same ETag of another value'
get "$kv/nothing"
expect_status 404
expect .code '"key_unknown"'
expect .detail '"the key nothing has no value; to wait for one, add ?wait=60"'

# Compare and set.
put name 3 -H "If-Match: $first"
expect_status 412
expect .code '"precondition_failed"'
get "$kv/name"
expect . 2
put name 3 -H "If-Match: $(tag)"
expect_status 204
put name 4 -H 'If-None-Match: *'
expect_status 412
put other 4 -H 'If-None-Match: *'
expect_status 201
put third 4 -H 'If-Match: *'
expect_status 412
put name 4 -H 'If-Match: rubbish'
expect_status 400

# Of many who set what they read, each wins once: nothing is lost.
put counter 0
for worker in 1 2 3 4; do
    (
        done=0
        while [ $done -lt 10 ]; do
            n=$(curl -sS -D "$here/h$worker" "$url$kv/counter")
            was=$(sed -n 's/^[Ee][Tt]ag: //p' "$here/h$worker" | tr -d '\r')
            said=$(curl -sS -X PUT -o /dev/null -w '%{http_code}' -H "$typed" -H "If-Match: $was" -d $((n + 1)) "$url$kv/counter")
            [ "$said" != 204 ] || done=$((done + 1))
        done
    ) &
    eval "pid$worker=$!"
done
# shellcheck disable=SC2154
wait "$pid1" "$pid2" "$pid3" "$pid4"
get "$kv/counter"
expect . 40

# Waiting, and a pop that waits; only one pops.
curl -sS "$url$kv/late?wait=20" >"$here/got1" &
one=$!
curl -sS "$url$kv/late?wait=20" >"$here/got2" &
two=$!
sleep 0.3
put late '"here"'
wait $one $two
[ "$(cat "$here/got1" "$here/got2")" = '"here"
"here"' ] || fail 'who waited did not get it'
ask DELETE "$kv/late"
expect_status 200
expect . '"here"'
ask DELETE "$kv/late"
expect_status 404
for n in 1 2; do
    curl -sS -X DELETE -o "$here/got$n" -w '%{http_code}' "$url$kv/job?wait=2" >"$here/said$n" &
    eval "pid$n=$!"
done
sleep 0.3
put job 7
wait "$pid1" "$pid2"
[ "$(cat "$here/said1" "$here/said2" | tr -d '\n')" = 200404 ] || [ "$(cat "$here/said1" "$here/said2" | tr -d '\n')" = 404200 ] ||
    fail 'not exactly one got it'
get "$kv/never?wait=1"
expect_status 404
expect .detail '"the key never got no value within the 1 s of wait"'

# A waiting caller that vanishes leaves nothing: its connection goes, and a value stays for another.
before=$(curl -sS "$url/v1/metrics" | jq .connections.open)
timeout 0.5 curl -sS -X DELETE "$url$kv/gone?wait=200" >"$here/got1" || true
sleep 1.5
[ "$(curl -sS "$url/v1/metrics" | jq .connections.open)" = "$before" ] || fail 'its connection is still there'
put gone 1
get "$kv/gone"
expect . 1

# Time to live.
ask PUT "$kv/brief?ttl=1" -H "$typed" -d 5
get "$kv/brief"
expect . 5
sleep 1.2
get "$kv/brief"
expect_status 404
put brief 6 -H 'If-None-Match: *'
expect_status 201

# The list, by prefix and page.
for n in 1 2 3; do
    put "list.$n" "[$n]"
done
get "$kv?prefix=list.&limit=2"
expect '[.keys[].key], .next' '["list.1","list.2"]
"list.2"'
get "$kv?prefix=list.&limit=2&after=list.2"
expect '[.keys[] | [.key, .size_bytes]], .next' '[["list.3",3]]
null'

# A megabyte, and what is refused.
head -c 1048574 /dev/zero | tr '\0' 7 | sed 's/.*/"&"/' | head -c 1048576 >"$here/big"
ask PUT "$kv/big" -H "$typed" --data-binary "@$here/big"
expect_status 201
echo | cat "$here/big" - >"$here/line"
curl -sS "$url$kv/big" | cmp - "$here/line" || fail 'another megabyte'
printf ' ' >>"$here/big"
ask PUT "$kv/big" -H "$typed" --data-binary "@$here/big"
expect_status 413
put bad '{"a": '
expect_status 400
ask PUT "$kv/bad" -H "$typed"
expect_status 400
ask PUT "$kv/$(head -c 200 /dev/zero | tr '\0' k)" -H "$typed" -d 1
expect_status 422
expect .code '"key_invalid"'
ask PUT "$kv/a%20b" -H "$typed" -d 1
expect_status 422
ask PUT /v1/groups/nobody/kv/a -H "$typed" -d 1
expect_status 404
ask POST "$kv/a" -H "$typed" -d 1
expect_status 405

# Over a restart; and a group's keys go with it.
post /v1/groups '{"name": "pair", "ranks": [1, 0]}'
ask PUT /v1/groups/pair/kv/mine -H "$typed" -d 1
expect_status 201
kill_server
start_server --workers 2
get "$kv/counter"
expect . 40
get /v1/groups/pair/kv/mine
expect . 1
get "$kv/mine"
expect_status 404
delete /v1/groups/pair
post /v1/groups '{"name": "pair", "ranks": [1, 0]}'
get /v1/groups/pair/kv/mine
expect_status 404
