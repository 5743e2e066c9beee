#!/bin/sh
# A JSON value from rank 0 to all ranks of a group.
. "$(dirname "$0")/lib.sh"
. "$(dirname "$0")/calls.sh"
start_server --workers 3

# bcast RANK [JSON]: as call
bcast() {
    if [ $# -gt 1 ]; then
        printf '%s' "$2" >"$here/value$1"
        set -- "$1" -H 'Content-Type: application/json' --data-binary "@$here/value$1"
    fi
    rank=$1
    shift
    echo "/v1/groups/world/bcast?rank=$rank" >"$here/path$rank"
    curl -sS --max-time 60 -X POST -D "$here/head$rank" -o "$here/rank$rank" -w '%{http_code}' "$@" "$url/v1/groups/world/bcast?rank=$rank" \
        >"$here/status$rank" &
}

# all JSON: every rank gets it
all() {
    bcast 1
    one=$!
    bcast 2
    two=$!
    bcast 0 "$1"
    wait $one $two $!
    for rank in 0 1 2; do
        answer $rank 200 .value "$(printf '%s' "$1" | jq -c .)"
    done
}
all '{"lr": 0.1, "name": "é\"\\", "deep": [[1, null], {"a": true}]}'
all '7'
all '"text"'
all "[\"$(head -c 1000000 /dev/zero | tr '\0' x)\"]"
answer 1 200 .seq 3 # counted with the other calls

bcast 1 '1' # not its to say
wait $!
answer 1 422 .code '"inputs_invalid"'
bcast 0
wait $!
answer 0 422 .code '"inputs_invalid"'
bcast 0 '{"a": '
wait $!
answer 0 400 .code '"bad_json"'
bcast 0 "[\"$(head -c 1100000 /dev/zero | tr '\0' x)\"]"
wait $!
answer 0 413 .code '"body_too_large"'
post '/v1/groups/world/bcast' '1'
expect_status 422
expect .pointer '"/rank"'

# A tensor is no value.
bcast 0 '1'
first=$!
sleep 0.3
call 1 '{"op": "broadcast"}'
wait $first $!
answer 0 409 .code '"mismatch"'
jq -r .detail "$here/body" | grep -q 'rank 0 called broadcast of JSON' || fail 'who called what?'
call 2 '{"op": "broadcast"}'
wait $!
answer 2 409 .code '"mismatch"'
all '[]'
