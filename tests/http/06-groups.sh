#!/bin/sh
# A group is an ordered list of ranks under a name: made once, listed, found, deleted.
. "$(dirname "$0")/lib.sh"
start_server --workers 3

post /v1/groups '{"name": "pair", "ranks": [2, 0]}'
expect_status 201
expect_header Location
expect '[.name, .ranks]' '["pair", [2, 0]]'
post /v1/groups '{"name": "pair", "ranks": [2, 0]}'
expect_status 200
expect .ranks '[2,0]'
post /v1/groups '{"name": "pair", "ranks": [0, 2]}'
expect_problem 409 group_exists

get /v1/groups/pair
expect_status 200
expect .ranks '[2,0]'
get /v1/groups
expect '[.groups[].name]' '["world", "pair"]'
expect '.groups[0].ranks' '[0,1,2]'
expect .next null

delete /v1/groups/pair
expect_status 204
get /v1/groups/pair
expect_problem 404 group_unknown
delete /v1/groups/pair
expect_problem 404 group_unknown
delete /v1/groups/world
expect_problem 409 group_protected
