#!/bin/sh
# fetch.sh DIR - fetches what package.json names, as package-lock.json pins it, into DIR, once; no script of a package runs.
set -eu
here=$(cd "$(dirname "$0")" && pwd)
mkdir -p "$1"
out=$(cd "$1" && pwd)
exec 9>"$out/.lock"
flock 9 # tests run side by side
cmp -s "$here/package-lock.json" "$out/done" && exit 0
cp "$here/package.json" "$here/package-lock.json" "$here/.npmrc" "$out"
(cd "$out" && npm ci --no-progress) >"$out/log" 2>&1 || {
    cat "$out/log" >&2
    exit 1
}
cp "$here/package-lock.json" "$out/done"
