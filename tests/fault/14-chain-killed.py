#!/usr/bin/python3
"""kill -9 of the server while a chain of jobs runs, each taking the output of the one before: after the next start all of
them run to the right end, whichever had ended, and the batch's key finds them."""
import json
import sys
import time

from invariants import RESET, Ledger, np, row
from service import Service, until

COUNT, LINES = 60, {"Content-Type": "application/x-ndjson", "Idempotency-Key": "chain"}


def send(service, ledger, wait):
    one = np.array([1, 2, 3], np.int32)
    lines = [{"op": "all_reduce_sum", "dtype": "int32", "label": "chain%d" % n,
              "inputs": [{"job": -1} if n else [0, 0, 0], one.tolist()]} for n in range(COUNT)]
    a = service.post("/v1/jobs:batch?wait=%d" % wait, "".join(json.dumps(x) + "\n" for x in lines).encode(), LINES)
    assert a.status in (200, 202), a
    for n, line in enumerate(a.body.decode().splitlines()):
        document = json.loads(line)
        assert "id" in document, document
        ledger.acknowledged(document["id"], "chain%d" % n, ("all_reduce_sum", [one * n, one], "int32", {}))


def inputs_recorded_late(n):
    """The database is full once, at the n-th commit; later the other job is deleted, and the server killed."""
    with Service(workers=2) as service:
        service.stop()
        service.start(failpoints="store.before_commit=err:28@%d,worker.before_run=sleep:300" % n)
        headers = {"Idempotency-Key": "x"}
        first = service.post("/v1/jobs", {"op": "all_reduce_sum", "inputs": [[1], [2]]}, headers)
        second = service.post("/v1/jobs", {"op": "all_reduce_sum", "inputs": [{"job": first.json["id"]}, [4]]}) if first.status == 202 else first
        if second.status != 202:
            assert first.status == 507 or second.status == 507, (first, second)
            return
        # Behind others, so that it has not run when the server is killed.
        rest = [service.post("/v1/jobs", {"op": "all_reduce_max", "priority": 5, "inputs": [[n], [2]]}) for n in range(3)]
        assert service.get("/v1/jobs/%s?wait=20" % first.json["id"]).json["state"] == "succeeded"
        until(lambda: service.delete("/v1/jobs/" + first.json["id"]).status == 204)
        time.sleep(1.2)
        service.kill()
        service.start(failpoints="")
        a = service.get("/v1/jobs/%s?wait=20" % second.json["id"]).json
        assert a["state"] == "succeeded" and a["outputs"][0]["data"] == [7], a
        assert rest


failed = 0
points = ["server"] + ["%s=kill@%d" % (point, n) for point, last in (("sched.before_record", 20), ("sched.after_run", 20),
                                                                     ("store.after_commit", 3)) for n in (1, last)]
for failpoint in points:
    try:
        with row("F4" if "before_record" in failpoint else "F3"), Service(workers=2) as service:
            ledger = Ledger(service)
            if failpoint == "server":
                service.stop()
                service.start(failpoints="worker.before_run=sleep:20")
                send(service, ledger, 0)
                until(lambda: service.metrics()["jobs"]["succeeded"] >= 10)
                assert service.get("/v1/jobs?state=waiting").json["jobs"], "the chain was too fast"
                service.kill()
            else:
                service.stop()
                service.start(failpoints=failpoint, wait=False)
                try:
                    until(service.ready)
                    send(service, ledger, 30)
                    raise AssertionError("the failpoint should have been passed")
                except RESET:
                    service.wait_killed()
            service.start(failpoints="")
            send(service, ledger, 60)
            assert len(ledger.ids) == COUNT
            documents = ledger.close()
            assert max(d["attempts"] for d in documents.values()) <= 2
    except Exception as e:
        failed += 1
        print("%s: %r" % (failpoint, e), flush=True)
FULL = range(1, 8)
for n in FULL:
    try:
        inputs_recorded_late(n)
    except Exception as e:
        failed += 1
        print("full at commit %d: %r" % (n, e), flush=True)
print("CASES %d %d" % (len(points) + len(FULL) - failed, failed))
sys.exit(failed > 0)
