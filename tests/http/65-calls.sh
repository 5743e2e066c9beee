#!/bin/sh
# Each rank of a group calls by itself: the n-th calls belong together, and each caller gets its own output.
. "$(dirname "$0")/lib.sh"
. "$(dirname "$0")/calls.sh"
start_server --workers 3 --arena-size 64M

# waiting: until some job waits for calls; leaves its document
waiting() {
    tries=200
    until get '/v1/jobs?state=waiting' && [ "$(jq '.jobs | length' "$here/body")" -gt 0 ]; do
        [ $((tries -= 1)) -gt 0 ] || fail 'no job waits'
        sleep 0.02
    done
    get "/v1/jobs/$(value '.jobs[0].id')"
}

call 0 '{"op": "all_reduce_sum", "input": [1, 2]}'
call 2 '{"op": "all_reduce_sum", "input": [100, 200]}'
pids=$!
tries=100
until waiting && [ "$(value '.arrived | length')" -eq 2 ]; do
    [ $((tries -= 1)) -gt 0 ] || fail 'two ranks have not arrived'
    sleep 0.02
done
expect '[.state, .seq, .missing, (.arrived | map(.rank))]' '["waiting",0,[1],[0,2]]'
call 1 '{"op": "all_reduce_sum", "input": [10, 20]}'
wait $pids $!
sleep 0.2
for rank in 0 1 2; do
    answer $rank 200 '[.seq, .output.rank, .output.data]' "[0,$rank,[111,222]]"
done

# The root gives, the others come with nothing; what a rank does not get is null.
call 1 '{"op": "scatter"}'
call 2 '{"op": "scatter", "input": "not looked at"}'
call 0 '{"op": "scatter", "input": [1, 2, 3]}'
one=$!
wait $one
sleep 0.2
answer 2 200 '[.seq, .output.data]' '[1,[3]]'
for rank in 0 1 2; do
    call $rank "{\"op\": \"reduce_sum\", \"input\": $rank}"
done
wait $!
sleep 0.2
answer 0 200 .output.data 3
answer 1 200 .output null

# A pair counts by itself: the others go on meanwhile.
call 2 '{"op": "remote_recv", "src": 0}'
two=$!
call 0 '{"op": "remote_send", "dst": 2, "input": [7, 8]}'
wait $two $!
answer 2 200 '[.seq, .output.data]' '[0,[7,8]]'
answer 0 200 .output null

# What one rank can be told is told to it alone, and is no call.
post "$calls/0/calls" '{"op": "all_reduce_sum"}'
expect_problem 422 inputs_invalid
expect .pointer '"/input"'
post "$calls/3/calls" '{"op": "all_reduce_sum", "input": 1}'
expect_problem 404 rank_unknown
post "/v1/groups/none/ranks/0/calls" '{"op": "all_reduce_sum", "input": 1}'
expect_problem 404 group_unknown
post "$calls/0/calls" '{"op": "remote_send", "input": 1}'
expect_problem 422 missing_parameter
post "$calls/0/calls" '{"op": "remote_send", "src": 1, "dst": 2, "input": 1}'
expect_problem 422 rank_invalid
post "$calls/0/calls" '{"op": "all_reduce_sum", "group": "world", "input": 1}'
expect_problem 400 unknown_parameter
post "$calls/0/calls" '{"op": "all_reduce_sum", "inputs": [1]}'
expect_problem 400 unknown_parameter

# Nobody waits for ever: a call without a wait is answered with its place.
post "$calls/0/calls?wait=0" '{"op": "all_reduce_sum", "input": 1}'
expect_status 202
expect '[.state, .missing]' '["waiting",[1,2]]'
job=$(value .id)
get "$(sed -n 's|^[Ll]ocation: \.\./\.\./\.\./\.\./|/v1/|p' "$here/head" | tr -d '\r')"
expect .id "\"$job\""
request POST "/v1/jobs/$job/cancel"
expect_status 200
expect .state '"cancelled"'
for rank in 1 2; do # and those who come late hear it
    post "$calls/$rank/calls" '{"op": "all_reduce_sum", "input": 1}'
    expect_problem 409 cancelled
done
for rank in 0 1 2; do
    call $rank "{\"op\": \"all_gather\", \"input\": [$rank]}"
done
wait $!
sleep 0.2
answer 1 200 .output.data '[0,1,2]'

# Where a rank gives nothing it needs no body.
for rank in 1 2; do
    curl -sS --max-time 30 -X POST -o "$here/rank$rank" -w '%{http_code}' "$url$calls/$rank/calls?op=broadcast" >"$here/status$rank" &
    eval "pid$rank=$!"
done
call 0 '{"op": "broadcast", "input": [4, 5]}'
# shellcheck disable=SC2154
wait "$pid1" "$pid2" $!
for rank in 0 1 2; do
    answer $rank 200 .output.data '[4,5]'
done
