#!/usr/bin/python3
"""seeds.py DIR - writes what fuzzing starts from, DIR/HARNESS/NUMBER: the bad-input matrix, small tensors in every
format and dtype, frames of every type. The same bytes every time."""
import itertools
import json
import os
import re
import struct
import sys

import numpy as np

HERE = os.path.dirname(os.path.abspath(__file__))
ROOT = os.path.dirname(os.path.dirname(HERE))
sys.path[:0] = [os.path.join(ROOT, "tests", "http"), os.path.join(ROOT, "tests", "conformance")]
from bad_input_cases import CASES  # noqa: E402
import formats  # noqa: E402

LARGEST = 20000
DTYPES = re.findall(r"^DTYPE\((\w+),", open(os.path.join(ROOT, "schema/dtypes.def")).read(), re.M)
OPS = re.findall(r"^OP\((\w+),", open(os.path.join(ROOT, "schema/ops.def")).read(), re.M)
SHAPES = [(), (0,), (1,), (5,), (2, 3), (3, 1, 2), (2, 0, 3), (4, 2, 1, 3)]
NO_HEAD = b"\0\0"  # neither dtype= nor shape=


def array(dtype, shape):
    """Small numbers that every dtype holds; bfloat16 as the bits of some."""
    n = int(np.prod(shape, dtype=int))
    kind = {"bfloat16": "uint16", "bool": "bool"}.get(dtype, dtype)
    x = np.arange(n) % (2 if dtype == "bool" else 100)
    return (x + 0x3f80 if dtype == "bfloat16" else x).astype(kind).reshape(shape)


def body_of(case):
    """The content type and the body of a case that is one well-framed request, or None."""
    head, found, body = case.send.partition(b"\r\n\r\n")
    kind = re.search(rb"(?im)^content-type: *([^\r;]+)", head)
    return (kind.group(1).decode("latin-1"), body) if found and kind and b"chunked" not in head else None


def cases(media):
    for case in CASES:
        if callable(case.send):
            continue  # megabytes
        found = body_of(case)
        if found and found[0] == media:
            yield found[1]


# ---- formats ----

def npy():
    for body in cases(formats.MEDIA["npy"]):
        yield NO_HEAD + b"\3" + body
    for dtype, shape in itertools.product(DTYPES, SHAPES):
        x = array(dtype, shape)
        head = bytes([1, DTYPES.index(dtype)])
        yield head + b"\0" + formats.write_npy(x)
        yield head + b"\7" + formats.write_npy(np.asfortranarray(x))
        if x.ndim and x.dtype.itemsize > 1:
            yield head + b"\7" + formats.write_npy(x.astype(x.dtype.newbyteorder(">")))
    yield bytes([3, 2, 2, 2, 3, 0]) + formats.write_npy(array("float32", (2, 3)))


def safetensors():
    for body in cases(formats.MEDIA["safetensors"]):
        yield NO_HEAD + b"\3" + body
    for dtype in DTYPES:
        stack = {str(i): array(dtype, shape) for i, shape in enumerate(SHAPES)}
        for many in (1, len(SHAPES)):
            part = dict(list(stack.items())[:many])
            yield bytes([1, DTYPES.index(dtype), 5]) + formats.write_safetensors(part, dtype)


def raw():
    for dtype, shape in itertools.product(DTYPES, SHAPES):
        head = bytes([3, DTYPES.index(dtype), len(shape), *shape, 9])
        yield head + array(dtype, shape).tobytes()
        yield head + array(dtype, shape).tobytes()[:-1]
    yield bytes([3, 6, 2, 255, 0, 9])


