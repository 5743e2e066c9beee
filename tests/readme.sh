#!/bin/bash
# readme.sh - runs the README's blocks of curl against a real server, in order, in one directory: each must exit
# with 0 and get no error answer, but in a block that says "problem" or a 4xx status itself.
root=$(cd "$(dirname "$0")/.." && pwd)
. "$root/tests/http/lib.sh"
readme=$root/README.md
[ -f "$readme" ] || fail "there is no README.md"

mkdir "$here/blocks" "$here/bin" "$here/room"
awk -v dir="$here/blocks" '
    /^```(sh|bash|shell|console)[ \t]*$/ { inside = 1; n++; file = sprintf("%s/%02d", dir, n); next }
    /^```/ { inside = 0; next }
    inside { sub(/^\$ /, ""); print > file }' "$readme"

# The same curl, but an error answer is an error.
cat >"$here/bin/curl" <<'SH'
#!/bin/sh
exec /usr/bin/curl ${TUTTI_TEST_CURL_FAIL---fail-with-body} --max-time 60 "$@"
SH
chmod +x "$here/bin/curl"
# Debian's, which has NumPy, whatever else is first in the PATH.
ln -s /usr/bin/python3 "$here/bin/python3"

start_server --workers "${TUTTI_TEST_README_WORKERS:-4}"
passed=0 failed=0
for block in "$here"/blocks/*; do
    [ -f "$block" ] || continue
    grep -qE '(^|[^a-z])curl ' "$block" || continue
    # An installation line or the server's own start belongs to the reader, not to this test.
    ! grep -qE '^ *(make|apt|apt-get|sudo|docker|build/tutti)' "$block" || continue
    sed -i -E "s#(http://)?(localhost|127\.0\.0\.1):8080#$url#g" "$block"
    strict=--fail-with-body
    ! grep -qiE 'problem|[^0-9]4[0-9][0-9]([^0-9]|$)' "$block" || strict=
    if (cd "$here/room" && PATH=$here/bin:$PATH TUTTI_TEST_CURL_FAIL=$strict bash -euo pipefail "$block") >"$here/got" 2>&1; then
        passed=$((passed + 1))
    else
        failed=$((failed + 1))
        echo "this block fails:"
        sed 's/^/  /' "$block"
        echo "with:"
        tail -n 20 "$here/got" | sed 's/^/  /'
    fi
done
[ $((passed + failed)) -gt 0 ] || fail "the README has no block of curl"
echo "CASES $passed $failed"
[ "$failed" -eq 0 ]
