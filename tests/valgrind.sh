#!/bin/sh
# valgrind.sh [DIR] - the whole demo with server and workers under valgrind: no error, and nothing lost, in any of the processes.
# The build has no sandbox: valgrind itself needs calls, and executable memory, that it would refuse.
set -eu
cd "$(dirname "$0")/.."
build=${1:-build/valgrind}
logs=$(mktemp -d)
trap 'rm -rf "$logs"' EXIT

mkdir -p "$build/under"
cat >"$build/under/tutti-server" <<SH
#!/bin/sh
exec valgrind --quiet --trace-children=yes --leak-check=full --show-leak-kinds=definite,indirect,possible \
    --errors-for-leak-kinds=definite,indirect,possible --num-callers=20 --log-file='$logs/%p' \
    "$PWD/$build/tutti-server" "\$@"
SH
chmod +x "$build/under/tutti-server"

TUTTI_DEMO_PATIENCE_S=120 BUILD=$build/under tests/demo.sh || {
    cat "$logs"/*
    exit 1
}
failed=0 passed=0
for log in "$logs"/*; do
    if [ -s "$log" ]; then
        failed=$((failed + 1))
        cat "$log"
    else
        passed=$((passed + 1))
    fi
done
[ "$passed" -ge 5 ] || { # the server, four ranks
    echo "only $passed processes ran under valgrind"
    failed=$((failed + 1))
}
echo "$passed passed, $failed failed"
[ "$failed" -eq 0 ]
