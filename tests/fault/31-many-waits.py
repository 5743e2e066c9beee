#!/usr/bin/python3
"""A thousand connections that wait for one job are all answered when it ends, and hold no thread meanwhile; the next thousands
take no more memory than the first."""
import os
import re
import resource

from invariants import Ledger, row
from service import SANITIZED, Service

COUNT = 1000
soft, hard = resource.getrlimit(resource.RLIMIT_NOFILE)
resource.setrlimit(resource.RLIMIT_NOFILE, (min(hard, 8192), hard))


def threads(service):
    return len(os.listdir("/proc/%d/task" % service.pid))


def burst(service, ledger, seed):
    job = ledger.sum(n=2, seed=seed).json["id"]
    waiting, before = [], threads(service)
    for _ in range(COUNT):
        s = service.socket()
        s.sendall(b"GET /v1/jobs/%s?wait=60 HTTP/1.1\r\nHost: 127.0.0.1\r\nConnection: close\r\n\r\n" % job.encode())
        waiting.append(s)
    assert service.get("/healthz").status == 200
    assert service.get("/v1/jobs/%s" % job).json["state"] in ("queued", "running"), "they should wait"
    assert threads(service) == before
    for s in waiting:
        answer = b""
        while piece := s.recv(65536):
            answer += piece
        assert answer.startswith(b"HTTP/1.1 200 ") and re.search(rb'"state":"succeeded"', answer), answer
        s.close()


with Service(workers=2, failpoints="worker.mid_run=sleep:2500") as service:
    ledger = Ledger(service)
    with row("F33"):
        burst(service, ledger, 0)
        burst(service, ledger, 1)
        for first in (2, 4, 6):  # each thread's heap comes to its size when it has been busy; a leak never does
            rss = service.rss_bytes()
            for seed in (first, first + 1):
                burst(service, ledger, seed)
            growth = service.rss_bytes() - rss
            if SANITIZED or growth < 8 << 20:
                break
        print("NOTE grew %d KiB" % (growth >> 10))
        assert SANITIZED or growth < 8 << 20, "grew by %d bytes" % growth
        ledger.close()
