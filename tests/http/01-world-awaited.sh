#!/bin/sh
# A server whose world is incomplete says in its log which ranks it waits for and how they come, and when all are there.
. "$(dirname "$0")/lib.sh"

# says TEXT: waits until the log has it
says() {
    tries=$((patience * 20))
    until grep -qF -- "$1" "$here/log"; do
        [ $((tries -= 1)) -gt 0 ] || fail "the log should say: $1"
        sleep 0.05
    done
}

# serve_worker RANK: one of ours, which leaves when the server does
serve_worker() {
    "$build/tutti-worker" --server "unix:$data_dir/worker.sock" --rank "$1" 2>>"$here/log" &
}

: >"$here/out"
"$build/tutti-server" --listen 127.0.0.1:0 --workers 0 --world 4 --arena-size 16M --data-dir "$data_dir" \
    --arena-dir "$arena_dir" >"$here/out" 2>>"$here/log" &
server=$!
says "waiting for ranks 0-3 of 4: for each start tutti-worker --server unix:$data_dir/worker.sock"
serve_worker 0
serve_worker 2
says 'waiting for ranks 1, 3 of 4: for each start'
[ ! -s "$here/out" ] || fail 'stdout should be empty until all are there'
serve_worker 1
says 'waiting for rank 3 of 4'
serve_worker 3
says 'the world is complete: all 4 ranks are there'
tries=$((patience * 20))
until grep -q '^listening on ' "$here/out" || [ $((tries -= 1)) -eq 0 ]; do
    sleep 0.05
done
lines=$(grep -c 'waiting for ranks' "$here/log")
[ "$lines" -lt 20 ] || fail "it said $lines times what it waits for"
stop_server
