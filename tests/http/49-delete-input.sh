#!/bin/sh
# A tensor that a queued job uses may be deleted: its bytes live on until the job ends.
. "$(dirname "$0")/lib.sh"
export TUTTI_FAILPOINTS=worker.before_run=sleep:600
start_server

before=$(arena_used)
post /v1/tensors '[1, 2]'
id=$(value .tensor)
post /v1/jobs "{\"op\": \"all_reduce_sum\", \"inputs\": [{\"tensor\": \"$id\"}, {\"tensor\": \"$id\"}]}"
expect_status 202
job=$(value .id)
delete "/v1/tensors/$id"
expect_status 204
get "/v1/tensors/$id"
expect_problem 404 tensor_unknown
get "/v1/jobs/$job?wait=10"
expect '.outputs[1].data' '[2,4]'
delete "/v1/jobs/$job"
[ "$(arena_used)" -eq "$before" ] || fail "the room should be free again"
