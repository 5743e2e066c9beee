#!/bin/sh
# A client that hangs up while it takes a value leaves it as it was, for the next: with its ETag, and for its time.
. "$(dirname "$0")/lib.sh"
export TUTTI_FAILPOINTS=store.after_commit=sleep:1000
start_server --workers 2
kv=/v1/groups/world/kv

put() {
    request PUT "$kv/$1" -H 'Content-Type: application/json' -d "$2"
}
# hang_up KEY: takes it, and is gone while that is recorded
hang_up() {
    timeout 0.5 curl -sS -X DELETE -o "$here/gone" "$url$kv/$1" 2>/dev/null &&
        fail 'it was not to be answered'
    return 0
}

put 'left?ttl=1000' 1
expect_status 201
tag=$(header ETag)
get "$kv"
until=$(value '.keys[0].expires_at')
hang_up left
# It is there until it is taken, and again when it has been put back.
for _ in 1 2 3 4 5 6 7 8 9 10; do
    get "$kv/left?wait=20"
    expect_status 200
    expect . 1
    expect_header ETag "$tag"
    get "$kv"
    [ "$(value '.keys | length')" -eq 0 ] || break
    sleep 0.5
done
expect '[.keys[].expires_at]' "[\"$until\"]"

# The next in the queue gets it.
hang_up left &
gone=$!
sleep 0.3
aside next request DELETE "$kv/left?wait=20"
wait $gone
join next
expect_status 200
expect . 1
expect_header ETag "$tag"
get "$kv/left"
expect_problem 404 key_unknown

# Not where somebody has put another meanwhile.
put other 2
expect_status 201
hang_up other
put other 3
expect_status 201
sleep 2
get "$kv/other"
expect . 3

# Nor in the next group of that name.
kv=/v1/groups/pair/kv
post /v1/groups '{"name": "pair", "ranks": [1, 0]}'
put k 4
expect_status 201
hang_up k
delete /v1/groups/pair
expect_status 204
post /v1/groups '{"name": "pair", "ranks": [1, 0]}'
expect_status 201
get "$kv/k"
expect_problem 404 key_unknown
