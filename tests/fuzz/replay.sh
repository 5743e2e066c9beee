#!/bin/bash
# Every harness of tests/fuzz runs its seeds, and the inputs that fuzzing found before, without a fuzzing engine.
set -u
cd "$(dirname "$0")/../.." || exit 2
passed=0 failed=0 inputs=0
here=$(mktemp -d)
trap 'rm -rf "$here"' EXIT
tests/fuzz/seeds.py "$here" || exit 1

for source in tests/fuzz/fuzz_*.c; do
    name=$(basename "$source" .c)
    from=("$here/${name#fuzz_}")
    [ ! -d "tests/fuzz/found/${name#fuzz_}" ] || from+=("tests/fuzz/found/${name#fuzz_}")
    if out=$("$BUILD/tests/fuzz/$name" "${from[@]}" 2>&1) && [[ $out =~ ([0-9]+)\ inputs$ ]]; then
        passed=$((passed + 1))
        inputs=$((inputs + BASH_REMATCH[1]))
    else
        failed=$((failed + 1))
        echo "$name: $out"
    fi
done
echo "NOTE $inputs inputs"
echo "CASES $passed $failed"
[ "$failed" -eq 0 ]
