# calls.sh - calls of single ranks in the background, for the tests of them; sourced behind lib.sh.
# shellcheck shell=sh disable=SC2034,SC2154
calls=/v1/groups/world/ranks

# call_as NAME RANK JSON [QUERY [HEADER]]: its answer is in $here/rank$NAME, and $! its process. Two that are out at once
# have two names.
call_as() {
    eval "out=\${out$1:-}"
    if [ -n "$out" ] && [ ! -s "$here/status$1" ] && kill -0 "$out" 2>/dev/null; then
        fail "call $1 has no answer yet, and the next would be written over it: call_as"
    fi
    echo "$calls/$2/calls${4:-}" >"$here/path$1"
    : >"$here/status$1"
    curl -sS -g --max-time 60 -D "$here/head$1" -o "$here/rank$1" -w '%{http_code}' -H 'Content-Type: application/json' ${5:+-H "$5"} \
        -d "$3" "$url$calls/$2/calls${4:-}" >"$here/status$1" &
    eval "out$1=$!"
    callers="${callers:-} $!"
}

# call RANK JSON [QUERY [HEADER]]: by the name of its rank
call() {
    call_as "$1" "$@"
}

# calls_over: waits for the answers of all calls
calls_over() {
    # shellcheck disable=SC2086 # process ids
    [ -z "${callers:-}" ] || wait $callers
    callers=
}

# count ROWS: how many there are. Of a copy: whoever looks at a database and closes it takes its log away.
count() {
    cp "$data_dir"/tutti.db* "$here/"
    /usr/bin/python3 -c 'import sqlite3, sys; print(sqlite3.connect(sys.argv[1]).execute("SELECT count(*) FROM " + sys.argv[2]).fetchone()[0])' \
        "$here/tutti.db" "$1"
}

# answer NAME STATUS JQ WANT: what it was, when it has come
answer() {
    status=$(cat "$here/status$1")
    cp "$here/rank$1" "$here/body"
    cp "$here/head$1" "$here/head"
    method=POST path=$(cat "$here/path$1")
    record
    expect_status "$2"
    expect "$3" "$4"
}
