#!/bin/sh
# A barrier opens when every rank has come: ranks are counted, not requests.
. "$(dirname "$0")/lib.sh"
start_server --workers 3

come() {
    curl -sS --max-time 60 -o "$here/come$2" -w '%{http_code}' -X POST "$url/v1/groups/world/barrier?rank=$1" >"$here/code$2" &
}
come 0 a
a=$!
come 1 b
b=$!
sleep 0.3
come 0 c # the same rank again: it waits for the next one
c=$!
sleep 0.5
[ ! -s "$here/codea" ] && [ ! -s "$here/codeb" ] && [ ! -s "$here/codec" ] ||
    fail 'it is open, and rank 2 has not come'
post '/v1/groups/world/barrier?rank=2'
expect_status 200
expect '[.seq, .output]' '[0,null]'
wait $a $b
[ "$(cat "$here/codea")$(cat "$here/codeb")" = 200200 ] || fail 'all had come'
[ ! -s "$here/codec" ] || fail 'rank 0 has come twice, and the others once'
post '/v1/groups/world/barrier?rank=1&wait=0'
expect_status 202
expect '[.op, .state, .seq, .missing]' '["barrier","waiting",1,[2]]'
post '/v1/groups/world/ranks/2/calls' '{"op": "barrier"}'
expect_status 200
wait $c
[ "$(cat "$here/codec")" = 200 ] || fail 'all had come a second time'

# As a job of one request it is the end of what its ranks ran before.
post '/v1/jobs?wait=10' '{"op": "barrier"}'
expect_status 200
expect '[.state, .outputs]' '["succeeded",[null,null,null]]'
post '/v1/jobs?wait=10' '{"op": "barrier", "group": [1], "inputs": [null]}'
expect_status 200

post '/v1/groups/world/barrier'
expect_problem 422 missing_parameter
post '/v1/groups/world/barrier?rank=3'
expect_problem 422 rank_invalid
post '/v1/groups/none/barrier?rank=0'
expect_problem 404 group_unknown
post '/v1/groups/world/barrier?rank=0&timeout=1'
expect_problem 504 ranks_missing
expect .ranks '[1,2]'
expect '.detail | test("and ranks 1, 2 never came")' true
post /v1/groups '{"name": "pair", "ranks": [0, 1]}'
post '/v1/groups/pair/barrier?rank=0&timeout=1'
expect_problem 504 ranks_missing
expect '.detail | test("and rank 1 never came")' true
