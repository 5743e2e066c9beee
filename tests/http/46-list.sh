#!/bin/sh
# The list of jobs is newest first, in pages, and filtered by state, op, group and label.
. "$(dirname "$0")/lib.sh"
start_server
post /v1/groups '{"name": "solo", "ranks": [1]}'

ids=
for n in 1 2 3 4 5; do
    post '/v1/jobs?wait=10' "{\"op\": \"all_reduce_sum\", \"label\": \"n$((n % 2))\", \"inputs\": [[$n], [$n]]}"
    expect_status 200
    ids="$(value .id) $ids"
done
post '/v1/jobs?wait=10' '{"op": "broadcast", "group": "solo", "inputs": [[1]]}'
other=$(value .id)

# ids QUERY: those of the list
listed() {
    get "/v1/jobs?$1"
    expect_status 200
    value '[.jobs[].id] | join(" ")'
}
ids=${ids% }
[ "$(listed '')" = "$other $ids" ] || fail "newest first"
expect .next null
expect '[.jobs[] | has("data")] | unique' '[false]'

found=$(listed 'limit=4')
get "/v1/jobs?limit=4&after=$(value .next)"
[ "$found $(value '[.jobs[].id] | join(" ")')" = "$other $ids" ] || fail "two pages should be the whole list"
expect .next null

[ "$(listed 'op=broadcast')" = "$other" ] || fail op
[ "$(listed 'group=solo')" = "$other" ] || fail group
[ "$(listed 'label=n0' | wc -w)" -eq 2 ] || fail label
[ "$(listed 'label=n1&limit=2' | wc -w)" -eq 2 ] || fail 'label and limit'
[ "$(listed 'state=succeeded' | wc -w)" -eq 6 ] || fail state
[ "$(listed 'state=failed' | wc -w)" -eq 0 ] || fail state
[ "$(listed 'state=succeeded&op=broadcast&label=n1' | wc -w)" -eq 0 ] || fail all
