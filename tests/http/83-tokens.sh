#!/bin/sh
# With a token file only its tokens come in, each as far as its role goes; whoever has none learns nothing but that. The file
# is read again on SIGHUP, and nobody but its owner may read it.
. "$(dirname "$0")/lib.sh"

# gets TOKEN ADDRESS STATUS: /v1 answers the token so, from that address, once the file has been read again
gets() {
    tries=100
    until as "$1" get /v1 --interface "$2" && [ "$status" = "$3" ]; do
        [ $((tries -= 1)) -gt 0 ] || return 1
        sleep 0.05
    done
}

alice=$(new_token alice:user)
reader=$(new_token alice:read)
root=$(new_token root:admin)
worker=$(new_token box:worker)
[ "$(stat -c %a "$here/tokens")" = 600 ] || fail "the token file is open to others"
grep -q "${alice#*.}" "$here/tokens" && fail "the file has the secret itself"
start_server --token-file "$here/tokens"

# Who has none, or a wrong one, is told the same whatever is wrong.
get /v1
expect_problem 401 unauthorized
expect_header WWW-Authenticate 'Bearer realm="tutti"'
cp "$here/body" "$here/none"
for wrong in '' x alice alice. "alice.${root#*.}" "bob.${alice#*.}" "${alice}x" "$worker" ". ."; do
    get /v1 -H "Authorization: Bearer $wrong"
    expect_problem 401 unauthorized
    expect_file "$here/none"
done
for scheme in "Basic ${alice}" "$alice" "Token $alice"; do
    get /v1 -H "Authorization: $scheme"
    expect_problem 401 unauthorized
    expect_file "$here/none"
done
for path in /v1/jobs /v1/jobs/j_01ARZ3NDEKTSV4RRFFQ69G5FAV /v1/events /v1/metrics '/v1/jobs?nope=1'; do
    get "$path"
    expect_problem 401 unauthorized
done
# Before the body: a large one is not read.
head -c 20000000 /dev/zero >"$here/zeros"
upload '/v1/tensors?dtype=uint8&shape=20000000' "$raw" "$here/zeros"
expect_problem 401 unauthorized
# What says nothing of anybody is open.
for path in / /docs /docs/errors /docs/errors/unauthorized /healthz /readyz /openapi.yaml; do
    get "$path"
    expect_status 200
done

# Each role.
for who in "$alice" "$reader" "$root"; do
    as "$who" get /v1
    expect_status 200
    as "$who" head_of /v1/jobs
    expect_status 200
done
get /v1 -H "authorization: bearer  $alice"
expect_status 200
get /v1 -H "Authorization: Bearer $alice" -H "Authorization: Bearer $root"
expect_problem 400 bad_header
job='{"op":"all_reduce_sum","inputs":[[1],[2]]}'
for who in "$alice" "$root"; do
    as "$who" post '/v1/jobs?wait=20' "$job"
    expect_status 200
    expect '.outputs[1].data' '[3]'
done
as "$reader" post /v1/jobs "$job"
expect_problem 403 forbidden
as "$reader" request PUT /v1/groups/world/kv/k -H 'Content-Type: application/json' --data-binary 1
expect_problem 403 forbidden
as "$reader" delete /v1/tensors/t_01ARZ3NDEKTSV4RRFFQ69G5FAV
expect_problem 403 forbidden

# Never in the URL, nor in the log.
for query in "token=$alice" "limit=1&access_token=$alice" "API_KEY=$alice"; do
    get "/v1/jobs?$query"
    expect_problem 400 token_in_query
done
for secret in "$alice" "$reader" "$root" "$worker"; do
    grep -qF "${secret#*.}" "$here/log" && fail "the log has a secret"
done

# Read again: a new one comes in, one that was taken out does not.
bob=$(new_token bob:user)
as "$bob" get /v1
expect_problem 401 unauthorized
sed -i '/^root /d' "$here/tokens"
kill -HUP "$server"
gets "$bob" 127.0.0.3 200 || fail "the new token is not taken"
as "$root" get /v1
expect_problem 401 unauthorized
# A file that is wrong changes nothing, no quota before the wrong line either, and the log says what is wrong.
sed -i 's/^bob .*/& jobs=3/' "$here/tokens"
echo 'carol boss 00' >>"$here/tokens"
kill -HUP "$server"
tries=100
until grep -q 'line 5.*"boss" is no role' "$here/log"; do
    [ $((tries -= 1)) -gt 0 ] || fail "the log does not say what is wrong"
    sleep 0.05
