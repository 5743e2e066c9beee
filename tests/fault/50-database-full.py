#!/usr/bin/python3
"""No space for the database is a 507 and the service goes on; an error while committing leaves the outcome open: 503, the
server leaves with status 70, and the next start decides by reading."""
import errno

from invariants import RESET, Ledger, row
from service import Service

with row("F9"), Service(workers=2, failpoints="store.before_commit=err:%d@2" % errno.ENOSPC) as service:
    ledger = Ledger(service)
    statuses = [ledger.sum(n=2, seed=n, key="k%d" % n, wait=20).status for n in range(6)]
    assert statuses.count(507) <= 1 and set(statuses) <= {200, 507}, statuses
    ledger.retry()
    ledger.close()

with row("F10"), Service(workers=2) as service:
    ledger = Ledger(service)
    service.stop()
    service.start(failpoints="store.commit_err=err:%d@4" % errno.EIO, wait=False)
    try:
        service.wait_ready()
        for n in range(20):
            answer = ledger.sum(n=2, seed=n, key="k%d" % n, wait=20)
            if answer.status != 200:
                assert answer.status == 503 and answer.json["code"] == "outcome_unknown", answer
                break
    except RESET:
        pass
    assert service.process.wait(30) == 70, service.process.returncode
    service.process = None
    service.start(failpoints="")
    ledger.retry()
    ledger.close()
