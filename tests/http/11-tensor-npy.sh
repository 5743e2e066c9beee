#!/bin/sh
# .npy goes in in C and Fortran order, little and big endian, versions 1 to 3, and comes out as NumPy would write it.
. "$(dirname "$0")/lib.sh"
start_server

python <<'PY'
import numpy as np
from numpy.lib import format as npy
x = np.arange(24, dtype="<f4").reshape(2, 3, 4) / 3
np.save("x.npy", x)
np.save("fortran.npy", np.asfortranarray(x))
np.save("big.npy", x.astype(">f4"))
np.save("both.npy", np.asfortranarray(x.astype(">f4")))
for v in (1, 2, 3):
    with open(f"v{v}.npy", "wb") as f:
        npy.write_array(f, x, version=(v, 0))
PY
for name in x fortran big both v1 v2 v3; do
    upload /v1/tensors "$npy" "$here/$name.npy"
    expect_status 201
    expect '[.dtype, .shape]' '["float32", [2, 3, 4]]'
    get "/v1/tensors/$(value .tensor)" -H "Accept: $npy"
    expect_status 200
    expect_header Content-Type "$npy"
    cp "$here/body" "$here/back.npy"
    python <<'PY'
import numpy as np
x, y = np.load("x.npy"), np.load("back.npy")
assert y.dtype == np.dtype("<f4") and y.flags.c_contiguous, (y.dtype, y.flags)
assert x.tobytes() == y.tobytes()
PY
done
