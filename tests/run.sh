#!/bin/bash
# run.sh [-j JOBS] [-t SECONDS] [-l LAST] TEST... - runs tests, a few at a time, each in a temporary directory of its
# own, and prints one line a test, the output of those that failed, and last `N passed, N failed`.
#
# A test is an executable; its exit status counts. One that prints `CASES passed failed`, and a cmocka
# program, counts as that many; a line `NOTE text` of its output is shown also when it passes. BUILD in the environment says which binaries are tested,
# TUTTI_TEST_KEEP a directory that gets each test's output and status. LAST is a test that begins when all others have
# ended, and finds in TUTTI_TEST_RECORD what they asked servers and were answered.
set -u

jobs=4 limit=300 last=
while getopts j:t:l: option; do
    case $option in
    j) jobs=$OPTARG ;;
    t) limit=$OPTARG ;;
    l) last=$OPTARG ;;
    *) exit 2 ;;
    esac
done
shift $((OPTIND - 1))

# The tests' servers hear nothing of what the caller's would.
for variable in "${!TUTTI_@}"; do
    [[ $variable == TUTTI_TEST_* ]] || unset "$variable"
done

work=$(mktemp -d) || exit 2
shm=$work
# Arenas belong on tmpfs, where there is one.
[ ! -w /dev/shm ] || shm=$(mktemp -d /dev/shm/tutti-tests.XXXXXX) || shm=$work
trap 'rm -rf "$work" "$shm"' EXIT
if [ -n "$last" ]; then
    export TUTTI_TEST_RECORD=$work/records
    mkdir "$TUTTI_TEST_RECORD"
fi
trap 'trap - INT TERM; kill $(jobs -p) 2>/dev/null; wait; exit 130' INT TERM

# count FILE STATUS: prints "passed failed"
count() {
    local passed failed
    read -r passed failed < <(awk '
        /^CASES [0-9]+ [0-9]+$/ { seen = 1; p = $2; f = $3 }
        /^\[  PASSED  \] [0-9]+ test\(s\)/ { seen = 1; p = $4 }
        /^\[  FAILED  \] [0-9]+ test\(s\)/ { seen = 1; f = $4 }
        END { if (seen) print p + 0, f + 0; else print 0, 0 }' "$1")
    if [ "$2" -ne 0 ]; then
        [ "$failed" -gt 0 ] || failed=1
    elif [ $((passed + failed)) -eq 0 ]; then
        passed=1
    fi
    echo "$passed" "$failed"
}

# run_one NUMBER TEST
run_one() {
    local number=$1 test=$2 out=$work/$1.out name=${2##*tests/} begun=$EPOCHREALTIME status pid
    local passed failed seconds verdict=ok note=

    mkdir -p "$work/$number" "$shm/arena$number"
    case $test in
    */*) ;;
    *) test=./$test ;;
    esac
    TMPDIR=$work/$number TUTTI_TEST_SHM=$shm/arena$number \
        timeout -k 20 "$limit" "$test" >"$out" 2>&1 </dev/null &
    pid=$!
    trap 'kill "$pid" 2>/dev/null; wait "$pid"; exit 1' TERM
    wait "$pid"
    status=$?
    seconds=$(awk -v a="$begun" -v b="$EPOCHREALTIME" 'BEGIN { printf "%.1f", b - a }')
    read -r passed failed < <(count "$out" "$status")
    echo "$passed $failed" >"$work/$number.count"
    [ "$((passed + failed))" -le 1 ] || note=", $passed of $((passed + failed))"
    note+=$(sed -n 's/^NOTE /; /p' "$out" | tr -d '\n')
    [ "$status" -ne 124 ] || note="$note, stopped after $limit s"
    [ "$failed" -eq 0 ] || verdict=FAIL
    {
        printf '%-4s %s  (%s s%s)\n' "$verdict" "$name" "$seconds" "$note"
        [ "$verdict" = ok ] || sed 's/^/     | /' "$out"
    } >"$out.line"
    flock "$work" cat "$out.line"
    [ -z "${TUTTI_TEST_KEEP:-}" ] || { cat "$out" && printf '\nSTATUS %s\n' "$status"; } >"$TUTTI_TEST_KEEP/${2//\//_}"
    rm -rf "${work:?}/$number" "${shm:?}/arena$number" "$out"
}

number=0
for test; do
    while [ "$(jobs -rp | wc -l)" -ge "$jobs" ]; do
        wait -n
    done
    run_one "$number" "$test" &
    number=$((number + 1))
done
wait
if [ -n "$last" ]; then
    run_one "$number" "$last" &
    number=$((number + 1))
    wait
fi

cat "$work"/*.count 2>/dev/null | awk -v tests="$number" '
    { p += $1; f += $2 }
    END {
        f += tests - NR # a test without a count did not end
        printf "%d passed, %d failed\n", p, f
        exit f > 0 || tests == 0
    }'
