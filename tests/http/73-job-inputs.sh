#!/bin/sh
# {"job", "rank"}: an input is the output of another job, also of one that has not finished.
. "$(dirname "$0")/lib.sh"
. "$(dirname "$0")/calls.sh"
start_server --workers 4

# Of one that has finished; the rank may be left out: it is the same.
post '/v1/jobs?wait=10' '{"op": "scatter", "inputs": [[1, 2, 3, 4], null, null, null]}'
done=$(value .id)
post '/v1/jobs?wait=10' "{\"op\": \"all_gather\", \"inputs\": [{\"job\": \"$done\"}, {\"job\": \"$done\", \"rank\": 0}, [7], {\"job\": \"$done\"}]}"
expect_status 200
expect '.outputs[0].data' '[1,1,7,4]'

# Of one that waits for its ranks: this one waits, too, and says for whom.
call 0 '{"op": "all_reduce_sum", "input": [1, 2]}' '?timeout=30&wait=0'
wait $!
open=$(jq -r .id "$here/rank0")
post /v1/jobs "{\"op\": \"all_reduce_max\", \"inputs\": [{\"job\": \"$open\"}, [9, 9], {\"job\": \"$open\", \"rank\": 1}, [0, 0]]}"
expect_status 202
expect '[.state, .waits_for]' "[\"waiting\",[\"$open\"]]"
waiting=$(value .id)
get '/v1/jobs?state=waiting'
expect '[.jobs[].id]' "[\"$waiting\",\"$open\"]"
post "/v1/jobs/$waiting/backward" '{"grads": [null, null, null, null]}'
expect_problem 409 job_running
post /v1/jobs "{\"op\": \"reduce_sum\", \"label\": \"third\", \"inputs\": [{\"job\": \"$waiting\"}, {\"job\": \"$open\"}, [1, 1], [1, 1]]}"
expect .waits_for "[\"$waiting\",\"$open\"]"
third=$(value .id)
for rank in 1 2 3; do call $rank '{"op": "all_reduce_sum", "input": [1, 2]}' '?wait=10'; done
get "/v1/jobs/$third?wait=10"
expect '[.state, .outputs[0].data, .waits_for]' '["succeeded",[15,19],null]'
get "/v1/jobs/$waiting"
expect '[.state, .outputs[0].data]' '["succeeded",[9,9]]'
calls_over

# A gradient, and a call, take them as well.
post "/v1/jobs/$open/backward?wait=10" "{\"grads\": [{\"job\": \"$waiting\"}, null, null, null]}"
expect_status 200
expect '.outputs[3].data' '[9,9]'
for rank in 1 2 3; do call $rank '{"op": "all_reduce_sum", "input": [1, 1]}' '?wait=10'; done
call 0 "{\"op\": \"all_reduce_sum\", \"input\": {\"job\": \"$waiting\"}}" '?wait=10'
calls_over
answer 0 200 .output.data '[12,12]'

# The same key with the same request is the same job, whether the other one has finished or not.
call 0 '{"op": "all_reduce_sum", "input": [1, 2]}' '?timeout=30&wait=0'
wait $!
open=$(jq -r .id "$here/rank0")
body="{\"op\": \"all_reduce_max\", \"inputs\": [{\"job\": \"$open\"}, {\"job\": \"$open\"}, [0, 0], [0, 0]]}"
post /v1/jobs "$body" -H 'Idempotency-Key: chained'
expect_status 202
first=$(value .id)
for rank in 1 2 3; do call $rank '{"op": "all_reduce_sum", "input": [1, 2]}' '?wait=10'; done
calls_over
post '/v1/jobs?wait=10' "$body" -H 'Idempotency-Key: chained'
expect '[.id, .state, .outputs[0].data]' "[\"$first\",\"succeeded\",[4,8]]"

