#!/bin/sh
# A job of higher priority overtakes those that wait; equal ones keep their order.
. "$(dirname "$0")/lib.sh"
export TUTTI_FAILPOINTS=worker.before_run=sleep:1200
start_server

# Too large to run together: then they would end together, too.
head -c 80000 /dev/zero >"$here/zeros"
tensor=$(curl -sS -H 'Content-Type: application/octet-stream' --data-binary @"$here/zeros" \
    "$url/v1/tensors?dtype=float32&shape=20000" | jq -r .tensor)

job() {
    post "/v1/jobs?priority=$1" "{\"op\": \"all_reduce_sum\", \"label\": \"$2\", \"inputs\": [{\"tensor\": \"$tensor\"}, {\"tensor\": \"$tensor\"}]}"
    expect_status 202
    last=$(value .id)
}
# GPUs take a second or two to meet, and until then any job can be overtaken.
post '/v1/jobs?wait=20' '{"op": "barrier"}'
expect_status 200
delete "/v1/jobs/$(value .id)"
job 0 first
job 0 third
job -5 last
job 0 fourth
job 7 second
get "/v1/jobs/$last?wait=20"
get '/v1/jobs?label=last'
get "/v1/jobs/$(value '.jobs[0].id')?wait=20"
get /v1/jobs
expect '[.jobs | sort_by(.timeline.finished_at)[].label]' '["first", "second", "third", "fourth", "last"]'
