#!/bin/sh
# JSON shows at most 4 Mi elements: more are refused before the run, and any number goes as bytes.
. "$(dirname "$0")/lib.sh"
start_server --arena-size 128M

post '/v1/jobs?wait=20&op=broadcast&dtype=uint8&shape=2,2097153&data=1' '' \
    -H 'Content-Type: application/octet-stream' --data-binary "@$(
        head -c 4194306 /dev/zero >"$here/zeros"
        echo "$here/zeros"
    )"
expect_problem 406 not_acceptable
get '/v1/jobs'
expect '.jobs | length' 0
post '/v1/jobs?wait=20&op=broadcast&dtype=uint8&shape=2,2097153&format=raw' '' \
    -H 'Content-Type: application/octet-stream' --data-binary "@$here/zeros"
expect_status 200
get "/v1/jobs/$(header Tutti-Job)?data=1"
expect_problem 406 not_acceptable
get "/v1/jobs/$(header Tutti-Job)?data=0"
expect_status 200
