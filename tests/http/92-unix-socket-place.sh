#!/bin/sh
# --listen unix:PATH says where the socket is, beside a port or alone; what a dead server left there is removed, and neither a
# living one's nor anything else.
. "$(dirname "$0")/lib.sh"

# refuses TEXT OPTION...: another server does not start, and says why
refuses() {
    text=$1
    shift
    if timeout 20 "$build/tutti-server" --workers 1 --data-dir "$here/data2" --arena-dir "$here/arena2" --arena-size 16M \
        "$@" >"$here/second" 2>"$here/second.log"; then
        fail "should refuse: $*"
    fi
    grep -q -- "$text" "$here/second.log" || fail "$* should say $text: $(cat "$here/second.log")"
}

sock=$here/run/http.sock
refuses 'No such file or directory' --listen "unix:$sock"
mkdir "$here/run"
start_server --workers 1 --listen "unix:$sock"
get /v1 --unix-socket "$sock"
expect .unix_socket "\"$sock\""
[ ! -e "$data_dir/http.sock" ] || fail "there is another one"

refuses "another process listens on $sock" --listen "unix:$sock"
get /v1 --unix-socket "$sock"
expect_status 200
echo precious >"$here/run/file"
refuses 'is no socket' --listen "unix:$here/run/file"
[ "$(cat "$here/run/file")" = precious ] || fail "the file was removed"
refuses 'longer than the 107 bytes' --listen "unix:$here/run/$(printf '%0100d' 1)"
refuses 'write unix:PATH' --listen unix:
refuses 'exclude each other' --listen "unix:$sock" --no-unix
refuses 'write 0600, 0660 or 0666' --listen-mode 777
refuses 'other users could connect' --listen 127.0.0.1:0 --listen-mode 0666
refuses 'TLS is for a port' --listen "unix:$sock" --tls-cert x --tls-key x

# A dead server's is taken over, and the successor's is not removed by whoever was before.
kill_server
[ -S "$sock" ] || fail "kill -9 should leave it"
start_server --workers 1 --listen "unix:$sock"
get /v1 --unix-socket "$sock"
expect_status 200
mv "$sock" "$sock.old"
: >"$sock"
stop_server
[ -f "$sock" ] || fail "what is not ours was removed"
rm "$sock"

# Alone, and its health; the twin has both behind a comma.
: >"$here/out" # the shell in the background would empty it a little later
TUTTI_LISTEN="unix:$sock" "$build/tutti-server" --workers 1 --data-dir "$data_dir" --arena-dir "$arena_dir" --arena-size 64M \
    >"$here/out" 2>>"$here/log" &
server=$!
tries=$((patience * 20))
until grep -q "^listening on unix:$sock\$" "$here/out"; do
    [ $((tries -= 1)) -gt 0 ] && ! gone "$server" || fail "it does not say where it listens"
    sleep 0.05
done
timeout 20 "$build/tutti-server" --health --listen "unix:$sock" || fail "--health over the socket"
url=http://localhost
post '/v1/jobs?wait=10' '{"op": "all_reduce_sum", "inputs": [[1]]}' --unix-socket "$sock"
expect_status 200
stop_server
[ ! -e "$sock" ] || fail "the socket is left"
rc=0
timeout 20 "$build/tutti-server" --health --listen "unix:$sock" 2>"$here/said" || rc=$?
[ "$rc" -eq 1 ] && grep -q "connect to unix:$sock" "$here/said" || fail "--health of nobody: $rc $(cat "$here/said")"
export TUTTI_LISTEN="127.0.0.1:0,unix:$sock"
: >"$here/out"
"$build/tutti-server" --workers 1 --data-dir "$data_dir" --arena-dir "$arena_dir" --arena-size 64M >"$here/out" 2>>"$here/log" &
server=$!
tries=$((patience * 20))
until url=$(sed -n 's/^listening on //p' "$here/out") && [ -n "$url" ]; do
    [ $((tries -= 1)) -gt 0 ] && ! gone "$server" || fail "it does not say where it listens"
    sleep 0.05
done
get /v1
expect .unix_socket "\"$sock\""
