# lib.sh - the start of every shell test on the simulated GPU: at the root, with the doubles built, or skipped.
# shellcheck shell=bash disable=SC2034
set -u
cd "$(dirname "$0")/../.." || exit 2
build=${BUILD:-build}
if [ ! -e "$build/simgpu/libnccl.so.2" ]; then
    echo 'NOTE skipped: no CUDA toolkit'
    exit 0
fi
work=$(mktemp -d)
tag=test$$ # of this test's communicators
trap 'rm -rf "$work"; rm -f /dev/shm/simgpu-"$tag"-*' EXIT
