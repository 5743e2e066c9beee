#!/bin/sh
# all_reduce_sum gives every rank the element-wise sum.
. "$(dirname "$0")/lib.sh"
start_server --workers 2

post '/v1/jobs?wait=10' '{"op": "all_reduce_sum", "inputs": [[1, 2], [10, 20]]}'
expect_status 200
expect '.state' '"succeeded"'
expect '[.outputs[].data]' '[[11,22],[11,22]]'
expect '[.outputs[].rank]' '[0,1]'
expect '[.outputs[].tensor] | unique | length' 1
