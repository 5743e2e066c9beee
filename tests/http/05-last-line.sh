#!/bin/sh
# JSON ends as a line does, so that a terminal's prompt does not stand behind it; Content-Length counts the newline.
. "$(dirname "$0")/lib.sh"
start_server

# a_line: the body is JSON on one line, with its end, and as long as the header says
a_line() {
    [ "$(wc -l <"$here/body")" -eq 1 ] || fail "the body should be a line"
    [ "$(tail -c 1 "$here/body" | od -An -c | tr -d ' ')" = '\n' ] || fail "the body should end with a newline"
    expect_header Content-Length "$(wc -c <"$here/body")"
    expect_true true
}

for path in /v1 /v1/workers /v1/workers/0 /v1/groups /v1/groups/world /v1/jobs /v1/metrics /v1/nope '/v1/jobs?limit=x'; do
    get "$path"
    a_line
done
post '/v1/jobs?wait=10' '{"op": "all_reduce_sum", "inputs": [[1, 2], [3, 4]]}'
expect_status 200
a_line
job=$(value .id) tensor=$(value '.outputs[0].tensor')
get "/v1/jobs/$job"
a_line
length=$(header Content-Length)
head_of "/v1/jobs/$job"
expect_header Content-Length "$length"
for path in "/v1/jobs/$job/outputs" "/v1/jobs/$job/outputs/1" "/v1/jobs/$job/outputs?format=json" "/v1/tensors/$tensor" \
    "/v1/tensors/$tensor?meta=1" "/v1/trace?jobs=$job"; do
    get "$path" -H 'Accept: application/json'
    expect_status 200
    a_line
done
post "/v1/jobs/$job/backward?wait=10" '{"grads": [[1, 2], [3, 4]]}'
a_line
post /v1/tensors '[[1, 2], [3, 4]]'
a_line
post /v1/jobs '{"op": "no_such", "inputs": [1, 2]}'
expect_status 422
a_line
post /v1/jobs '' -d 1
expect_status 415
a_line
post '/v1/groups/world/ranks/0/calls?timeout=1&wait=10' '{"op": "all_reduce_sum", "input": [1]}'
expect_status 504
a_line

# What a key holds is as it was given, and a line.
request PUT /v1/groups/world/kv/k -H 'Content-Type: application/json' -d '{"v": [1,  2]}'
get /v1/groups/world/kv/k
[ "$(cat "$here/body"; echo .)" = '{"v": [1,  2]}
.' ] || fail 'the value should be the same text on a line'
delete /v1/groups/world/kv/k
a_line
