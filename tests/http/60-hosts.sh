#!/bin/sh
# Only this machine's names are a Host, and no foreign Origin may call; --allowed-host and --allowed-origin add some.
. "$(dirname "$0")/lib.sh"
start_server --allowed-host gate.example --allowed-origin https://page.example

port=${url##*:}
for host in localhost "localhost:$port" 127.0.0.1 "127.0.0.1:$port" '[::1]' "[::1]:$port" 127.1.2.3 LOCALHOST gate.example; do
    get /v1 -H "Host: $host"
    expect_status 200
done
for host in evil.example localhost.evil.example 10.0.0.1 127.0.0.1.evil.example; do
    get /v1 -H "Host: $host"
    expect_problem 403 host_not_allowed
    request DELETE /v1/nope -H "Host: $host"
    expect_problem 403 host_not_allowed
done
get /v1 -H "Origin: $url"
expect_status 200
get /v1 -H 'Origin: https://page.example'
expect_status 200
for origin in https://evil.example null http://127.0.0.1:1; do
    get /v1 -H "Origin: $origin"
    expect_problem 403 origin_not_allowed
    request OPTIONS /v1/jobs -H "Origin: $origin" -H 'Access-Control-Request-Method: POST'
    expect_problem 403 origin_not_allowed
    [ -z "$(header Access-Control-Allow-Origin)" ] || fail "no CORS header for $origin"
done
