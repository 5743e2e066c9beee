#!/bin/bash
# no_gpu.sh - without a GPU, or without a driver, or with one that is too old: one clear line under nccl, the CPU under auto.
# shellcheck source-path=SCRIPTDIR
. "$(dirname "$0")/lib.sh"
if [ "$("$build/tutti-worker" --print-gpus 2>/dev/null)" != 0 ]; then
    echo 'NOTE skipped: there is a GPU'
    exit 0
fi
passed=0 failed=0
fact() {
    if eval "$2"; then
        passed=$((passed + 1))
    else
        echo "FAILED: $1"
        sed 's/^/  | /' "$work/out"
        failed=$((failed + 1))
    fi
}

# server OPTION...: runs until it serves or leaves, and what it has said is in out
server() {
    rm -rf "$work/data" "$work/arena"
    "$build/tutti-server" --listen 127.0.0.1:0 --data-dir "$work/data" --arena-dir "$work/arena" --arena-size 8M "$@" >"$work/out" 2>&1 &
    server=$!
    tries=400
    until grep -q '^listening on' "$work/out" || ! kill -0 $server 2>/dev/null || [ $((tries -= 1)) -le 0 ]; do
        sleep 0.05
    done
    url=$(sed -n 's/^listening on //p' "$work/out")
    backends=
    [ -z "$url" ] || backends=$(curl -sS "$url/v1/workers" | jq -c '[.workers[].backend] | unique')
    kill $server 2>/dev/null
    status=0
    wait $server || status=$?
}

# Two ways to have none: the toolkit's own libraries, which want a driver (none, or one that is too old, is the same error 35
# to them); a machine with a driver and no GPU.
for way in real none; do
    [ $way = real ] || export LD_LIBRARY_PATH=$PWD/${build#"$PWD"/}/simgpu SIMGPU_DEVICES=0
    "$build/tutti-worker" --server unix:"$work/none" --backend nccl --device gpu:0 >"$work/out" 2>&1
    fact "$way: a worker on nccl leaves with status 2" "[ $? -eq 2 ]"
    fact "$way: and says why in one line" "[ \$(wc -l <'$work/out') -eq 1 ] && grep -q 'gpu:0.*no GPU' '$work/out'"
    server --backend nccl --workers 2
    fact "$way: so does a server" "[ $status -ne 0 ] && [ \$(wc -l <'$work/out') -eq 1 ] && grep -q 'no GPU' '$work/out'"
    server --backend auto --workers 2
    fact "$way: auto takes the CPU" "[ '$backends' = '[\"shm\"]' ] && [ $status -eq 0 ]"
    fact "$way: and makes no fuss" "! grep -qi 'cuda\|error\|warn' '$work/out'"
done
[ $failed -ne 0 ] || echo 'row G1 ok'
echo "CASES $passed $failed"
[ $failed -eq 0 ]
