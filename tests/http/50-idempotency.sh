#!/bin/sh
# The same Idempotency-Key with the same request gives the first job, also after a restart; with another request a 422.
. "$(dirname "$0")/lib.sh"
start_server

body='{"op": "all_reduce_sum", "inputs": [[1], [2]]}'
post '/v1/jobs?wait=10' "$body" -H 'Idempotency-Key: k1'
expect_status 200
job=$(value .id)
post '/v1/jobs?wait=10' "$body" -H 'Idempotency-Key: k1'
expect_status 200
expect .id "\"$job\""
# What only says how to wait is not the request.
post /v1/jobs "$body" -H 'Idempotency-Key: k1'
expect .id "\"$job\""
post '/v1/jobs?wait=10' '{"op": "all_reduce_sum", "inputs": [[1], [3]]}' -H 'Idempotency-Key: k1'
expect_problem 422 idempotency_key_reused
post '/v1/jobs?wait=10' '{"op": "all_reduce_max", "inputs": [[1], [2]]}' -H 'Idempotency-Key: k1'
expect_problem 422 idempotency_key_reused
post '/v1/jobs?wait=10' "$body" -H 'Idempotency-Key: k2'
expect_true ".id != \"$job\""
stop_server

start_server
post '/v1/jobs?wait=10' "$body" -H 'Idempotency-Key: k1'
expect_status 200
expect .id "\"$job\""
expect '.outputs[0].data' '[3]'
delete "/v1/jobs/$job"
expect_status 204
post '/v1/jobs?wait=10' "$body" -H 'Idempotency-Key: k1'
expect_status 200
expect_true ".id != \"$job\""
