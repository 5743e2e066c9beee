#!/bin/sh
# SIGTERM lets a running job finish and its client have the answer; queued jobs run after the next start.
. "$(dirname "$0")/lib.sh"
export TUTTI_FAILPOINTS=worker.before_run=sleep:1000
start_server
# GPUs take a second or two to meet, and until then a job is queued.
post '/v1/jobs?wait=20' '{"op": "barrier"}'
expect_status 200

aside running post '/v1/jobs?wait=20' '{"op": "all_reduce_sum", "inputs": [[1], [2]]}'
sleep 0.4
post /v1/jobs '{"op": "all_reduce_sum", "inputs": [[3], [4]]}'
expect_status 202
queued=$(value .id)
stop_server
join running
expect_status 200
expect '.outputs[0].data' '[3]'

start_server
get "/v1/jobs/$queued?wait=20"
expect_status 200
expect '[.state, .outputs[0].data]' '["succeeded", [7]]'
row F39
