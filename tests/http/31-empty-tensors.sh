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

# As raw bytes it is a body of none: an upload, a job's inputs, a rank's own.
: >"$here/nothing"
upload '/v1/tensors?dtype=int32&shape=0,2' "$raw" "$here/nothing"
expect_status 201
expect '[.dtype, .shape]' '["int32",[0,2]]'
get "/v1/tensors/$(value .tensor)?format=raw"
expect_status 200
expect_file "$here/nothing"
upload '/v1/jobs?op=all_reduce_sum&dtype=int32&shape=2,0,2&wait=10' "$raw" "$here/nothing"
expect_status 200
expect '.outputs[1].shape' '[0,2]'
upload '/v1/groups/world/ranks/0/calls?op=all_gather&dtype=int32&shape=0,2&wait=0' "$raw" "$here/nothing"
expect_status 202
post '/v1/groups/world/ranks/1/calls?wait=10' '{"op": "all_gather", "input": {"dtype": "int32", "shape": [0, 2], "data": []}}'
expect_status 200
expect '.output.shape' '[0,2]'
upload '/v1/tensors?dtype=int32&shape=1,2' "$raw" "$here/nothing"
expect_problem 400 empty_body
upload '/v1/tensors?dtype=int32&shape=0,2' 'application/x-npy' "$here/nothing"
expect_problem 400 empty_body
# The empty lists of one that is long before its axis of 0 are shown as elements are: up to a number.
long='{"dtype": "int8", "shape": [1125899906842624, 0], "data": []}'
post /v1/tensors "$long"
expect_status 201
get "/v1/tensors/$(value .tensor)"
expect_status 200
expect .size_bytes 0
expect 'has("data")' false
for inputs in "[$long, $long]" '[{"shape": [65536, 0], "data": []}, {"shape": [65536, 0], "data": []}]'; do
    post '/v1/jobs?wait=10' "{\"op\": \"all_reduce_sum\", \"inputs\": $inputs}"
    expect_status 200
    expect '[.outputs[] | has("data")] | any' false
    get "/v1/jobs/$(value .id)/outputs/1"
    expect_status 200
done
post '/v1/jobs?wait=10&data=1' "{\"op\": \"all_reduce_sum\", \"inputs\": [$long, $long]}"
expect_problem 406 not_acceptable
