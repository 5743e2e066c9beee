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

# What the operations take, and who gives and gets: from this a page asks for any of them.
expect_true '.ops | length > 20 and all(.sentence | length > 5)'
expect '.ops[] | select(.name == "all_to_all") | [.gives, .gets, .parameters, .gradient]' \
    '["all", "all", ["split_axis", "concat_axis"], true]'
expect '.ops[] | select(.name == "remote_send") | [.gives, .gets, .parameters]' '["src", "dst", ["src", "dst"]]'
expect '.ops[] | select(.name == "barrier") | [.gives, .gets, .parameters]' '["none", "none", []]'
expect '[.ops[] | select(.parameters == ["axis"]) | .name] | contains(["all_gather", "scatter"])' true
expect '.ops[] | select(.name == "all_reduce_sum") | .dtypes | [contains(["float32"]), contains(["bool"])]' '[true, false]'
expect '.ops[] | select(.name == "all_reduce_prod") | .gradient' false

get /
expect_status 200
expect_in v1
get /openapi.yaml
expect_status 200
expect_file "$root/schema/openapi.yaml"
