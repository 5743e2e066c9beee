#!/bin/sh
# A group that is deleted takes its keys with it: also one that is put meanwhile, and who waits for one hears so.
. "$(dirname "$0")/lib.sh"
export TUTTI_FAILPOINTS=store.before_commit=sleep:1000
start_server --workers 2
kv=/v1/groups/pair/kv

make_group() {
    post /v1/groups '{"name": "pair", "ranks": [1, 0]}'
    expect_status 201
}
put() {
    request PUT "$kv/$1" -H 'Content-Type: application/json' -d "$2"
}

# Put while the deletion is being recorded, when the group is in the table still.
make_group
aside deletion delete /v1/groups/pair
sleep 0.5
put late 1
expect_problem 404 group_unknown
join deletion
expect_status 204
make_group
get "$kv/late"
expect_problem 404 key_unknown

# Who waits is told at once, and gets nothing of the next group of that name.
aside reader get "$kv/waited?wait=50"
aside popper request DELETE "$kv/waited?wait=50"
sleep 2
delete /v1/groups/pair
expect_status 204
deleted=$(date +%s)
join reader
expect_problem 404 group_unknown
[ $(($(date +%s) - deleted)) -lt 30 ] || fail 'it was told late'
make_group
put waited 2
expect_status 201
join popper
expect_problem 404 group_unknown
get "$kv/waited"
expect_status 200
expect . 2
