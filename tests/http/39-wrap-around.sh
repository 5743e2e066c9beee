#!/bin/sh
# Integer sums wrap around; float16 sums accumulate in float32 and round once.
. "$(dirname "$0")/lib.sh"
start_server --workers 3

post '/v1/jobs?wait=10' '{"op": "all_reduce_sum", "dtype": "int8", "inputs": [[100], [100], [1]]}'
expect '.outputs[0].data' '[-55]'
post '/v1/jobs?wait=10' '{"op": "all_reduce_sum", "dtype": "uint64", "inputs": [["18446744073709551615"], [2], [0]]}'
expect '.outputs[0].data' '[1]'
post '/v1/jobs?wait=10' '{"op": "all_reduce_sum", "dtype": "float16", "inputs": [[2048], [1], [1]]}'
# NCCL rounds to float16 after each addition, and on real GPUs adds in an order of its own.
[ "${TUTTI_TEST_BACKEND:-shm}" = nccl ] && sum=2048 over='"Infinity"' || sum=2050 over=60000
[ -z "${TUTTI_TEST_GPUS:-}" ] || exit 0
expect '.outputs[0].data' "[$sum]"
post '/v1/jobs?wait=10' '{"op": "all_reduce_sum", "dtype": "float16", "inputs": [[60000], [60000], [-60000]]}'
expect '.outputs[0].data' "[$over]"
