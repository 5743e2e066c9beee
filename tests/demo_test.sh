#!/bin/sh
# demo_test.sh - the demo shows twelve operations, all right.
set -eu
cd "$(dirname "$0")/.."
out=$(BUILD=${BUILD:-build} tests/demo.sh) || {
    printf '%s\n' "$out"
    exit 1
}
[ "$(printf '%s\n' "$out" | grep -c '^      right$')" -eq 12 ]
[ "$(printf '%s\n' "$out" | tail -n 1)" = 'all 12 operations right' ]
