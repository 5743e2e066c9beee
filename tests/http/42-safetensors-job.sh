#!/bin/sh
# safetensors in and out: one tensor per rank by its number, a missing name is a null.
. "$(dirname "$0")/lib.sh"
start_server --workers 3

python <<'PY'
import json, struct
h = json.dumps({"2": {"dtype": "I32", "shape": [2], "data_offsets": [0, 8]}}).encode()
open("x", "wb").write(struct.pack("<Q", len(h)) + h + struct.pack("<2i", 5, -6))
PY
upload '/v1/jobs?op=remote_send&src=2&dst=0&wait=10' "$safetensors" "$here/x" -H "Accept: $safetensors"
expect_status 200
expect_header Tutti-Job
cp "$here/body" "$here/back"
python <<'PY'
import json, struct
b = open("back", "rb").read()
n, = struct.unpack("<Q", b[:8])
header = json.loads(b[8:8 + n])
header.pop("__metadata__", None)
assert header == {"0": {"dtype": "I32", "shape": [2], "data_offsets": [0, 8]}}, header
assert struct.unpack("<2i", b[8 + n:]) == (5, -6)
PY
upload '/v1/jobs?op=all_reduce_sum&wait=10' "$safetensors" "$here/x"
expect_problem 422 inputs_invalid
