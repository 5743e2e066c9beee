#!/usr/bin/python3
"""A client that goes away mid-upload or mid-download leaves nothing; one that goes away while waiting has its job finished, and frees its
place at once."""
import os
import socket
import struct
import time

from invariants import Ledger, row
from service import Service, until

JOBS = 40
CLOSE_WAIT = "08"  # of /proc/net/tcp
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


def halves_of_uploads(service, used):
    for reset, delay in ((False, 0.05), (True, 0.05), (False, 0), (False, 0), (False, 0)):
        for path, kind in (("/v1/tensors?dtype=uint8&shape=8388608", "application/octet-stream"),
                           ("/v1/jobs?op=all_reduce_sum&dtype=uint8&shape=2,4194304", "application/octet-stream"),
                           ("/v1/tensors", "application/json")):
            s = service.socket()
            s.sendall((REQUEST % (path, kind, 8388608)).encode() + b"[" + b"1," * 500000)
            time.sleep(delay)  # without, the end comes together with the last bytes
            leave(s, reset)
    until(lambda: service.arena_used() == used, 5)


def halves_of_downloads(service, used):
    """With the tensor deleted meanwhile: the bytes live until the connection ends."""
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


def close_wait(service):
    """How many of its sockets have been left by their clients and are not closed."""
    with open("/proc/net/tcp") as f:
        rows = [line.split() for line in f.readlines()[1:]]
    return sum(int(row[1].split(":")[1], 16) == service.port and row[3] == CLOSE_WAIT for row in rows)


def waiting_clients(service):
    """200 of them, who submitted or ask for one job, in both ways of leaving."""
    base = sockets(service)
    body = b'{"op":"all_reduce_sum","dtype":"int32","inputs":[[1,2],[3,4]],"label":"left"}'
    waiting = [service.socket() for _ in range(200)]
    for s in waiting[:JOBS]:
        s.sendall((REQUEST % ("/v1/jobs?wait=60", "application/json", len(body))).encode() + body)
    jobs = until(lambda: len(found := service.get("/v1/jobs?label=left&limit=100").json["jobs"]) == JOBS and found, 20)
    newest = max(job["id"] for job in jobs)
    for s in waiting[JOBS:]:
        s.sendall(b"GET /v1/jobs/%s?wait=60 HTTP/1.1\r\nHost: 127.0.0.1\r\n\r\n" % newest.encode())
    until(lambda: service.metrics()["connections"]["open"] >= 200, 10)
    time.sleep(0.2)
    for n, s in enumerate(waiting):
        leave(s, n % 2)
    begun = time.monotonic()
    until(lambda: sockets(service) <= base and close_wait(service) == 0, 5)
    print("NOTE the places of 200 waiting clients were free after %.2f s" % (time.monotonic() - begun))
    unfinished = service.get("/v1/jobs?state=queued&limit=100").json["jobs"]
    assert len(unfinished) > 5, "they should have left before the jobs ended"
    for job in service.get("/v1/jobs?label=left&limit=100").json["jobs"]:
        document = service.get("/v1/jobs/%s?wait=60" % job["id"]).json
        assert document["state"] == "succeeded" and document["outputs"][1]["data"] == [4, 6], document
        assert service.delete("/v1/jobs/" + job["id"]).status == 204
    assert sockets(service) <= base


with Service(workers=2) as service:
    ledger = Ledger(service)
    ledger.sum(n=2, wait=20)
    with row("F29"):
        halves_of_uploads(service, service.arena_used())
        halves_of_downloads(service, service.arena_used())
    service.stop()
    service.start(failpoints="worker.before_run=sleep:150")
    assert service.get("/v1").status == 200
    with row("F29", "F50"):
        waiting_clients(service)
    ledger.close()
