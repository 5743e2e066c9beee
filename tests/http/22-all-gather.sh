#!/bin/sh
# all_gather gives every rank all inputs joined along axis.
. "$(dirname "$0")/lib.sh"
start_server --workers 2

post '/v1/jobs?wait=10' '{"op": "all_gather", "inputs": [[[1, 2]], [[3, 4]]]}'
expect_status 200
expect '.outputs[1].data' '[[1,2],[3,4]]'
post '/v1/jobs?wait=10' '{"op": "all_gather", "axis": 1, "inputs": [[[1, 2]], [[3, 4]]]}'
expect '[.outputs[].data]' '[[[1,2,3,4]],[[1,2,3,4]]]'
