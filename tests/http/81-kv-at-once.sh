#!/bin/sh
# Two ranks put the same key at once: both are told that it is set, the last one wins, and whoever reads sees one whole value.
. "$(dirname "$0")/lib.sh"
start_server
kv=/v1/groups/world/kv

# put LETTER: forty values of 20,000 times this letter
put() {
    value=$(printf '%020000d' 0 | tr 0 "$1")
    printf '"%s"\n' "$value" >"$here/value$1"
    for _ in 1 2 3 4 5 6 7 8 9 10 11 12 13 14 15 16 17 18 19 20; do
        curl -sS -o "$here/answer$1" -w '%{http_code}\n' -X PUT -H 'Content-Type: application/json' --data-binary "@$here/value$1" "$url$kv/same"
    done >"$here/codes$1"
}
put a &
a=$!
put b &
b=$!
seen=0
while kill -0 $a 2>/dev/null || kill -0 $b 2>/dev/null; do
    get "$kv/same?wait=10"
    expect_status 200
    cmp -s "$here/body" "$here/valuea" || cmp -s "$here/body" "$here/valueb" || fail 'it is neither value'
    seen=$((seen + 1))
done
wait $a $b
[ $seen -gt 3 ] || fail "it was read $seen times only"
for letter in a b; do
    [ "$(grep -cE '^20[014]$' "$here/codes$letter")" -eq 20 ] || fail "rank $letter was told $(sort -u "$here/codes$letter")"
done
get "$kv/same"
last=$(value . | head -c 1)
delete "$kv/same"
expect_status 200
[ "$(value . | head -c 1)" = "$last" ] || fail 'it is taken as it was read'
get "$kv/same"
expect_status 404
