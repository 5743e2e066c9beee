#!/bin/sh
# Raw bytes go in with dtype and shape in the query and come out with both in headers.
. "$(dirname "$0")/lib.sh"
start_server

printf '\1\0\2\0\3\0\377\377' >"$here/x"
upload '/v1/tensors?dtype=int16&shape=2,2' "$raw" "$here/x"
expect_status 201
id=$(value .tensor)
get "/v1/tensors/$id"
expect .data '[[1,2],[3,-1]]'
get "/v1/tensors/$id" -H "Accept: $raw"
expect_status 200
expect_file "$here/x"
expect_header Content-Type "$raw"
expect_header Content-Length 8
expect_header Tutti-Dtype int16
expect_header Tutti-Shape 2,2

head_of "/v1/tensors/$id" -H "Accept: $raw"
expect_status 200
expect_header Content-Length 8
expect_header Tutti-Shape 2,2
