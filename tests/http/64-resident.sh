#!/bin/sh
# resident=true leaves outputs on their ranks' devices; reading one brings it to the arena. CPU ranks have the arena for a
# device, so the same request works there.
. "$(dirname "$0")/lib.sh"
start_server --workers 2
where='"arena"'
[ "${TUTTI_TEST_BACKEND:-shm}" != nccl ] || where='"device"'

post '/v1/jobs?wait=10' '{"op": "all_reduce_sum", "resident": true, "data": 0, "inputs": [[1, 2], [10, 20]]}'
expect_status 200
expect .resident true
sum=$(value '.outputs[0].tensor')
get "/v1/tensors/$sum?meta=1"
expect .location "$where"

post '/v1/jobs?wait=10&resident=1&data=1' "{\"op\": \"all_gather\", \"inputs\": [{\"tensor\": \"$sum\"}, {\"tensor\": \"$sum\"}]}"
expect_status 200
expect '.outputs[1].data' '[11,22,11,22]'
get "/v1/tensors/$sum"
expect .data '[11,22]'
expect .location '"arena"'

# Without the word nothing stays.
post '/v1/jobs?wait=10' '{"op": "all_reduce_sum", "inputs": [[1, 2], [10, 20]]}'
expect .resident false
get "/v1/tensors/$(value '.outputs[0].tensor')?meta=1"
expect .location '"arena"'

post '/v1/jobs?resident=2' '{"op": "all_reduce_sum", "inputs": [1, 2]}'
expect_problem 400 bad_parameter
