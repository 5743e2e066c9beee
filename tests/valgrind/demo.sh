#!/bin/sh
# demo.sh BUILD - the whole demo with server and workers under valgrind: no error, and nothing lost, in any of the
# processes. One suppression, in glibc (glibc.supp). The build has no sandbox:
# valgrind itself needs calls, and executable memory, that it would refuse.
set -eu
cd "$(dirname "$0")/../.."
build=$PWD/$1
logs=$(mktemp -d)
trap 'rm -rf "$logs"' EXIT

mkdir -p "$build/under"
cat >"$build/under/tutti-server" <<SH
#!/bin/sh
LD_PRELOAD='$build/standin.so' exec valgrind --trace-children=yes --leak-check=full --show-leak-kinds=definite,indirect,possible \\
    --errors-for-leak-kinds=definite,indirect,possible --num-callers=20 --suppressions=tests/valgrind/glibc.supp --log-file='$logs/%p' '$build/tutti-server' "\$@"
SH
chmod +x "$build/under/tutti-server"

TUTTI_DEMO_PATIENCE_S=120 BUILD=$build/under tests/demo.sh || {
    cat "$logs"/*
    exit 1
}
failed=0 passed=0
for log in "$logs"/*; do
    program=$(sed -n 's/^==[0-9]*== Command: \([^ ]*\).*/\1/p' "$log")
    if grep -q 'ERROR SUMMARY: 0 errors' "$log" && ! grep -q 'unhandled syscall' "$log"; then
        passed=$((passed + 1))
        echo "ok   ${program##*/}: $(grep -c '' "$log") lines, 0 errors, nothing lost"
    else
        failed=$((failed + 1))
        cat "$log"
    fi
done
[ "$passed" -ge 5 ] || { # the server, four ranks
    echo "only $passed processes ran under valgrind"
    failed=$((failed + 1))
}
echo "$passed passed, $failed failed"
[ "$failed" -eq 0 ]
