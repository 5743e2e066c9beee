#!/usr/bin/python3
"""Retention comes to a tensor that somebody is reading, and to one that a queued job takes: the download is whole, the job has
its input, and then the room is free."""
from invariants import Ledger, row
from service import Service, until

SIZE = 24 << 20  # more than the sockets' buffers hold
DATA = bytes(range(256)) * (SIZE // 256)
RAW = {"Content-Type": "application/octet-stream"}

with row("F46"), Service(workers=2, arena="256M", options=["--retain", "1"], failpoints="worker.before_run=sleep:5000@1") as service:
    ledger = Ledger(service)
    tensor = service.post("/v1/tensors?dtype=uint8&shape=%d" % SIZE, DATA, RAW).json["tensor"]
    reader = service.socket()
    reader.sendall(b"GET /v1/tensors/%s?format=raw HTTP/1.1\r\nHost: 127.0.0.1\r\nConnection: close\r\n\r\n" % tensor.encode())
    got = [reader.recv(1000)]
    assert got[0].startswith(b"HTTP/1.1 200 "), got
    small = service.post("/v1/tensors", [5, 6]).json["tensor"]
    ahead = service.post("/v1/jobs", {"op": "all_reduce_sum", "inputs": [[0], [0]]}).json["id"]
    taker = service.post("/v1/jobs", {"op": "all_reduce_sum", "dtype": "float32", "inputs": [{"tensor": small}, [1, 1]]}).json["id"]
    other = service.post("/v1/tensors", [1]).json["tensor"]  # nobody has it in hand
    until(lambda: service.get("/v1/tensors/" + other).status == 404, 10)
    assert service.get("/v1/jobs/" + taker).json["state"] == "queued", "the job should still have to run"
    assert service.get("/v1/tensors/" + small).json["data"] == [5, 6], "a job still has to take it"
    assert service.arena_used() >= SIZE, "the bytes that are being read were given away"

    # What others bring meanwhile lands elsewhere.
    for _ in range(4):
        assert service.post("/v1/tensors?dtype=uint8&shape=%d" % SIZE, b"\0" * SIZE, RAW).status == 201
    while piece := reader.recv(1 << 20):
        got.append(piece)
    reader.close()
    body = b"".join(got).partition(b"\r\n\r\n")[2]
    assert body == DATA, "%d bytes came, of %d, or others" % (len(body), SIZE)
    job = service.get("/v1/jobs/%s?wait=20&data=1" % taker).json
    assert job["state"] == "succeeded", job
    assert job["outputs"][0]["data"] == [6, 7], job
    assert service.get("/v1/jobs/%s?wait=20" % ahead).json["state"] == "succeeded"
    until(lambda: service.arena_used() == 0, 15)
    ledger.close()
