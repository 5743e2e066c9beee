#!/bin/bash
# lint.sh - schema/openapi.yaml by redocly lint, of package-lock.json's version, which is fetched once to build/redocly. It
# looks at no other host then: neither for a newer version nor to tell what it was used for. Silent when all is well.
set -eu
cd "$(dirname "$0")/../.."
room=build/redocly
if ! cmp -s tests/api/package-lock.json "$room/fetched"; then
    command -v npm >/dev/null || {
        echo "npm is missing, which fetches redocly"
        exit 1
    }
    mkdir -p "$room"
    cp tests/api/package.json tests/api/package-lock.json tests/api/.npmrc "$room"
    said=$(cd "$room" && npm ci --no-progress 2>&1) || {
        echo "$said"
        exit 1
    }
    cp tests/api/package-lock.json "$room/fetched"
fi
export REDOCLY_TELEMETRY=off REDOCLY_SUPPRESS_UPDATE_NOTICE=true
said=$("$room/node_modules/.bin/redocly" lint --config tests/api/redocly.yaml --format=checkstyle schema/openapi.yaml 2>/dev/null) || {
    echo "$said"
    exit 1
}
