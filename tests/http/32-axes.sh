#!/bin/sh
# Axes count from the end when negative; out of range, not divisible and not taken are 422 that say the range.
. "$(dirname "$0")/lib.sh"
start_server

x='[[[1, 2], [3, 4], [5, 6]]]'
post '/v1/jobs?wait=10' "{\"op\": \"all_gather\", \"axis\": -1, \"inputs\": [$x, $x]}"
expect_status 200
expect '.outputs[0].shape' '[1,3,4]'
post '/v1/jobs?wait=10' "{\"op\": \"all_gather\", \"axis\": -3, \"inputs\": [$x, $x]}"
expect '.outputs[0].shape' '[2,3,2]'
post '/v1/jobs?wait=10' "{\"op\": \"all_gather\", \"axis\": 3, \"inputs\": [$x, $x]}"
expect_problem 422 axis_out_of_range
expect .pointer '"/axis"'
post '/v1/jobs?wait=10' "{\"op\": \"reduce_scatter_sum\", \"axis\": 1, \"inputs\": [$x, $x]}"
expect_problem 422 not_divisible
post '/v1/jobs?wait=10' "{\"op\": \"all_reduce_sum\", \"axis\": 0, \"inputs\": [$x, $x]}"
expect_problem 422 axis_not_taken
