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

# What it takes is gone by the time that it is sent again: it is the same request all the same.
post /v1/tensors '[1, 9]'
tensor=$(value .tensor)
body="{\"op\": \"all_reduce_sum\", \"inputs\": [{\"tensor\": \"$tensor\"}, [2, 2]]}"
post '/v1/jobs?wait=10' "$body" -H 'Idempotency-Key: gone'
expect_status 200
job=$(value .id)
delete "/v1/tensors/$tensor"
post '/v1/jobs?wait=10' "$body" -H 'Idempotency-Key: gone'
expect_status 200
expect '[.id, .outputs[0].data]' "[\"$job\",[3,11]]"
post '/v1/jobs?wait=10' "{\"op\": \"all_reduce_max\", \"inputs\": [{\"tensor\": \"$tensor\"}, [2, 2]]}" -H 'Idempotency-Key: gone'
expect_problem 422 input_unknown
taking="{\"op\": \"all_reduce_sum\", \"inputs\": [{\"job\": \"$job\"}, [2, 2]]}"
post '/v1/jobs?wait=10&stream=1' "$taking" -H 'Idempotency-Key: taking'
taker=$(value .id)
delete "/v1/jobs/$job"
post '/v1/jobs?wait=0&stream=1' "$taking" -H 'Idempotency-Key: taking'
expect_status 200
expect .id "\"$taker\""
post '/v1/jobs?wait=0&stream=2' "$taking" -H 'Idempotency-Key: taking'
expect_problem 422 input_unknown
row F45
