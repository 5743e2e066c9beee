#!/bin/sh
# bfloat16 is no NumPy dtype: .npy is a 406 that names the others, or its bits as uint16.
. "$(dirname "$0")/lib.sh"
start_server

python <<'PY'
import numpy as np
bits = np.array([0x3f80, 0x4000, 0x7fc0, 0xff80], "<u2")  # 1, 2, NaN, -inf
np.save("bits.npy", bits)
np.save("void.npy", bits.view("V2"))
PY
for name in bits void; do
    upload '/v1/tensors?dtype=bfloat16' "$npy" "$here/$name.npy"
    expect_status 201
    expect .dtype '"bfloat16"'
    id=$(value .tensor)
    get "/v1/tensors/$id"
    expect .data '[1, 2, "NaN", "-Infinity"]'
done
get "/v1/tensors/$id?format=npy"
expect_problem 406 not_acceptable
expect_true '.detail | test("safetensors") and test("raw") and test("view=uint16")'
get "/v1/tensors/$id?format=npy&view=uint16"
expect_status 200
cp "$here/body" "$here/back.npy"
python <<'PY'
import numpy as np
assert (np.load("back.npy") == np.load("bits.npy")).all()
PY
