#!/bin/sh
# The job document has its parameters, timeline and rates.
. "$(dirname "$0")/lib.sh"
start_server

post '/v1/jobs?wait=10' '{"op": "all_reduce_sum", "label": "first \u00e9\u4e2d", "priority": 3, "stream": 2, "inputs": [[1, 2], [3, 4]]}'
expect_status 200
expect '[.op, .group, .ranks, .state, .label, .priority, .stream, .attempts, .error]' \
    '["all_reduce_sum", "world", [0, 1], "succeeded", "first é中", 3, 2, 1, null]'
expect '[.dtype, .input_shape, .parameters]' '["float32", [2], {"timeout": 60}]'
expect_true '.id | test("^j_[0-9A-HJKMNP-TV-Z]{26}$")'
expect_true '.timeline.received_at | test("^[0-9]{4}-[0-9]{2}-[0-9]{2}T[0-9:]{8}[.][0-9]{6}Z$")'
expect_true '.timeline | [.validated_us, .queued_us, .dispatch_us, .collective_us, .total_us] | all(type == "number" and . >= 0)'
expect_true '.timeline | .total_us >= .collective_us and .total_us < 10000000'
expect '.timeline.ranks | map([.rank, .world_rank])' '[[0,0],[1,1]]'
expect_true '.timeline.ranks | all(.started_us > 0 and .collective_us >= 0)'
expect_true '.timeline | .total_us + 1 >= (.ranks | map(.started_us + .collective_us) | max)'
expect_true '.algbw_GBps >= 0 and .busbw_GBps >= 0'
job=$(value .id)
cp "$here/body" "$here/first"
get "/v1/jobs/$job"
expect . "$(cat "$here/first")"
stop_server

# The same after a restart, data too.
start_server
get "/v1/jobs/$job"
expect_status 200
expect . "$(cat "$here/first")"

# Whatever the operation takes is said as a request would say it.
post '/v1/jobs?wait=10' '{"op": "all_to_all", "split_axis": -1, "timeout": 2.5, "inputs": [[[1, 2]], [[3, 4]]]}'
expect '[.input_shape, .parameters]' '[[1, 2], {"split_axis": -1, "concat_axis": 0, "timeout": 2.5}]'
post '/v1/jobs?wait=10' '{"op": "remote_send", "src": 1, "dst": 0, "inputs": [null, 5]}'
expect '[.input_shape, .parameters]' '[[], {"src": 1, "dst": 0, "timeout": 60}]'
post '/v1/jobs?wait=10' '{"op": "gather", "axis": 1, "inputs": [[[1], [2]], [[3], [4]]]}'
expect '[.input_shape, .parameters]' '[[2, 1], {"axis": 1, "timeout": 60}]'
