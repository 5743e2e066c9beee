#!/bin/sh
# all_reduce_max and all_reduce_min give every rank the largest and the smallest; a number beats NaN.
. "$(dirname "$0")/lib.sh"
start_server --workers 2

inputs='[[1, 20, "NaN", "NaN", "-Infinity"], [10, 2, 3, "NaN", "Infinity"]]'
post '/v1/jobs?wait=10' "{\"op\": \"all_reduce_max\", \"inputs\": $inputs}"
expect_status 200
expect '.outputs[1].data' '[10, 20, 3, "NaN", "Infinity"]'
post '/v1/jobs?wait=10' "{\"op\": \"all_reduce_min\", \"inputs\": $inputs}"
expect '.outputs[0].data' '[1, 2, 3, "NaN", "-Infinity"]'
post '/v1/jobs?wait=10' '{"op": "all_reduce_max", "dtype": "bool", "inputs": [[true, false], [false, false]]}'
expect '.outputs[0].data' '[true, false]'