def json_tensor():
    for body in cases("application/json"):
        yield b"\2\4" + body
        try:
            inputs = json.loads(body)["inputs"]
        except (ValueError, TypeError, KeyError, RecursionError):
            continue
        for one in inputs if isinstance(inputs, list) else []:
            yield b"\2\4" + json.dumps(one).encode()
    for dtype, shape in itertools.product(DTYPES, SHAPES):
        d = DTYPES.index(dtype)
        data = formats.to_json(array(dtype, shape) if dtype != "bfloat16" else array("float32", shape), "float32")
        yield bytes([d, 6]) + json.dumps(data).encode()
        yield bytes([2, 6]) + json.dumps({"dtype": dtype, "shape": list(shape), "data": data}).encode()
    for text in ('"NaN"', '["Infinity","-Infinity",-0.0,1e-300]', '{"job":-1}', '{"job":-1,"rank":0}', '{"tensor":"t_"}', "null",
                 '{"shape":[2,0],"data":[]}', '{"shape":[16777216,0],"data":[]}', '{"shape":[2,2],"data":[1,2,3,4]}',
                 '["9223372036854775808",1]', "[1.0,1e2,12e-1]"):
        yield b"\2\4" + text.encode()
        yield b"\x0b\4" + text.encode()


def json_():
    for body in cases("application/json"):
        yield body
    for text in ('{"a":{"b":[1,2.5e-3,"\\u00e9\\ud83d\\ude00\\n",true,false,null,{}]},"":[]}', " [ ] ", '"\\"\\\\\\/\\b\\f\\n\\r\\t"', "-0.0e+0", "1" * 400,
                 "{" + ",".join('"%d":%d' % (i, i) for i in range(70)) + "}", "[" * 64 + "]" * 64):
        yield text.encode()


def lane():
    for line in ({"lane": 1, "open": "inputs", "size_bytes": 4096}, {"lane": 1, "open": "results", "size_bytes": 2 ** 63, "token": "alice." + "x" * 43},
                 {"lane": 1, "close": "r_" + "0" * 25 + "1"}, {"lane": 1, "hold": "t_" + "0" * 25 + "1"}, {"lane": 1, "release": "t_" + "0" * 25 + "1"},
                 {"lane": 2, "open": "inputs", "size_bytes": 1}, {"lane": 1, "open": "inputs", "size_bytes": 0}, {"lane": 1, "token": None},
                 {"lane": 1, "open": "x" * 400, "size_bytes": 1}, {"lane": 1, "what": [1]}, [], 1):
        yield json.dumps(line).encode()


# ---- requests ----

ID = "0" * 25 + "1"
NAMES = {b"HOST": b"localhost", b"TENSOR": b"t_" + ID.encode(), b"BF16": b"t_" + ID.encode(), b"JOB": b"j_" + ID.encode()}


def http(line, body=None, *headers, kind="application/json"):
    """One request; body: text, bytes, or something for JSON."""
    if body is not None and not isinstance(body, (bytes, str)):
        body = json.dumps(body)
    body = body.encode() if isinstance(body, str) else body
    lines = [line + " HTTP/1.1", "Host: localhost", *headers]
    if body is not None:
        lines += ["Content-Type: " + kind, "Content-Length: %d" % len(body)]
    return "\n".join(lines + ["", ""]).encode() + (body or b"")


def request():
    for case in CASES:
        for send in (case.setup, case.send):
            if send and not callable(send):
                send = send.replace(b"\r\n", b"\n")
                for name, text in NAMES.items():
                    send = send.replace(name, text)
                yield send
    yield from job_requests()
    yield from call_requests()
    yield from read_requests()


