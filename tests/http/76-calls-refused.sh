#!/bin/sh
# Calls that could not be recorded, that are cancelled while they are, or whose answer could not be said.
. "$(dirname "$0")/lib.sh"
. "$(dirname "$0")/calls.sh"
sum='{"op": "all_reduce_sum", "input": [1, 2]}'

# missing RANKS: waits until the newest job waits for these alone
missing() {
    tries=$((patience * 20))
    until [ "$(curl -sS "$url/v1/jobs?limit=1" | jq -c '.jobs[0] | [.state, .missing]')" = "[\"waiting\",$1]" ]; do
        [ $((tries -= 1)) -gt 0 ] || fail "the others should have called"
        sleep 0.05
    done
}

# The database is full when the end of calls that never ran is recorded: it is tried again, and the key is kept.
export TUTTI_FAILPOINTS=store.before_commit=err:28@2
start_server --workers 2
call 0 "$sum" '?timeout=1' 'Idempotency-Key: full'
calls_over
answer 0 504 '[.code, .ranks]' '["ranks_missing",[1]]'
job=$(value .job)
call 0 "$sum" '?timeout=1' 'Idempotency-Key: full'
calls_over
answer 0 504 .job "\"$job\""
post "$calls/1/calls" "$sum"
expect_problem 504 ranks_missing
stop_server

# A call that comes late while the database is full for a moment: it is counted once, and its key says so, whichever commit
# it was that failed.
for commit in 2 3 4 5; do
    export TUTTI_FAILPOINTS=store.before_commit=err:28@$commit
    start_server --workers 2
    call 0 "$sum" '?timeout=1'
    calls_over
    # It fails once, and which of these meets it depends on how the commits before were joined.
    tries=0 full=0
    until [ $((tries += 1)) -gt 3 ] && [ "$status" = 504 ]; do
        request POST "$calls/1/calls" -H 'Content-Type: application/json' -H "Idempotency-Key: late$commit" -d "$sum"
        [ "$status" != 507 ] || full=$((full + 1))
        [ "$status" = 507 ] || expect_problem 504 ranks_missing
        [ "$full" -le 1 ] || fail 'it fails once'
    done
    # The end was recorded before it was told, with who had not come; what could not be recorded is tried again.
    tries=$((patience * 20))
    until [ "$(count late 2>/dev/null)" = 0 ]; do
        [ $((tries -= 1)) -gt 0 ] || fail 'the late call is not recorded'
        sleep 0.05
    done
    kill_server
    start_server --workers 2
    call 0 "$sum"
    call 1 "$sum"
    calls_over
    for rank in 0 1; do [ "$(cat "$here/status$rank")" = 200 ] || call $rank "$sum"; done
    calls_over
    answer 1 200 .output.data '[2,4]'
    stop_server
done

# Cancelled while the last call is being recorded: it is cancelled then.
export TUTTI_FAILPOINTS=store.before_commit=sleep:4000@1,worker.before_run=sleep:1000
start_server --workers 2
call 0 "$sum"
call 1 "$sum"
missing '[]'
job=$(curl -s "$url/v1/jobs" | jq -r '.jobs[0].id')
post "/v1/jobs/$job/cancel"
expect_status 200
expect .state '"cancelled"'
calls_over
answer 0 409 .detail '"cancelled before it ran"'
stop_server
unset TUTTI_FAILPOINTS

# What the answer cannot say is refused before the call counts.
start_server --workers 2
head -c 4 /dev/zero >"$here/two"
upload "$calls/0/calls?op=all_reduce_sum&dtype=bfloat16&shape=2&format=npy" "$raw" "$here/two"
expect_problem 406 not_acceptable
head -c 4194305 /dev/zero >"$here/large"
upload "$calls/0/calls?op=all_reduce_sum&dtype=uint8&shape=4194305&data=1" "$raw" "$here/large"
expect_problem 406 not_acceptable
call 0 "$sum"
call 1 "$sum"
calls_over
answer 1 200 '[.seq, .output.data]' '[0,[2,4]]'
# A rank that brings nothing learns the size from the answer: too much is not shown.
(curl -sS -o "$here/root" -H "Content-Type: $raw" --data-binary "@$here/large" \
    "$url$calls/0/calls?op=broadcast&dtype=uint8&shape=4194305&format=raw") &
callers="$callers $!"
call 1 '{"op": "broadcast", "data": 1}'
calls_over
answer 1 200 '[.output.shape, .output.data]' '[[4194305],null]'

# Where a call that is not over is to be found, relative to where it was made.
post '/v1/groups/world/barrier?rank=0&wait=0'
expect_status 202
expect_header Location "../../jobs/$(value .id)"
post "$calls/1/calls" '{"op": "barrier"}'
expect_status 200
post "$calls/1/calls?wait=0" "$sum"
expect_status 202
expect_header Location "../../../../jobs/$(value .id)"

# Prefer says how long to wait, as wait does.
begun=$(date +%s)
post "$calls/1/calls" "$sum" -H 'Prefer: wait=1'
expect_status 202
[ $(($(date +%s) - begun)) -le 30 ] || fail 'Prefer is not heard'
for _ in 1 2; do
    post "$calls/0/calls" "$sum"
    expect_status 200
done
stop_server

# Of many ranks, it is named who called what.
start_server --workers 12
for rank in 0 1 2 3 4 5 6 7 8 9 10; do call $rank "$sum"; done
missing '[11]'
call 11 '{"op": "all_gather", "input": [1, 2]}'
calls_over
answer 3 409 .code '"mismatch"'
expect_in 'rank 11 called all_gather float32 (2,) axis=0; ranks 0-10 called all_reduce_sum float32 (2,)'
stop_server

# A world that has become smaller has no gradients of its old jobs.
start_server --workers 4
post '/v1/jobs?wait=10' '{"op": "all_gather", "group": [3, 1], "inputs": [[1], [2]]}'
job=$(value .id)
stop_server
start_server --workers 2
post "/v1/jobs/$job/backward" '{"grads": [[1, 2], [3, 4]]}'
expect_problem 422 group_invalid
request POST "$calls/0/calls?op=backward&job=$job"
expect_problem 422 group_invalid
