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

# A GPU says which one it is, and whether it is a real one.
get /v1/workers/0
if [ "${TUTTI_TEST_BACKEND:-shm}" = nccl ]; then
    expect '.gpu.name | length > 0' true
    expect '.gpu.uuid | test("^GPU-[0-9a-f]{8}(-[0-9a-f]{4}){3}-[0-9a-f]{12}$")' true
    expect '.gpu.pci_id | test("^[0-9a-fA-F:.]+$")' true
    expect '.gpu.memory_bytes > 0' true
    expect '.gpu.nccl_version | test("^2[.][0-9]+[.][0-9]+$")' true
    expect '.gpu.simulated' "${TUTTI_TEST_SIMULATED:-true}"
    [ -f "$(value .gpu.nccl_path)" ] || fail 'no such file'
else
    expect .gpu null
fi
