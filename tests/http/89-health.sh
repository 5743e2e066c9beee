#!/bin/sh
# --health asks the service at --listen, as a container's health check does: 0, or 1 with the reason; in TLS too.
. "$(dirname "$0")/lib.sh"

# asked STATUS TEXT OPTION...
asked() {
    status=$1 text=$2 rc=0
    shift 2
    timeout 20 "$build/tutti-server" --health "$@" >"$here/said" 2>&1 || rc=$?
    [ "$rc" -eq "$status" ] || fail "--health $*: $rc: $(cat "$here/said")"
    [ -n "$text" ] || [ ! -s "$here/said" ] || fail "--health $* says $(cat "$here/said")"
    grep -q -- "$text" "$here/said" || [ -z "$text" ] || fail "--health $* should say $text: $(cat "$here/said")"
}

start_server --workers 1
at=${url#http://}
asked 0 '' --listen "$at"
TUTTI_LISTEN=0.0.0.0:${at##*:} TUTTI_INSECURE_NO_AUTH=1 TUTTI_HEALTH=1 asked 0 '' # what the container's server listens on
asked 1 'TLS: ' --listen "$at" --tls-cert x --tls-key x
stop_server
asked 1 "connect to $at: Connection refused" --listen "$at"

openssl req -x509 -newkey ed25519 -nodes -days 2 -subj /CN=other -keyout "$here/key" -out "$here/cert" 2>/dev/null
chmod 600 "$here/key"
start_server --workers 1 --tls-cert "$here/cert" --tls-key "$here/key"
at=${url#https://} at=${at#http://}
asked 0 '' --listen "$at" --tls-cert "$here/cert" --tls-key "$here/key"
asked 1 'it answers ""' --listen "$at"
stop_server
