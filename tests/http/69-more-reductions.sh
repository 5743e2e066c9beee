#!/bin/sh
# all_reduce of products, means and bits: what they give, and which dtypes they take on which backend.
. "$(dirname "$0")/lib.sh"
start_server --workers 3

# gives OP DTYPE INPUTS WANT
gives() {
    post '/v1/jobs?wait=10' "{\"op\": \"all_reduce_$1\", \"dtype\": \"$2\", \"inputs\": $3}"
    expect_status 200
    expect '.outputs[0].data, .outputs[2].data' "$4
$4"
}
# refused OP DTYPE INPUTS WORD
refused() {
    post '/v1/jobs?wait=10' "{\"op\": \"all_reduce_$1\", \"dtype\": \"$2\", \"inputs\": $3}"
    expect_status 422
    expect .code '"dtype_op"'
    jq -r .detail "$here/body" | grep -q "$4" || fail "no word of $4"
}
gives prod float32 '[[2, 3], [4, 5], [-1, 0.5]]' '[-8,7.5]'
gives prod int32 '[[65536, 3], [65536, 5], [1, 7]]' '[0,105]'
gives prod uint8 '[[16, 255], [17, 255], [1, 1]]' '[16,1]'
gives avg float64 '[[1, 2], [2, 4], [6, 9]]' '[3,5]'
gives avg float16 '[[1], [2], [6]]' '[3]'
refused avg int32 '[[1], [2], [3]]' float
refused prod bool '[[true], [true], [true]]' all_reduce_and
refused xor float32 '[[1], [2], [3]]' integer
if [ "${TUTTI_TEST_BACKEND:-}" = nccl ]; then
    for op in and or xor; do
        refused $op int32 '[[1], [2], [3]]' 'nccl backend'
    done
else
    gives and uint8 '[[255, 12], [15, 10], [9, 14]]' '[9,8]'
    gives or int64 '[[1], [2], [-8]]' '[-5]'
    gives xor uint64 '[["18446744073709551615"], [1], [2]]' '["18446744073709551612"]'
    gives and bool '[[true, true], [true, false], [true, true]]' '[true,false]'
    gives or bool '[[false, true], [false, false], [false, true]]' '[false,true]'
    gives xor bool '[[true, true], [true, false], [true, false]]' '[true,true]'
fi
