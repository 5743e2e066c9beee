#!/bin/bash
# planted.sh - every kind of misuse, planted in a small program, is seen by the simulated GPU and named;
# programs without one are told nothing.
# shellcheck source-path=SCRIPTDIR
. "$(dirname "$0")/lib.sh"
program=$build/simgpu/planted
passed=0 failed=0

# plant STATUS TEXT PROGRAM [VARIABLE=VALUE...]: ends so, and says so ("": no complaint at all)
plant() {
    local status=$1 text=$2 name=$3 got problem=
    shift 3
    rm -f "$work"/*
    [ -z "${fault:-}" ] || echo "$fault" >"$work/fault"
    env LD_LIBRARY_PATH="$build/simgpu" SIMGPU_DEVICES=2 SIMGPU_TAG="$tag" SIMGPU_REPORT="$work" \
        SIMGPU_FAULT="$work/fault" "$@" timeout 60 "$program" "$name" >"$work/out" 2>&1
    got=$?
    [ "$got" -eq "$status" ] || problem="exit $got, $status is expected"
    [ -z "$text" ] || grep -qF -- "$text" "$work/out" || problem="$problem; \"$text\" is not said"
    [ -n "$text" ] || [ ! -e "$work/complaints" ] || problem="$problem; complaints"
    [ ! -e "$work/fault" ] || problem="$problem; the fault was not taken"
    if [ -z "$problem" ]; then
        passed=$((passed + 1))
    else
        failed=$((failed + 1))
        echo "$name $*: ${problem#; }"
        sed 's/^/    /' "$work/out"
    fi
}

# Nothing to complain of, however late streams are and whatever the lags.
plant 0 '' right
plant 0 '' right_on_two_streams
plant 0 '' right SIMGPU_LAG_US=20000
plant 0 '' right SIMGPU_IN_PROGRESS=5
for seed in 1 2 3 4 5; do
    plant 0 '' right_on_two_streams SIMGPU_LAG_US=20000 SIMGPU_SEED=$seed
done

plant 86 'ncclAllReduce: 0x' host_pointer
plant 86 'is pinned host memory, a device pointer is required' host_pointer
plant 86 'is not pinned: the copy would not be asynchronous' pageable_copy
plant 86 'is device memory, host memory is required' device_as_host
plant 86 'was freed' freed
plant 86 '800000 bytes at offset 64 overrun an allocation of 800000' overrun
plant 86 'host code: it touched device memory at 0x' touched_by_host
plant 86 'ncclAllReduce: it reads' no_wait_before_collective
plant 86 'cudaMemcpyAsync: it reads' no_wait_before_copy_out
plant 3 'planted: the sum failed' read_too_early SIMGPU_LAG_US=20000
plant 86 'the host source changed between the call and the copy' source_reused SIMGPU_LAG_US=20000
plant 86 'the legacy default stream' default_stream
plant 86 'ncclGroupStart without ncclGroupEnd, depth 1' group_left_open
plant 86 'ncclGroupEnd: without ncclGroupStart' end_without_start
plant 86 'inside ncclGroupStart: nothing was launched, it hangs' synchronised_in_group
plant 86 'calls kind 0, 199999 elements of type 7' counts_differ
plant 86 'elements of type 2' types_differ
plant 86 'root 1; rank' roots_differ
plant 86 'calls kind 0, 10 elements of type 7, op 2' order_differs
plant 86 'in use by another thread at this moment' two_threads SIMGPU_CALL_US=100000
plant 86 'was destroyed' destroyed_stream
plant 86 'event 0x' destroyed_event
plant 86 '4096 bytes of device memory' leaked_memory
plant 86 '1 streams were never destroyed' leaked_stream
plant 86 '1 events were never destroyed' leaked_event
plant 86 '1 communicators were never destroyed' leaked_communicator
plant 86 'ncclCommDestroy: without ncclCommFinalize' destroyed_unfinalized

# Faults: what each rank sees of them, and that an abort ends them. Error 600 is cudaErrorNotReady.
fault='0 async' plant 0 'rank 0: query 600, state 2' survives
fault='1 async' plant 0 'rank 0: query 600, state 0' survives # a peer only hangs, as with the real library
fault='1 hang' plant 0 'rank 1: query 600, state 0' survives
fault='1 slow 300000' plant 0 'rank 0: query 0, state 0' survives
fault='0 oom' plant 0 'out of memory' survives
fault='1 lost' plant 3 'cudaSetDevice failed' survives
fault='1 die' plant 137 'rank 0: query 600, state 0' survives
fault='0 init_slow 300000' plant 0 '' right
fault='1 alloc' plant 3 'cudaMalloc failed' right
fault='0 init_fail' plant 3 'the communicator failed' right

# What the doubles export, the real ones have, under the same versions.
symbols() {
    objdump -T "$1" | awk '$4 == ".text" { print $(NF - 1), $NF }' | grep -E ' (cuda|nccl)[A-Z]' | sort -u
}
cuda=$(ldd "$program" | awk '/libcudart/ { print $3 }') nccl=$(ldd "$program" | awk '/libnccl/ { print $3 }')
for pair in "libcudart.so.13 $cuda" "libnccl.so.2 $nccl"; do
    read -r double real <<<"$pair"
    unknown=$(comm -23 <(symbols "$build/simgpu/$double") <(symbols "$real"))
    if [ -z "$unknown" ] && [ -n "$(symbols "$real")" ]; then
        passed=$((passed + 1))
    else
        failed=$((failed + 1))
        printf '%s has what %s has not:\n%s\n' "$double" "$real" "$unknown"
    fi
done

# The same file on the real libraries: no GPU here, or the right sum.
status=0
timeout 60 "$program" right >"$work/out" 2>&1 || status=$?
if [ $status -eq 77 ] || [ $status -eq 0 ]; then
    passed=$((passed + 1))
else
    failed=$((failed + 1))
    echo "on the real libraries: exit $status"
    cat "$work/out"
fi
echo "CASES $passed $failed"
[ $failed -eq 0 ]
