#!/bin/sh
# An upload as safetensors is one tensor of any name; it comes out as safetensors with one tensor.
. "$(dirname "$0")/lib.sh"
start_server

python <<'PY'
import json, struct
header = json.dumps({"__metadata__": {"by": "test"},
                     "weights": {"dtype": "BF16", "shape": [2, 2], "data_offsets": [0, 8]}}).encode()
open("x.safetensors", "wb").write(struct.pack("<Q", len(header)) + header + bytes(range(8)))
PY
upload /v1/tensors "$safetensors" "$here/x.safetensors"
expect_status 201
expect '[.dtype, .shape]' '["bfloat16", [2, 2]]'
get "/v1/tensors/$(value .tensor)?format=safetensors"
expect_status 200
expect_header Content-Type "$safetensors"
cp "$here/body" "$here/back"
python <<'PY'
import json, struct
b = open("back", "rb").read()
n, = struct.unpack("<Q", b[:8])
header = json.loads(b[8:8 + n])
header.pop("__metadata__", None)
(name, row), = header.items()
assert row == {"dtype": "BF16", "shape": [2, 2], "data_offsets": [0, 8]}, row
assert b[8 + n:] == bytes(range(8))
PY
