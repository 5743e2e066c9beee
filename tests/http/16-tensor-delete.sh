#!/bin/sh
# A deleted tensor is gone, and so is the room it took.
. "$(dirname "$0")/lib.sh"
start_server

before=$(arena_used)
post /v1/tensors '[1, 2, 3]'
expect_status 201
id=$(value .tensor)
[ "$(arena_used)" -gt "$before" ] || fail "the tensor should take room"
delete "/v1/tensors/$id"
expect_status 204
get "/v1/tensors/$id"
expect_problem 404 tensor_unknown
delete "/v1/tensors/$id"
expect_problem 404 tensor_unknown
[ "$(arena_used)" -eq "$before" ] || fail "the room should be free again"
