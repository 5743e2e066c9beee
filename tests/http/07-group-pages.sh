#!/bin/sh
# The list of groups comes in pages: limit and after.
. "$(dirname "$0")/lib.sh"
start_server

for name in d b a c; do
    post /v1/groups "{\"name\": \"$name\", \"ranks\": [0]}"
    expect_status 201
done
get '/v1/groups?limit=2'
expect '[.groups[].name]' '["world", "a"]'
after=$(value .next)
get "/v1/groups?limit=2&after=$after"
expect '[.groups[].name]' '["b", "c"]'
after=$(value .next)
get "/v1/groups?limit=2&after=$after"
expect '[.groups[].name]' '["d"]'
expect .next null
