#!/bin/bash
# check_gpu.sh - on a machine with GPUs: the suite that the simulated ones pass, on the real libraries, then a table of what
# each operation reaches. On a machine with one GPU the suite runs again with four ranks that share it. Without a GPU it says so,
# and that is no failure. Simulated GPUs are refused, so that nobody takes the one for the other.
set -u
cd "$(dirname "$0")/.." || exit 2
build=${BUILD:-build}

gpus=$("$build/tutti-worker" --print-gpus) || exit 1
if [ "$gpus" -eq 0 ]; then
    echo "check-gpu: skipped: there is no GPU here that tutti-worker can use"
    exit 0
fi
case ${LD_LIBRARY_PATH:-} in
*simgpu*)
    echo "check-gpu: the GPUs are simulated; see tests/simgpu for those" >&2
    exit 1
    ;;
esac
echo "check-gpu: $gpus GPUs"
# One test at a time: each wants the GPUs for itself. NCCL looks at the pointers, too.
export NCCL_CHECK_POINTERS=1 TUTTI_TEST_BACKEND=nccl TUTTI_TEST_SIMULATED=false TUTTI_TEST_GPUS=$gpus
status=0
suite() {
    tests/run.sh -j 1 -t 1800 tests/http/[0-9]*.sh tests/conformance/conformance.py tests/conformance/gradients.py || status=1
}
suite
if [ "$gpus" -eq 1 ] && [ -e "$build/tests/one_gpu.so" ]; then
    echo "check-gpu: again, with four ranks on the one GPU"
    (
        export LD_PRELOAD=$PWD/${build#"$PWD"/}/tests/one_gpu.so TUTTI_TEST_GPUS=4
        export NCCL_NET=Socket NCCL_SOCKET_IFNAME=lo NCCL_MAX_CTAS=4
        suite
        exit $status
    ) || status=1
fi
/usr/bin/python3 tests/bench/gpu.py || status=1
exit $status
