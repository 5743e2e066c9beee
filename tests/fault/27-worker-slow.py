#!/usr/bin/python3
"""Slow is not dead: a rank that takes a hundred times as long is waited for, up to the job's timeout, which names it; one that is
busy in one piece of work for longer than the heartbeat limit keeps its heartbeat; ranks that have no part in it do not wait."""
import time
from concurrent.futures import ThreadPoolExecutor

from invariants import Ledger, np, row
from service import Service, alive

BUSY_S = 13  # ten missed heartbeats are the end
SIZE = 1 << 20
SLOW = "1:worker.mid_run=sleep:150"  # a piece of work takes about a millisecond
RAW = {"Content-Type": "application/octet-stream"}


def large(ledger, ranks, **more):
    return ledger.post("all_reduce_sum", [np.arange(SIZE, dtype=np.int64) + r for r in ranks], "int64", group=ranks, **more)



def slow():
    with Service(workers=3, arena="256M") as service:
        ledger = Ledger(service)
        begun = time.monotonic()
        assert large(ledger, [0, 1], wait=30).status == 200
        quick = time.monotonic() - begun
        service.stop()
        service.start(failpoints=SLOW)
        pids = sorted(service.worker_pids())
        begun = time.monotonic()
        first = large(ledger, [0, 1]).json["id"]
        behind = ledger.sum(n=2, group=[1, 0], seed=4).json["id"]
        asked = 0
        while service.get("/v1/jobs/" + first).json["state"] in ("queued", "running"):
            assert ledger.sum(n=1, group=[2], seed=asked, wait=20).status == 200
            asked += 1
        slowed = time.monotonic() - begun
        print("NOTE %.2f s on equal ranks, %.2f s with a slow one, and %d jobs of another rank meanwhile" % (quick, slowed, asked))
        assert asked > 5, "the other rank waited"
        assert service.get("/v1/jobs/%s?wait=20" % behind).json["attempts"] == 1
        late = service.post("/v1/jobs?wait=30&op=all_reduce_sum&group=0,1&timeout=1&dtype=int64&shape=2,%d" % SIZE, bytes(16 * SIZE), RAW)
        assert late.status == 504 and late.json["code"] == "run_timeout" and late.json["ranks"] == [1], late
        assert ledger.sum(n=2, group=[0, 1], seed=9, wait=20).status == 200
        assert sorted(service.worker_pids()) == pids, "nobody should have been killed for being slow"
        assert service.delete("/v1/jobs/" + late.json["job"]).status == 204
        ledger.close()


def busy():
    with Service(workers=2, failpoints="1:worker.mid_run=spin:%d@1" % (BUSY_S * 1000)) as service:
        ledger = Ledger(service)
        pids = service.worker_pids()
        begun = time.monotonic()
        job = ledger.sum(n=2).json["id"]
        oldest = 0
        while service.get("/v1/jobs/" + job).json["state"] != "succeeded":
            assert time.monotonic() - begun < 60 and all(alive(p) for p in pids)
            worker = service.get("/v1/workers/1").json
            assert worker["state"] in ("busy", "ready"), worker
            oldest = max(oldest, worker["counters"]["heartbeat_age_us"])
            time.sleep(0.2)
        assert time.monotonic() - begun > BUSY_S
        assert oldest < 5e6, "no heartbeat for %.1f s" % (oldest / 1e6)
        assert service.get("/v1/jobs/" + job).json["attempts"] == 1
        assert sorted(service.worker_pids()) == sorted(pids)
        ledger.close()


with row("F22", "F55"), ThreadPoolExecutor() as pool:
    list(pool.map(lambda what: what(), (busy, slow)))
