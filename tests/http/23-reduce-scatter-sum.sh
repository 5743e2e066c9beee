#!/bin/sh
# reduce_scatter_sum gives rank r the r-th part of the sum along axis.
. "$(dirname "$0")/lib.sh"
start_server --workers 2

post '/v1/jobs?wait=10' '{"op": "reduce_scatter_sum", "inputs": [[1, 2, 3, 4], [10, 20, 30, 40]]}'
expect_status 200
expect '[.outputs[].data]' '[[11,22],[33,44]]'
post '/v1/jobs?wait=10' '{"op": "reduce_scatter_sum", "axis": -1, "inputs": [[[1, 2], [3, 4]], [[10, 20], [30, 40]]]}'
expect '[.outputs[].data]' '[[[11],[33]],[[22],[44]]]'
