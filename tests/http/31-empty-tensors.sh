#!/bin/sh
# Tensors without elements are legal for every operation.
. "$(dirname "$0")/lib.sh"
start_server

empty='{"dtype": "float32", "shape": [0, 2], "data": []}'
for op in reduce_sum broadcast all_gather reduce_scatter_sum all_reduce_sum all_reduce_max all_reduce_min \
    gather scatter all_to_all remote_send remote_recv; do
    post '/v1/jobs?wait=10' "{\"op\": \"$op\", \"inputs\": [$empty, $empty]}"
    expect_status 200
    expect_true '[.outputs[] | select(. != null)] | length > 0 and all(.shape == [0, 2] and .data == [])'
done
