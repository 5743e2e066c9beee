#!/bin/sh
# Deleting a group does not touch the jobs that were submitted on it.
. "$(dirname "$0")/lib.sh"
export TUTTI_FAILPOINTS=worker.before_run=sleep:500
start_server

post /v1/groups '{"name": "swap", "ranks": [1, 0]}'
post /v1/jobs '{"op": "gather", "group": "swap", "inputs": [[1], [2]]}'
expect_status 202
job=$(value .id)
delete /v1/groups/swap
expect_status 204
post /v1/jobs '{"op": "gather", "group": "swap", "inputs": [[1], [2]]}'
expect_problem 404 group_unknown
get "/v1/jobs/$job?wait=20"
expect_status 200
expect '[.state, .group, .ranks, .outputs[0].data]' '["succeeded", "swap", [1, 0], [1, 2]]'
# The name is free again, for other ranks too.
post /v1/groups '{"name": "swap", "ranks": [0, 1]}'
expect_status 201
