#!/usr/bin/python3
"""The server dies between each pair of steps of a job's life. A client that retries with its key has each job run to one
right result."""
import sys

from invariants import RESET, Ledger, row
from service import Service, until

POINTS = {"store.before_commit": "F1", "store.after_commit": "F2", "job.before_ack": "F2", "sched.before_run": "F3",
          "sched.after_run": "F3", "sched.before_record": "F4", "ckpt.before": "F7", "ckpt.after": "F7"}
failed = 0
for point in POINTS:
    try:
        with row(POINTS[point]), Service(workers=2) as service:
            ledger = Ledger(service)
            service.stop()
            service.start(failpoints="%s=kill@3" % point, wait=False)
            try:
                until(lambda: service.ready() or service.process.poll() is not None)
                for n in range(40):
                    answer = ledger.sum(n=2, seed=n, key="k%d" % n, wait=10)
                    assert answer.status in (200, 202), answer
                assert point.startswith("ckpt"), "the failpoint should have been passed"
                service.process.terminate()  # a checkpoint is passed at the end, if at all
                service.process.wait(30)
                service.process = None
            except RESET:
                service.wait_killed()
            service.start(failpoints="")
            known = [job["label"] for job in service.get("/v1/jobs").json["jobs"]]
            if point == "store.before_commit":  # nobody knows of the one that was on its way
                assert sorted(known) == sorted(ledger.ids) and len(known) < len(ledger.requests), known
            if point == "store.after_commit":
                assert sorted(known) == sorted(ledger.requests) and len(known) > len(ledger.ids), known
            ledger.retry()
            documents = ledger.close()
            assert max(d["attempts"] for d in documents.values()) <= 2
    except Exception as e:
        failed += 1
        print("%s: %r" % (point, e), flush=True)
print("CASES %d %d" % (len(POINTS) - failed, failed))
sys.exit(failed > 0)