def job_requests():
    job = {"op": "all_reduce_sum", "inputs": [[1], [2], [3], [4]], "group": [0, 1, 2, 3], "label": "a", "priority": 3, "timeout": 5.5}
    named = {"op": "gather", "group": "g", "inputs": [{"tensor": "t_" + ID}] * 2}
    taken = {"op": "broadcast", "group": "g", "inputs": [{"job": "j_" + ID, "rank": 0}, None]}
    lines = [job, {**job, "inputs": [{"job": -1, "rank": 0}] * 4}, {"op": "x"}, 7, named, {"op": "scatter", "inputs": [{"job": 0}, None, None, None]}]
    for query in ("", "?wait=1", "?wait=1&data=1", "?wait=1&format=npy", "?wait=1&format=safetensors", "?wait=1&data=0&stream=2"):
        yield http("POST /v1/jobs" + query, job, "Idempotency-Key: k")
        yield http("POST /v1/jobs" + query, named, "Accept: application/octet-stream")
        yield http("POST /v1/jobs:batch" + query, "\n".join(map(json.dumps, lines)), "Idempotency-Key: k", kind="application/x-ndjson")
    yield http("POST /v1/jobs?wait=1", taken)
    yield http("POST /v1/jobs?wait=1", job, "Idempotency-Key: old")
    stack = array("int32", (4, 2, 2))
    for op in OPS:
        yield http("POST /v1/jobs?wait=1&op=%s&axis=-1" % op, formats.write_npy(stack), kind=formats.MEDIA["npy"])
        yield http("POST /v1/jobs?wait=1&op=%s" % op, formats.write_npy(stack), kind=formats.MEDIA["npy"])
    yield http("POST /v1/jobs?wait=1&op=all_gather&dtype=int32&shape=4,4", stack.tobytes(), kind=formats.MEDIA["raw"])
    yield http("POST /v1/jobs?wait=1&op=all_gather&group=g", formats.write_safetensors({"0": stack[0], "1": stack[1]}, "int32"), kind=formats.MEDIA["safetensors"])
    yield http("POST /v1/jobs/j_%s/backward?wait=1" % ID, {"grads": [[[1, 2, 3], [4, 5, 6]], None]})
    yield http("POST /v1/jobs/j_%s/backward" % ID, {"grads": [None, None]})
    yield http("POST /v1/jobs/j_%s/cancel" % ID) + http("DELETE /v1/jobs/j_" + ID)


def call_requests():
    calls = [http("POST /v1/groups/g/ranks/%d/calls?op=all_reduce_sum&wait=0" % rank, [1, rank], "Idempotency-Key: k%d" % rank) for rank in (0, 1)]
    yield calls[0] + calls[1]
    yield calls[0] + calls[0]
    yield calls[1] + http("POST /v1/groups/g/ranks/0/calls?op=gather", [1, 2]) + calls[0]
    yield http("POST /v1/groups/g/ranks/0/calls?op=remote_send&dst=1&rejoin=1", [1]) + http("POST /v1/groups/g/ranks/1/calls?op=remote_recv&src=0")
    yield http("POST /v1/groups/g/ranks/1/calls?op=backward&job=j_" + ID, [[1, 2, 3], [4, 5, 6]])
    yield b"".join(http("POST /v1/groups/g/barrier?wait=0&rank=%d" % rank) for rank in (0, 1))
    yield http("POST /v1/groups/g/bcast?rank=0&wait=0", {"a": 1}) + http("POST /v1/groups/g/bcast?rank=1")
    yield http("POST /v1/groups", {"name": "h", "ranks": [1, 0]}) + http("GET /v1/groups/h") + http("GET /v1/groups?limit=1") + http("DELETE /v1/groups/h")
    yield http("PUT /v1/groups/g/kv/there?ttl=5", {"a": [1]}, 'If-Match: "v_%s", W/"x"' % ID) + http("GET /v1/groups/g/kv/there") + http("DELETE /v1/groups/g/kv/there")
    yield http("PUT /v1/groups/world/kv/k", 7, "If-None-Match: *") + http("GET /v1/groups/world/kv/k?wait=1") + http("GET /v1/groups/world/kv?prefix=t&limit=1")
    yield http("DELETE /v1/groups/g/kv/k?wait=1")
    for tags in ('"', 'W/"', '"v_%s"x' % ID, '"x", ', '*, *', 'W/'):
        yield http("PUT /v1/groups/world/kv/k", 7, "If-Match: " + tags)


