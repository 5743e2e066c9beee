#!/usr/bin/python3
"""behind.py - one rank calls as far ahead of the others as it may, and not further; all of that fails, and the ranks that come
late hear of what is still known, or that it is not; then all go on together. /healthz answers meanwhile."""
import os
import sys
import time

sys.path[:0] = [os.path.dirname(os.path.dirname(os.path.abspath(__file__)))]
from service import Service, until

AHEAD = BEHIND = 10000  # LIMIT_CALLS_AHEAD, LIMIT_CALLS_BEHIND


def barrier(service, rank, query="&wait=0&timeout=30"):
    return service.post("/v1/groups/world/barrier?rank=%d%s" % (rank, query))


def slowest_healthz(service, what):
    worst = 0
    for _ in range(20):
        begun = time.monotonic()
        assert service.get("/healthz").status == 200
        assert service.get("/v1/jobs?limit=1").status == 200  # through the core
        worst = max(worst, time.monotonic() - begun)
    assert worst < 1, "%s: /healthz and a list took %.2f s" % (what, worst)


with Service(workers=2) as service:
    begun = time.monotonic()
    for n in range(AHEAD):
        a = barrier(service, 0)
        assert a.status == 202 and a.json["seq"] == n and a.json["missing"] == [1], a
    took = time.monotonic() - begun
    a = barrier(service, 0)
    assert a.status == 429 and a.json["code"] == "too_many_jobs", a
    slowest_healthz(service, "far ahead")
    until(lambda: service.metrics()["jobs"]["failed"] == AHEAD, 60)

    # One more that fails, and the first is not known any more.
    a = barrier(service, 0, "&timeout=1")
    assert a.status == 504 and a.json["ranks"] == [1], a
    a = barrier(service, 1)
    assert a.status == 504 and "so long ago" in a.json["detail"], a
    service.kill()
    service.start()
    a = barrier(service, 1)
    assert a.status == 504 and a.json["code"] == "ranks_missing" and a.json["ranks"] == [1], a
    begun = time.monotonic()
    a = barrier(service, 1, "&rejoin=1&wait=0")
    assert a.status == 202 and a.json["missing"] == [0], a
    assert time.monotonic() - begun < 2, "rejoin took %.1f s" % (time.monotonic() - begun)
    assert barrier(service, 0, "&wait=20").status == 200
    slowest_healthz(service, "after rejoin")
    assert barrier(service, 0, "&wait=0").status == 202
    assert barrier(service, 1, "&wait=20").status == 200
    print("NOTE %d calls of one rank ahead, %.2f ms each" % (AHEAD, took / AHEAD * 1e3))
