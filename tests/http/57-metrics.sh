#!/bin/sh
# GET /v1/metrics counts jobs by how they ended and says what the arena holds.
. "$(dirname "$0")/lib.sh"
start_server

post '/v1/jobs?wait=10' '{"op": "all_reduce_sum", "inputs": [[1], [2]]}'
post '/v1/jobs?wait=10' '{"op": "all_reduce_sum", "inputs": [[1], [2]]}'
get /v1/metrics
expect_status 200
expect '.jobs.succeeded' 2
expect '.jobs | [.queued, .running, .failed, .cancelled]' '[0,0,0,0]'
expect_true '.arena | .used_bytes > 0 and .free_bytes + .used_bytes <= 67108864'
