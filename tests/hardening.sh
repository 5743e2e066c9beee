#!/bin/bash
# hardening.sh - the binaries as the linker left them, and the processes as they run: what the build flags promise, what
# each process gave up, whom it became, what it holds open, and the modes of its files.
#
# The server is that of tests/http/lib.sh. Parts that need root, or are not so in builds with a sanitizer, say so.
# shellcheck source-path=SCRIPTDIR
root=$(cd "$(dirname "$0")/.." && pwd)
. "$(dirname "$0")/http/lib.sh"
sanitized=''
! grep -qE '__[at]san_init' "$build/tutti-server" || sanitized=1

# ---- the binaries ----

for program in tutti-server tutti-worker; do
    file=$build/$program
    readelf -hW "$file" | grep -q 'Type: *DYN' || fail "$program is not position independent"
    readelf -dW "$file" >"$here/dynamic"
    grep -qE 'FLAGS_1.*NOW.*PIE' "$here/dynamic" || fail "$program is not BIND_NOW and PIE"
    ! grep -qE 'RPATH|RUNPATH|TEXTREL' "$here/dynamic" || fail "$program looks for libraries in a path of its own: $(cat "$here/dynamic")"
    readelf -lW "$file" >"$here/segments"
    grep -q GNU_RELRO "$here/segments" || fail "$program has no RELRO"
    grep -qE 'GNU_STACK.* RW +0x' "$here/segments" || fail "the stack of $program is executable"
    ! grep -qE '(LOAD|GNU_STACK).* RWE ' "$here/segments" || fail "$program has a segment to write and execute"
    # Code shares no page with what is read alone, which has segments of its own, before and after.
    [ "$(grep -cE 'LOAD.* R +0x' "$here/segments")" -ge 2 ] || fail "$program has code in one segment with data"
    readelf --dyn-syms -W "$file" >"$here/symbols"
    grep -q __stack_chk_fail "$here/symbols" || fail "$program has no stack protector"
    [ -n "$sanitized" ] || grep -qE '__(snprintf|vsnprintf)_chk' "$here/symbols" || fail "$program is not built with _FORTIFY_SOURCE"
done
# The C runtime of Debian is not marked, so no program is: the objects are looked at, each of both programs.
objects=0
for object in "$build"/schema/*.o "$build"/server/*.o "$build"/worker/*.o "$build"/worker/*/*.o; do
    readelf -nW "$object" 2>/dev/null | grep -q 'IBT, SHSTK' || fail "$object is built without -fcf-protection"
    objects=$((objects + 1))
done
[ "$objects" -gt 50 ] || fail "only $objects objects were looked at"
# A frame of more than a page is taken page by page: LIMIT_FRAME_BYTES on the stack of frame_send.
[ -n "$sanitized" ] || objdump -d --no-show-raw-insn "$build/schema/frame_io.o" | awk '/<frame_send>:/ { on = 1 } on' |
    grep -qE 'sub +[$]0x1000,%rsp' || fail 'built without -fstack-clash-protection'

# ---- the processes ----

# field PID NAME: of /proc/PID/status
field() {
    sed -n "s/^$2:[[:space:]]*//p" "/proc/$1/status"
}

# expect_field PID NAME VALUE
expect_field() {
    got=$(field "$1" "$2")
    [ "$got" = "$3" ] || fail "$(cat "/proc/$1/comm"): $2 is \"$got\", should be \"$3\""
}

