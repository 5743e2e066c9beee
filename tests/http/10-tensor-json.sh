#!/bin/sh
# A tensor goes in as JSON in four forms and comes out nested as NumPy's tolist() does.
. "$(dirname "$0")/lib.sh"
start_server

post /v1/tensors '{"dtype": "int32", "shape": [2, 3], "data": [1, 2, 3, 4, 5, 6]}'
expect_status 201
expect '[.dtype, .shape, .size_bytes]' '["int32", [2, 3], 24]'
id=$(value .tensor)
[ "$(basename "$(header Location)")" = "$id" ] || fail "Location should name $id"
get "/v1/tensors/$id"
expect_status 200
expect .data '[[1,2,3],[4,5,6]]'
expect .job null

post /v1/tensors '{"dtype": "uint8", "data": [[7], [8]]}'
expect_status 201
get "/v1/tensors/$(value .tensor)"
expect '[.shape, .data]' '[[2, 1], [[7], [8]]]'

post /v1/tensors '[1.5, -2, 1e3]'
expect_status 201
get "/v1/tensors/$(value .tensor)"
expect '[.dtype, .data]' '["float32", [1.5, -2, 1000]]'

post '/v1/tensors?dtype=f64' 0.1
expect_status 201
get "/v1/tensors/$(value .tensor)"
expect '[.dtype, .shape, .data]' '["float64", [], 0.1]'
