# calls.sh - calls of single ranks in the background, for the tests of them; sourced behind lib.sh.
# shellcheck shell=sh disable=SC2034,SC2154
calls=/v1/groups/world/ranks

# call RANK JSON [QUERY [HEADER]]: its answer is in $here/rank$1, and $! its process
call() {
    echo "$calls/$1/calls${3:-}" >"$here/path$1"
    curl -sS -g --max-time 60 -D "$here/head$1" -o "$here/rank$1" -w '%{http_code}' -H 'Content-Type: application/json' ${4:+-H "$4"} \
        -d "$2" "$url$calls/$1/calls${3:-}" >"$here/status$1" &
    callers="${callers:-} $!"
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

# answer RANK STATUS JQ WANT: what it was, when it has come
answer() {
    status=$(cat "$here/status$1")
    cp "$here/rank$1" "$here/body"
    cp "$here/head$1" "$here/head"
    method=POST path=$(cat "$here/path$1")
    record
    expect_status "$2"
    expect "$3" "$4"
}
