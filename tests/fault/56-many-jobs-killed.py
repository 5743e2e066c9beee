#!/usr/bin/python3
"""56-many-jobs-killed.py [COUNT] - kill -9 with nothing to do: the next start's first job works. With COUNT jobs that wait for
their turn: ready again in a time that follows from reading the database, and every one of them runs."""
import json
import sqlite3
import sys
import time

from invariants import Ledger, row
from service import SANITIZED, Service, until

COUNT = int(sys.argv[1]) if len(sys.argv) > 1 else 20000
LINES = 10000  # a body
SAMPLE = 200  # whose bytes are read
BASE_S, RATIO = 3, 40 if SANITIZED else 15


def send(service):
    """Every job has its own sum."""
    for begin in range(0, COUNT, LINES):
        lines = (json.dumps({"op": "all_reduce_sum", "dtype": "int32", "inputs": [[n, 1], [n, 2]], "label": "n%d" % n})
                 for n in range(begin, min(begin + LINES, COUNT)))
        a = service.post("/v1/jobs:batch", "\n".join(lines).encode() + b"\n", {"Content-Type": "application/x-ndjson"})
        assert a.status == 202 and a.body.count(b'"id"') >= a.body.count(b"\n"), a


def read_all(service):
    """Seconds to read what a start has to read, page by page as after a kill; and how many jobs there are to run."""
    begun = time.monotonic()
    db = sqlite3.connect("file:%s/tutti.db?mode=ro" % service.data_dir, uri=True)
    assert db.execute("PRAGMA quick_check").fetchone() == ("ok",)
    jobs = db.execute("SELECT * FROM job WHERE state = 'queued'").fetchall()
    db.execute("SELECT * FROM tensor").fetchall()
    db.close()
    return time.monotonic() - begun, len(jobs)


def check(service):
    """Each job's end, page by page; of some the bytes."""
    seen, after = {}, ""
    while True:
        page = service.get("/v1/jobs?limit=500" + after).json
        for job in page["jobs"]:
            if job["label"] != "first":
                assert job["state"] == "succeeded" and job["attempts"] <= 2, job
                seen[int(job["label"][1:])] = job["id"]
        if not page["next"]:
            break
        after = "&after=" + page["next"]
    assert set(seen) == set(range(COUNT)), len(seen)
    for n in range(0, COUNT, max(1, COUNT // SAMPLE)):
        job = service.get("/v1/jobs/" + seen[n]).json
        assert [o["data"] for o in job["outputs"]] == [[2 * n, 3]] * 2, job


with row("F6"), Service(workers=2, arena="256M") as service:
    service.kill()
    service.start()
    ledger = Ledger(service)
    assert ledger.sum(n=2, label="first", wait=20).status == 200
    service.kill()
    service.start(failpoints="worker.before_run=sleep:100")
    send(service)
    service.kill()
    reading, unfinished = read_all(service)
    assert unfinished > COUNT // 2, unfinished
    begun = time.monotonic()
    service.start(failpoints="")
    took = time.monotonic() - begun
    print("NOTE ready with %d jobs after %.2f s; reading them takes %.2f s" % (unfinished, took, reading))
    assert took < BASE_S + RATIO * reading, "%.1f s" % took
    until(lambda: service.metrics()["jobs"]["queued"] + service.metrics()["jobs"]["running"] == 0, 300, 0.2)
    check(service)
    ledger.close(delete=False)
