#!/bin/sh
# Inputs that are used agree in shape and dtype, or the answer names the ranks that differ.
. "$(dirname "$0")/lib.sh"
start_server --workers 3

post '/v1/jobs?wait=10' '{"op": "all_reduce_sum", "inputs": [[1, 2], [1, 2], [1]]}'
expect_problem 422 inputs_differ
expect_true '(.ranks // []) | contains([2])'
post '/v1/jobs?wait=10' '{"op": "all_reduce_sum", "inputs": [[1], {"dtype": "int32", "data": [1]}, [1]]}'
expect_problem 422 inputs_differ
expect_true '.detail | test("int32") and test("float32")'
post '/v1/jobs?wait=10' '{"op": "all_reduce_sum", "inputs": [[1], [2]]}'
expect_problem 422 inputs_invalid
