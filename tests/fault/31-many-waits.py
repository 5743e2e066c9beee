#!/usr/bin/python3
"""Hundreds of connections that wait for one job are all answered when it ends, and hold no thread meanwhile; the next hundreds
take no more memory than the first."""
import re

from invariants import Ledger
from service import SANITIZED, Service

COUNT = 500


def burst(service, ledger, seed):
    job = ledger.sum(n=2, seed=seed).json["id"]
    waiting = []
    for _ in range(COUNT):
        s = service.socket()
        s.sendall(b"GET /v1/jobs/%s?wait=60 HTTP/1.1\r\nHost: 127.0.0.1\r\nConnection: close\r\n\r\n" % job.encode())
        waiting.append(s)
    assert service.get("/healthz").status == 200
    for s in waiting:
        answer = b""
        while piece := s.recv(65536):
            answer += piece
        assert answer.startswith(b"HTTP/1.1 200 ") and re.search(rb'"state":"succeeded"', answer), answer
        s.close()


with Service(workers=2, failpoints="worker.mid_run=sleep:1500") as service:
    ledger = Ledger(service)
    burst(service, ledger, 0)
    burst(service, ledger, 1)
    rss = service.rss_bytes()
    for seed in range(2, 4):
        burst(service, ledger, seed)
    growth = service.rss_bytes() - rss
    print("NOTE grew %d KiB" % (growth >> 10))
    assert SANITIZED or growth < 4 << 20, "grew by %d bytes" % growth
    ledger.close()
