#!/bin/bash
# apart.sh - a part of the HTTP suite against a server that starts no worker, and so keeps no system call but those of
# serving; its workers join by themselves. What the sandbox would refuse by mistake fails here.
set -u
cd "$(dirname "$0")/.." || exit 2
build=${BUILD:-build}
if grep -qE '__[at]san_init' "$build/tutti-server"; then
    echo 'NOTE skipped: a build with a sanitizer has no sandbox'
    exit 0
fi
out=$(mktemp)
trap 'rm -f "$out"' EXIT
export TUTTI_TEST_APART=1
BUILD=$build tests/run.sh -t 120 tests/http/{02-,11-,12-,14-,24-,42-,50-,57-,59-,74-,83-,86-}*.sh >"$out"
status=$?
grep -vE '^ok ' "$out"
sed -nE 's/^([0-9]+) passed, ([0-9]+) failed$/CASES \1 \2/p' "$out"
exit "$status"
