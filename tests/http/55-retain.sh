#!/bin/sh
# Tensors go when --retain has passed; the job's record stays and says what became of its outputs.
. "$(dirname "$0")/lib.sh"
start_server --retain 1

before=$(arena_used)
post /v1/tensors '[1, 2]'
upload=$(value .tensor)
post '/v1/jobs?wait=10' '{"op": "all_reduce_sum", "inputs": [[1], [2]]}'
job=$(value .id)
tensor=$(value '.outputs[0].tensor')
get "/v1/tensors/$tensor"
expect_status 200
tries=80
while
    get "/v1/tensors/$tensor"
    [ "$status" -ne 404 ]
do
    [ $((tries -= 1)) -gt 0 ] || fail "the tensor should be gone"
    sleep 0.1
done
sleep 1
get "/v1/tensors/$upload"
expect_problem 404 tensor_unknown
[ "$(arena_used)" -eq "$before" ] || fail "the room should be free again"
get "/v1/jobs/$job"
expect_status 200
expect .state '"succeeded"'
get "/v1/jobs/$job/outputs"
expect_status 410
