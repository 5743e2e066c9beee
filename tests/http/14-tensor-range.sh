#!/bin/sh
# A range of the raw bytes can be fetched; other representations ignore Range.
. "$(dirname "$0")/lib.sh"
start_server

printf '0123456789abcdef' >"$here/x"
upload '/v1/tensors?dtype=uint8&shape=16' "$raw" "$here/x"
id=$(value .tensor)

# range RANGE CONTENT-RANGE TEXT
range() {
    get "/v1/tensors/$id?format=raw" -H "Range: bytes=$1"
    expect_status 206
    expect_header Content-Range "bytes $2/16"
    expect_text "$3"
}
range 0-3 0-3 0123
range 12- 12-15 cdef
range -4 12-15 cdef
range 15-99 15-15 f
range 3-3 3-3 3
for bad in 16- 5-1 99-; do
    get "/v1/tensors/$id?format=raw" -H "Range: bytes=$bad"
    expect_problem 416 range_not_satisfiable
done
get "/v1/tensors/$id?format=npy" -H 'Range: bytes=0-3'
expect_status 200
get "/v1/tensors/$id" -H 'Range: bytes=0-3'
expect_status 200
expect '.data | length' 16
