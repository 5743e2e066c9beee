#!/bin/sh
# Without tokens only the server's own user comes in over the Unix socket; with tokens whoever can open it and has one. Its
# mode says who can. Wrong tokens are counted by the user.
. "$(dirname "$0")/lib.sh"
if [ "$(id -u)" -ne 0 ]; then
    echo "NOTE skipped: only root can be another user"
    exit 0
fi
sock=$here/http.sock

# by UID - CURL OPTION...: that user's request over the socket; its status, 000 where it cannot connect. The test's directory
# is root's alone, so the user is let through it, and no further.
by() {
    uid=$1
    shift 2
    : >"$here/head"
    setpriv --reuid "$uid" --regid "$uid" --clear-groups --inh-caps +dac_read_search --ambient-caps +dac_read_search \
        curl -sS --max-time 20 --unix-socket "$sock" -w '%{http_code}' "$@" >"$here/answer" 2>"$here/said" || true
    status=$(tail -c 3 "$here/answer")
    head -c -3 "$here/answer" >"$here/body"
}

# asked UID STATUS CURL OPTION...
asked() {
    by "$@"
    [ "$status" = "$2" ] || fail "user $1 should get $2: $(cat "$here/said")"
}
v1=http://localhost/v1

# 0600, as it is unless it is said: others cannot even connect.
start_server --workers 1 --listen "unix:$sock"
asked 0 200 "$v1"
asked 4321 000 "$v1"
stop_server

# Open to all, and nobody is asked for a token, because that is meant.
start_server --workers 1 --listen "unix:$sock" --listen-mode 0666 --insecure-no-auth
[ "$(stat -c %a "$sock")" = 666 ] || fail "mode $(stat -c %a "$sock")"
asked 4321 200 "$v1"
stop_server

# Open to all by other means: the kernel says that it is not our user.
start_server --workers 1 --listen "unix:$sock"
chmod 666 "$sock"
asked 4321 403 "$v1"
expect .code '"forbidden"'
expect_true '.detail | test("for user 0") and test("you are user 4321")'
asked 4321 403 -H 'Content-Type: application/json' -d '{"op": "all_reduce_sum", "inputs": [[1]]}' "$v1/jobs?wait=5"
asked 4321 200 http://localhost/healthz
asked 0 200 "$v1"
stop_server

# With tokens it is they that count, for our own user too.
alice=$(new_token alice:user)
start_server --workers 1 --listen "unix:$sock" --listen-mode 0660 --token-file "$here/tokens"
[ "$(stat -c %a "$sock")" = 660 ] || fail "mode $(stat -c %a "$sock")"
asked 4321 000 "$v1"
stop_server
start_server --workers 1 --listen "unix:$sock" --listen-mode 0666 --token-file "$here/tokens"
asked 0 401 "$v1"
asked 4321 401 "$v1"
asked 4321 200 -H "Authorization: Bearer $alice" "$v1"
expect .account.name '"alice"'

# Who guesses: that user is told so, and no other; the right token is still taken.
tries=60
while by 4321 - -H 'Authorization: Bearer alice.wrong' "$v1" && [ "$status" = 401 ]; do
    [ $((tries -= 1)) -gt 0 ] || fail "nobody counts"
done
[ "$status" = 429 ] || fail "a guesser gets $status"
expect_true '.detail | test("came from this user")'
asked 4322 401 -H 'Authorization: Bearer alice.wrong' "$v1"
asked 4321 200 -H "Authorization: Bearer $alice" "$v1"
get /v1 -H 'Authorization: Bearer alice.wrong'
expect_problem 401 unauthorized
