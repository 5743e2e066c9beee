#!/bin/sh
# GET /v1 says what runs: name, version, backend, world size, limits, relative links.
. "$(dirname "$0")/lib.sh"
start_server --workers 3

get /v1
expect_status 200
expect_header Content-Type application/json
expect .name '"tutti"'
expect .backend "\"${TUTTI_TEST_BACKEND:-shm}\""
expect .world_size 3
expect .version "\"$("$build/tutti-server" --version | sed 's/.* //')\""
expect_true '.limits | to_entries | length > 3 and all(.value | type == "number")'
expect_true '.links | to_entries | length > 3 and all(.value | test("^[a-z]+:|^//") | not)'

get /
expect_status 200
expect_in v1
get /openapi.yaml
expect_status 200
expect_file "$root/schema/openapi.yaml"