# hardened PID FILTERS: what holds for each thread of each process of ours
hardened() {
    expect_field "$1" NoNewPrivs 1
    for task in "/proc/$1/task/"*; do
        [ "$(sed -n 's/^NoNewPrivs:[[:space:]]*//p' "$task/status")" = 1 ] || fail "thread $task has new privileges"
        [ -n "$sanitized" ] || [ "$(sed -n 's/^Seccomp_filters:[[:space:]]*//p' "$task/status")" = "$2" ] ||
            fail "$(cat "$task/comm"): $(grep Seccomp "$task/status" | tr '\n' ' '), should be $2 filters"
    done
    grep -qE 'Max core file size +0 +0 ' "/proc/$1/limits" || fail "$(cat "/proc/$1/comm") may dump core"
    # Whoever is not root finds the files of a process that cannot be dumped to be root's.
    if [ "$(id -u)" -ne 0 ] && [ "$(stat -c %u "/proc/$1/fd")" -ne 0 ]; then
        fail "$(cat "/proc/$1/comm") can be looked into"
    fi
}

# private_files: modes of all that a server makes
private_files() {
    [ "$(stat -c %a "$data_dir")" = 700 ] || fail "the data directory has mode $(stat -c %a "$data_dir")"
    [ "$(stat -c %a "$arena_dir")" = 700 ] || fail "the arena's directory has mode $(stat -c %a "$arena_dir")"
    find "$data_dir" "$arena_dir" -mindepth 1 -printf '%m %p\n' | grep -v '^600 ' >"$here/modes" || true
    [ ! -s "$here/modes" ] || fail "others may use: $(cat "$here/modes")"
    [ -S "$data_dir/worker.sock" ] || fail "no socket for workers"
    find "$data_dir" -name 'tutti.db*' | grep -q . || fail "no database"
}

# descriptors PID: what it holds but 0, 1 and 2, sorted, sockets by kind alone
descriptors() {
    for fd in "/proc/$1/fd/"*; do
        [ "${fd##*/}" -le 2 ] || readlink "$fd" | sed 's/^socket:.*/socket/'
    done | sort
}

# A server whose parent left a file open: it is no worker's.
exec 9<"$root/Makefile"
umask 000 # what the parent says of others does not count
start_server --workers 2
umask 022
exec 9<&-
post '/v1/jobs?wait=10' '{"op": "all_reduce_sum", "inputs": [[1], [2]]}'
expect_status 200
private_files
hardened "$server" 1
workers=$(children "$server")
[ "$(echo "$workers" | wc -l)" -eq 2 ] || fail "not two workers: $workers"
for pid in $workers; do
    hardened "$pid" 2
    got=$(descriptors "$pid" | tr '\n' ' ')
    [ "$got" = "$arena_dir/fence socket " ] || fail "a worker holds: $got"
    [ "$(readlink "/proc/$pid/fd/0")" = /dev/null ] || fail "a worker reads $(readlink "/proc/$pid/fd/0")"
