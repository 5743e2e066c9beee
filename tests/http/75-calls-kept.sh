#!/bin/sh
# What ranks were told of their calls holds over restarts, also with kill -9: nobody is out of step afterwards.
. "$(dirname "$0")/lib.sh"
. "$(dirname "$0")/calls.sh"
start_server --workers 3
sum='{"op": "all_reduce_sum", "input": [1, 2]}'

together() {
    for rank in 0 1 2; do call $rank "{\"op\": \"all_reduce_sum\", \"input\": [$rank]}"; done
    calls_over
    for rank in 0 1 2; do answer $rank 200 .output.data '[3]'; done
}

# late RANK STATUS CODE [KEY]: its call hears of the job that it did not come to
late() {
    request POST "$calls/$1/calls" -H 'Content-Type: application/json' -d "$sum" ${4:+-H "Idempotency-Key: $4"}
    expect_problem "$2" "$3"
}

# A rank that never came comes after a restart: it hears what the others heard.
call 0 "$sum" '?timeout=1'
call 2 "$sum" '?timeout=1'
calls_over
answer 0 504 .ranks '[1]'
kill_server
start_server --workers 3
late 1 504 ranks_missing
together

# Two of them, one behind the other, and two ranks that are not equally late; once all came, nothing is kept.
call 0 "$sum" '?timeout=1'
call 1 "$sum" '?timeout=1'
calls_over
call 0 "$sum" '?timeout=1'
calls_over
answer 0 504 .ranks '[1,2]'
late 2 504 ranks_missing
stop_server
start_server --workers 3
late 2 504 ranks_missing
late 1 504 ranks_missing
together
stop_server
[ "$(count 'late')" -eq 0 ] || fail 'all have come'
start_server --workers 3

# A call that was told that it stands ends with a reason, whenever the server is killed; its key finds that.
call 0 "$sum" '?wait=0' 'Idempotency-Key: told'
calls_over
answer 0 202 .state '"waiting"'
job=$(value .id)
kill_server
start_server --workers 3
get "/v1/jobs/$job?wait=10"
expect '[.state, .error.code]' '["failed","inputs_lost"]'
call 0 "$sum" '?wait=0' 'Idempotency-Key: told'
calls_over
answer 0 410 .job "\"$job\""
late 1 410 inputs_lost
late 2 410 inputs_lost
together

# A call that was told stands behind one that was not, and both are known then: nobody takes the second for the first.
call_as untold 0 '{"op": "all_reduce_sum", "input": [1]}' '?wait=30' 'Idempotency-Key: untold'
sleep 0.3
call 0 '{"op": "all_reduce_sum", "input": [100]}' '?wait=0'
wait $!
kill_server
callers=
start_server --workers 3
call 0 '{"op": "all_reduce_sum", "input": [1]}' '' 'Idempotency-Key: untold'
calls_over
answer 0 410 .code '"inputs_lost"'
for rank in 1 2; do
    late $rank 410 inputs_lost
    late $rank 410 inputs_lost
done
together

# The job of calls that failed is deleted: the ranks that have not come to it are as far behind as before.
call 0 "$sum" '?timeout=1'
calls_over
delete "/v1/jobs/$(jq -r .job "$here/rank0")"
expect_status 204
late 1 404 job_unknown gone
stop_server
[ "$(count "idem WHERE key LIKE '%gone'")" -eq 0 ] ||
    fail 'a key without a job would never go'
start_server --workers 3
late 2 404 job_unknown
together

# Several were told, one after the other, and the last one comes in time.
call 0 "$sum" '?wait=0'
calls_over
call 1 "$sum" '?wait=0'
calls_over
answer 1 202 .missing '[2]'
job=$(value .id)
call 2 "$sum" '?wait=10'
calls_over
answer 2 200 .output.data '[3,6]'
kill_server
start_server --workers 3
get "/v1/jobs/$job"
expect '[.state, .outputs[0].data]' '["succeeded",[3,6]]'
together

# The service stops: who waits, and was told nothing, may come again as if it had not been.
call 0 "$sum"
sleep 0.3
stop_server
calls_over
answer 0 503 .code '"draining"'
start_server --workers 3
together

# Who was told hears it, and so do those who come late, and whoever waits for a job that takes the output.
call 0 "$sum" '?wait=0'
wait $!
job=$(jq -r .id "$here/rank0")
call 1 "$sum"
aside watch get "/v1/jobs/$job?wait=30"
sleep 0.3
stop_server
calls_over
answer 1 410 .code '"inputs_lost"'
join watch
expect '[.state, .error.code]' '["failed","inputs_lost"]'
start_server --workers 3
late 2 410 inputs_lost
expect_in 'call again'
together

# A late call that is sent again is the same late call.
call 0 "$sum" '?timeout=1'
call 2 "$sum" '?timeout=1'
calls_over
late 1 504 ranks_missing lately
late 1 504 ranks_missing lately
request POST "$calls/1/calls" -H 'Content-Type: application/json' -d '{"op": "barrier"}' -H 'Idempotency-Key: lately'
expect_problem 422 idempotency_key_reused
together

# Nor may a key belong to calls of different kinds at the same time.
call 0 "$sum" '?wait=0' 'Idempotency-Key: twice'
calls_over
request POST "$calls/0/calls?wait=0" -H 'Content-Type: application/json' -d '{"op": "remote_send", "dst": 1, "input": [1]}' -H 'Idempotency-Key: twice'
expect_problem 422 idempotency_key_reused
call 1 "$sum"
call 2 "$sum"
calls_over
together

# A new process that says so goes on where the others are, however many calls its rank has missed.
for _ in 1 2 3 4 5 6; do
    call 0 "$sum" '?timeout=1&wait=0'
    call 2 "$sum" '?timeout=1&wait=0'
    calls_over
done
sleep 1.5
kill_server
start_server --workers 3
call 1 '{"op": "all_reduce_sum", "rejoin": 1, "input": [1]}'
call 0 '{"op": "all_reduce_sum", "input": [0]}'
call 2 '{"op": "all_reduce_sum", "input": [2]}'
calls_over
for rank in 0 1 2; do answer $rank 200 .output.data '[3]'; done
together

# A call that brings no tensor, and so no shape, stands over a restart as the others do, whatever the axis.
post '/v1/groups/world/ranks/1/calls?wait=0' '{"op": "scatter", "axis": -1}'
expect_status 202
job=$(value .id)
kill_server
start_server
get "/v1/jobs/$job"
expect .state '"failed"'
expect .error.code '"inputs_lost"'
