#!/bin/sh
# GET /v1/workers has one row per rank, in order, with the process that holds it.
. "$(dirname "$0")/lib.sh"
start_server --workers 2

get /v1/workers
expect_status 200
expect '[.workers[].rank]' '[0,1]'
expect '[.workers[].state] | unique' '["ready"]'
expect '[.workers[].backend] | unique' "[\"${TUTTI_TEST_BACKEND:-shm}\"]"
for pid in $(value '.workers[].pid'); do
    [ -d "/proc/$pid" ] || fail "no process $pid"
done

get /v1/workers/1
expect_status 200
expect .rank 1
get /v1/workers/2
expect_problem 404 rank_unknown
