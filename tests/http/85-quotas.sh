#!/bin/sh
# What an account may use is in its line of the token file. Past it the answer is 429 quota, nothing is kept of what was refused,
# what is given back can be used again, others are not concerned, and a restart changes nothing.
. "$(dirname "$0")/lib.sh"

alice=$(new_token alice:user) bob=$(new_token bob:user)
sed -i 's/^\(alice .*\)/\1 arena=1M jobs=2 waits=2 streams=1 groups=2 keys=3/' "$here/tokens"
start_server --token-file "$here/tokens"

# used NAME: what alice has in use
used() {
    as "$alice" get /v1
    expect_status 200
    value ".account.$1.used"
}
expect_used() {
    tries=100
    until [ "$(used "$1")" = "$2" ]; do
        [ $((tries -= 1)) -gt 0 ] || fail "$1: $(used "$1") in use, should be $2"
        sleep 0.05
    done
}
over() {
    expect_problem 429 quota
    expect_header Retry-After
    expect_true ".detail | contains(\"alice may have $1\")"
}
as "$alice" get /v1
expect .account.name '"alice"'
expect .account.arena.most 1048576
expect .account.jobs '{"used":0,"most":2}'
as "$bob" get /v1
expect .account.jobs.most 20000

# Bytes: of uploads in each form, of outputs, of views once; each in the whole units of 64 that it takes, none as one.
for what in '[]' 7; do
    as "$alice" post /v1/tensors "$what"
    expect_status 201
    small=$(value .tensor)
    expect_used arena 64
    as "$alice" delete "/v1/tensors/$small"
    expect_used arena 0
done
head -c 700000 /dev/zero >"$here/big"
head -c 400000 /dev/zero >"$here/half"
as "$alice" upload '/v1/tensors?dtype=uint8&shape=700000' "$raw" "$here/big"
expect_status 201
big=$(value .tensor)
expect_used arena 700032
as "$alice" upload '/v1/tensors?dtype=uint8&shape=400000' "$raw" "$here/half"
over '1048576 bytes of the arena'
as "$alice" upload '/v1/tensors?dtype=uint8&shape=400000' "$raw" "$here/half" -H 'Transfer-Encoding: chunked'
over '1048576 bytes of the arena'
python <<'PY'
import numpy as np
np.save("half.npy", np.zeros(400000, np.uint8))
open("list.json", "w").write("[" + "1," * 99999 + "1]")
PY
as "$alice" upload /v1/tensors "$npy" "$here/half.npy"
over '1048576 bytes of the arena'
as "$alice" upload '/v1/tensors?dtype=float64' application/json "$here/list.json"
over '1048576 bytes of the arena'
as "$bob" upload '/v1/tensors?dtype=uint8&shape=400000' "$raw" "$here/half"
expect_status 201
# A job that could not keep its outputs is refused before it is one.
expect_used arena 700032
as "$alice" post '/v1/jobs?wait=20' "{\"op\":\"all_gather\",\"inputs\":[{\"tensor\":\"$big\"},{\"tensor\":\"$big\"}]}"
over '1048576 bytes of the arena'
as "$alice" get /v1/jobs
expect '.jobs | length' 0
as "$alice" post '/v1/jobs?wait=20' "{\"op\":\"broadcast\",\"inputs\":[{\"tensor\":\"$big\"},null]}"
expect_status 200
view=$(value .id)
expect_used arena 700032
as "$alice" post '/v1/jobs?wait=20' '{"op":"all_gather","dtype":"uint8","inputs":[[1,2],[3,4]]}'
expect_status 200
small=$(value .id)
expect_used arena 700096
as "$alice" delete "/v1/tensors/$big"
expect_status 204
expect_used arena 700096
as "$alice" delete "/v1/jobs/$view"
expect_used arena 64
# The same of calls, whose outputs are known when the last rank comes.
as "$alice" upload '/v1/tensors?dtype=uint8&shape=400000' "$raw" "$here/half"
half=$(value .tensor)
aside late as "$alice" post /v1/groups/world/ranks/0/calls "{\"op\":\"all_gather\",\"input\":{\"tensor\":\"$half\"}}"
expect_used waits 1
as "$alice" post /v1/groups/world/ranks/1/calls "{\"op\":\"all_gather\",\"input\":{\"tensor\":\"$half\"}}"
expect_problem 429 quota
join late
expect_problem 429 quota
as "$alice" delete "/v1/tensors/$half"
expect_used arena 64
expect_used jobs 0
expect_used waits 0

# Unfinished jobs, and requests that wait.
for rank in 0 1; do
    as "$alice" post "/v1/groups/world/ranks/0/calls?wait=0" '{"op":"all_reduce_sum","input":[1]}'
    expect_status 202
