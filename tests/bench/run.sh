#!/bin/bash
# run.sh [--durable [ROUNDS] | PART...] - builds the benchmark's programs and runs it: tables on stdout, build/bench.json; or what
# --durable costs, on stdout.
set -eu
cd "$(dirname "$0")/../.."
build=${BUILD:-build}
here=$build/tests/bench
mkdir -p "$here"

# compile PROGRAM [LIBRARY]
compile() {
    local program=$1
    shift
    [ "$here/$program" -nt "tests/bench/$program.c" ] ||
        "${CC:-gcc}" -std=gnu11 -O2 -g -D_GNU_SOURCE -I. -pthread -o "$here/$program" \
            "tests/bench/$program.c" "$@"
}
compile load
compile memory
compile bare_mhd -lmicrohttpd
compile jansson_tree -ljansson
if [ "${1-}" = --durable ]; then
    shift
    BUILD=$build exec /usr/bin/python3 tests/bench/power.py "$@"
fi
BUILD=$build exec /usr/bin/python3 tests/bench/bench.py "$@"
