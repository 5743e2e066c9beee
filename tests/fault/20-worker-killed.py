#!/usr/bin/python3
"""kill -9 of a worker, idle and in each phase of a job: the rank comes back, the job is run again and succeeds."""
import os
import signal
import sys
import time

from invariants import Ledger, np
from service import Service, alive, until

failed = cases = 0


def case(name, body):
    global failed, cases
    cases += 1
    try:
        body()
    except Exception as e:
        failed += 1
        print("%s: %r" % (name, e), flush=True)


def idle():
    with Service(workers=3) as service:
        ledger = Ledger(service)
        row = service.get("/v1/workers/1").json
        os.kill(row["pid"], signal.SIGKILL)
        until(lambda: not alive(row["pid"]) and service.get("/v1/workers/1").json["state"] == "ready" and
              service.get("/v1/workers/1").json["pid"] != row["pid"], 20)
        assert ledger.sum(n=3, wait=20).status == 200
        documents = ledger.close()
        assert [d["attempts"] for d in documents.values()] == [1]


def mid_job():
    """By signal, while the job runs; the other ranks are not hung, other groups go on."""
    with Service(workers=3, failpoints="worker.mid_run=sleep:1000@1") as service:
        ledger = Ledger(service)
        answer = ledger.sum(n=2, group=[0, 1], key="hit")
        assert answer.status == 202, answer
        until(lambda: service.get("/v1/jobs/%s" % answer.json["id"]).json["state"] == "running")
        time.sleep(0.2)
        os.kill(service.get("/v1/workers/1").json["pid"], signal.SIGKILL)
        aside = ledger.sum(n=1, group=[2], wait=20)
        assert aside.status == 200, aside
        documents = ledger.close()
        assert documents[answer.json["id"]]["attempts"] == 2, documents


def at(point):
    """All ranks die at a point of their second job, with every operation in turn as that job."""
    inputs = [np.arange(8, dtype=np.int32) + r for r in range(2)]
    ops = ("all_reduce_sum", "reduce_scatter_sum", "all_gather", "gather", "all_to_all", "scatter", "broadcast", "remote_send")
    with Service(workers=2, failpoints="%s=kill@2" % point) as service:
        ledger = Ledger(service)
        for op in ops:
            answer = ledger.post(op, inputs, wait=30)
            assert answer.status == 200, answer
        documents = ledger.close()
        assert max(d["attempts"] for d in documents.values()) == 2, [d["attempts"] for d in documents.values()]


def poison():
    """A job that kills its workers each time fails after a few attempts; the service goes on."""
    with Service(workers=3, failpoints="worker.before_run=kill") as service:
        ledger = Ledger(service)
        answer = ledger.sum(n=2, group=[0, 1], wait=60)
        assert answer.status == 500 and answer.json["code"] == "worker_crashed", answer
        job = service.get("/v1/jobs/" + answer.json["job"]).json
        assert (job["state"], job["attempts"], job["error"]["code"]) == ("failed", 3, "worker_crashed"), job
        assert service.get("/v1/workers/2").json["state"] == "ready"
        service.stop()
        service.start(failpoints="")
        assert ledger.sum(n=2, group=[0, 1], wait=20).status == 200
        assert service.delete("/v1/jobs/" + job["id"]).status == 204
        ledger.close()


case("idle", idle)
case("mid job", mid_job)
for point in ("worker.before_run", "worker.mid_run", "worker.before_done"):
    case(point, lambda: at(point))
case("poison", poison)
print("CASES %d %d" % (cases - failed, failed))
sys.exit(failed > 0)
