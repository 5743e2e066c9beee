#!/usr/bin/python3
"""kill -9 of a worker, idle and in each phase of a job: the rank comes back, the job is run again and succeeds."""
import os
import signal
import subprocess
import sys
import time

from invariants import Ledger, np, row
from service import BUILD, Service, alive, until

failed = cases = 0


def case(rows, body):
    global failed, cases
    cases += 1
    try:
        with row(*rows):
            body()
    except Exception as e:
        failed += 1
        print("%s: %r" % (rows, e), flush=True)


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


def close(service, ledger):
    """Jobs that give a maximum keep their inputs beside their outputs, for a gradient; the ledger counts outputs."""
    ledger.finish()
    for id_ in [id_ for id_, (op, *_) in ledger.jobs.items() if op.endswith(("max", "min"))]:
        assert service.delete("/v1/jobs/" + id_).status == 204
        del ledger.jobs[id_]
    return ledger.close()


def operations():
    table = subprocess.run([os.path.join(BUILD, "tutti-server"), "--print-tables"], capture_output=True, text=True, check=True)
    ops = [line.split()[1] for line in table.stdout.splitlines() if line.startswith("op ")]
    assert len(ops) > 12
    return [op for op in ops if op != "barrier"]  # for which no rank has anything to do


def at(point, both):
    """In each operation at once, on two ranks of its own: one of them dies at a point of the job, or both do. The other goes on
    waiting for nobody, and the job is run again when they are back, and is right."""
    ops = operations()
    inputs = [np.arange(8, dtype=np.int32) + r for r in range(2)]
    warm = ("all_reduce_sum", [np.arange(2, dtype=np.int32)])
    with Service(workers=2 * len(ops), failpoints="%s=kill@3" % point) as service:
        ledger = Ledger(service)
        # Whoever has passed the point twice before dies of the next job, and once.
        for n in range(2):
            for rank in range(0, 2 * len(ops), 1 if both else 2):
                assert ledger.post(*warm, group=[rank]).status == 202
        ledger.finish()
        begun = time.monotonic()
        jobs = {}
        for n, op in enumerate(ops):
            dtype = "float32" if op == "all_reduce_avg" else "int32"
            answer = ledger.post(op, [x.astype(dtype) for x in inputs], dtype, group=[2 * n, 2 * n + 1])
            assert answer.status == 202, (op, answer)
            jobs[op] = answer.json["id"]
        ended = {op: service.get("/v1/jobs/%s?wait=60" % id_).json for op, id_ in jobs.items()}
        assert time.monotonic() - begun < 40, "some rank was held"
        # Who dies behind its DONE has done its part: the job is not run again.
        attempts = 1 if point == "worker.after_done" else 2
        assert {op: d["attempts"] for op, d in ended.items()} == dict.fromkeys(ops, attempts), {o: d["attempts"] for o, d in ended.items()}
        until(ledger.all_ready, 20)
        restarts = [w["counters"]["restarts"] for w in service.get("/v1/workers").json["workers"]]
        assert restarts == [1, int(both)] * len(ops), restarts
        close(service, ledger)


def poison():
    """A job that kills its workers each time fails after a few attempts, also in company: the jobs before and behind it, on its
    ranks and on others, are done, and its workers are not started in a hurry."""
    with Service(workers=3, failpoints="worker.before_run/all_to_all=kill,worker.mid_run/all_reduce_max=sleep:300") as service:
        ledger = Ledger(service)
        pair = [np.arange(4, dtype=np.int32) + r for r in range(2)]
        before = service.get("/v1/workers").json["workers"]
        begun = time.monotonic()
        ledger.post("all_reduce_max", pair, group=[0, 1])  # behind it the others gather to a batch
        for n in range(5):
            assert ledger.sum(n=2, seed=n, group=[0, 1]).status == 202
        bad = service.post("/v1/jobs", {"op": "all_to_all", "group": [0, 1], "inputs": [[1, 2], [3, 4]], "label": "poison"}).json["id"]
        for n in range(5):
            assert ledger.sum(n=2, seed=n + 5, group=[0, 1]).status == 202
        while service.get("/v1/jobs/" + bad).json["state"] in ("queued", "running"):
            assert time.monotonic() - begun < 60
            assert ledger.sum(n=1, group=[2], wait=20).status == 200
        job = service.get("/v1/jobs/" + bad).json
        assert (job["state"], job["error"]["code"]) == ("failed", "worker_crashed"), job
        assert job["attempts"] == 3, job
        documents = ledger.finish()
        until(ledger.all_ready, 20)
        workers = service.get("/v1/workers").json["workers"]
        assert [w["counters"]["restarts"] for w in workers] == [job["attempts"], job["attempts"], 0], workers
        assert workers[2]["pid"] == before[2]["pid"]
        # The pauses are 100, 200, 400 ms and so on.
        assert time.monotonic() - begun > 0.1 * (2 ** job["attempts"] - 1), "restarted without a pause"
        assert max(d["attempts"] for d in documents.values()) <= 2, [d["attempts"] for d in documents.values()]
        assert service.delete("/v1/jobs/" + bad).status == 204
        close(service, ledger)


case(("F18",), idle)
case(("F19", "F37"), mid_job)  # the kernel's killer, when memory is short, does the same
for point in ("worker.before_run", "worker.mid_run", "worker.before_done", "worker.after_done"):
    for both in (False, True):
        case(("F19",), lambda: at(point, both))
case(("F20",), poison)
print("CASES %d %d" % (cases - failed, failed))
sys.exit(failed > 0)
