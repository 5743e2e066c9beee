#!/bin/sh
# POST /v1/jobs:batch: a job a line, a document a line back, in order; lines take the outputs of lines before them.
. "$(dirname "$0")/lib.sh"
start_server --workers 2

# batch QUERY LINE...: the answer's lines are an array in the body
batch() {
    query=$1
    shift
    printf '%s\n' "$@" >"$here/lines"
    request POST "/v1/jobs:batch$query" -H 'Content-Type: application/x-ndjson' --data-binary "@$here/lines" ${key:+-H "Idempotency-Key: $key"}
    [ "$(header Content-Type)" != application/x-ndjson ] || { jq -s . "$here/body" >"$here/array" && mv "$here/array" "$here/body"; }
}
key=

batch '?wait=10' '{"op": "all_reduce_sum", "label": "a", "inputs": [[1, 2], [3, 4]]}' \
    '{"op": "all_gather", "inputs": [{"job": 0}, {"job": -1, "rank": 0}]}' \
    '{"op": "reduce_sum", "dtype": "int32", "group": [1], "inputs": [[5]]}' \
    '{"op": "scatter", "inputs": [{"job": 1}, null]}'
expect_status 200
expect_header Content-Type application/x-ndjson
expect '[.[].op]' '["all_reduce_sum","all_gather","reduce_sum","scatter"]'
expect '[.[].state] | unique' '["succeeded"]'
expect '[.[0].outputs[1].data, .[1].outputs[0].data, .[2].outputs[0].data, .[3].outputs[1].data]' \
    '[[4,6],[4,6,4,6],[5],[4,6]]'
expect '.[0].label' '"a"'
first=$(value '.[0].id')

# Outputs of jobs from before, by their ids; blank lines count for nothing; the query is for all lines.
batch '?wait=10&op=all_reduce_max&dtype=int32' "" "{\"inputs\": [{\"job\": \"$first\"}, [9, 1]]}" "   " '{"inputs": [[1], [2]]}' \
    "{\"op\": \"all_reduce_max\", \"dtype\": \"int32\", \"inputs\": [{\"job\": 1}, {\"job\": 1}]}" \
    "{\"op\": \"all_reduce_sum\", \"inputs\": [[1], [2]]}"
expect_status 200
expect '[.[].status, .[].code]' '[422,null,null,400,"inputs_differ",null,null,"conflicting_parameter"]'
expect '[.[1, 2].outputs[0].data]' '[[2],[2]]'

# A line that is refused stops nobody but those that take its output.
batch '?wait=10' 'nonsense' '{"op": "all_reduce_sum", "inputs": [[1], [2]]}' '{"op": "all_reduce_sum", "inputs": [{"job": 0}, [2]]}' \
    '{"op": "all_reduce_sum", "inputs": [{"job": 3}, [2]]}' '{"op": "all_reduce_sum", "inputs": [{"job": 1}, {"job": "j_00000000000000000000000000"}]}' \
    '{"op": "reduce_scatter_sum", "inputs": [[1], [2]]}' '{"op": "all_reduce_sum", "wait": 3, "inputs": [[1], [2]]}' '[]'
expect_status 200
expect '[.[].code]' '["bad_json",null,"input_failed","input_unknown","input_unknown","not_divisible","unknown_parameter","inputs_invalid"]'
expect '.[1].outputs[0].data' '[3]'
expect '.[4].pointer' '"/inputs/1"'

expect_in 'line 0 of the batch'
expect_in 'wait is for the whole batch'
expect_in 'a line is an object'

# Not waited for: the present state, and 202.
batch '' '{"op": "all_reduce_sum", "inputs": [[1], [2]]}' '{"op": "all_reduce_sum", "inputs": [{"job": -1}, [2]]}'
expect_status 202
last=$(value '.[1].id')
get "/v1/jobs/$last?wait=10"
expect '.outputs[0].data' '[5]'

