#!/bin/sh
# A rank that must give and gives null is a 422 that names it; one that need not may be null.
. "$(dirname "$0")/lib.sh"
start_server --workers 3

post '/v1/jobs?wait=10' '{"op": "all_reduce_sum", "inputs": [[1], null, [2]]}'
expect_problem 422 inputs_invalid
expect_true '.ranks == [1] or .pointer == "/inputs/1"'
post '/v1/jobs?wait=10' '{"op": "scatter", "inputs": [null, [1, 2, 3], null]}'
expect_problem 422 inputs_invalid
post '/v1/jobs?wait=10' '{"op": "scatter", "inputs": [[1, 2, 3], null, null]}'
expect_status 200