done
# Every descriptor of the server but those that it was given is closed on exec.
checked=0
for info in "/proc/$server/fdinfo/"*; do
    fd=${info##*/}
    file=$(readlink "/proc/$server/fd/$fd") || continue # a connection that ended meanwhile
    [ "$fd" -gt 2 ] && [ "$file" != "$(readlink "/proc/$$/fd/$fd")" ] && [ "$file" != "$root/Makefile" ] || continue
    [ $((0$(sed -n 's/^flags:[[:space:]]*//p' "$info") & 02000000)) -ne 0 ] || fail "descriptor $fd of the server, $file, is inherited by exec"
    checked=$((checked + 1))
done
[ "$checked" -gt 10 ] || fail "only $checked descriptors were looked at"
stop_server

# ---- another user ----

if [ "$(id -u)" -ne 0 ]; then
    echo 'NOTE not as root: --user was not tried'
    exit 0
fi
# Where a stranger may go, with programs that they may read.
place=$(mktemp -d /tmp/tutti-user-XXXXXX)
trap 'if [ $? -eq 0 ]; then rm -rf "$place"; at_exit; else rm -rf "$place"; false || at_exit; fi' EXIT # at_exit looks at $?
chmod 711 "$place"
mkdir "$place/bin"
cp "$build/tutti-server" "$build/tutti-worker" "$place/bin"
chmod 755 "$place/bin" "$place/bin/"*
data_dir=$place/data arena_dir=$place/arena build=$place/bin

# A directory of root's is refused by name.
mkdir -m 700 "$data_dir"
if timeout 20 "$build/tutti-server" --listen 127.0.0.1:0 --user 4321:5432 --data-dir "$data_dir" --arena-dir "$arena_dir" \
    --workers 1 --arena-size 16M >"$here/out" 2>"$here/err"; then
    fail 'a data directory of root should be refused'
fi
grep -q "$data_dir belongs to user 0, this process runs as user 4321" "$here/err" || fail "should name the directory: $(cat "$here/err")"

mkdir -m 700 "$arena_dir"
chown 4321:5432 "$data_dir" "$arena_dir"
export TUTTI_FAILPOINTS=worker.mid_run=sleep:15000@2 # the second job of each worker
start_server --workers 2 --user 4321:5432
unset TUTTI_FAILPOINTS
post '/v1/jobs?wait=10' '{"op": "all_reduce_sum", "inputs": [[1], [2]]}'
expect_status 200
private_files
[ -z "$(find "$data_dir" "$arena_dir" ! -user 4321 -o ! -group 5432)" ] || fail 'a file is not of the user'
for pid in "$server" $(children "$server"); do
    expect_field "$pid" Uid "$(printf '4321\t4321\t4321\t4321')"
    expect_field "$pid" Gid "$(printf '5432\t5432\t5432\t5432')"
    expect_field "$pid" Groups ''
    for capabilities in CapEff CapPrm CapInh CapAmb; do
        expect_field "$pid" "$capabilities" 0000000000000000
    done
    [ "$(stat -c %u "/proc/$pid/fd")" -eq 0 ] || fail "$(cat "/proc/$pid/comm") can be dumped, and looked into"
done
# A worker that the server of before left, too busy to see its end, is known, and killed, though it lets nobody look into it.
left=$(children "$server")
post /v1/jobs '{"op": "all_reduce_sum", "inputs": [[1], [2]]}'
job=$(value .id)
tries=$((patience * 20))
until [ "$(value .state)" = running ]; do
    [ $((tries -= 1)) -gt 0 ] || fail 'the job does not run'
    get "/v1/jobs/$job"
done
sleep 0.2
kill -KILL "$server"
wait_server
start_server --workers 2 --user 4321:5432
for pid in $left; do
    gone "$pid" || fail "worker $pid of the server before is still there"
done
post '/v1/jobs?wait=10' '{"op": "all_reduce_sum", "inputs": [[1], [2]]}'
expect_status 200
stop_server

# A port of root's, for a user who could not take it; in a network of its own, so that it is free. In the foreground timeout
# passes a signal on once; else its group is sent it, too, and a second one may end the server as it ends any program.
if unshare -n true 2>/dev/null && command -v ip >/dev/null; then
    # shellcheck disable=SC2016
    unshare -n sh -c 'ip link set lo up && echo 1024 >/proc/sys/net/ipv4/ip_unprivileged_port_start && exec "$@"' sh \
        timeout --foreground -s TERM 20 "$build/tutti-server" --listen 127.0.0.1:80 --user 4321:5432 --data-dir "$data_dir" \
        --arena-dir "$arena_dir" --workers 1 --arena-size 64M >"$here/out" 2>>"$here/log" &
    low=$!
    tries=$((patience * 20))
    until grep -q '^listening on http://127.0.0.1:80$' "$here/out" || gone "$low" || [ $((tries -= 1)) -eq 0 ]; do
        sleep 0.05
    done
    grep -q '^listening on http://127.0.0.1:80$' "$here/out" || fail 'port 80 was not taken'
    kill -TERM "$low"
    wait "$low" || [ $? -eq 124 ] || fail 'the server on port 80 did not end well'
else
    echo 'NOTE no network of its own: a low port was not tried'
fi