def read_requests():
    for path in ("/", "/v1", "/healthz", "/readyz", "/openapi.yaml", "/metrics", "/v1/metrics", "/v1/workers", "/v1/workers/1", "/v1/events", "/v1/jobs", "/v1/jobs/j_" + ID,
                 "/v1/jobs/j_%s/events" % ID, "/v1/jobs/j_%s/reproduce" % ID, "/v1/trace", "/v1/trace?jobs=j_" + ID, "/v1/jobs/j_%s/outputs" % ID, "/v1/jobs/j_%s/outputs/1" % ID, "/v1/jobs/j_%s/outputs/1?format=raw" % ID,
                 "/v1/jobs?state=failed&op=gather&group=g&label=a&limit=3&after=j_" + ID, "/v1/jobs/j_%s?wait=1&data=1" % ID,
                 *("/v1/jobs/j_%s/outputs?outputs=unique&format=%s" % (ID, f) for f in ("json", "npy", "safetensors", "raw"))):
        yield http("GET " + path, None, "Last-Event-ID: 1-2", "Accept: */*")
        yield http("HEAD " + path)
    tensor = "GET /v1/tensors/t_" + ID
    for accept in ("*/*", "application/x-npy;q=0.5, application/json;q=0.1", "application/octet-stream", "application/vnd.safetensors, */*;q=0"):
        yield http(tensor, None, "Accept: " + accept, "Range: bytes=2-5", 'If-None-Match: "x"')
    for what in ("-3", "0-0", "23-", "24-", "5-2", "0-3,7-9"):
        yield http(tensor + "?format=raw", None, "Range: bytes=" + what, "Prefer: respond-async, wait=2")
    yield http(tensor + "?format=npy", None, 'If-None-Match: "t_%s-npy"' % ID) + http("DELETE /v1/tensors/t_" + ID) + http(tensor)
    yield http("OPTIONS /v1/jobs", None, "Origin: http://allowed.example")


def target():
    for case in CASES:
        if callable(case.send):
            continue
        line = case.send.split(b"\r\n", 1)[0].split(b" ")
        found = body_of(case)
        if len(line) == 3:
            yield b"\0" + line[1] + b"\n" + (found[1] if found and found[0] == "application/json" else b"{}")
    full = "op=gather&group=0,2&dtype=f16&shape=2,3&axis=-1&src=1&dst=0&stream=3&timeout=1.5&priority=-3&label=a%%20b&wait=0.25&data=1&format=npy&ttl=3&last=9&jobs=j_%s,j_%s" % (ID, ID)
    names = json.dumps({"op": "gather", "group": [0, 2], "dtype": "f16", "shape": [2, 3], "axis": -1, "wait": 0.25, "label": "é", "resident": True})
    for where in range(16):
        yield bytes([where]) + b"/v1/jobs?" + full.encode() + b"\n" + names.encode()


# ---- frames ----

def frame_rows():
    text = re.sub(r"/\*.*?\*/", "", open(os.path.join(ROOT, "schema/frames.def")).read(), flags=re.S)
    for name, fields in re.findall(r"FRAME\((\w+),\s*(.*?)\)\s*(?=FRAME|\Z)", text, re.S):
        yield name, [(kind, field, cap_of(kind, cap)) for kind, field, cap in re.findall(r"(U32|U64|I64|STR|SHAPE|BYTES|LIST32|LIST64)\((\w+)(?:, *(\w+))?", fields)]


def cap_of(kind, text):
    """How many items fit, or bytes and a NUL."""
    if kind == "SHAPE":
        text = "LIMIT_NDIM"
    return LIMITS.get(text, int(text) if text.isdigit() else 0)


LIMITS = {name: int(value) for name, value in re.findall(r"#define (LIMIT_\w+) +(\d+)\b", open(os.path.join(ROOT, "schema/limits.h")).read())}
ROWS = list(frame_rows())


