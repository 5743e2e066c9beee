#!/bin/sh
# demo.sh [BUILD] - the twelve operations on four ranks, each with one curl: the request, what every
# rank got, and whether that is right. Exit 0 only if all are. Needs a shell and curl.
set -eu
cd "$(dirname "$0")/.."
build=${1:-${BUILD:-build}}
work=$(mktemp -d)
server=

stop() {
    [ -z "$server" ] || { kill "$server" 2>/dev/null && wait "$server" || true; }
    server=
    rm -rf "$work"
}
trap stop EXIT
trap 'exit 1' INT TERM

die() {
    echo "demo: $*" >&2
    [ ! -s "$work/log" ] || sed 's/^/  /' "$work/log" >&2
    exit 1
}

# Workers map the arena from here: a place on tmpfs, where there is one.
arena=$work/arena
[ ! -w /dev/shm ] || arena=$(mktemp -d /dev/shm/tutti-demo.XXXXXX) || arena=$work/arena
trap 'stop; rm -rf "$arena"' EXIT

: >"$work/out" # there before sed looks, however late the server starts
"$build/tutti-server" --listen 127.0.0.1:0 --workers 4 --data-dir "$work/data" --arena-dir "$arena" \
    --arena-size 32M >"$work/out" 2>"$work/log" &
server=$!
url=
for _ in $(seq $((10 * ${TUTTI_DEMO_PATIENCE_S:-10}))); do
    url=$(sed -n 's/^listening on //p' "$work/out")
    [ -z "$url" ] || break
    kill -0 "$server" 2>/dev/null || die "the server stopped:"
    sleep 0.1
done
[ -n "$url" ] || die "the server is not ready after ${TUTTI_DEMO_PATIENCE_S:-10} s:"
echo "tutti-server with 4 ranks, listening on $url"

count=0 wrong=0

# title OP SENTENCE
title() {
    count=$((count + 1))
    printf '\n%2d  %s: %s\n' "$count" "$1" "$2"
}

# check EXPECTED, one line a rank, against $work/got
check() {
    printf '%s\n' "$@" >"$work/want"
    awk '{ printf "      rank %d  %s\n", NR - 1, $0 }' "$work/got"
    if cmp -s "$work/want" "$work/got"; then
        echo "      right"
    else
        wrong=$((wrong + 1))
        echo "      WRONG, it should be"
        awk '{ printf "      rank %d  %s\n", NR - 1, $0 }' "$work/want"
    fi
}

# outputs: from a job document the data of every rank, one line each; null where a rank gets nothing.
# No object stands inside an output, so that "}]" or "null]" ends the list.
outputs() {
    sed -n 's/.*"outputs":\[//; s/}\],".*//; s/null\],".*/null/; p' "$1" |
        sed 's/{"rank"/\n&/g; s/,null/\nnull/g' |
        sed -n 's/.*"data":\([][0-9.,-]*\).*/\1/; /^[]0-9n[]/p' |
        sed 's/[],]*$/&/; s/,$//' >"$work/got"
}

# run JSON: posts it, prints the line that does so, leaves the outputs in $work/got.
run() {
    printf "    curl -s '%s/v1/jobs?wait=10' \\\\\n" "$url"
    printf "      -H 'Content-Type: application/json' \\\\\n"
    printf "      -d '%s'\n" "$1" | sed 's/,"inputs"/,\n          "inputs"/'
    curl -sS --max-time 20 -w '\n' "$url/v1/jobs?wait=10" -H 'Content-Type: application/json' -d "$1" \
        >"$work/answer" || die "no answer"
    case $(cat "$work/answer") in
    *'"state":"succeeded"'*) outputs "$work/answer" ;;
    *) cp "$work/answer" "$work/got" ;;
    esac
}

title reduce_sum 'The root gets the sum.'
run '{"op":"reduce_sum","inputs":[[1,2],[3,4],[5,6],[7,8]]}'
check '[16,20]' null null null

