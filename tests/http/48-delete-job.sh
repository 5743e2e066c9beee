#!/bin/sh
# Deleting a finished job removes its outputs too; one that has not finished stays.
. "$(dirname "$0")/lib.sh"
export TUTTI_FAILPOINTS=worker.mid_run=sleep:600
start_server

before=$(arena_used)
post /v1/jobs '{"op": "all_reduce_sum", "inputs": [[1], [2]]}'
job=$(value .id)
delete "/v1/jobs/$job"
expect_problem 409 job_running
get "/v1/jobs/$job?wait=10"
tensor=$(value '.outputs[0].tensor')
delete "/v1/jobs/$job"
expect_status 204
get "/v1/jobs/$job"
expect_problem 404 job_unknown
get "/v1/tensors/$tensor"
expect_problem 404 tensor_unknown
delete "/v1/jobs/$job"
expect_problem 404 job_unknown
[ "$(arena_used)" -eq "$before" ] || fail "the room should be free again"
