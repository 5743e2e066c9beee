#!/bin/sh
# Requests may come over a Unix socket in the data directory, too, and are the same there: jobs, bodies, waits, refusals.
. "$(dirname "$0")/lib.sh"
start_server --workers 2
sock=$data_dir/http.sock

# over REQUEST...: the request over the socket
over() {
    "$@" --unix-socket "$sock"
}

[ -S "$sock" ] || fail "no socket in the data directory"
[ "$(stat -c %a "$sock")" = 600 ] || fail "the socket is open to others"
get /v1
expect .unix_socket "\"$sock\""
expect .uid "$(id -u)"
instance=$(value .instance)
over get /v1
expect .instance "\"$instance\""
over get /healthz
expect_header Tutti-Instance "$instance"

over post '/v1/jobs?wait=10' '{"op": "all_reduce_sum", "inputs": [[1, 2], [10, 20]]}'
expect_status 200
expect '.outputs[1].data' '[11,22]'
over get '/v1/jobs?limit=1'
job=$(value '.jobs[0].id')
get "/v1/jobs/$job"
expect_status 200

# Large bodies, and many requests on one connection.
head -c 20000000 /dev/urandom >"$here/big"
over upload '/v1/tensors?dtype=uint8&shape=20000000' "$raw" "$here/big"
expect_status 201
id=$(value .tensor)
over get "/v1/tensors/$id?format=raw"
expect_file "$here/big"
over get "/v1/tensors/$id?format=raw" -H 'Range: bytes=5-9'
expect_status 206
curl -sS --unix-socket "$sock" -o "$here/body" -w '%{num_connects}\n' 'http://localhost/v1/jobs?limit=[1-9]' >"$here/connects"
[ "$(sort "$here/connects" | uniq -c | tr -s ' ')" = " 8 0
 1 1" ] || fail "it is not kept alive: $(cat "$here/connects")"

# What waits, waits; who hangs up is seen to.
aside call over post '/v1/groups/world/ranks/0/calls?wait=20' '{"op": "all_reduce_sum", "input": [1]}'
over post '/v1/groups/world/ranks/1/calls?wait=20' '{"op": "all_reduce_sum", "input": [2]}'
expect .output.data '[3]'
join call
expect .output.data '[3]'
rc=0
curl -sS --max-time 1 --unix-socket "$sock" -H 'Content-Type: application/json' \
    -d '{"op": "all_reduce_sum", "input": [1]}' 'http://localhost/v1/groups/world/ranks/0/calls?wait=20' >/dev/null 2>&1 || rc=$?
[ "$rc" -eq 28 ] || fail "curl should have given up: $rc"
post '/v1/groups/world/ranks/1/calls?wait=10' '{"op": "all_reduce_sum", "input": [2]}'
expect .output.data '[3]'

# The same refusals: a proxy in front may pass any Host on, a page's request too.
over get /v1 -H 'Host: elsewhere.example'
expect_problem 403 host_not_allowed
over get /v1 -H 'Origin: http://elsewhere.example'
expect_problem 403 origin_not_allowed
over get /v1/nothing
expect_problem 404 not_found
head -c 200000000 /dev/zero >"$here/zeros"
over upload '/v1/tensors?dtype=uint8&shape=200000000' "$raw" "$here/zeros"
expect_problem 507 arena_full
over get /v1/metrics
expect_true '.connections.open >= 1 and .connections.most > 100'

# It goes with its server.
stop_server
[ ! -e "$sock" ] || fail "the socket is left"
start_server --workers 2 --no-unix
[ ! -e "$sock" ] || fail "--no-unix makes one"
get /v1
expect .unix_socket null
expect_true ".instance != \"$instance\""
