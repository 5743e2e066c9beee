#!/bin/sh
# A job of higher priority overtakes those that wait; equal ones keep their order.
. "$(dirname "$0")/lib.sh"
export TUTTI_FAILPOINTS=worker.before_run=sleep:1200
start_server

job() {
    post "/v1/jobs?priority=$1" "{\"op\": \"all_reduce_sum\", \"label\": \"$2\", \"inputs\": [[1], [2]]}"
    expect_status 202
    last=$(value .id)
}
job 0 first
job 0 third
job -5 last
job 0 fourth
job 7 second
get "/v1/jobs/$last?wait=20"
get '/v1/jobs?label=last'
get "/v1/jobs/$(value '.jobs[0].id')?wait=20"
get /v1/jobs
expect '[.jobs | sort_by(.timeline.finished_at, .id)[].label]' '["first", "second", "third", "fourth", "last"]'