done
expect_used jobs 2
as "$alice" post /v1/jobs '{"op":"all_reduce_sum","inputs":[[1],[2]]}'
over '2 unfinished jobs'
as "$bob" post '/v1/jobs?wait=20' '{"op":"all_reduce_sum","inputs":[[1],[2]]}'
expect_status 200
as "$alice" get '/v1/jobs?state=waiting'
job=$(value '.jobs[0].id')
aside one as "$alice" get "/v1/jobs/$job?wait=30"
aside two as "$alice" get "/v1/jobs/$job?wait=30"
expect_used waits 2
as "$alice" get "/v1/jobs/$job?wait=1"
over '2 requests that wait'
as "$alice" get /v1/groups/world/kv/nothing?wait=1
over '2 requests that wait'
as "$alice" post '/v1/groups/world/barrier?rank=0' ''
over '2 requests that wait'
as "$alice" post /v1/jobs '{"op":"all_reduce_sum","inputs":[[1],[2]],"wait":1}'
expect_status 429
as "$alice" get "/v1/jobs/$job?wait=0"
expect_status 200
as "$bob" get '/v1/groups/world/kv/nothing?wait=0.1'
expect_problem 404 key_unknown
for rank in 0 1; do
    as "$alice" post "/v1/groups/world/ranks/1/calls?wait=0" '{"op":"all_reduce_sum","input":[1]}'
    expect_status 202
done
for name in one two; do
    join $name
    expect_status 200
    expect .state '"succeeded"'
done
expect_used waits 0
expect_used jobs 0
# Whose waits are all taken can still stop what they are for.
as "$alice" post '/v1/groups/world/ranks/0/calls?wait=0' '{"op":"barrier"}'
job=$(value .id)
aside one as "$alice" get "/v1/jobs/$job?wait=30"
aside two as "$alice" get "/v1/jobs/$job?wait=30"
expect_used waits 2
as "$alice" post "/v1/jobs/$job/cancel" ''
case $status in
200 | 202) ;;
*) fail "the job cannot be cancelled" ;;
esac
for name in one two; do
    join $name
    expect .state '"cancelled"'
done
expect_used waits 0

# Streams of events, groups, keys.
curl -sN --max-time 30 -H "Authorization: Bearer $alice" "$url/v1/events" >"$here/events" &
reads=$!
expect_used streams 1
as "$alice" get /v1/events
over '1 event streams'
kill "$reads"
expect_used streams 0
for name in a b; do
    as "$alice" post /v1/groups "{\"name\":\"$name\",\"ranks\":[0]}"
    expect_status 201
done
as "$alice" post /v1/groups '{"name":"c","ranks":[0]}'
over '2 groups'
as "$alice" post /v1/groups '{"name":"a","ranks":[0]}'
expect_status 200
as "$alice" delete /v1/groups/a
as "$alice" post /v1/groups '{"name":"c","ranks":[0]}'
expect_status 201
for at in world/kv/1 b/kv/1 c/kv/1; do
    as "$alice" request PUT "/v1/groups/$at" -H 'Content-Type: application/json' --data-binary 1
    expect_status 201
done
as "$alice" request PUT /v1/groups/world/kv/2 -H 'Content-Type: application/json' --data-binary 1
over '3 keys'
as "$alice" request PUT /v1/groups/world/kv/1 -H 'Content-Type: application/json' --data-binary 2
expect_status 204
as "$alice" delete /v1/groups/world/kv/1
as "$alice" request PUT /v1/groups/world/kv/2 -H 'Content-Type: application/json' --data-binary 1
expect_status 201

# A restart counts what is there, and a quota that is smaller by then takes nothing away.
as "$alice" upload '/v1/tensors?dtype=uint8&shape=400000' "$raw" "$here/half"
half=$(value .tensor)
expect_used arena 400192
kill_server
sed -i 's/groups=2/groups=1/; s/jobs=2/jobs=9/' "$here/tokens"
start_server --token-file "$here/tokens"
expect_used arena 400192
expect_used groups 2
expect_used jobs 0
as "$alice" get "/v1/tensors/$half?meta=1"
expect_status 200
as "$alice" post /v1/groups '{"name":"d","ranks":[0]}'
over '1 groups'
as "$alice" get /v1
expect .account.jobs.most 9
as "$alice" delete "/v1/jobs/$small"
as "$alice" get /v1/jobs
for id in $(value '.jobs[].id'); do
    as "$alice" delete "/v1/jobs/$id"
done
as "$alice" delete "/v1/tensors/$half"
expect_used arena 0
