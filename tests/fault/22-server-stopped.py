#!/usr/bin/python3
"""A server that was stopped for longer than its heartbeat limit reads what its sockets hold before it judges: no worker
is declared dead, a job that ran meanwhile is not run again."""
import os
import signal
import time

from invariants import Ledger, row
from service import Service

with row("F49"), Service(workers=2, failpoints="worker.mid_run=sleep:500@1") as service:
    ledger = Ledger(service)
    pids = sorted(service.worker_pids())
    answer = ledger.sum(n=2)
    assert answer.status == 202
    os.kill(service.pid, signal.SIGSTOP)
    time.sleep(12)
    os.kill(service.pid, signal.SIGCONT)
    document = service.get("/v1/jobs/%s?wait=20" % answer.json["id"]).json
    assert (document["state"], document["attempts"]) == ("succeeded", 1), document
    assert sorted(service.worker_pids()) == pids
    ledger.close()
