#!/bin/sh
# An uploaded tensor is an input by its id, for as many jobs and ranks as wanted; so is a job's output.
. "$(dirname "$0")/lib.sh"
start_server

post '/v1/tensors?dtype=int64' '[1, 2]'
id=$(value .tensor)
for _ in 1 2; do
    post '/v1/jobs?wait=10' "{\"op\": \"all_reduce_sum\", \"inputs\": [{\"tensor\": \"$id\"}, {\"tensor\": \"$id\"}]}"
    expect_status 200
    expect '.outputs[1] | [.dtype, .data]' '["int64", [2, 4]]'
done
out=$(value '.outputs[0].tensor')
post '/v1/jobs?wait=10' "{\"op\": \"all_gather\", \"inputs\": [{\"tensor\": \"$out\"}, {\"tensor\": \"$id\"}]}"
expect '.outputs[0].data' '[2,4,1,2]'
post '/v1/jobs?wait=10' '{"op": "all_reduce_sum", "inputs": [{"tensor": "t_01JDDB5T0Z6R3V8QX1M4KCNE7J"}, [1]]}'
expect_status 422
expect_true '.detail | test("t_01JDDB5T0Z6R3V8QX1M4KCNE7J")'
expect .pointer '"/inputs/0"'
