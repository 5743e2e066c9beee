#!/bin/sh
# Outputs that never come to be: of a gradient that nobody brought, of jobs that wait for themselves, of a service that stops.
. "$(dirname "$0")/lib.sh"
. "$(dirname "$0")/calls.sh"
start_server --workers 2

# Rank 0 brings no gradient, which may still become zeros; rank 1 brings none either: then there is no output at all.
post '/v1/jobs?wait=10' '{"op": "all_reduce_sum", "inputs": [[1, 2], [3, 4]]}'
parent=$(value .id)
call 0 "{\"op\": \"backward\", \"job\": \"$parent\"}" '?wait=0'
calls_over
gradient=$(jq -r .id "$here/rank0")
post /v1/jobs "{\"op\": \"all_reduce_sum\", \"inputs\": [{\"job\": \"$gradient\"}, [1, 1]]}"
expect_status 202
takes=$(value .id)
call 1 "{\"op\": \"backward\", \"job\": \"$parent\"}"
calls_over
answer 1 200 .output null
get "/v1/jobs/$takes?wait=10"
expect '[.state, .error.code]' '["failed","input_failed"]'
post /v1/jobs "{\"op\": \"all_reduce_sum\", \"inputs\": [{\"job\": \"$gradient\"}, [1, 1]]}"
expect_problem 409 input_failed

# A call that brings the output of its own job, and two jobs of calls that wait for each other.
call 0 '{"op": "all_reduce_sum", "input": [1, 2]}' '?wait=0'
calls_over
own=$(jq -r .id "$here/rank0")
call 1 "{\"op\": \"all_reduce_sum\", \"input\": {\"job\": \"$own\"}}"
calls_over
answer 1 409 .code '"input_failed"'
expect_in 'waits for its own output'
post /v1/groups '{"name": "other", "ranks": [1, 0]}'
call 0 '{"op": "all_reduce_sum", "input": [1, 2]}' '?wait=0'
calls_over
one=$(jq -r .id "$here/rank0")
calls=/v1/groups/other/ranks
call 0 "{\"op\": \"all_reduce_sum\", \"input\": {\"job\": \"$one\"}}" '?wait=0'
calls_over
other=$(jq -r .id "$here/rank0")
post /v1/jobs "{\"op\": \"all_reduce_sum\", \"inputs\": [{\"job\": \"$other\"}, [1, 1]]}"
between=$(value .id)
calls=/v1/groups/world/ranks
call 1 "{\"op\": \"all_reduce_sum\", \"input\": {\"job\": \"$between\"}}" '?wait=10'
calls=/v1/groups/other/ranks
call_as other 1 '{"op": "all_reduce_sum", "input": [1, 2]}' '?wait=10'
calls_over
for job in "$one" "$other" "$between"; do
    get "/v1/jobs/$job?wait=10"
    expect '[.state, .error.code]' '["failed","input_failed"]'
done
get '/v1/jobs?state=waiting'
expect .jobs '[]'

# A job that takes the output of a call that nobody was told of: the service stops, and the call was never made.
calls=/v1/groups/world/ranks
call 0 '{"op": "all_reduce_sum", "input": [1, 2]}'
sleep 0.3
get '/v1/jobs?state=waiting'
open=$(value '.jobs[0].id')
post /v1/jobs "{\"op\": \"all_reduce_sum\", \"inputs\": [{\"job\": \"$open\"}, [1, 1]]}"
takes=$(value .id)
stop_server
calls_over
start_server --workers 2
get "/v1/jobs/$takes"
expect '[.state, .error.code]' '["failed","input_failed"]'

# Jobs that become ready late take their place when they do, and all of them run, whatever was queued meanwhile.
call 0 '{"op": "all_reduce_sum", "input": [1, 2]}' '?wait=0'
calls_over
open=$(jq -r .id "$here/rank0")
yes "{\"op\": \"all_reduce_sum\", \"label\": \"takes\", \"inputs\": [{\"job\": \"$open\"}, [1, 1]]}" | head -n 3000 >"$here/lines"
upload '/v1/jobs:batch' application/x-ndjson "$here/lines"
expect_status 202
tail -n 1 "$here/body" >"$here/last"
yes '{"op": "barrier", "label": "later"}' | head -n 500 >"$here/lines"
upload '/v1/jobs:batch' application/x-ndjson "$here/lines"
call 1 '{"op": "all_reduce_sum", "input": [1, 2]}'
get "/v1/jobs/$(jq -r .id "$here/last")?wait=60"
expect '[.state, .outputs[0].data]' '["succeeded",[3,5]]'
calls_over
