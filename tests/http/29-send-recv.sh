#!/bin/sh
# remote_send and remote_recv give dst the tensor of src; the defaults are 0 and 1.
. "$(dirname "$0")/lib.sh"
start_server --workers 3

for op in remote_send remote_recv; do
    post '/v1/jobs?wait=10' "{\"op\": \"$op\", \"inputs\": [[1, 2], null, null]}"
    expect_status 200
    expect '[.outputs[].data?]' '[null, [1,2], null]'
    post '/v1/jobs?wait=10' "{\"op\": \"$op\", \"src\": 2, \"dst\": 0, \"inputs\": [null, null, [7]]}"
    expect '[.outputs[].data?]' '[[7], null, null]'
done
