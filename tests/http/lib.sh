# lib.sh - a server of the test's own, requests by curl, expectations; sourced by every HTTP test.
#
# The server has its own data and arena directories, which the end of the test removes. A test that ends
# well also stops the server and looks that it left with status 0, no worker process, and no file in
# the arena's directory but the arena and its lock.
# shellcheck shell=sh disable=SC2034
set -eu

root=${root:-$(cd "$(dirname "$0")/../.." && pwd)}
build=${BUILD:-build}
case $build in
/*) ;;
*) build=$root/$build ;;
esac
here=$(mktemp -d)
arena_dir=${TUTTI_TEST_SHM:-$here}/arena-$$
data_dir=$here/data
server='' url='' status='' workers='' ending=''
# What was asked and answered, for tests/http/answers.py.
records=''
if [ -n "${TUTTI_TEST_RECORD:-}" ]; then
    records=$(mktemp -d "$TUTTI_TEST_RECORD/XXXXXX")
    echo "${0##*/}" >"$records/test"
fi
# Sanitizers slow everything down.
patience=${TUTTI_TEST_PATIENCE:-30}

fail() {
    echo "FAILED: $*"
    if [ -n "$ending" ]; then # in at_exit: the clean-up goes on
        rc=1
        return 0
    fi
    if [ -n "$status" ]; then
        echo "status $status"
        sed 's/^/  > /' "$here/head"
        head -c 2000 "$here/body" | tr -d '\000' | sed 's/^/  > /'
        echo
    fi
    exit 1
}

# row ID...: these rows of the fault matrix hold; said where they have been shown
row() {
    # shellcheck disable=SC2317
    printf 'row %s ok\n' "$@"
}

# ---- the server ----

# A process is gone when it has exited, reaped or not.
gone() {
    [ ! -d "/proc/$1" ] || grep -q '^State:.Z' "/proc/$1/status" 2>/dev/null || [ ! -d "/proc/$1" ]
}

# children PID: pids whose parent it is
children() {
    for stat in /proc/[0-9]*/stat; do
        { read -r line <"$stat"; } 2>/dev/null || continue
        rest=${line##*) }
        rest=${rest#* }
        [ "${rest%% *}" != "$1" ] || echo "${line%% *}"
    done
}

# start_server [OPTION...]: beside what every test's server has; waits until it can serve.
start_server() {
    case " $* " in
    *" --workers "*) ;;
    *) set -- --workers 2 "$@" ;;
    esac
    if [ -n "${TUTTI_TEST_GPUS:-}" ]; then # one a rank
        asked=" $*"
        asked=${asked##* --workers }
        asked=${asked%% *}
        if [ "$asked" != auto ] && [ "$asked" -gt "$TUTTI_TEST_GPUS" ]; then
            echo "NOTE skipped: it takes $asked GPUs"
            exit 0
        fi
    fi
    case " $* " in
    *" --arena-size "*) ;;
    *) set -- --arena-size 64M "$@" ;;
    esac
    apart=0
    if [ -n "${TUTTI_TEST_APART:-}" ]; then # the server starts no worker, and so takes its strictest sandbox
        apart=" $*"
        apart=${apart##* --workers }
        apart=${apart%% *}
        set -- "$@" --workers 0 --world "$apart"
        rm -f "$data_dir/worker.sock" # of a server that was killed
    fi
    : >"$here/out"
    "$build/tutti-server" --listen 127.0.0.1:0 --data-dir "$data_dir" --arena-dir "$arena_dir" "$@" \
        >"$here/out" 2>>"$here/log" &
    server=$!
    start_apart "$apart"
    url=''
    tries=$((patience * 20))
    while [ -z "$url" ]; do
        url=$(sed -n 's/^listening on //p' "$here/out")
        [ -n "$url" ] || ! gone "$server" || fail "the server did not start"
        [ $((tries -= 1)) -gt 0 ] || fail "the server is not ready after $patience s"
        [ -n "$url" ] || sleep 0.05
    done
}

# start_apart N: N workers of ours; each leaves when the server does
start_apart() {
    [ "$1" -gt 0 ] || return 0
    tries=$((patience * 20))
    until [ -S "$data_dir/worker.sock" ] || gone "$server" || [ $((tries -= 1)) -eq 0 ]; do
        sleep 0.05
    done
    rank=0
    while [ "$rank" -lt "$1" ]; do
        "$build/tutti-worker" --server "unix:$data_dir/worker.sock" --rank "$rank" 2>>"$here/log" &
        rank=$((rank + 1))
    done
}

# wait_server: waits for its end and leaves $exit_status
wait_server() {
    exit_status=0
    wait "$server" || exit_status=$?
    server=''
}

# stop_server: SIGTERM, and what must hold after it
stop_server() {
    workers=$(children "$server")
    kill -TERM "$server"
    wait_server
    status=''
    [ "$exit_status" -eq 0 ] || fail "the server left with status $exit_status on SIGTERM"
    for pid in $workers; do
        gone "$pid" || fail "worker process $pid is left"
    done
    # shellcheck disable=SC2012
    left=$(find "$arena_dir" -mindepth 1 ! -name arena ! -name arena.lock ! -name fence ! -name workers.pids)
    [ -z "$left" ] || fail "in the arena's directory: $left"
}

# kill_server: kill -9, and its workers leave by themselves
kill_server() {
    workers=$(children "$server")
    kill -KILL "$server"
    wait_server
    for pid in $workers; do
        tries=200
        until gone "$pid"; do
            [ $((tries -= 1)) -gt 0 ] || fail "worker process $pid outlives its server"
            sleep 0.05
        done
    done
}

