#!/usr/bin/python3
"""Runs that end because the server is killed are not held against the job: only when its workers have died in three runs
does it fail, and the reason says so."""
import os
import signal

from invariants import Ledger
from service import Service, until


def running(service, id_, attempt):
    def look():
        job = service.get("/v1/jobs/" + id_).json
        assert job["state"] in ("queued", "running"), job
        return job["state"] == "running" and job["attempts"] >= attempt

    until(look)


with Service(workers=2, failpoints="worker.mid_run=sleep:30000") as service:
    ledger = Ledger(service)
    answer = ledger.sum(n=2, key="k")
    assert answer.status == 202, answer
    id_ = answer.json["id"]
    for kill in range(3):
        running(service, id_, kill + 1)
        service.process.kill()  # its workers sleep, and are ended by the next start
        service.process.wait()
        service.start()
    for crash in range(3):
        running(service, id_, 4 + crash)
        os.kill(service.get("/v1/workers/1").json["pid"], signal.SIGKILL)
    job = service.get("/v1/jobs/%s?wait=20" % id_).json
    assert (job["state"], job["error"]["code"]) == ("failed", "worker_crashed") and job["attempts"] >= 6, job
    assert "each of 3 runs" in job["error"]["detail"], job
    ledger.close(may_fail={id_})
