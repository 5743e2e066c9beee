#!/bin/sh
# A run that takes longer than its timeout fails with 504 run_timeout; the next job runs.
. "$(dirname "$0")/lib.sh"
export TUTTI_FAILPOINTS=worker.mid_run=sleep:4000@1
start_server

post '/v1/jobs?wait=20&timeout=1' '{"op": "all_reduce_sum", "inputs": [[1], [2]]}'
expect_problem 504 run_timeout
job=$(value .job)
get "/v1/jobs/$job"
expect_status 200
expect '[.state, .error.code]' '["failed", "run_timeout"]'
get "/v1/jobs/$job/outputs"
expect_status 504
post '/v1/jobs?wait=30' '{"op": "all_reduce_sum", "inputs": [[1], [2]]}'
expect_status 200
expect '.outputs[0].data' '[3]'