done
as "$bob" get /v1
expect_status 200
expect .account.jobs.most 20000
# An account's quotas may stand on any of its lines; the later one of two holds.
sed -i '/^carol /d; s/^alice user .*/& jobs=4 waits=5/; s/^alice read .*/& jobs=6/' "$here/tokens"
kill -HUP "$server"
tries=100
until as "$bob" get /v1 && [ "$(value .account.jobs.most)" = 3 ]; do
    [ $((tries -= 1)) -gt 0 ] || fail "the quota is not taken"
    sleep 0.05
done
as "$alice" get /v1
expect '.account | [.jobs.most, .waits.most, .groups.most]' '[6,5,1000]'

# Whoever had come in with a token that is taken back hears nothing more: a stream ends, and who waited is refused.
carol=$(new_token carol:user)
kill -HUP "$server"
gets "$carol" 127.0.0.5 200 || fail "the new token is not taken"
curl -sN "$url/v1/events" -H "Authorization: Bearer $carol" >"$here/stream" &
stream=$!
curl -s "$url/v1/groups/world/kv/nobody-puts-it?wait=2" -H "Authorization: Bearer $carol" >"$here/waited" &
waiter=$!
tries=100
until [ -s "$here/stream" ] && as "$carol" get /v1 && [ "$(value .account.waits.used)" = 1 ]; do
    [ $((tries -= 1)) -gt 0 ] || fail "the stream, or the wait, does not begin"
    sleep 0.05
done
sed -i '/^carol /d' "$here/tokens"
kill -HUP "$server"
gets "$carol" 127.0.0.5 401 || fail "the token is still taken"
as "$bob" post /v1/groups '{"name":"news","ranks":[0]}'
expect_status 201
wait "$stream" || fail "the stream should end as streams end"
grep -q 'event:' "$here/stream" && fail "the stream went on"
wait "$waiter"
grep -q '"code":"unauthorized"' "$here/waited" || fail "who waited got $(cat "$here/waited")"

# Who guesses is told to stop, and does not shut out who knows.
tries=0
until get /v1 -H "Authorization: Bearer bob.guess$tries" --interface 127.0.0.4 && [ "$status" = 429 ]; do
    expect_problem 401 unauthorized
    [ $((tries += 1)) -lt 20 ] || fail "nobody minds the guessing"
done
expect_problem 429 too_many_failures
expect_header Retry-After 60
as "$bob" get /v1 --interface 127.0.0.4
expect_status 200
stop_server

# Files that are refused at the start.
echo 'carol boss 00' >>"$here/tokens"
refused() {
    "$build/tutti-server" --listen 127.0.0.1:0 --data-dir "$data_dir" --arena-dir "$arena_dir" --workers 2 \
        --arena-size 64M "$@" >"$here/refused" 2>&1 && fail "it started"
    grep -q "$want" "$here/refused" || fail "it should say $want: $(cat "$here/refused")"
}
want='line 5.*is no role' refused --token-file "$here/tokens"
sed -i '/^carol /d' "$here/tokens"
chmod 640 "$here/tokens"
want='chmod 600' refused --token-file "$here/tokens"
want='nothing --new-token alice:user' refused --token-file "$here/nothing"
want='exclude each other' refused --token-file "$here/tokens" --insecure-no-auth
want='new-token' refused --listen 0.0.0.0:0
for line in 'bob' 'bob user' 'bob user 12' '9bob user 00' 'bob user 00 jobs' ; do
    echo "$line" >"$here/bad"
    chmod 600 "$here/bad"
    want='line 1' refused --token-file "$here/bad"
done
hash=$(printf x | sha256sum | cut -d' ' -f1)
for quota in jobs=x jobs=-1 arena=101% arena=1Q cows=3 jobs=3x; do
    echo "bob user $hash $quota" >"$here/bad"
    want='line 1' refused --token-file "$here/bad"
done
"$build/tutti-server" --new-token alice:user >"$here/out" 2>&1 && fail "it knows no file"
for who in alice alice:boss 1alice:user ':user' "$(head -c 33 /dev/zero | tr '\0' a):user"; do
    new_token "$who" >"$here/out" 2>&1 && fail "$who is no account with a role"
done
true