# A job whose input fails, fails, and the next one with the same reason.
call 0 '{"op": "all_reduce_sum", "input": [1, 2]}' '?timeout=1&wait=0'
wait $!
open=$(jq -r .id "$here/rank0")
post /v1/jobs "{\"op\": \"all_reduce_max\", \"inputs\": [[1, 1], {\"job\": \"$open\"}, [0, 0], [0, 0]]}"
second=$(value .id)
post '/v1/jobs?wait=10' "{\"op\": \"all_reduce_max\", \"inputs\": [[1, 1], [1, 1], [0, 0], {\"job\": \"$second\"}]}"
expect_problem 409 input_failed
expect .ranks '[3]'
expect_in "job $open, whose output it takes, has failed"
get "/v1/jobs/$second"
expect '[.state, .error.code, .error.ranks]' '["failed","input_failed",[1]]'
post /v1/jobs "{\"op\": \"all_reduce_max\", \"inputs\": [[1, 1], {\"job\": \"$open\"}, [0, 0], [0, 0]]}"
expect_problem 409 input_failed
for rank in 1 2 3; do call $rank '{"op": "all_reduce_sum", "input": [1, 2]}'; done
calls_over
answer 3 504 .code '"ranks_missing"'

# One that waits can be cancelled.
call 0 '{"op": "all_reduce_sum", "input": [1, 2]}' '?timeout=30&wait=0'
wait $!
open=$(jq -r .id "$here/rank0")
post /v1/jobs "{\"op\": \"all_reduce_max\", \"inputs\": [[1, 1], {\"job\": \"$open\"}, [0, 0], [0, 0]]}"
second=$(value .id)
post "/v1/jobs/$second/cancel"
expect_status 200
expect .state '"cancelled"'

# What cannot be.
post /v1/jobs "{\"op\": \"all_reduce_max\", \"inputs\": [{\"job\": \"j_00000000000000000000000000\"}, [1], [1], [1]]}"
expect_problem 422 input_unknown
expect .pointer '"/inputs/0"'
post /v1/jobs "{\"op\": \"all_reduce_max\", \"inputs\": [[1, 1], {\"job\": \"$open\", \"rank\": 4}, [1, 1], [1, 1]]}"
expect_problem 422 input_unknown
expect .pointer '"/inputs/1"'
post /v1/jobs "{\"op\": \"all_reduce_max\", \"inputs\": [[1, 1], {\"job\": \"$third\", \"rank\": 1}, [1, 1], [1, 1]]}"
expect_problem 422 input_unknown # only the root has the sum
post /v1/jobs "{\"op\": \"all_reduce_max\", \"inputs\": [[1, 2, 3], {\"job\": \"$open\"}, [1, 2, 3], [1, 2, 3]]}"
expect_problem 422 inputs_differ
post /v1/jobs "{\"op\": \"all_reduce_max\", \"inputs\": [{\"job\": 7}, [1], [1], [1]]}"
expect_problem 422 input_unknown
post /v1/jobs "{\"op\": \"all_reduce_max\", \"inputs\": [{\"job\": \"$open\", \"data\": [1]}, [1], [1], [1]]}"
expect_problem 422 inputs_invalid
post /v1/jobs "{\"op\": \"all_reduce_max\", \"inputs\": [{\"rank\": 1}, [1], [1], [1]]}"
expect_problem 422 inputs_invalid
post /v1/jobs "{\"op\": \"all_reduce_max\", \"inputs\": [{\"job\": \"$open\", \"rank\": -1}, [1], [1], [1]]}"
expect_problem 422 input_unknown
expect .pointer '"/inputs/0/rank"'
post /v1/tensors "{\"job\": \"$done\"}"
expect_problem 422 inputs_invalid
delete "/v1/jobs/$done"
post /v1/jobs "{\"op\": \"all_reduce_max\", \"inputs\": [{\"job\": \"$done\"}, [1], [1], [1]]}"
expect_problem 422 input_unknown

# Nobody knows the shape of one to which only ranks without a tensor have come.
post /v1/groups '{"name": "other", "ranks": [0, 1]}'
calls=/v1/groups/other/ranks
call 1 '{"op": "broadcast"}' '?timeout=30&wait=0'
wait $!
open=$(jq -r .id "$here/rank1")
post /v1/jobs "{\"op\": \"all_reduce_max\", \"inputs\": [{\"job\": \"$open\"}, [1], [1], [1]]}"
expect_problem 409 job_running
