#!/bin/bash
# run.sh SECONDS SEED HARNESS... - lets each harness of BUILD search for that long, two at a time, from the seeds and
# the inputs that were found before. One line a harness; last `N passed, N failed`. What a search learns stays in
# BUILD/corpus, for the next one to begin with; an input that shows a fault is written to BUILD/faults.
set -u
cd "$(dirname "$0")/../.." || exit 2

jobs=2 seconds=$1 seed=$2
shift 2
work=$(mktemp -d) || exit 2
shm=$work
[ ! -w /dev/shm ] || shm=$(mktemp -d /dev/shm/tutti-fuzz.XXXXXX) || shm=$work
trap 'rm -rf "$work" "$shm"' EXIT
trap 'trap - INT TERM; kill $(jobs -p) 2>/dev/null; wait; exit 130' INT TERM

# No input of ours is longer than 8 kB, so no piece of memory has a reason to be large, but for a JSON body's room.
limits() {
    case $1 in
    fuzz_request) echo -malloc_limit_mb=80 ;;
    *) echo -malloc_limit_mb=32 ;;
    esac
    echo -rss_limit_mb=1024 -timeout=20
}

dictionary() {
    case $1 in
    fuzz_json | fuzz_json_tensor | fuzz_lane | fuzz_safetensors) echo -dict=tests/fuzz/json.dict ;;
    fuzz_npy) echo -dict=tests/fuzz/npy.dict ;;
    fuzz_request | fuzz_target) echo -dict=tests/fuzz/http.dict ;;
    esac
}

# search HARNESS: prints its line, and what it found
search() {
    local name=$1 out=$work/$1.out corpus=$BUILD/corpus/$1 found=tests/fuzz/found/${1#fuzz_} faults status line
    local -a from=("$corpus" "$work/seeds/${1#fuzz_}")

    mkdir -p "$corpus" "$BUILD/faults" "$shm/$name"
    [ ! -d "$found" ] || from+=("$found")
    # Words on purpose.
    # shellcheck disable=SC2046
    TUTTI_TEST_SHM=$shm/$name timeout -k 10 $((seconds + 120)) "$BUILD/tests/fuzz/$name" \
        -max_total_time="$seconds" -seed="$seed" -artifact_prefix="$BUILD/faults/$name-" -print_final_stats=1 \
        $(limits "$name") $(dictionary "$name") "${from[@]}" >"$out" 2>&1
    status=$?
    line=$(sed -nE 's/^#([0-9]+)[[:space:]]+DONE +cov: ([0-9]+) ft: [0-9]+ corp: ([0-9]+).*/\1 executions, cov \2, corpus \3/p' "$out" | tail -n 1)
    {
        if [ "$status" -eq 0 ] && [ -n "$line" ]; then
            printf 'ok   %s  (%s s, %s)\n' "$name" "$seconds" "$line"
            echo 1 0 >"$work/$name.count"
        else
            printf 'FAIL %s  (status %s)\n' "$name" "$status"
            grep -vE '^(#[0-9]+|INFO:|Done |stat::|"|MS:|artifact_prefix|Base64)|NEW_FUNC' "$out" | tail -n 60 | sed 's/^/     | /'
            faults=$(sed -n "s/.*Test unit written to //p" "$out" | tail -n 1)
            if [ -n "$faults" ]; then
                printf '     To see it again:   %s %s\n' "$BUILD/tests/fuzz/$name" "$faults"
                printf '     To keep it as a test, once it is mended:   mkdir -p %s && cp %s %s/NAME\n' "$found" "$faults" "$found"
            fi
            echo 0 1 >"$work/$name.count"
        fi
    } >"$work/$name.line"
    flock "$work" cat "$work/$name.line"
}

tests/fuzz/seeds.py "$work/seeds" || exit 2
for name; do
    while [ "$(jobs -rp | wc -l)" -ge "$jobs" ]; do
        wait -n
    done
    search "$name" &
done
wait

cat "$work"/*.count 2>/dev/null | awk -v harnesses=$# '
    { p += $1 }
    END {
        printf "%d passed, %d failed\n", p, harnesses - p
        exit p < harnesses || harnesses == 0
    }'