def frame(name, /, **values):
    """A frame on the wire: payload bytes, type, payload; what is not given is 0 or empty."""
    payload = b""
    number = [row[0] for row in ROWS].index(name) + 1
    for kind, field, _ in ROWS[number - 1][1]:
        v = values.pop(field, None)
        if kind in ("U32", "U64", "I64"):
            payload += struct.pack({"U32": "<I", "U64": "<Q", "I64": "<q"}[kind], v or 0)
        elif kind == "STR":
            payload += struct.pack("<I", len(v or "")) + (v or "").encode()
        else:
            payload += struct.pack("<I", len(v or ())) + struct.pack("<%d%s" % (len(v or ()), {"BYTES": "B", "LIST32": "I"}.get(kind, "Q")), *(v or ()))
    assert not values, values
    return struct.pack("<II", len(payload), number) + payload


def full_frames():
    """Every list and string as long as it may be, and one longer."""
    for name, fields in ROWS:
        for kind, field, cap in fields:
            if kind == "STR":
                yield frame(name, **{field: "x" * (cap - 1)})
                yield frame(name, **{field: "x" * cap})
            elif kind in ("SHAPE", "BYTES", "LIST32", "LIST64"):
                yield frame(name, **{field: [1] * cap})
                yield frame(name, **{field: [1] * (cap + 1)})


def answers():
    """What a worker says of the job that the harness has given it: epoch 1, job 1, attempt 1."""
    yield frame("done", epoch=1, job=1, attempt=1, start_ns=5, end_ns=9)
    yield frame("failed", epoch=1, job=1, attempt=1, code="worker_failed", detail="no such thing")
    yield frame("failed", epoch=1, job=1, attempt=1, code="aborted", detail="stopped")
    yield frame("heartbeat", epoch=1, job=1, attempt=1, done_bytes=7)
    yield frame("ticket", epoch=1, ticket="00ff")
    yield frame("store_put", comm=1, key="0", value=b"where it is")
    yield frame("fetched", epoch=1, tensor=1)
    yield frame("fetched", epoch=1, tensor=1, code="worker_failed", detail="x")


def link():
    for name, _ in ROWS:
        yield b"\0" + frame(name)
    said = list(answers())
    for one in said:
        yield b"\0" + one
        yield b"\1" + one + said[0]
    yield b"\0" + b"".join(said)
    yield b"\3\xff\xff\xff\xff\xff\xff\xff\xff"
    for one in full_frames():
        yield b"\0" + one
    yield b"\0" + frame("hello", rank=1, pid=7, version="9", backend="shm", device="cpu", reduces=[1, 2, 3])


def orders(op, n, rank, **more):
    """What a rank of n is told for one job: JOIN, RUN, LEAVE."""
    ins = [4096 * (i + 1) for i in range(n)]
    outs = [4096 * (i + 9) for i in range(n)]
    run = dict(job=1, id="j_1", attempt=1, epoch=1, comm=5, op=OPS.index(op), dtype=2, src=0, dst=1, in_shape=[n, 2], inputs=ins, outputs=outs)
    return (frame("join", comm=5, n=n, rank=rank, ranks=list(range(n)), hosts=[0] * n, backend="fuzz") + frame("run", **{**run, **more}) + frame("leave", comm=5))


def worker():
    for orders_ in worker_orders():
        yield b"\0" + orders_
        yield b"\1" + orders_


