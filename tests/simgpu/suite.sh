#!/bin/bash
# suite.sh - the HTTP suite, conformance, gradients, calls, chains and the notebook of the CPU backend again, by the same worker file on NCCL
# and simulated GPUs: the same bits, no complaint of the double, nothing leaked.
# shellcheck source-path=SCRIPTDIR
. "$(dirname "$0")/lib.sh"
failed=0
fail() {
    echo "FAILED: $*"
    failed=$((failed + 1))
}

# The very file, linked to the toolkit's libraries, switched by LD_LIBRARY_PATH alone.
sum=$(sha256sum "$build/tutti-worker")
for library in libcudart libnccl; do
    ldd "$build/tutti-worker" | grep -q "$library.*=> /.*$library" || fail "tutti-worker is not linked to $library"
done
readelf -d "$build/tutti-worker" | grep -qE 'NEEDED.*libcuda\.so' && fail 'tutti-worker needs a driver to start'

export LD_LIBRARY_PATH=$PWD/${build#"$PWD"/}/simgpu SIMGPU_DEVICES=16 SIMGPU_TAG=$tag SIMGPU_REPORT=$work
export TUTTI_TEST_BACKEND=nccl SIMGPU_IN_PROGRESS=1
tests/run.sh -t 600 tests/http/[0-9]*.sh tests/http/events_test.py tests/conformance/conformance.py \
    tests/conformance/gradients.py tests/load/calls.py tests/load/chain.py tests/notebook/notebook.py >"$work/out" 2>&1 || failed=$((failed + 1))
grep -E '^(FAIL| +\|)' "$work/out"
tail -n 1 "$work/out"

if [ -s "$work/complaints" ]; then
    fail 'the double complains:'
    sort "$work/complaints" | cut -d '[' -f 1 | uniq -c | head -20
fi
reports=$(find "$work" -name '*.json' | wc -l)
launches=$(cat "$work"/*.json | sed 's/.*"launches": \([0-9]*\).*/\1/' | awk '{ n += $1 } END { print n + 0 }')
[ "$launches" -gt 1000 ] || fail "only $launches collectives were launched"
[ "$sum" = "$(sha256sum "$build/tutti-worker")" ] || fail 'tutti-worker is another file now'
left=$(find /dev/shm -name "simgpu-$tag-*" | wc -l)
[ "$left" -eq 0 ] || echo "NOTE $left communicators never met"

read -r passed bad < <(tail -n 1 "$work/out" | awk '{ print $1, $3 }')
echo "NOTE $reports processes, $launches launches on simulated GPUs"
echo "CASES ${passed:-0} $((${bad:-0} + failed))"
[ $failed -eq 0 ]
