"""formats.py - tensors as JSON, .npy, safetensors and raw bytes, written and read without the program under test."""
import io
import json
import struct

import numpy as np

from reference import DTYPES, narrow, widen

MEDIA = {"json": "application/json", "npy": "application/x-npy", "safetensors": "application/vnd.safetensors",
         "raw": "application/octet-stream"}
ST_NAMES = {"float16": "F16", "bfloat16": "BF16", "float32": "F32", "float64": "F64", "int8": "I8", "uint8": "U8",
            "int16": "I16", "uint16": "U16", "int32": "I32", "uint32": "U32", "int64": "I64", "uint64": "U64",
            "bool": "BOOL"}
NONFINITE = {float("inf"): "Infinity", float("-inf"): "-Infinity"}


def element(v):
    if isinstance(v, list):
        return [element(x) for x in v]
    if isinstance(v, float) and (v != v or v in NONFINITE):
        return NONFINITE.get(v, "NaN")
    if isinstance(v, int) and v > 2**63 - 1:
        return str(v)
    return v


def to_json(x, dtype):
    return element((widen(x) if dtype == "bfloat16" else x).tolist())


def number(v, dtype):
    if isinstance(v, list):
        return [number(x, dtype) for x in v]
    if isinstance(v, str):
        return int(v) if dtype == "uint64" else float(v.replace("Infinity", "inf"))
    return v


def from_json(data, shape, dtype):
    values = number(data, dtype)
    if dtype == "bfloat16":
        return narrow(np.array(values, np.float64).astype(np.float32).reshape(shape))
    if dtype in ("float16", "float32", "float64"):
        return np.array(values, np.float64).astype(DTYPES[dtype]).reshape(shape)
    return np.array(values, DTYPES[dtype]).reshape(shape)


def write_npy(x):
    f = io.BytesIO()
    np.save(f, x)
    return f.getvalue()


def read_npy(body):
    return np.load(io.BytesIO(body), allow_pickle=False)


def write_safetensors(tensors, dtype):
    """{name: array}"""
    header, data = {}, b""
    for name, x in tensors.items():
        bytes_ = x.tobytes()
        header[name] = {"dtype": ST_NAMES[dtype], "shape": list(x.shape),
                        "data_offsets": [len(data), len(data) + len(bytes_)]}
        data += bytes_
    text = json.dumps(header).encode()
    return struct.pack("<Q", len(text)) + text + data


def read_safetensors(body, dtype):
    n, = struct.unpack("<Q", body[:8])
    header = json.loads(body[8:8 + n])
    header.pop("__metadata__", None)
    data, found = body[8 + n:], {}
    for name, row in header.items():
        assert row["dtype"] == ST_NAMES[dtype], row
        a, b = row["data_offsets"]
        found[name] = np.frombuffer(data[a:b], DTYPES[dtype]).reshape(row["shape"])
    assert sum(x.nbytes for x in found.values()) == len(data)
    return found
