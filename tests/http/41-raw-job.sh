#!/bin/sh
# Raw bytes in, raw bytes out; the shape is the stacked shape.
. "$(dirname "$0")/lib.sh"
start_server --workers 2

printf '\1\2\3\4' >"$here/x"
upload '/v1/jobs?op=all_reduce_sum&dtype=uint8&shape=2,2&wait=10&format=raw' "$raw" "$here/x"
expect_status 200
printf '\4\6\4\6' >"$here/want"
expect_file "$here/want"
expect_header Tutti-Shape 2,2
expect_header Tutti-Dtype uint8
expect_header Tutti-Job
upload '/v1/jobs?op=all_reduce_sum&dtype=uint8&shape=2,3&wait=10' "$raw" "$here/x"
expect_problem 422 size_mismatch
upload '/v1/jobs?op=all_reduce_sum&dtype=uint8&wait=10' "$raw" "$here/x"
expect_problem 422 missing_parameter
