#!/usr/bin/python3
"""A worker that is stopped (SIGSTOP) is fenced: killed for certain before its bytes are used again. Its job fails at its
timeout or is run again, and nobody else waits."""
import os
import signal
import time

from invariants import Ledger
from service import Service, alive, until

with Service(workers=3) as service:
    ledger = Ledger(service)
    ledger.sum(n=3, wait=20)
    pid = service.get("/v1/workers/1").json["pid"]
    os.kill(pid, signal.SIGSTOP)
    begun = time.monotonic()
    late = service.post("/v1/jobs?wait=30", {"op": "all_reduce_sum", "group": [0, 1], "inputs": [[1], [2]], "timeout": 1})
    assert late.status == 504 and late.json["code"] == "run_timeout", late
    assert time.monotonic() - begun < 8, "the timeout should end it"
    assert ledger.sum(n=1, group=[2], wait=20).status == 200
    until(lambda: not alive(pid), 10)
    until(lambda: service.get("/v1/workers/1").json["state"] == "ready", 20)
    assert ledger.sum(n=3, seed=5, wait=20).status == 200

    # Without a timeout the missed heartbeats end it, and the job is run again.
    pid = service.get("/v1/workers/0").json["pid"]
    os.kill(pid, signal.SIGSTOP)
    answer = ledger.sum(n=2, group=[0, 1], seed=6, wait=50)
    assert answer.status == 200, answer
    assert answer.json["attempts"] == 2, answer
    assert not alive(pid)
    assert service.delete("/v1/jobs/" + late.json["job"]).status == 204
    ledger.close()
