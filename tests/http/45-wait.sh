#!/bin/sh
# Without wait a job is accepted: 202 with its place; GET with wait answers at its end.
. "$(dirname "$0")/lib.sh"
export TUTTI_FAILPOINTS=worker.before_run=sleep:2500
start_server

post /v1/jobs '{"op": "all_reduce_sum", "inputs": [[1], [2]]}'
expect_status 202
expect_true '.state == "queued" or .state == "running"'
expect .outputs null
job=$(value .id)
expect_header Tutti-Job "$job"
[ "$(basename "$(header Location)")" = "$job" ] || fail "Location should name the job"
get "/v1/jobs/$job/outputs"
expect_problem 409 job_running
get "/v1/jobs/$job"
expect_true '.state == "queued" or .state == "running"'
get "/v1/jobs/$job?wait=10"
expect_status 200
expect .state '"succeeded"'
expect '.outputs[0].data' '[3]'

# A wait that ends before the job does.
post '/v1/jobs?wait=0.1' '{"op": "all_reduce_sum", "inputs": [[1], [2]]}'
expect_status 202
get "/v1/jobs/$(value .id)?wait=10"
expect .state '"succeeded"'

# The same in the header, and in the body; two that differ are refused.
post /v1/jobs '{"op": "all_reduce_sum", "inputs": [[1], [2]]}' -H 'Prefer: wait=10'
expect_status 200
post /v1/jobs '{"op": "all_reduce_sum", "inputs": [[1], [2]], "wait": 10}'
expect_status 200
post '/v1/jobs?wait=2' '{"op": "all_reduce_sum", "inputs": [[1], [2]]}' -H 'Prefer: wait=1'
expect_problem 400 conflicting_parameter
