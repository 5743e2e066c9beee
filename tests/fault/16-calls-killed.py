#!/usr/bin/python3
"""kill -9 of the server around the end of calls that never make a job: that job is failed afterwards, or nobody ever heard of
it, but it is never run. Clients that hang up do not withdraw their calls, and leave nothing behind."""
import json
import os
import socket
import sqlite3
import sys
import threading
import time

from invariants import RESET, Ledger, database_whole
from service import Service, until

CALLS = "/v1/groups/world/ranks/%d/calls"
POINTS = [p % n for p in ("store.before_commit=kill@%d", "store.after_commit=kill@%d") for n in (1, 2, 3)]


def call(service, rank, op, key=None, query="", answers=None):
    try:
        a = service.post(CALLS % rank + query, {"op": op, "input": [rank + 1]}, {"Idempotency-Key": key} if key else {})
        if answers is not None:
            answers[rank] = a
        return a
    except RESET:
        return None


def apart(service, wait):
    """Rank 0 and rank 1 call different things, with keys; the server dies in between."""
    answers = {}
    ranks = [threading.Thread(target=call, args=(service, r, op, "k%d" % r, "?wait=%d" % wait, answers))
             for r, op in enumerate(("all_reduce_sum", "all_reduce_max"))]
    for t in ranks:
        t.start()
        time.sleep(0.1)
    for t in ranks:
        t.join()
    return answers


def mismatch(point, wait):
    with Service(workers=2) as service:
        service.stop()
        service.start(failpoints=point, wait=False)
        try:
            until(service.ready)
        except RESET:
            pass
        answers = apart(service, wait)
        try:
            service.wait_killed()
        except AssertionError:
            service.kill()
        service.start(failpoints="")
        for job in service.get("/v1/jobs?limit=500").json["jobs"]:
            job = service.get("/v1/jobs/%s?wait=20" % job["id"]).json
            assert job["state"] == "failed", job
        for rank, a in answers.items():
            if a and a.status in (202, 409):
                id_ = a.json.get("id") or a.json["job"]
                assert service.get("/v1/jobs/" + id_).json["state"] == "failed", a
        again = apart(service, 20)
        assert again[0].status == again[1].status and again[0].status in (409, 410), again
        both = {}
        ranks = [threading.Thread(target=call, args=(service, r, "all_reduce_sum", None, "?wait=20", both)) for r in (0, 1)]
        [t.start() for t in ranks]
        [t.join() for t in ranks]
        assert [both[r].json["output"]["data"] for r in (0, 1)] == [[3], [3]], both
        service.stop()
        database_whole(service)


def retried_while_it_runs():
    """A call with a key is sent again after a restart, while its job is not finished."""
    with Service(workers=2, failpoints="worker.before_run=sleep:700") as service:
        ranks = [threading.Thread(target=call, args=(service, r, "all_reduce_sum", "r%d" % r, "?wait=20")) for r in (0, 1)]
        [t.start() for t in ranks]
        until(lambda: service.metrics()["jobs"]["running"] == 1)
        service.kill()
        [t.join() for t in ranks]
        service.start()
        a = call(service, 0, "all_reduce_sum", "r0", "?wait=0")
        assert a.status == 202, a
        a = call(service, 1, "all_reduce_sum", "r1", "?wait=20")
        assert a.status == 200 and a.json["output"]["data"] == [3], a
        assert call(service, 0, "all_reduce_sum", "r0", "?wait=20").json["output"]["data"] == [3]


def hang_up():
    """40 keyed calls whose clients are gone at once are made all the same."""
    with Service(workers=2) as service:
        host, port = service.address if hasattr(service, "address") else ("127.0.0.1", service.port)
        body = json.dumps({"op": "all_reduce_sum", "input": [1]}).encode()
        for n in range(40):
            s = socket.create_connection((host, port))
            s.sendall(("POST %s HTTP/1.1\r\nHost: %s:%d\r\nContent-Type: application/json\r\nIdempotency-Key: g%d\r\nContent-Length: %d\r\n\r\n" %
                       (CALLS % 0, host, port, n, len(body))).encode() + body)
            if n % 2:
                time.sleep(0.002)
            s.close()
        until(lambda: service.metrics()["jobs"]["waiting"] == 40)
        for n in range(40):
            a = call(service, 1, "all_reduce_sum", query="?wait=20")
            assert a.json["output"]["data"] == [3] and a.json["seq"] == n, a
        for job in service.get("/v1/jobs?limit=500").json["jobs"]:
            assert service.delete("/v1/jobs/" + job["id"]).status == 204
        until(lambda: service.arena_used() == 0, 5)


failed = 0
cases = [(mismatch, point, wait) for point in POINTS for wait in (0, 20)] + [(retried_while_it_runs,), (hang_up,)]
for case, *arguments in cases:
    try:
        case(*arguments)
    except Exception as e:
        failed += 1
        print("%s %s: %r" % (case.__name__, arguments, e), flush=True)
print("CASES %d %d" % (len(cases) - failed, failed))
sys.exit(failed > 0)