def worker_orders():
    yield from full_frames()
    yield from elsewhere()
    for name, _ in ROWS:
        yield frame(name)
    for op, n in itertools.product(OPS, (2, 4)):
        for rank in (0, n - 1):
            yield orders(op, n, rank)
    yield orders("all_reduce_sum", 2, 0, mask=1, mask_reduce=2, masks=[4096, 8192])
    yield orders("all_reduce_sum", 2, 1, more=1) + frame("cancel", job=1, attempt=1)
    yield orders("broadcast", 2, 1, held=[3, 0], keep=[4, 5])
    yield (frame("join", comm=5, n=2, rank=1, ranks=[0, 3], hosts=[0, 1], backend="fuzz") + frame("store_put", comm=5, key="0", value=b"where it is") +
           frame("run", job=1, id="j_1", attempt=1, comm=5, op=OPS.index("all_reduce_sum"), dtype=2, dst=1, in_shape=[4],
                 inputs=[2**64 - 1, 4096], outputs=[2**64 - 1, 8192]) + frame("leave", comm=5))
    yield frame("join", comm=5, n=1, rank=0, ranks=[0], hosts=[0], backend="fuzz") + frame("fetch", tensor=3, offset=4096, bytes=64) + frame("drop", tensor=3) + frame("stop", grace_ms=5)


def elsewhere():
    """A rank whose fellow is on another host; and one that is asked about it, and carries."""
    yield (frame("join", comm=5, n=2, rank=1, ranks=[0, 3], hosts=[0, 1], backend="fuzz") +
           frame("run", job=1, id="j_1", attempt=1, comm=5, op=OPS.index("all_reduce_sum"), dtype=2, dst=1, in_shape=[4],
                 inputs=[2**64 - 1, 4096], outputs=[2**64 - 1, 8192]) + frame("leave", comm=5))
    yield frame("look", of=3) + frame("carry", epoch=1) + frame("look", of=4)


def chunk(kind, offset, size, answer=0, body=b""):
    return struct.pack("<IIQQQ", kind, answer, offset, size, 0) + body


def channel():
    """PUT 1, GET 2, RESERVE 3, DATA 4, ACK 5: the first two bits of the first byte say who hears it, and whether the first
    digest is to be right."""
    asked = [chunk(1, 8192, 5, body=b"bytes"), chunk(2, 8192, 300), chunk(3, 1 << 20, 3 << 20), chunk(1, 1 << 40, 3, body=b"far"),
             chunk(3, 4096, 2**64 - 1), chunk(2, (4 << 20) - 1, 2), chunk(4, 0, 0), chunk(1, 0, 0), chunk(6, 0, 0), chunk(1, 0, 2 << 20)]
    answers_ = [chunk(4, 64, 100, body=bytes(100)), chunk(5, 256, 3), chunk(5, 4096, 1 << 21)]
    for one in asked:
        yield b"\0" + one
        yield b"\2" + one + asked[1]
    yield b"\2" + b"".join(asked[:4])
    yield b"\3" + b"".join(answers_)
    yield b"\1" + b"".join(answers_)
    yield b"\3" + answers_[0] + chunk(5, 256, 3, answer=1)
    yield b"\3" + answers_[0] + answers_[1] + chunk(5, 4096, 1 << 21, answer=2)
    yield b"\3" + answers_[1]
    yield b"\3" + answers_[0][:50]


# ---- the database ----

def restore():
    """Bytes: the first says how; see fuzz_restore.c."""
    yield b""
    for how in range(8):
        for i in range(24):
            yield bytes([how, i, 255 - i, 3 * i, 1, 2, 3, 4, i, 0, 200, i])
    for table, column in itertools.product(range(7), range(36)):  # a value of each column
        yield bytes([3, table, column, 2, 2 + 4 * column, column, 1])


HARNESSES = {"npy": npy, "safetensors": safetensors, "raw": raw, "json_tensor": json_tensor, "json": json_, "lane": lane, "request": request,
             "target": target, "link": link, "worker": worker, "channel": channel, "restore": restore}


def main():
    for name, make in HARNESSES.items():
        path = os.path.join(sys.argv[1], name)
        os.makedirs(path, exist_ok=True)
        seeds = sorted({seed for seed in make() if len(seed) <= LARGEST})
        for i, seed in enumerate(seeds):
            with open(os.path.join(path, "%04d" % i), "wb") as f:
                f.write(seed)


main()
