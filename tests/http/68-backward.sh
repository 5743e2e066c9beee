#!/bin/sh
# The gradient of a job: the adjoint's job, missing gradients, what is refused, and how long it can be had.
. "$(dirname "$0")/lib.sh"
. "$(dirname "$0")/calls.sh"
start_server --workers 3 --retain 600

# job BODY: runs it; its id is in $job
job() {
    post '/v1/jobs?wait=10' "$1"
    expect_status 200
    job=$(jq -r .id "$here/body")
}
# backward STATUS BODY [QUERY]
backward() {
    post "/v1/jobs/$job/backward?wait=10${3:-}" "$2"
    expect_status "$1"
}

job '{"op": "all_reduce_max", "inputs": [[1, 5, 3], [4, 5, 1], [4, 2, 3]]}'
maximum=$job
backward 200 '{"grads": [[1, 2, 3], null, [10, 20, 30]], "label": "g"}'
expect '[.op, .parent, .label, .state]' "[\"all_reduce_sum\",\"$job\",\"g\",\"succeeded\"]"
expect '[.outputs[].data]' '[[0,22,33],[11,22,0],[11,0,33]]' # every tied rank gets the whole sum
job=$(jq -r .id "$here/body")
backward 200 '{"grads": [[1, 2, 3], [4, 5, 6], [10, 20, 30]]}'
expect '[.outputs[].data]' '[[14,7,33],[14,7,33],[14,7,33]]'

# No gradient at all: nothing comes back, and nothing of that.
job=$maximum
backward 200 '{"grads": [null, null, null]}'
expect '[.state, .outputs]' '["succeeded",[null,null,null]]'
job=$(jq -r .id "$here/body")
backward 200 '{"grads": [[1, 1, 1], null, null]}'
expect .outputs '[null,null,null]'
job '{"op": "reduce_sum", "inputs": [[1], [2], [3]]}'
backward 200 '{"grads": [null, [7], [7]]}' # only the root has an output
expect .outputs '[null,null,null]'
backward 200 '{"grads": [[7], null, null]}'
expect '[.outputs[].data]' '[[7],[7],[7]]'
job '{"op": "remote_send", "src": 2, "dst": 0, "inputs": [null, null, [3]]}'
backward 200 '{"grads": [[7], null, null]}'
expect '[.outputs[] | . and .data]' '[false,false,true]'

# The dtype of lists is the job's; binary bodies say theirs.
job '{"op": "scatter", "dtype": "float16", "axis": 1, "inputs": [[[1, 2, 3], [4, 5, 6]], null, null]}'
backward 200 '{"grads": [[[1], [2]], [[3], [4]], null]}'
expect '[.outputs[0].dtype, .outputs[0].data, .outputs[1]]' '["float16",[[1,3,0],[2,4,0]],null]'

# Not waited for, the answer says where it is.
post "/v1/jobs/$maximum/backward" '{"grads": [[1, 2, 3], null, null]}'
expect_status 202
expect_header Location "../../jobs/$(value .id)"

# What is refused, and where.
job=$maximum
backward 422 '{"grads": [[1, 2, 3], null]}'
expect '[.code, .pointer]' '["inputs_invalid","/grads"]'
backward 422 '{"grads": [null, [1, 2], null]}'
expect '[.code, .pointer]' '["grads_invalid","/grads/1"]'
backward 422 '{"grads": [null, [1, 2, 3], {"dtype": "int32", "shape": [3], "data": [1, 2, 3]}]}'
expect '[.code, .pointer]' '["grads_invalid","/grads/2"]'
backward 422 '{}'
backward 400 '{"grads": [null, null, null], "axis": 1}'
post "/v1/jobs/j_00000000000000000000000000/backward" '{"grads": [null]}'
expect_status 404
job '{"op": "all_reduce_max", "inputs": [[true], [false], [true]], "dtype": "bool"}'
backward 422 '{"grads": [[true], null, null]}'
expect '[.code]' '["dtype_op"]'
job '{"op": "all_reduce_prod", "inputs": [[2], [3], [4]]}'
backward 422 '{"grads": [[1], null, null]}'
expect .code '"no_gradient"'
job '{"op": "barrier"}'
backward 200 '{"grads": [null, null, null]}'

