#!/bin/sh
# A value that does not fit its dtype is a 422 that points at it; a bool cannot be summed.
. "$(dirname "$0")/lib.sh"
start_server

post /v1/jobs '{"op": "broadcast", "dtype": "uint8", "inputs": [[1, 300], null]}'
expect_problem 422 number_out_of_range
expect_true '.pointer | startswith("/inputs/0")'
post /v1/jobs '{"op": "broadcast", "dtype": "int32", "inputs": [[1.5], null]}'
expect_problem 422 value_invalid
post /v1/jobs '{"op": "all_reduce_sum", "dtype": "bool", "inputs": [[true], [true]]}'
expect_problem 422 dtype_op
post /v1/jobs '{"op": "broadcast", "dtype": "float8", "inputs": [[1], null]}'
expect_problem 422 dtype_unsupported
expect_true '.detail | test("bfloat16")'
