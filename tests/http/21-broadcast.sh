#!/bin/sh
# broadcast gives every rank the root's tensor; what the others send is ignored.
. "$(dirname "$0")/lib.sh"
start_server --workers 3

post '/v1/jobs?wait=10' '{"op": "broadcast", "inputs": [[1, 2], null, null]}'
expect_status 200
expect '[.outputs[].data]' '[[1,2],[1,2],[1,2]]'
expect '[.outputs[].tensor] | unique | length' 1
post '/v1/jobs?wait=10' '{"op": "broadcast", "inputs": [[1, 2], [[9]], [7, 7, 7]]}'
expect_status 200
expect '[.outputs[].data]' '[[1,2],[1,2],[1,2]]'
