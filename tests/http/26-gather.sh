#!/bin/sh
# gather gives the root all inputs joined along axis, the others nothing.
. "$(dirname "$0")/lib.sh"
start_server --workers 2

post '/v1/jobs?wait=10' '{"op": "gather", "inputs": [[1, 2], [3, 4]]}'
expect_status 200
expect '.outputs[0].data' '[1,2,3,4]'
expect '.outputs[1]' null
