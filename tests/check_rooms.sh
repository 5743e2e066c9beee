#!/bin/sh
# check_rooms.sh - who may include what: rooms, doors for foreign headers, and in server/ only downwards.
# Silent when all is in order; lists each stray otherwise.
set -u
cd "$(dirname "$0")/.." || exit 2
bad=0

# stray ROOM FORBIDDEN [FILES-THAT-MAY]
stray() {
    hits=$(grep -rnE "^ *# *include *[<\"]($2)" --include='*.[ch]' --include='*.cc' --include='*.def' "$1" |
        grep -vE "^$1/(${3:-none}):") || return 0
    echo "$hits"
    bad=1
}
foreign='microhttpd|jansson|sqlite3|nccl|cuda|gloo|cmocka|gnutls|bsd/'
stray schema "server/|worker/|tests/|$foreign"
stray schema 'xxhash' 'chunk\.c'
stray server 'worker/|tests/|jansson|nccl|cuda|gloo|cmocka'
stray worker 'server/|tests/|microhttpd|jansson|sqlite3|xxhash|cmocka'
stray server 'microhttpd' 'http[a-z_]*\.[ch]'
stray server 'gnutls' '(tokens|proof|health)\.c'
stray worker 'gnutls' 'proof\.c'
stray server 'bsd/' '(job\.h|scheduler\.c)'
stray server 'sqlite3' 'store[a-z_]*\.[ch]'
stray worker 'nccl|cuda|hip|rccl' 'nccl/[a-z_]+\.[ch]'
stray worker 'gloo' 'gloo/[a-z_]+\.(h|cc)'

# Includes are written from the root, so that each line names the room it reaches into.
bare=$(grep -rnE '^ *# *include *"[^/"]+"' --include='*.[ch]' --include='*.cc' schema server worker tests |
    grep -v '"embed\.h"') && echo "$bare" && bad=1

# Inside server/ includes only go down. A file stands on the floor of the first pattern that it matches.
floor() {
    case $1 in
    main | announce | options* | prepare) echo 5 ;;
    http* | routes* | api | api_* | auth | guard* | negotiate | codec* | params* | problem | body | json* | number* | text | job_doc | lane* | prometheus | reproduce | trace) echo 4 ;;
    job* | call* | resident* | events | scheduler | workers* | comms | peer | retention | recovery | host* | stage) echo 3 ;;
    *) echo 2 ;; # the core thread's inbox; resources: arena, extent, tensor, group, store, launch, what they hold
    esac
}
for file in server/*.c server/*.h server/*.cc; do
    [ -f "$file" ] || continue
    base=$(basename "$file")
    mine=$(floor "${base%.*}")
    up=$(sed -n 's|^ *# *include *"server/\([a-z0-9_]*\)\.[a-z]*".*|\1|p' "$file" | while read -r target; do
        [ "$(floor "$target")" -le "$mine" ] || echo "$file includes server/$target.h, which is above it"
    done)
    [ -z "$up" ] || { echo "$up" && bad=1; }
done

# The Makefile lists every file of a room, main aside.
for file in schema/*.c server/*.c server/*.cc worker/*.c worker/*/*.c; do
    name=${file#*/}
    name=${name%.*}
    [ "$name" = main ] || sed -n '/^SCHEMA :=/,/^$/p' Makefile | grep -qE "(^| )$name( |\$)" || {
        echo "the Makefile does not list $file"
        bad=1
    }
done
exit $bad
