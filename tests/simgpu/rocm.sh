#!/bin/bash
# rocm.sh - the NCCL backend compiles against HIP: what `make GPU=rocm` makes are objects that call HIP and nothing of
# CUDA's.
set -u
tests/deps.sh rocm || exit 1
work=$(mktemp -d)
trap 'rm -rf "$work"' EXIT
passed=0 failed=0
fact() {
    if eval "$2"; then
        passed=$((passed + 1))
    else
        echo "FAILED: $1"
        failed=$((failed + 1))
    fi
}

if make -s -n GPU=rocm BUILD="$work" all | grep -q 'no HIP\|no RCCL in [^(]*$'; then
    echo 'NOTE skipped: neither RCCL nor NCCL has a header here'
    exit 0
fi
objects=()
for source in worker/nccl/*.c; do
    objects+=("$work/worker/nccl/$(basename "$source" .c).o")
done
if ! make -s GPU=rocm BUILD="$work" "$work/tutti-worker" "${objects[@]}" >"$work/out" 2>&1; then
    tail -n 20 "$work/out"
    echo 'CASES 0 1'
    exit 1
fi
for object in "${objects[@]}"; do
    fact "$(basename "$object") calls nothing of CUDA's" "! nm -u '$object' | grep -q ' cuda'"
done
fact 'the backend calls HIP' "nm -u '$work'/worker/nccl/device.o | grep -q ' hipSetDevice'"
fact 'the worker was built' "[ -x '$work/tutti-worker' ]"
echo "CASES $passed $failed"
[ $failed -eq 0 ]
