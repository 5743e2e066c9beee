#!/bin/sh
# all_to_all gives rank r the r-th part of every input along split_axis, joined along concat_axis.
. "$(dirname "$0")/lib.sh"
start_server --workers 2

post '/v1/jobs?wait=10' '{"op": "all_to_all", "inputs": [[1, 2], [3, 4]]}'
expect_status 200
expect '[.outputs[].data]' '[[1,3],[2,4]]'
post '/v1/jobs?wait=10' '{"op": "all_to_all", "split_axis": 0, "concat_axis": 1, "inputs": [[[1, 2], [3, 4]], [[5, 6], [7, 8]]]}'
expect '[.outputs[].data]' '[[[1,2,5,6]],[[3,4,7,8]]]'