# The key of a batch: the same lines again are the same jobs, also after a restart.
key=b1
batch '?wait=10' '{"op": "all_reduce_sum", "inputs": [[1], [2]]}' 'nonsense' '{"op": "all_reduce_sum", "inputs": [{"job": 0}, [2]]}'
expect_status 200
ids=$(value '[.[].id]')
get /v1/metrics
succeeded=$(value .jobs.succeeded)
batch '' '{"op": "all_reduce_sum", "inputs": [[1], [2]]}' 'nonsense' '{"op": "all_reduce_sum", "inputs": [{"job": 0}, [2]]}'
expect_status 200
expect '[.[].id]' "$ids"
expect '[.[].outputs[0].data]' '[[3],null,[5]]'
get /v1/metrics
expect .jobs.succeeded "$succeeded"
batch '?wait=10' '{"op": "all_reduce_sum", "inputs": [[1], [2]]}' 'nonsense' '{"op": "all_reduce_sum", "inputs": [{"job": 0}, [3]]}'
expect_problem 422 idempotency_key_reused
batch '?wait=10&op=all_reduce_sum' '{"op": "all_reduce_sum", "inputs": [[1], [2]]}' 'nonsense' '{"op": "all_reduce_sum", "inputs": [{"job": 0}, [2]]}'
expect_problem 422 idempotency_key_reused
post '/v1/jobs?wait=10' '{"op": "all_reduce_sum", "inputs": [[1], [2]]}' -H 'Idempotency-Key: b1'
expect_problem 422 idempotency_key_reused
stop_server
start_server --workers 2
batch '?wait=10' '{"op": "all_reduce_sum", "inputs": [[1], [2]]}' 'nonsense' '{"op": "all_reduce_sum", "inputs": [{"job": 0}, [2]]}'
expect_status 200
expect '[.[].id]' "$ids"

# What a line takes is gone by then, and another never was right.
key=b2
post '/v1/jobs?wait=10' '{"op": "all_reduce_sum", "inputs": [[1], [2]]}'
outside=$(value .id)
set -- "{\"op\": \"all_reduce_sum\", \"inputs\": [{\"job\": \"$outside\"}, [2]]}" 'nonsense' '{"op": "all_reduce_sum", "inputs": [{"job": 0}, [2]]}' \
    '{"op": "barrier"}'
batch '?wait=10' "$@"
expect '[.[].outputs[0].data?]' '[[5],null,[7],null]'
expect '[.[].code]' '[null,"bad_json",null,null]'
before=$(value '[.[].id]')
delete "/v1/jobs/$outside"
batch '?wait=10' "$@"
expect_status 200
expect '[.[].id]' "$before"
expect '[.[].outputs[0].data?]' '[[5],null,[7],null]'
delete "/v1/jobs/$(printf %s "$before" | jq -r '.[3]')"
batch '' "$@"
expect '[.[].code]' '[null,"bad_json",null,"idempotency_key_reused"]'
key=b1

# It lives as long as one of its jobs: what was deleted is not run again.
delete "/v1/jobs/$(printf %s "$ids" | jq -r '.[0]')"
batch '?wait=10' '{"op": "all_reduce_sum", "inputs": [[1], [2]]}' 'nonsense' '{"op": "all_reduce_sum", "inputs": [{"job": 0}, [2]]}'
expect_status 200
expect '[.[].code]' '["idempotency_key_reused","bad_json",null]'
expect '.[2].id' "$(printf %s "$ids" | jq '.[2]')"
delete "/v1/jobs/$(printf %s "$ids" | jq -r '.[2]')"
batch '?wait=10' '{"op": "all_reduce_sum", "inputs": [[1], [2]]}' 'nonsense' '{"op": "all_reduce_sum", "inputs": [{"job": 0}, [2]]}'
expect '[.[].outputs[0].data]' '[[3],null,[5]]'
expect_true "[.[2].id] != [$(printf %s "$ids" | jq '.[2]')]"
key=

# How much it shows: at most 4 Mi elements of all lines together.
batch '?wait=10&data=0' '{"op": "all_reduce_sum", "inputs": [[1], [2]]}'
expect '.[0].outputs[0].data' null
batch '?wait=10&data=1' '{"op": "all_reduce_sum", "inputs": [[1], [2]]}'
expect '.[0].outputs[0].data' '[3]'

# What is no batch.
post /v1/jobs:batch '{"op": "all_reduce_sum", "inputs": [[1], [2]]}'
expect_problem 415 unsupported_media
request POST /v1/jobs:batch -d '{"op": "barrier"}'
expect_problem 415 unsupported_media
expect_in "add -H 'Content-Type: application/x-ndjson'"
request POST /v1/jobs:batch -H 'Content-Type: application/x-ndjson' -H 'Accept: application/x-npy' --data-binary '{}'
expect_problem 406 not_acceptable
request POST /v1/jobs:batch -H 'Content-Type: application/x-ndjson' --data-binary '  '
expect_problem 400 empty_body
request POST /v1/jobs:batch -H 'Content-Type: application/x-ndjson'
expect_problem 400 empty_body
get /v1/jobs:batch
expect_problem 405 method_not_allowed
yes '{}' | head -n 10001 >"$here/many"
upload /v1/jobs:batch application/x-ndjson "$here/many"
expect_problem 413 body_too_large
head -n 10000 "$here/many" >"$here/most"
upload /v1/jobs:batch application/x-ndjson "$here/most"
expect_status 200
[ "$(wc -l <"$here/body")" -eq 10000 ] || fail 'a line each'
