#!/bin/sh
# The server prints one line when it can serve, is healthy and ready then, and SIGTERM ends it with status 0.
. "$(dirname "$0")/lib.sh"
start_server

[ "$(wc -l <"$here/out")" -eq 1 ] || fail "stdout should have one line"
case $url in
http://127.0.0.1:[0-9]*) ;;
*) fail "not an address: $url" ;;
esac
get /healthz
expect_status 200
get /readyz
expect_status 200
stop_server
[ "$(wc -l <"$here/out")" -eq 1 ] || fail "stdout should still have one line"
