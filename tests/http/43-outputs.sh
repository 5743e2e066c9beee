#!/bin/sh
# A finished job's outputs can be fetched, all or one rank's, in every format.
. "$(dirname "$0")/lib.sh"
start_server --workers 2

post '/v1/jobs?wait=10' '{"op": "scatter", "dtype": "int32", "inputs": [[1, 2], null]}'
job=$(value .id)
tensor=$(value '.outputs[1].tensor')
get "/v1/jobs/$job/outputs"
expect_status 200
expect '[.outputs[].data]' '[[1],[2]]'
get "/v1/jobs/$job/outputs/1"
expect_status 200
expect '[.rank, .tensor, .dtype, .shape, .data]' "[1, \"$tensor\", \"int32\", [1], [2]]"
get "/v1/jobs/$job/outputs/1?data=0"
expect 'has("data")' false
get "/v1/jobs/$job/outputs/1" -H "Accept: $raw"
expect_header Tutti-Shape 1
expect_header ETag
printf '\2\0\0\0' >"$here/want"
expect_file "$here/want"
get "/v1/jobs/$job/outputs?format=raw"
expect_header Tutti-Shape 2,1
printf '\1\0\0\0\2\0\0\0' >"$here/want"
expect_file "$here/want"

get "/v1/jobs/$job/outputs/2"
expect_problem 404 rank_unknown
post '/v1/jobs?wait=10' '{"op": "reduce_sum", "inputs": [[1], [2]]}'
job=$(value .id)
get "/v1/jobs/$job/outputs/1"
expect_problem 409 no_output
get "/v1/jobs/$job/outputs?format=npy"
expect_problem 406 not_acceptable
get "/v1/jobs/$job/outputs"
expect '.outputs | map(.data?)' '[[3], null]'
