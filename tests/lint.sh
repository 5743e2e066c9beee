#!/bin/bash
# lint.sh - what a machine can say about the source: format, static analysis, shell scripts, rooms, lengths, types.
# Last line `N passed, N failed`, one for each kind of check.
set -u
cd "$(dirname "$0")/.." || exit 2
passed=0 failed=0

mapfile -t sources < <(git ls-files '*.c' '*.cc' '*.h' 2>/dev/null || find schema server worker tests -name '*.[ch]' -o -name '*.cc')
mapfile -t scripts < <(git grep -lE '^#!/bin/(ba)?sh|^# shellcheck shell' -- ':!*.md' 2>/dev/null || grep -rlE '^#!/bin/(ba)?sh' tests .ci)
mapfile -t programs < <(git ls-files '*.py' 2>/dev/null || find tests web -name '*.py')

mapfile -t modules < <(git ls-files '*.js' '*.mjs' 2>/dev/null || find web tests -name '*.js' -o -name '*.mjs')

# check NAME COMMAND...
check() {
    local name=$1 out
    shift
    if out=$("$@" 2>&1) && [ -z "$out" ]; then
        printf 'ok   %s\n' "$name"
        passed=$((passed + 1))
    else
        printf 'FAIL %s\n' "$name"
        printf '%s\n' "$out" | sed 's/^/     | /'
        failed=$((failed + 1))
    fi
}

formatted() {
    clang-format --dry-run -Werror "${sources[@]}"
}

# What cppcheck would say of code that is right, each with its reason, is in tests/cppcheck.txt.
analysed() {
    local cache
    cache=$(mktemp -d)
    cppcheck --quiet -j 2 --error-exitcode=1 --enable=warning,performance,portability --inline-suppr \
        --suppressions-list=tests/cppcheck.txt --std=c11 --platform=unix64 -D_GNU_SOURCE -D__linux__ -D__x86_64__ -I. \
        -DTUTTI_VERSION='""' --max-configs=1 --cppcheck-build-dir="$cache" schema server worker
    local status=$?
    rm -rf "$cache"
    return $status
}

# Functions over 70 lines, files over 500, headers over 150; .def files and the OpenAPI document are tables.
lengths() {
    local limit
    ctags -x --c-kinds=f --c++-kinds=f --_xformat='%F:%n %N %{end}' "${sources[@]}" | awk '
        { split($1, at, ":"); long = $3 - at[2] + 1
          if ($3 != "" && long > 70) { print $1 " " $2 " has " long " lines, 70 are allowed"; bad = 1 } }
        END { exit bad }' || return 1
    for file in "${sources[@]}"; do
        limit=500
        [[ $file != *.h ]] || limit=150
        [ "$(wc -l <"$file")" -le $limit ] || grep -q 'long because' "$file" || echo "$file has $(wc -l <"$file") lines, $limit are allowed"
    done
}

# The first comment of a file says its one job: "name.c - ...".
introduced() {
    for file in "${sources[@]}"; do
        head -n 3 "$file" | grep -qF "$(basename "$file") - " || echo "$file: the first comment should be \"$(basename "$file") - ...\""
    done
}

# Modules, but for theme.js, which may be read as one.
parses() {
    command -v node >/dev/null || return 0 # a machine without npm has none
    for file in "${modules[@]}"; do
        node --input-type=module --check <"$file" || echo "$file"
    done
}

check 'clang-format' formatted
check 'cppcheck' analysed
check 'shellcheck' shellcheck -x "${scripts[@]}"
check 'rooms and doors' tests/check_rooms.sh
check 'lengths' lengths
check 'first comments' introduced
check 'openapi.yaml' tests/api/lint.sh
check 'Python compiles' /usr/bin/python3 -c 'import ast, sys; [ast.parse(open(f).read(), f) for f in sys.argv[1:]]' \
    "${programs[@]}"
check 'mypy' mypy --no-error-summary --cache-dir "${BUILD:-build}/mypy" --python-executable /usr/bin/python3 \
    --config-file web/notebook/pyproject.toml web/notebook/tutti.py
check 'JavaScript parses' parses
printf '%d passed, %d failed\n' "$passed" "$failed"
[ "$failed" -eq 0 ]
