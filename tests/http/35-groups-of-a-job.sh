#!/bin/sh
# A job's group is a name or a list of world ranks, in the body or in the query; its first rank is the root.
. "$(dirname "$0")/lib.sh"
start_server --workers 4

post /v1/groups '{"name": "pair", "ranks": [3, 1]}'
expect_status 201
post '/v1/jobs?wait=10' '{"op": "gather", "group": "pair", "inputs": [[1], [2]]}'
expect_status 200
expect '[.group, .ranks]' '["pair", [3, 1]]'
expect '.outputs[0].data' '[1,2]'
post '/v1/jobs?wait=10&group=pair' '{"op": "gather", "inputs": [[1], [2]]}'
expect .group '"pair"'
for query in 'group=2,0,1' 'group=%5B2,0,1%5D'; do
    post "/v1/jobs?wait=10&$query" '{"op": "gather", "inputs": [[1], [2], [3]]}'
    expect_status 200
    expect '[.group, .ranks]' '[null, [2, 0, 1]]'
done
post '/v1/jobs?wait=10' '{"op": "all_reduce_sum", "group": [1], "inputs": [[5]]}'
expect '[.ranks, .outputs[0].data]' '[[1], [5]]'
post '/v1/jobs?wait=10&group=world' '{"op": "all_reduce_sum", "group": "world", "inputs": [1, 1, 1, 1]}'
expect_status 200
post '/v1/jobs?wait=10&group=pair' '{"op": "all_reduce_sum", "group": "world", "inputs": [1, 1, 1, 1]}'
expect_problem 400 conflicting_parameter
