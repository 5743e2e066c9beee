#!/bin/bash
# mutants.sh - the simulated GPU exercises the worker honestly: with one synchronisation of the NCCL backend taken out,
# or two launches swapped, a test that passes on the worker as it is turns red.
# shellcheck source-path=SCRIPTDIR
. "$(dirname "$0")/lib.sh"
case $build in
build) ;; # elsewhere instrumented: what is shown here does not depend on it
*)
    echo 'NOTE only in the plain build'
    exit 0
    ;;
esac
cp -a Makefile schema server worker tests "$work/"
mkdir "$work/build"
cp -a build/*.a build/embed.h build/schema build/server build/worker build/simgpu build/tutti-* "$work/build/"
passed=0 failed=0

# A large all_reduce; then an all_to_all without a complaint.
counts() {
    (cd "$work" && BUILD=build SIMGPU_LAG_US=2000 timeout 120 tests/simgpu/counts.py 48)
}
batch() {
    (cd "$work" && BUILD=build timeout 120 tests/simgpu/batch.py 1)
}
exchange() {
    (
        cd "$work" || exit 2
        rm -rf report && mkdir report
        export LD_LIBRARY_PATH=$work/build/simgpu SIMGPU_DEVICES=4 SIMGPU_TAG=$tag SIMGPU_REPORT=$work/report
        BUILD=build TUTTI_TEST_PATIENCE=10 timeout 120 tests/http/28-all-to-all.sh && [ ! -e report/complaints ]
    )
}

# mutant NAME RED|GREEN TEST FLAGS FILE SED: builds the worker so changed, and the test must end so
mutant() {
    local name=$1 want=$2 test=$3 flags=$4 file=$5 script=$6 got=GREEN
    cp -a "$file" "$work/$file"
    [ -z "$script" ] || sed -i "$script" "$work/$file"
    touch "$work/$file"
    if [ -n "$script" ] && cmp -s "$file" "$work/$file"; then
        echo "$name: the change changes nothing"
        failed=$((failed + 1))
        return
    fi
    if ! make -s -C "$work" OPT="-O2 -g $flags -Wno-unused -Wno-unused-parameter" build/tutti-worker >"$work/out" 2>&1; then
        echo "$name: does not build"
        tail "$work/out"
        failed=$((failed + 1))
        return
    fi
    "$test" >"$work/out" 2>&1 || got=RED
    if [ $got = "$want" ]; then
        passed=$((passed + 1))
    else
        echo "$name: $got"
        tail -n 20 "$work/out"
        failed=$((failed + 1))
    fi
    cp -a "$file" "$work/$file"
    touch "$work/$file"
}

stage=worker/nccl/stage.c calls=worker/nccl/calls.c old=-DTUTTI_NCCL_SEND_RECV
mutant 'as it is' GREEN counts '' $stage ''
mutant 'no event wait before the collective' RED counts '' $stage 's/rc = wait_for(c->run, s->in_done);/{}/'
mutant 'no event wait before the copy out' RED counts '' $stage 's/rc = wait_for(c->stage->out, s->run_done);/{}/'
mutant 'no synchronise before the end' RED counts '' $stage 's/rtError_t rc = rtEventQuery(s->out_done);/rtError_t rc = rtSuccess;/'
mutant 'two launches swapped on a rank' RED counts '' $stage \
    's/return chunk \* p->chunk_bytes;/return (p->task->rank == 0 \&\& chunk < 2 ? 1 - chunk : chunk) * p->chunk_bytes;/'
mutant 'send and receive as it is' GREEN exchange $old $calls ''
mutant 'a group not ended' RED exchange $old $calls 's/    end = ncclGroupEnd();/    end = ncclSuccess;/'
mutant 'batches as they are' GREEN batch '' $stage ''
mutant 'a batch without its end' RED batch '' $stage 's/    end = ncclGroupEnd();/    end = ncclSuccess;/'
mutant 'a batch whose parts lie on each other' RED batch '' worker/nccl/nccl.c 's/^    end->in_stage = \*at;/    end->in_stage = 0;/'
[ $failed -ne 0 ] || echo 'row G11 ok'
echo "CASES $passed $failed"
[ $failed -eq 0 ]
