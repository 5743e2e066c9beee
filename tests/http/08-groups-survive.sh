#!/bin/sh
# Groups are there again after a restart.
. "$(dirname "$0")/lib.sh"
start_server

post /v1/groups '{"name": "solo", "ranks": [1]}'
expect_status 201
post /v1/groups '{"name": "gone", "ranks": [0]}'
expect_status 201
delete /v1/groups/gone
expect_status 204
stop_server

start_server
get /v1/groups/solo
expect_status 200
expect .ranks '[1]'
get /v1/groups/gone
expect_problem 404 group_unknown
