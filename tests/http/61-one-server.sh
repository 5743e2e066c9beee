#!/bin/sh
# A second server on the same data directory refuses to start and names the first.
. "$(dirname "$0")/lib.sh"
start_server

if timeout 20 "$build/tutti-server" --listen 127.0.0.1:0 --workers 1 --data-dir "$data_dir" \
    --arena-dir "$here/other" --arena-size 16M >"$here/second" 2>"$here/second.log"; then
    fail "the second server should refuse"
fi
[ ! -s "$here/second" ] || fail "the second server should print nothing"
grep -q "$server" "$here/second.log" || fail "it should name process $server: $(cat "$here/second.log")"
post '/v1/jobs?wait=10' '{"op": "all_reduce_sum", "inputs": [[1], [2]]}'
expect_status 200

# Nor does one start on the same port: each would get a part of the requests.
port=${url##*:}
if timeout 20 "$build/tutti-server" --listen "127.0.0.1:$port" --workers 1 --data-dir "$here/data2" \
    --arena-dir "$here/other" --arena-size 16M >"$here/second" 2>"$here/second.log"; then
    fail "the second server should refuse"
fi
[ ! -s "$here/second" ] || fail "the second server should print nothing"
grep -qF -- "--listen 127.0.0.1:$port: another program listens there: give another port" "$here/second.log" ||
    fail "it should name the option: $(cat "$here/second.log")"
row F13
