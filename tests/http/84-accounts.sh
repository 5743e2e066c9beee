#!/bin/sh
# Accounts do not see one another: jobs, tensors, groups, keys, calls and events of others are not there; names and
# Idempotency-Keys are each account's own. An admin sees everybody's. It stays so over a restart.
. "$(dirname "$0")/lib.sh"

alice=$(new_token alice:user) bob=$(new_token bob:user) root=$(new_token root:admin) look=$(new_token alice:read)
start_server --token-file "$here/tokens"

# A tensor, a job, its outputs.
as "$alice" post /v1/tensors '[1,2]'
expect_status 201
tensor=$(value .tensor)
as "$alice" post '/v1/jobs?wait=20' "{\"op\":\"all_reduce_sum\",\"inputs\":[{\"tensor\":\"$tensor\"},[10,20]]}"
expect_status 200
expect .owner '"alice"'
job=$(value .id) output=$(value '.outputs[0].tensor')

own_and_others() {
    for at in "/v1/tensors/$tensor" "/v1/tensors/$output" "/v1/jobs/$job" "/v1/jobs/$job/outputs" "/v1/jobs/$job/outputs/0"; do
        for who in "$alice" "$look" "$root"; do
            as "$who" get "$at"
            expect_status 200
        done
        as "$bob" get "$at"
        expect_status 404
        cp "$here/body" "$here/others"
        # The same words as of what was never there.
        as "$bob" get "$(echo "$at" | sed 's/_01\(.\)/_00\1/')"
        expect_status 404
        sed 's/_01/_00/' "$here/others" | cmp -s - "$here/body" || fail "$at: it can be told that it is there"
    done
    for who in "$alice" "$look" "$root"; do
        as "$who" get /v1/jobs
        expect_true ".jobs | map(.id) | index(\"$job\") != null"
    done
    as "$bob" get /v1/jobs
    expect_true ".jobs | map(.id) | index(\"$job\") == null"
}
own_and_others
as "$bob" get "/v1/jobs/$job/events" --max-time 5
expect_problem 404 job_unknown
for what in "jobs/$job" "tensors/$tensor"; do
    as "$bob" delete "/v1/$what"
    expect_status 404
done
as "$bob" post "/v1/jobs/$job/cancel" ''
expect_problem 404 job_unknown
as "$bob" post "/v1/jobs/$job/backward" '{"grads":[[1,1],[1,1]]}'
expect_problem 404 job_unknown
for input in "{\"tensor\":\"$tensor\"}" "{\"job\":\"$job\",\"rank\":0}" "{\"tensor\":\"$output\"}"; do
    as "$bob" post '/v1/jobs' "{\"op\":\"broadcast\",\"inputs\":[$input,null]}"
    expect_problem 422 input_unknown
done
as "$bob" request POST /v1/jobs:batch -H 'Content-Type: application/x-ndjson' \
    --data-binary "{\"op\":\"broadcast\",\"inputs\":[{\"job\":\"$job\",\"rank\":0},null]}"
expect_status 200
expect .code '"input_unknown"'

# An unfinished one: waits, and cannot be stopped or taken from by others.
as "$alice" post '/v1/groups/world/ranks/0/calls?wait=0' '{"op":"all_reduce_sum","input":[1]}'
expect_status 202
waiting=$(value .id)
as "$bob" get "/v1/jobs/$waiting?wait=5"
expect_problem 404 job_unknown
as "$bob" post "/v1/jobs/$waiting/cancel" ''
expect_problem 404 job_unknown
as "$bob" post /v1/jobs "{\"op\":\"broadcast\",\"inputs\":[{\"job\":\"$waiting\",\"rank\":0},null]}"
expect_problem 422 input_unknown
as "$alice" get "/v1/jobs/$waiting"
expect .state '"waiting"'
# Calls of two accounts never meet.
as "$bob" post '/v1/groups/world/ranks/1/calls?timeout=1' '{"op":"all_reduce_sum","input":[100]}'
expect_problem 504 ranks_missing
as "$alice" post '/v1/groups/world/ranks/1/calls' '{"op":"all_reduce_sum","input":[2]}'
expect_status 200
expect .output.data '[3]'

# An admin who takes part, and comes first: the job is alice's, who sees it and pays for it.
aside first as "$root" post '/v1/groups/alice%2Fworld/ranks/0/calls' '{"op":"all_gather","input":[1]}'
tries=100
until as "$alice" get '/v1/jobs?state=waiting' && [ "$(value '.jobs | length')" = 1 ]; do
    [ $((tries -= 1)) -gt 0 ] || fail "alice does not see what waits for her"
    sleep 0.05
done
expect '.jobs[0].owner' '"alice"'
as "$alice" post '/v1/groups/world/ranks/1/calls' '{"op":"all_gather","input":[2]}'
expect_status 200
as "$alice" get "/v1/tensors/$(value .output.tensor)"
expect .data '[1,2]'
join first
expect .output.data '[1,2]'
as "$root" get '/v1/groups/nobody%2Fworld'
expect_problem 404 group_unknown

# Groups and keys: each account's own.
for who in "$alice" "$bob"; do
    as "$who" post /v1/groups "{\"name\":\"pair\",\"ranks\":[1,0]}"
    expect_status 201
    as "$who" request PUT /v1/groups/pair/kv/k -H 'Content-Type: application/json' --data-binary "\"$who\""
    expect_status 201
    as "$who" request PUT /v1/groups/world/kv/k -H 'Content-Type: application/json' --data-binary "\"$who\""
    expect_status 201
