#!/bin/bash
# run.sh [ROUNDS] - builds the benchmark's programs and runs it: tables on stdout, build/bench.json.
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
BUILD=$build exec /usr/bin/python3 tests/bench/bench.py "$@"
