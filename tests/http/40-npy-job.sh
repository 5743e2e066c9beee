#!/bin/sh
# A stacked .npy in, a stacked .npy out: axis 0 is the group rank.
. "$(dirname "$0")/lib.sh"
start_server --workers 4

python <<'PY'
import numpy as np
x = np.random.default_rng(1).integers(-99, 99, (4, 3, 8)).astype("f4")  # in any order the same sum
np.save("x.npy", x)
total = x[0] + x[1] + x[2] + x[3]
np.save("sum.npy", np.stack([total] * 4))
PY
upload '/v1/jobs?op=all_reduce_sum&wait=10' "$npy" "$here/x.npy" -H "Accept: $npy"
expect_status 200
expect_header Content-Type "$npy"
expect_header Tutti-Job
expect_file "$here/sum.npy"

# Without an output on every rank there is no stack.
upload '/v1/jobs?op=reduce_sum&wait=10' "$npy" "$here/x.npy" -H "Accept: $npy"
expect_problem 406 not_acceptable
upload '/v1/jobs?op=reduce_sum&wait=10&group=1,2' "$npy" "$here/x.npy"
expect_problem 422 stack_mismatch
