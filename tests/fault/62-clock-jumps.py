#!/usr/bin/python3
"""Somebody sets the wall clock a day ahead, and a day back: waits and timeouts last as long as they said, nobody is declared
dead, ids stay in order, also over a restart, and neither what is there nor what comes is removed for it."""
import os
import signal
import struct
import sys
import tempfile
import time

from invariants import Ledger, row
from preload import preload
from service import Service, until

DAY_S = 86400
LOOKS_S = 2.5  # retention looks once a second


class Clock:
    def __init__(self):
        self.file = tempfile.NamedTemporaryFile()
        self.set(0)

    def set(self, ahead_s):
        self.file.seek(0)
        self.file.write(struct.pack("q", ahead_s))
        self.file.flush()


def took(what):
    begun = time.monotonic()
    return what(), time.monotonic() - begun


def in_order(ledger):
    ids = list(ledger.jobs)
    assert ids == sorted(ids), ids


def jump(service, ledger, clock, ahead_s):
    """Once while a job waits for a worker that does not answer; then everything else goes on as before."""
    pids = {w["rank"]: w["pid"] for w in service.get("/v1/workers").json["workers"]}
    os.kill(pids[1], signal.SIGSTOP)
    job = service.post("/v1/jobs", {"op": "all_reduce_sum", "group": [0, 1], "inputs": [[1], [2]], "timeout": 3}).json["id"]
    begun = time.monotonic()
    clock.set(ahead_s)
    answer, seconds = took(lambda: service.get("/v1/jobs/%s?wait=1" % job))
    assert answer.json["state"] == "running" and 0.8 < seconds < 2.5, (answer, seconds)
    late = service.get("/v1/jobs/%s?wait=20" % job).json
    assert late["error"]["code"] == "run_timeout" and 2.5 < time.monotonic() - begun < 12, late
    assert service.delete("/v1/jobs/" + job).status == 204
    until(lambda: service.get("/v1/workers/1").json["state"] == "ready", 20)
    assert service.get("/v1/workers/1").json["pid"] != pids[1]

    ledger.keep(service.post("/v1/tensors", [ahead_s, 7]).json["tensor"])
    for n in range(2):
        assert ledger.sum(n=3, seed=len(ledger.jobs), wait=20).status == 200
    time.sleep(LOOKS_S)
    ledger.uploads_unchanged()
    ledger.finish()
    in_order(ledger)
    assert service.metrics()["uptime_us"] < 3600e6, service.metrics()
    for rank in (0, 2):
        assert service.get("/v1/workers/%d" % rank).json["pid"] == pids[rank], "rank %d was given up" % rank


failed, clock = 0, Clock()
for ahead in (DAY_S, -DAY_S):
    try:
        clock.set(0)
        with row("F38"), Service(workers=3, environment=preload("clock_jumps", TUTTI_TEST_CLOCK=clock.file.name)) as service:
            ledger = Ledger(service)
            ledger.keep(service.post("/v1/tensors", [1, 2]).json["tensor"])
            assert ledger.sum(n=3, wait=20).status == 200
            jump(service, ledger, clock, ahead)
            if ahead < 0:  # the next start knows of no other time than the one that is set
                service.stop()
                service.start()
                assert ledger.sum(n=3, seed=99, wait=20).status == 200
                time.sleep(LOOKS_S)
                in_order(ledger)
            clock.set(0)
            ledger.sum(n=3, seed=100, wait=20)
            in_order(ledger)
            service.stop()  # the ledger compares moments, and begins anew with each start
            service.start()
            ledger.close()
    except Exception as e:
        failed += 1
        print("%+d s: %r" % (ahead, e), flush=True)
print("CASES %d %d" % (2 - failed, failed))
sys.exit(failed > 0)
