#!/bin/sh
# Scalars are allowed where there is no axis, and stay scalars; an axis on one is a 422.
. "$(dirname "$0")/lib.sh"
start_server

post '/v1/jobs?wait=10' '{"op": "all_reduce_sum", "inputs": [1.5, 2]}'
expect_status 200
expect '.outputs[1] | [.shape, .data]' '[[], 3.5]'
post '/v1/jobs?wait=10' '{"op": "broadcast", "dtype": "int64", "inputs": [7, null]}'
expect '.outputs[1] | [.shape, .data]' '[[], 7]'
post '/v1/jobs?wait=10' '{"op": "all_gather", "inputs": [1, 2]}'
expect_problem 422 axis_out_of_range
