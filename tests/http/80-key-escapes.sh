#!/bin/sh
# A key is as long as what it says, however it is spelt in the path; an escaped slash in it is no slash.
. "$(dirname "$0")/lib.sh"
start_server --workers 2
kv=/v1/groups/world/kv

# slashes N: an escaped slash, N times
slashes() {
    printf "%0$1d" 0 | sed 's/0/%2F/g'
}

for n in 1 42 50 127; do
    key=$(slashes $n)
    request PUT "$kv/$key" -H 'Content-Type: application/json' -d $n
    expect_status 201
    get "$kv/$key"
    expect_status 200
    expect . $n
done
get "$kv"
expect '[.keys[].key | length]' '[1,42,50,127]'
expect_true '[.keys[].key | test("^/+$")] | all'
request PUT "$kv/$(slashes 128)" -H 'Content-Type: application/json' -d 1
expect_problem 422 key_invalid
get /v1/groups/world%2Fkv
expect_problem 404 group_unknown
get "$kv/%2561"
expect_problem 404 key_unknown
request PUT "$kv/a" -H 'Content-Type: application/json' -d 1
expect_status 201
get "$kv/%61"
expect_status 200
get "$kv/%2561"
expect_problem 404 key_unknown
