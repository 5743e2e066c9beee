#!/usr/bin/python3
"""A client that goes away mid-upload or mid-download leaves nothing; one that goes away while waiting has its job finished, and frees its
place at once."""
import os
import socket
import struct
import time

from invariants import Ledger
from service import Service, until

REQUEST = ("POST %s HTTP/1.1\r\nHost: 127.0.0.1\r\nContent-Type: %s\r\nContent-Length: %d\r\n\r\n")


def leave(s, reset):
    if reset:
        s.setsockopt(socket.SOL_SOCKET, socket.SO_LINGER, struct.pack("ii", 1, 0))
    s.close()


def sockets(service):
    """How many it has open. One that is closed while we look is not."""
    count = 0
    for name in os.listdir("/proc/%d/fd" % service.pid):
        try:
            count += os.readlink("/proc/%d/fd/%s" % (service.pid, name)).startswith("socket:")
        except FileNotFoundError:
            pass
    return count


with Service(workers=2) as service:
    ledger = Ledger(service)
    ledger.sum(n=2, wait=20)
    used = service.arena_used()
    for reset in (False, True):
        for path, kind in (("/v1/tensors?dtype=uint8&shape=8388608", "application/octet-stream"),
                           ("/v1/jobs?op=all_reduce_sum&dtype=uint8&shape=2,4194304", "application/octet-stream"),
                           ("/v1/tensors", "application/json")):
            s = service.socket()
            s.sendall((REQUEST % (path, kind, 8388608)).encode() + b"[" + b"1," * 500000)
            time.sleep(0.05)
            leave(s, reset)
    until(lambda: service.arena_used() == used, 5)

    # Mid-download, with the tensor deleted meanwhile: the bytes live until the connection ends.
    for reset in (False, True):
        answer = service.post("/v1/tensors?dtype=uint8&shape=16777216", bytes(range(256)) * 65536,
                              {"Content-Type": "application/octet-stream"})
        tensor = answer.json["tensor"]
        s, whole = service.socket(), service.socket()
        for each in (s, whole):
            each.sendall(b"GET /v1/tensors/%s?format=raw HTTP/1.1\r\nHost: 127.0.0.1\r\nConnection: close\r\n\r\n" % tensor.encode())
            assert each.recv(1000).startswith(b"HTTP/1.1 200 ")
        assert service.delete("/v1/tensors/" + tensor).status == 204
        leave(s, reset)
        got = b""
        while piece := whole.recv(1 << 20):
            got += piece
        assert got.endswith(bytes(range(256)) * 60000), "the download should be whole, though the tensor was deleted"
        whole.close()
        until(lambda: service.arena_used() == used, 5)

    # While waiting: thirty of them, in both ways of leaving.
    service.stop()
    service.start(failpoints="worker.before_run=sleep:150")
    assert service.get("/v1").status == 200
    base = sockets(service)
    body = b'{"op":"all_reduce_sum","dtype":"int32","inputs":[[1,2],[3,4]],"label":"left"}'
    waiting = []
    for n in range(30):
        s = service.socket()
        s.sendall((REQUEST % ("/v1/jobs?wait=60", "application/json", len(body))).encode() + body)
        waiting.append(s)
    until(lambda: len(service.get("/v1/jobs?label=left&limit=100").json["jobs"]) == 30, 20)
    for n, s in enumerate(waiting):
        leave(s, n % 2)
    until(lambda: sockets(service) <= base, 3)
    unfinished = service.get("/v1/jobs?state=queued&limit=100").json["jobs"]
    assert len(unfinished) > 5, "they should have left before the jobs ended"
    for job in service.get("/v1/jobs?label=left&limit=100").json["jobs"]:
        document = service.get("/v1/jobs/%s?wait=60" % job["id"]).json
        assert document["state"] == "succeeded" and document["outputs"][1]["data"] == [4, 6], document
        assert service.delete("/v1/jobs/" + job["id"]).status == 204
    ledger.close()
