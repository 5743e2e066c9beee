#!/bin/sh
# scatter gives rank r the r-th part of the root's tensor.
. "$(dirname "$0")/lib.sh"
start_server --workers 2

post '/v1/jobs?wait=10' '{"op": "scatter", "inputs": [[1, 2, 3, 4], null]}'
expect_status 200
expect '[.outputs[].data]' '[[1,2],[3,4]]'
post '/v1/jobs?wait=10' '{"op": "scatter", "axis": 1, "inputs": [[[1, 2], [3, 4]], null]}'
expect '[.outputs[].data]' '[[[1],[3]],[[2],[4]]]'