# A job that waits for its ranks, and one that failed, have none.
call 0 '{"op": "all_reduce_sum", "input": [1]}' '?timeout=2&wait=0'
wait $!
job=$(jq -r .id "$here/rank0")
backward 409 '{"grads": [null, null, null]}'
expect .code '"job_running"'
get "/v1/jobs/$job?wait=10"
expect .state '"failed"'
backward 409 '{"grads": [null, null, null]}'
expect .code '"no_output"'

# By calls: each rank brings its own, or none; all are of one job.
for rank in 1 2; do # in step again
    call $rank '{"op": "all_reduce_sum", "input": [1]}'
    wait $!
    answer $rank 504 .code '"ranks_missing"'
done
call 0 "{\"op\": \"backward\", \"job\": \"$maximum\", \"input\": [1, 2, 3]}"
first=$!
call 1 "{\"op\": \"backward\", \"job\": \"$maximum\"}"
second=$!
call 2 "{\"op\": \"backward\", \"job\": \"$maximum\", \"input\": [10, 20, 30]}"
wait $first $second $!
answer 0 200 .output.data '[0,22,33]'
answer 1 200 .output.data '[11,22,0]'
answer 2 200 .output.data '[11,0,33]'
for rank in 0 1 2; do
    call $rank "{\"op\": \"backward\", \"job\": \"$maximum\"}"
    eval "pid$rank=$!"
done
# shellcheck disable=SC2154
wait "$pid0" "$pid1" "$pid2"
answer 1 200 .output null
call 0 "{\"op\": \"backward\", \"job\": \"$maximum\", \"input\": [1, 2, 3]}"
first=$!
sleep 0.3
call 1 '{"op": "all_reduce_sum", "input": [1, 2, 3]}'
wait $first $!
answer 0 409 .code '"mismatch"'
jq -r .detail "$here/body" | grep -q "rank 0 called backward of $maximum" || fail 'who called what?'
call 2 '{"op": "all_reduce_sum", "input": [1, 2, 3]}'
wait $!
answer 2 409 .code '"mismatch"'
call 0 "{\"op\": \"backward\", \"job\": \"$maximum\", \"input\": [1]}"
wait $!
answer 0 422 '[.code, .pointer]' '["grads_invalid","/input"]'
call 0 '{"op": "backward"}'
wait $!
answer 0 422 .pointer '"/job"'

# The inputs it depends on live with the job: not with the tensor that was uploaded, and over a restart.
post /v1/tensors '[1, 9]'
tensor=$(jq -r .tensor "$here/body")
job "{\"op\": \"all_reduce_max\", \"inputs\": [{\"tensor\": \"$tensor\"}, [5, 5], [9, 9]]}"
delete "/v1/tensors/$tensor"
expect_status 204
backward 200 '{"grads": [[1, 2], null, null]}'
expect '[.outputs[].data]' '[[0,2],[0,0],[1,2]]'
child=$(jq -r .id "$here/body")
kill_server
start_server --workers 3 --retain 600
backward 200 '{"grads": [[1, 2], null, null]}'
expect '[.outputs[].data]' '[[0,2],[0,0],[1,2]]'
job=$child
backward 200 '{"grads": [[1, 2], [3, 4], [5, 6]]}'
expect '.outputs[0].data' '[5,8]'
get "/v1/jobs/$child"
expect .op '"all_reduce_sum"'
for gone in "$child" $(curl -s "$url/v1/jobs?limit=500" | jq -r '.jobs[].id' | grep -v "$child"); do
    delete "/v1/jobs/$gone"
    expect_status 204
done
get /v1/metrics
expect .arena.used_bytes 0

# What retention took is gone for good, and says so.
stop_server
start_server --workers 2 --retain 1
job '{"op": "reduce_max", "inputs": [[1], [2]]}'
tries=0
until [ "$(curl -s "$url/v1/metrics" | jq .arena.used_bytes)" = 0 ]; do
    tries=$((tries + 1))
    [ $tries -lt 100 ] || fail 'what was kept does not expire'
    sleep 0.1
done
backward 410 '{"grads": [[1], null]}'
expect '[.code, .ranks]' '["tensor_lost",[0]]'
