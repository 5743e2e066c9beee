#!/bin/sh
# --help and --version answer; a wrong option is named; an option beats its environment variable.
. "$(dirname "$0")/lib.sh"

# refuses TEXT OPTION...
refuses() {
    text=$1
    shift
    if timeout 20 "$build/tutti-server" --listen 127.0.0.1:0 --data-dir "$data_dir" "$@" >"$here/out" 2>"$here/err"; then
        fail "should refuse: $*"
    fi
    [ ! -s "$here/out" ] || fail "stdout should be empty: $*"
    grep -q -- "$text" "$here/err" || fail "$* should say $text: $(cat "$here/err")"
}
"$build/tutti-server" --version | grep -qE '^tutti-server [0-9]+\.[0-9]+\.[0-9]+$' || fail "--version"
for option in listen workers world backend data-dir arena-dir arena-size durable retain log-level; do
    "$build/tutti-server" --help | grep -q -- "--$option" || fail "--help should name --$option"
done
refuses no-such --no-such
refuses --workers --workers x
refuses --workers --workers 9999999
refuses --retain --retain -1
refuses --arena-size --arena-size 12Q
refuses --listen --listen 0.0.0.0:0
refuses '--listen 192.0.2.1:1: Cannot assign requested address' --listen 192.0.2.1:1 --insecure-no-auth
refuses --backend --backend smoke
TUTTI_WORKERS=junk refuses TUTTI_WORKERS --arena-size 16M

export TUTTI_WORKERS=3 TUTTI_ARENA_SIZE=48M
start_server --workers 2
get /v1
expect .world_size 2
