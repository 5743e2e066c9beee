#!/bin/sh
# Calls that disagree, or never come, fail for all who came, by name; whoever comes late hears the same, and the next calls
# of all belong together again.
. "$(dirname "$0")/lib.sh"
. "$(dirname "$0")/calls.sh"
start_server --workers 3

together() {
    for rank in 0 1 2; do
        call $rank "{\"op\": \"all_reduce_sum\", \"input\": [$rank]}"
        eval "pid$rank=$!"
    done
    # shellcheck disable=SC2154
    wait "$pid0" "$pid1" "$pid2"
    for rank in 0 1 2; do
        answer $rank 200 .output.data '[3]'
    done
}

# disagree A B: what ranks 0 and 1 call; rank 2 comes late
disagree() {
    call 0 "$1"
    first=$!
    sleep 0.3
    call 1 "$2"
    wait $first $!
    for rank in 0 1; do
        answer $rank 409 '[.code, .ranks]' '["mismatch",[0,1]]'
        jq -r .detail "$here/body" | grep -q 'rank 0 called .*; rank 1 called ' || fail 'who called what?'
    done
    post "$calls/2/calls" "$1"
    expect_problem 409 mismatch
    together
}
sum='{"op": "all_reduce_sum", "input": [1, 2]}'
disagree "$sum" '{"op": "all_reduce_max", "input": [1, 2]}'
disagree "$sum" '{"op": "all_reduce_sum", "input": [1, 2, 3]}'
disagree "$sum" '{"op": "all_reduce_sum", "dtype": "int32", "input": [1, 2]}'
disagree '{"op": "all_gather", "axis": 0, "input": [[1]]}' '{"op": "all_gather", "axis": 1, "input": [[1]]}'
# The same two calls, in another order.
gather='{"op": "all_gather", "input": [1, 2]}'
disagree "$sum" "$gather"
disagree "$gather" "$sum"
row F42

# Missing: for all who came, when the time of the first is over.
call 0 "$sum" '?timeout=1'
first=$!
call 2 "$sum"
wait $first $!
for rank in 0 2; do
    answer $rank 504 '[.code, .ranks]' '["ranks_missing",[1]]'
done
get "/v1/jobs/$(value .job)"
expect '[.state, .error.code, .seq]' '["failed","ranks_missing",12]'
post "$calls/1/calls" "$sum"
expect_problem 504 ranks_missing
together
row F41

# A notebook that was started anew does not know how far its rank was.
for _ in 1 2 3; do
    call 0 "$sum" '?timeout=1'
    first=$!
    call 2 "$sum" '?timeout=1'
    wait $first $!
    answer 0 504 .ranks '[1]'
done
call 0 "$sum"
zero=$!
call 2 "$sum"
two=$!
sleep 0.3
call 1 '{"op": "all_reduce_sum", "rejoin": 1, "input": [1, 2]}'
wait $zero $two $!
answer 1 200 .output.data '[3,6]'
together

# Notebooks that are interrupted, and started again: what the old ones called ends with the first that says so, in whatever
# order they come, and no old tensor meets a new one.
for order in '0 1 2' '2 1 0' '1 0 2'; do
    call 0 '{"op": "all_reduce_sum", "input": [100]}'
    old=$!
    call 1 '{"op": "all_reduce_sum", "input": [100]}' '?wait=0'
    wait $!
    sleep 0.3
    kill $old
    wait $old || :
    sleep 0.3
    for rank in $order; do
        call "$rank" "{\"op\": \"all_reduce_sum\", \"rejoin\": 1, \"input\": [$rank]}"
        eval "pid$rank=$!"
        sleep 0.1
    done
    wait "$pid0" "$pid1" "$pid2"
    for rank in 0 1 2; do answer $rank 200 .output.data '[3]'; done
    together
done

# One that was cut off and came back is not a call of another life.
call 0 "$sum" '' 'Idempotency-Key: back'
old=$!
sleep 0.3
kill $old
wait $old || :
sleep 0.3
call 0 "$sum" '' 'Idempotency-Key: back'
zero=$!
sleep 0.3
call 1 '{"op": "all_reduce_sum", "rejoin": 1, "input": [1, 2]}'
one=$!
call 2 "$sum"
wait $zero $one $!
answer 0 200 .output.data '[3,6]'

# A call that is sent again is the same call, before and after its end.
call 0 "$sum" '' 'Idempotency-Key: once'
first=$!
sleep 0.2
call_as again 0 "$sum" '' 'Idempotency-Key: once'
again=$!
sleep 0.2
call 1 "$sum"
one=$!
call 2 "$sum"
wait $first $again $one $!
answer 0 200 .output.data '[3,6]'
seq=$(value .seq)
answer again 200 '[.seq, .output.data]' "[$seq,[3,6]]"
request POST "$calls/0/calls" -H 'Content-Type: application/json' -H 'Idempotency-Key: once' -d "$sum"
expect_status 200
expect '[.seq, .output.data]' "[$seq,[3,6]]"
request POST "$calls/0/calls" -H 'Content-Type: application/json' -H 'Idempotency-Key: once' \
    -d '{"op": "all_reduce_sum", "input": [5]}'
expect_problem 422 idempotency_key_reused
request POST "$calls/0/calls?wait=0" -H 'Content-Type: application/json' -H "Idempotency-Key: $(printf 'a\303\251')" -d "$sum"
expect_problem 400 bad_header
together

# A group that is deleted keeps nobody waiting.
post /v1/groups '{"name": "pair", "ranks": [2, 0]}'
calls=/v1/groups/pair/ranks
call 1 "$sum"
waits=$!
sleep 0.3
request DELETE /v1/groups/pair
wait $waits
answer 1 409 .code '"cancelled"'

# The name anew is another group: its calls begin at 0.
post /v1/groups '{"name": "pair", "ranks": [2, 0]}'
expect_status 201
call 1 "$sum"
waits=$!
post "$calls/0/calls" "$sum"
expect_status 200
expect '[.seq, .output.data]' '[0,[2,4]]'
wait $waits
