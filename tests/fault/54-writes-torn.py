#!/usr/bin/python3
"""The disk goes wrong at the n-th write of the database's log: half of it is written when the power fails, there is no space,
or the fsync after it fails. What was acknowledged is there at the next start, and runs; what was not is decided by then."""
import sys

from invariants import RESET, Ledger, row
from preload import preload
from service import Service

COUNT = 25
FAULTS = [("torn", n) for n in (1, 2, 3, 4, 5, 7, 9, 12, 17)] + [("full", n) for n in (1, 2, 4, 7)] + [("fsync", n) for n in (1, 2)]
PROVES = {"torn": "F8", "full": "F9", "fsync": "F10"}


def some_jobs(service, ledger):
    """The statuses that a client gets, up to the end of the server."""
    statuses = []
    try:
        for n in range(COUNT):
            answer = ledger.sum(n=2, seed=n, key="k%d" % n, wait=20)
            statuses.append(answer.status)
            if answer.status == 503:
                assert answer.json["code"] == "outcome_unknown", answer
                break
    except RESET:
        pass
    return statuses


def one(kind, n):
    with Service(workers=2) as service:
        service.stop()
        service.environment = preload("disk_fails", TUTTI_TEST_DISK="%s:%d" % (kind, n))
        service.start()
        ledger = Ledger(service)
        statuses = some_jobs(service, ledger)
        if kind == "torn":
            service.wait_killed()
            assert set(statuses) <= {200} and len(statuses) < COUNT, statuses
        elif kind == "full":
            assert 507 in statuses and set(statuses) <= {200, 507} and len(statuses) == COUNT, statuses
            assert statuses[-5:] == [200] * 5, statuses
            service.stop()
        else:
            assert set(statuses[:-1]) <= {200}, statuses
            if len(statuses) == COUNT:  # the next one is at the checkpoint of a clean stop
                service.process.terminate()
            status, service.process = service.process.wait(30), None
            assert status == 70, status
        acknowledged = list(ledger.jobs)
        service.environment = {}
        service.start()
        for id_ in acknowledged:
            assert service.get("/v1/jobs/" + id_).status == 200, "%s is forgotten" % id_
        ledger.retry()
        ledger.close()


failed = 0
for fault in FAULTS:
    try:
        with row(PROVES[fault[0]]):
            one(*fault)
    except Exception as e:
        failed += 1
        print("%s:%d: %r" % (*fault, e), flush=True)
print("CASES %d %d" % (len(FAULTS) - failed, failed))
sys.exit(failed > 0)
