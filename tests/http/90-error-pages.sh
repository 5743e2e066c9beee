#!/bin/bash
# Every error has a page, in the order of the table, that says what it means and what to do. The commands on it get exactly that
# error, from a service that was started as the page says; the few errors that no command can get show where to look.
. "$(dirname "$0")/lib.sh"

# They need a reboot, a full disk, a crash, a GPU, or more requests than a test should send; or they are in no answer at all.
only_shown=' tensor_lost too_many_groups too_many_waits too_many_jobs no_memory overloaded draining outcome_unknown device_full
 storage_full worker_crashed worker_failed inputs_lost internal option arena store input_wanted aborted link refused '
only_shown=$(echo "$only_shown" | tr '\n' ' ')

"$build/tutti-server" --print-tables | sed -n 's/^error \([^ ]*\) .*/\1 /p' >"$here/codes"
sed -n 's/^## \(.*\)/\1 /p' "$root/web/errors.md" | diff "$here/codes" - >"$here/differ" ||
    fail "web/errors.md has other sections than schema/errors.def has rows: $(cat "$here/differ")"

# The commands of a page find what they call: curl, which knows the port, and make run, which starts a service of the page's own.
mkdir "$here/bin"
cat >"$here/bin/curl" <<'SH'
#!/bin/bash
[ ! -f port ] || TUTTI_TEST_URL=http://127.0.0.1:$(cat port)
exec /usr/bin/curl "${@//http:\/\/127.0.0.1:8080/$TUTTI_TEST_URL}"
SH
cat >"$here/bin/make" <<'SH'
#!/bin/bash
port=$(python3 -c 'import socket; s = socket.socket(); s.bind(("127.0.0.1", 0)); print(s.getsockname()[1])')
# shellcheck disable=SC2086 # options
build/tutti-server --listen "127.0.0.1:$port" --arena-size 64M --workers 2 --data-dir data --arena-dir "$TUTTI_TEST_ARENA" ${2#ARGS=} >log 2>&1 &
echo $! >pid
until /usr/bin/curl -s -o /dev/null --fail "http://127.0.0.1:$port/healthz" || [ $((tries += 1)) -eq 400 ]; do sleep 0.05; done
echo "$port" >port
SH
chmod +x "$here/bin/curl" "$here/bin/make"
ln -s /usr/bin/python3 "$here/bin/python3" # Debian's, which has NumPy

wrong=0
page_wrong() {
    wrong=$((wrong + 1))
    echo "$1: $2"
    tail -c 1500 "$here/commands" "$here/said" "$here/complained" | tr -d '\000'
}

# run_page: the page's commands, in a directory of their own; what they print is in said
run_page() {
    mkdir "$here/room"
    ln -s "$build" "$here/room/build"
    sed -n 's/^    //p' "$here/body" >"$here/commands"
    grep -q 'curl ' "$here/commands" || fail "the page of $1 has no command"
    (cd "$here/room" && PATH=$here/bin:$PATH TUTTI_TEST_URL=$url TUTTI_TEST_ARENA=$arena_dir-page timeout 60 bash -eu "$here/commands") \
        >"$here/said" 2>"$here/complained" || page_wrong "$1" "its commands leave with $?"
    if [ -f "$here/room/pid" ]; then
        kill "$(cat "$here/room/pid")"
        tries=$((patience * 20))
        until gone "$(cat "$here/room/pid")" || [ $((tries -= 1)) -eq 0 ]; do sleep 0.05; done
    fi
    rm -rf "$here/room" "$arena_dir-page"
}

start_server --workers 2
while read -r code; do
    get "/docs/errors/$code" -H 'Accept: text/plain'
    expect_status 200
    expect_header Content-Type 'text/markdown; charset=utf-8'
    expect_in "# $code"
    expect_in '**What to do:** '
    run_page "$code"
    case $only_shown in
    *" $code "*) ! grep -q '"code":' "$here/said" || grep -q '"jobs":' "$here/said" || page_wrong "$code" 'this gets an error' ;;
    *) grep -qE "\"status\":[0-9]+,.*\"code\":\"$code\"" "$here/said" || page_wrong "$code" 'this gets another answer' ;;
    esac
done <"$here/codes"
status=''
[ "$wrong" -eq 0 ] || fail "$wrong pages are wrong"

# For browsers, whatever stands in the text.
get /docs/errors/not_divisible
expect_header Content-Type 'text/html; charset=utf-8'
expect_in '<h1>The axis does not divide by the group size</h1>'
expect_in '<strong>What to do:</strong>'
get /docs/errors.md
expect_status 200
expect_file "$root/web/errors.md"
get /docs/errors
expect_status 200
while read -r code; do
    expect_in "<a href=\"errors/$code\">$code</a>"
done <"$here/codes"
sed -n 's|^<tr><td>\([0-9]*\)<td><a href="errors/\([a-z_]*\)".*|\1 \2|p' "$here/body" >"$here/listed"
[ "$(wc -l <"$here/listed")" -eq "$(wc -l <"$here/codes")" ] || fail 'each code is a row'
LC_ALL=C sort -c "$here/listed" || fail 'the rows should be by status, and then by name'
for nothing in none Internal ''; do
    get "/docs/errors/$nothing"
    expect_problem 404 not_found
done

# The type of a problem leads to its page, from wherever it was asked for, and below any prefix.
for path in /v1/nope /nope /v1/groups/world/kv/nothing /v1/jobs?nope=1 /a/b/c/d/; do
    get "$path"
    code=$(value .code)
    got=$(python "$path" "$(value .type)" <<'PY'
import sys, urllib.parse
print(urllib.parse.urljoin("http://host/a/prefix" + sys.argv[1], sys.argv[2]))
PY
)
    [ "$got" = "http://host/a/prefix/docs/errors/$code" ] || fail "from $path the type leads to $got"
done
