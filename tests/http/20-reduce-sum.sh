#!/bin/sh
# reduce_sum gives the root the element-wise sum, the others nothing.
. "$(dirname "$0")/lib.sh"
start_server --workers 2

post '/v1/jobs?wait=10' '{"op": "reduce_sum", "inputs": [[1, 2], [10, 20]]}'
expect_status 200
expect .state '"succeeded"'
expect '.outputs | map(.data?)' '[[11, 22], null]'
expect '.outputs[1]' null