title broadcast "Every rank gets the root's tensor."
run '{"op":"broadcast","inputs":[[1,2,3],null,null,null]}'
check '[1,2,3]' '[1,2,3]' '[1,2,3]' '[1,2,3]'

title all_gather 'Every rank gets all inputs joined along axis.'
run '{"op":"all_gather","axis":1,"inputs":[[[1],[5]],[[2],[6]],[[3],[7]],[[4],[8]]]}'
row='[[1,2,3,4],[5,6,7,8]]'
check "$row" "$row" "$row" "$row"

title reduce_scatter_sum 'Rank r gets the r-th part of the sum along axis.'
run '{"op":"reduce_scatter_sum","inputs":[[1,2,3,4],[10,20,30,40],[5,5,5,5],[0,0,0,1]]}'
check '[16]' '[27]' '[38]' '[50]'

title all_reduce_sum 'Every rank gets the sum.'
run '{"op":"all_reduce_sum","dtype":"float64","inputs":[[0.5,1],[1,2],[2,4],[4,8]]}'
check '[7.5,15]' '[7.5,15]' '[7.5,15]' '[7.5,15]'

# Raw bytes in and out, the ranks stacked along axis 0: what a program sends that has no JSON at hand.
title all_reduce_max 'Every rank gets the maximum (as raw bytes).'
query='op=all_reduce_max&dtype=uint8&shape=4,2'
raw='application/octet-stream'
printf '    printf "\\1\\50\\2\\30\\3\\20\\4\\12" | curl -s --data-binary @- \\\n'
printf "      -H 'Content-Type: %s' \\\\\n      -H 'Accept: %s' \\\\\n" "$raw" "$raw"
printf "      -H 'Prefer: wait=10' \\\\\n      '%s/v1/jobs?%s' |\n      od -An -v -tu1 -w2\n" "$url" "$query"
printf '\1\50\2\30\3\20\4\12' | curl -sS --max-time 20 --data-binary @- -H "Content-Type: $raw" \
    -H "Accept: $raw" -H 'Prefer: wait=10' "$url/v1/jobs?$query" >"$work/answer" || die "no answer"
od -An -v -tu1 -w2 "$work/answer" | sed 's/^ *//; s/  */ /g' >"$work/got"
check '4 40' '4 40' '4 40' '4 40'

title all_reduce_min 'Every rank gets the minimum.'
run '{"op":"all_reduce_min","dtype":"int32","inputs":[[1,40],[2,30],[3,20],[4,-10]]}'
check '[1,-10]' '[1,-10]' '[1,-10]' '[1,-10]'

title gather 'The root gets all inputs joined along axis.'
run '{"op":"gather","inputs":[[1,2],[3,4],[5,6],[7,8]]}'
check '[1,2,3,4,5,6,7,8]' null null null

title scatter "Rank r gets the r-th part of the root's tensor."
run '{"op":"scatter","inputs":[[1,2,3,4,5,6,7,8],null,null,null]}'
check '[1,2]' '[3,4]' '[5,6]' '[7,8]'

title all_to_all 'Rank r gets the r-th part of every input, joined.'
run '{"op":"all_to_all","inputs":[[0,1,2,3],[10,11,12,13],[20,21,22,23],[30,31,32,33]]}'
check '[0,10,20,30]' '[1,11,21,31]' '[2,12,22,32]' '[3,13,23,33]'

title remote_send 'dst gets the tensor of src.'
run '{"op":"remote_send","src":0,"dst":3,"inputs":[[1,2,3],null,null,null]}'
check null null null '[1,2,3]'

# A group of two: world ranks 3 and 1, in this order, are its ranks 0 and 1.
title remote_recv 'dst gets the tensor of src (on a group of two ranks).'
run '{"op":"remote_recv","group":[3,1],"src":1,"dst":0,"inputs":[null,[[1,2],[3,4]]]}'
check '[[1,2],[3,4]]' null

kill "$server"
wait "$server" || die "the server left with status $?:"
server=
echo
if [ "$wrong" -gt 0 ]; then
    echo "$wrong of $count operations WRONG"
    exit 1
fi
echo "all $count operations right"
