#!/bin/sh
# pack.sh DIR - fetches the libraries of package.json, as package-lock.json pins them, and puts what browsers need of
# them into DIR/vendor, with their licences. Nothing is compiled, and no script of a package runs.
set -eu
web=$(cd "$(dirname "$0")" && pwd)
mkdir -p "$1"
out=$(cd "$1" && pwd)
fetched=$out/npm

command -v npm >/dev/null || {
    echo "pack: npm is missing, which fetches what the pages use; make WEB=none builds a server without pages" >&2
    exit 1
}
mkdir -p "$fetched" "$out/vendor"
cp "$web/package.json" "$web/package-lock.json" "$web/.npmrc" "$fetched"
log=$(mktemp)
trap 'rm -f "$log"' EXIT
(cd "$fetched" && npm ci --no-progress) >"$log" 2>&1 || {
    cat "$log" >&2
    exit 1
}

modules=$fetched/node_modules
cp "$modules/swagger-ui-dist/swagger-ui-bundle.js" "$out/vendor/swagger-ui.js"
cp "$modules/swagger-ui-dist/swagger-ui.css" "$out/vendor/swagger-ui.css"
# Of its parts, as it brings them itself.
cp "$modules/swagger-ui-dist/swagger-ui-bundle.js.LICENSE.txt" "$modules/swagger-ui-dist/LICENSE-parts"
cp "$modules/uplot/dist/uPlot.iife.min.js" "$out/vendor/uplot.js"
cp "$modules/uplot/dist/uPlot.min.css" "$out/vendor/uplot.css"

for package in "$modules"/*/package.json "$modules"/@*/*/package.json; do
    [ -f "$package" ] || continue
    dir=$(dirname "$package")
    for licence in "$dir"/LICEN[CS]E* "$dir"/licen[cs]e*; do
        [ -f "$licence" ] || continue
        printf '%s\n\n' "${dir#"$modules"/}"
        cat "$licence"
        printf '\n\n'
    done
done >"$out/vendor/licences.txt"
[ -s "$out/vendor/licences.txt" ] || {
    echo "pack: no licence was found" >&2
    exit 1
}
