#!/bin/bash
# check_gpu.sh - what `make check-gpu` runs where there are GPUs works: the table has a row for each operation and size, its
# rates are those of nccl-tests' formulas, and where there is no GPU it is skipped with status 0.
# shellcheck source-path=SCRIPTDIR
. "$(dirname "$0")/lib.sh"
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

tests/check_gpu.sh >"$work/out" 2>&1
fact 'no GPU: skipped, and no failure' "[ $? -eq 0 ] && grep -q 'skipped: there is no GPU' '$work/out'"

export LD_LIBRARY_PATH=$PWD/${build#"$PWD"/}/simgpu SIMGPU_DEVICES=3 SIMGPU_TAG=$tag SIMGPU_REPORT=$work
tests/check_gpu.sh >"$work/out" 2>&1
fact 'simulated GPUs are not taken for real ones' "[ $? -eq 1 ] && grep -q simulated '$work/out'"

timeout 120 /usr/bin/python3 tests/bench/gpu.py 65536 2 >"$work/out" 2>&1
fact 'the table is made' "[ $? -eq 0 ]"
fact 'it says that they are simulated' "grep -q SIMULATED '$work/out'"
for op in all_reduce_sum reduce_sum broadcast all_gather reduce_scatter_sum all_to_all gather scatter remote_send; do
    fact "$op has its rows" "[ \$(grep -c '^$op ' '$work/out') -eq 3 ]"
done
export TUTTI_TEST_BACKEND=nccl TUTTI_TEST_GPUS=3
timeout 100 tests/http/53-side-by-side.sh >"$work/out" 2>&1
fact 'a test for more GPUs than there are is skipped' "[ $? -eq 0 ] && grep -q 'NOTE skipped: it takes 4 GPUs' '$work/out'"
export SIMGPU_DEVICES=1 TUTTI_TEST_GPUS=4 ASAN_OPTIONS=${ASAN_OPTIONS:-}:verify_asan_link_order=0
export LD_PRELOAD=$PWD/${build#"$PWD"/}/tests/one_gpu.so
timeout 100 tests/http/27-scatter.sh >"$work/out" 2>&1
fact 'four ranks share one GPU' "[ $? -eq 0 ]"
unset LD_PRELOAD
fact 'the double has nothing to complain of' "[ ! -s '$work/complaints' ]"
echo "CASES $passed $failed"
[ $failed -eq 0 ]