at_exit() {
    rc=$?
    trap - EXIT INT TERM
    if [ "$rc" -eq 0 ] && [ -n "$server" ]; then
        ending=1
        stop_server
    elif [ -n "$server" ]; then
        kill -KILL "$server" 2>/dev/null || true
    fi
    if grep -qE 'ERROR: [A-Za-z]*Sanitizer|WARNING: ThreadSanitizer|runtime error:' "$here/log" 2>/dev/null; then
        echo "a sanitizer complains:"
        rc=1
    fi
    if [ "$rc" -ne 0 ] && [ -s "$here/log" ]; then
        echo "the server's log:"
        tail -n "${TUTTI_TEST_LOG_LINES:-60}" "$here/log" | sed 's/^/  | /'
    fi
    rm -rf "$here" "$arena_dir"
    exit "$rc"
}
trap at_exit EXIT
trap 'exit 1' INT TERM

# ---- requests: each leaves $status, $here/head and $here/body ----

# request METHOD PATH [CURL OPTION...]
request() {
    method=$1 path=$2
    shift 2
    : >"$here/body"
    status=$(curl -sS -g --path-as-is --max-time "${max_time:-60}" -X "$method" -D "$here/head" \
        -o "$here/body" -w '%{http_code}' "$@" "$url$path") || fail "$method $path: curl left with $?"
    record "$@"
}

# record [CURL OPTION...]: keeps $method, $path and the answer, where a run asks for it: method, path, number of options,
# options, each with a NUL behind it; then head and body as they came.
record() {
    [ -n "$records" ] || return 0
    exchange=$((${exchange:-0} + 1))
    {
        printf '%s\0' "$method" "$path" $# "$@"
        cat "$here/head"
        head -c 4194304 "$here/body"
    } >"$records/${beside:-}$exchange"
}

get() {
    request GET "$@"
}

delete() {
    request DELETE "$@"
}

head_of() {
    path=$1
    shift
    request HEAD "$path" -I "$@"
}

# post PATH [JSON [CURL OPTION...]]
post() {
    path=$1
    json=${2-}
    shift
    [ $# -eq 0 ] || shift
    if [ -n "$json" ]; then
        request POST "$path" -H 'Content-Type: application/json' --data-binary "$json" "$@"
    else
        request POST "$path" "$@"
    fi
}

# upload PATH CONTENT-TYPE FILE [CURL OPTION...]
upload() {
    path=$1 type=$2 file=$3
    shift 3
    request POST "$path" -H "Content-Type: $type" --data-binary "@$file" "$@"
}

# aside NAME REQUEST...: a request in the background; it leaves its status, head and body in $here/NAME.
aside() {
    name=$1
    shift
    mkdir -p "$here/$name"
    asides=$((${asides:-0} + 1))
    (
        here=$here/$name beside=$asides.
        "$@"
        echo "$status" >"$here/status"
    ) &
    eval "aside_$name=$!"
}

# join NAME: waits for it; its answer is then as if it were the last request's.
join() {
    eval "wait \"\$aside_$1\"" || fail "request $1 got no answer"
    status=$(cat "$here/$1/status")
    cp "$here/$1/head" "$here/$1/body" "$here/"
}

# new_token NAME:ROLE: makes one in $here/tokens, and prints it
new_token() {
    "$build/tutti-server" --token-file "$here/tokens" --new-token "$1"
}

# as TOKEN REQUEST...: the request with this token
as() {
    token=$1
    shift
    "$@" -H "Authorization: Bearer $token"
}

npy=application/x-npy
safetensors=application/vnd.safetensors
raw=application/octet-stream

# python: a program on stdin, with NumPy; its directory is the test's
python() {
    (cd "$here" && /usr/bin/python3 - "$@")
}

# ---- what came ----

# value JQ: a value of the body, strings bare
value() {
    jq -r "$1" "$here/body"
}

# header NAME: its value
header() {
    tr -d '\r' <"$here/head" | sed -n "s/^$1: *//Ip" | tail -n 1
}

expect_status() {
    [ "$status" = "$1" ] || fail "the status should be $1"
}

# expect JQ JSON: that the value is the same JSON
expect() {
    got=$(jq -cS "$1" "$here/body") || fail "$1: no JSON"
    want=$(printf '%s' "$2" | jq -cS .)
    [ "$got" = "$want" ] || fail "$1 is $got, should be $want"
}

# expect_true JQ: that the expression holds
expect_true() {
    jq -e "$1" "$here/body" >/dev/null || fail "this should hold: $1"
}

# expect_text TEXT: that the body is exactly it
expect_text() {
    [ "$(cat "$here/body")" = "$1" ] || fail "the body should be: $1"
}

# expect_in TEXT: that the body has it, byte for byte
expect_in() {
    grep -qF -- "$1" "$here/body" || fail "the body should contain: $1"
}

# expect_header NAME [VALUE]
expect_header() {
    got=$(header "$1")
    [ -n "$got" ] || fail "header $1 should be there"
    [ $# -eq 1 ] || [ "$got" = "$2" ] || fail "header $1 is \"$got\", should be \"$2\""
}

# expect_file FILE: that the body has the same bytes
expect_file() {
    cmp -s "$1" "$here/body" || fail "the body should equal $1"
}

# expect_problem STATUS CODE: a whole problem document
expect_problem() {
    expect_status "$1"
    expect_header Content-Type application/problem+json
    expect .code "\"$2\""
    expect .status "$1"
    expect_true '(.detail | length) > 0 and (.title | length) > 0 and (.type | type) == "string"'
}

# row ID...: the test up to here proves these rows of tests/fault/matrix.def
row() {
    printf 'row %s ok\n' "$@"
}

# arena_used: bytes of live extents
arena_used() {
    get /v1/metrics
    expect_status 200
    value .arena.used_bytes
}
