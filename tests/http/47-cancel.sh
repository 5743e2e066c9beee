#!/bin/sh
# A queued and a running job can be cancelled; a finished one cannot.
. "$(dirname "$0")/lib.sh"
export TUTTI_FAILPOINTS=worker.mid_run=sleep:1500
start_server

post /v1/jobs '{"op": "all_reduce_sum", "inputs": [[1], [2]]}'
running=$(value .id)
post /v1/jobs '{"op": "all_reduce_sum", "inputs": [[3], [4]]}'
queued=$(value .id)

post "/v1/jobs/$queued/cancel"
expect_status 200
expect '[.state, .error.code]' '["cancelled", "cancelled"]'
sleep 0.3
post "/v1/jobs/$running/cancel"
expect_status 200
expect_true '.state == "cancelled" or .state == "succeeded"'
post "/v1/jobs/$queued/cancel"
expect_problem 409 job_finished
post /v1/jobs/j_01JDDB5T0Z6R3V8QX1M4KCNE7H/cancel
expect_problem 404 job_unknown
get "/v1/jobs/$queued/outputs"
expect_problem 409 cancelled

# The ranks work on.
post '/v1/jobs?wait=20' '{"op": "all_reduce_sum", "inputs": [[1], [2]]}'
expect_status 200
expect '.outputs[0].data' '[3]'

# A waiting client hears of it.
post /v1/jobs '{"op": "all_reduce_sum", "inputs": [[1], [2]]}'
first=$(value .id)
aside waiter post '/v1/jobs?wait=20' '{"op": "all_reduce_sum", "label": "watched", "inputs": [[1], [2]]}'
sleep 0.5
get '/v1/jobs?label=watched'
post "/v1/jobs/$(value '.jobs[0].id')/cancel"
expect_status 200
join waiter
expect_problem 409 cancelled
get "/v1/jobs/$first?wait=20"
expect .state '"succeeded"'
