#!/bin/sh
# HEAD answers as GET would, without the body.
. "$(dirname "$0")/lib.sh"
start_server

for path in /v1 /healthz /v1/jobs /openapi.yaml; do
    get "$path"
    type=$(header Content-Type)
    head_of "$path"
    expect_status 200
    expect_header Content-Type "$type"
done
get /openapi.yaml
length=$(header Content-Length)
head_of /openapi.yaml
expect_header Content-Length "$length"
head_of /v1/nope
expect_status 404
