#!/bin/sh
# Jobs on disjoint groups run side by side; jobs on overlapping groups one after the other.
. "$(dirname "$0")/lib.sh"
export TUTTI_FAILPOINTS=worker.before_run=sleep:1000
start_server --workers 4

# run GROUP GROUP: both at once; leaves the seconds from the first start to the last end
both() {
    for group; do
        post '/v1/jobs' "{\"op\": \"all_reduce_sum\", \"group\": $group, \"inputs\": [[1], [2]]}"
        expect_status 202
    done
    get "/v1/jobs?limit=2"
    jobs=$(value '.jobs[].id')
    : >"$here/ends"
    for id in $jobs; do
        get "/v1/jobs/$id?wait=20"
        expect .state '"succeeded"'
        cat "$here/body" >>"$here/ends"
    done
    spread=$(jq -s '[.[].timeline.finished_at[11:26] | split(":") | (.[0]|tonumber) * 3600 + (.[1]|tonumber) * 60 + (.[2]|tonumber)] | max - min' "$here/ends")
}
both '[0,1]' '[3,2]'
jq -en "$spread < 0.7" >/dev/null || fail "disjoint groups ended $spread s apart"
both '[0,1]' '[1,2]'
jq -en "$spread > 0.9" >/dev/null || fail "overlapping groups ended $spread s apart"