done
as "$alice" post /v1/groups '{"name":"solo","ranks":[1]}'
expect_status 201
for who in "$alice" "$bob"; do
    for group in pair world; do
        as "$who" get /v1/groups/$group/kv/k
        expect_text "\"$who\""
    done
    as "$who" post '/v1/jobs?wait=20' '{"op":"gather","group":"pair","inputs":[[1],[2]],"label":"in-pair"}'
    expect .group '"pair"'
    as "$who" get '/v1/jobs?group=pair'
    expect '.jobs | length' 1
    as "$who" get '/v1/jobs?label=in-pair'
    expect '.jobs | length' 1
done
as "$bob" get /v1/groups/solo
expect_problem 404 group_unknown
for at in alice%2Fsolo alice%2Fpair; do
    as "$bob" get "/v1/groups/$at"
    expect_problem 404 group_unknown
    as "$bob" delete "/v1/groups/$at"
    expect_problem 404 group_unknown
    as "$bob" get "/v1/groups/$at/kv/k"
    expect_problem 404 group_unknown
    as "$root" get "/v1/groups/$at"
    expect_status 200
    expect .owner '"alice"'
done
as "$root" get /v1/groups/alice%2Fpair/kv/k
expect_text "\"$alice\""
as "$bob" get /v1/groups
expect '.groups | map(.name)' '["world","pair"]'
as "$alice" get '/v1/groups?limit=2'
expect '.groups | map(.name)' '["world","pair"]'
as "$alice" get "/v1/groups?after=$(value .next)"
expect '.groups | map(.name)' '["solo"]'
as "$root" get '/v1/groups?limit=2'
expect '.groups | map([.owner, .name])' '[[null,"world"],["alice","pair"]]'
as "$root" get "/v1/groups?after=$(value .next)"
expect '.groups | map([.owner, .name])' '[["alice","solo"],["bob","pair"]]'
as "$bob" delete /v1/groups/pair
expect_status 204
as "$alice" get /v1/groups/pair/kv/k
expect_text "\"$alice\""
as "$bob" post /v1/groups '{"name":"alice/pair","ranks":[0]}'
expect_problem 422 group_invalid

# The same Idempotency-Key of two accounts is two keys.
for who in "$alice" "$bob"; do
    as "$who" post '/v1/jobs?wait=20' '{"op":"all_reduce_sum","inputs":[[1],[2]]}' -H 'Idempotency-Key: one'
    expect_status 200
    eval "key_of_$(value .owner)=$(value .id)"
    as "$who" post '/v1/jobs?wait=20' '{"op":"all_reduce_sum","inputs":[[1],[2]]}' -H 'Idempotency-Key: one'
    expect_status 200
done
# shellcheck disable=SC2154
[ "$key_of_alice" != "$key_of_bob" ] || fail "one key of two accounts is one job"

# Events.
curl -sN --max-time 30 -H "Authorization: Bearer $bob" "$url/v1/events" >"$here/events-bob" &
bob_reads=$!
curl -sN --max-time 30 -H "Authorization: Bearer $root" "$url/v1/events" >"$here/events-root" &
root_reads=$!
tries=100
until grep -q tutti "$here/events-bob" && grep -q tutti "$here/events-root"; do
    [ $((tries -= 1)) -gt 0 ] || fail "the streams do not begin"
    sleep 0.05
done
as "$alice" post '/v1/jobs?wait=20' '{"op":"all_reduce_sum","inputs":[[1],[2]],"label":"of-alice"}'
as "$alice" post /v1/groups '{"name":"group-of-alice","ranks":[1]}'
as "$bob" post '/v1/jobs?wait=20' '{"op":"all_reduce_sum","inputs":[[1],[2]],"label":"of-bob"}'
tries=100
until grep -q of-bob "$here/events-bob" && grep -q of-bob "$here/events-root"; do
    [ $((tries -= 1)) -gt 0 ] || fail "the events do not come"
    sleep 0.05
done
kill "$bob_reads" "$root_reads"
grep -q alice "$here/events-bob" && fail "bob hears of alice"
grep -q of-alice "$here/events-root" || fail "the admin does not hear of alice"
grep -q group-of-alice "$here/events-root" || fail "the admin does not hear of alice's group"

# Over a restart.
kill_server
start_server --token-file "$here/tokens"
own_and_others
as "$bob" get /v1/groups/solo
expect_problem 404 group_unknown
as "$alice" get /v1/groups/world/kv/k
expect_text "\"$alice\""
as "$bob" post '/v1/jobs?wait=20' '{"op":"all_reduce_sum","inputs":[[1],[2]]}' -H 'Idempotency-Key: one'
expect .id "\"$key_of_bob\""

# What was made before there were tokens is nobody's: the admin's to see, and to forget.
kill_server
start_server
post /v1/groups '{"name":"old","ranks":[0]}'
expect_status 201
request PUT /v1/groups/world/kv/old -H 'Content-Type: application/json' --data-binary 1
expect_status 201
kill_server
start_server --token-file "$here/tokens"
for who in "$alice" "$root"; do
    as "$who" get /v1/groups/old
    expect_problem 404 group_unknown
done
as "$alice" get /v1/groups/%2Fold
expect_problem 404 group_unknown
as "$root" get /v1/groups/%2Fworld/kv/old
expect_text 1
as "$root" get /v1/groups/%2Fold
expect '[.name,.owner]' '["old",null]'
as "$root" delete /v1/groups/%2Fold
expect_status 204
as "$root" get /v1/groups/%2Fold
expect_problem 404 group_unknown
