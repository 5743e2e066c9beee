#!/usr/bin/python3
"""A worker that is stopped (SIGSTOP) is fenced: killed for certain before its bytes are used again. Its job fails at its
timeout or is run again, and nobody else waits; what others upload meanwhile is never written to when it goes on."""
import os
import signal
import time
from concurrent.futures import ThreadPoolExecutor

from invariants import Ledger, row
from service import Service, alive, until

RAW = {"Content-Type": "application/octet-stream"}
CANARY = 1 << 20
LARGE = 8 << 20


def canary(service, n):
    """Uploads a tensor of one value. Its id, or None when the arena is full."""
    answer = service.post("/v1/tensors?dtype=uint8&shape=%d" % CANARY, bytes([n % 251]) * CANARY, RAW)
    assert answer.status in (201, 507), answer
    return answer.json["tensor"] if answer.status == 201 else None


def stopped_while_it_writes(goes_on):
    """Whatever room there is, or comes free, is filled at once; then the worker goes on, or is killed, with its job given up."""
    with Service(workers=2, arena="48M", failpoints="1:worker.mid_run=sleep:60") as service:
        ledger = Ledger(service)
        ledger.sum(n=2, wait=20)
        pid = service.get("/v1/workers/1").json["pid"]
        answer = service.post("/v1/jobs?op=all_reduce_sum&timeout=1.5&dtype=uint8&shape=2,%d" % LARGE, b"\xee" * 2 * LARGE, RAW)
        assert answer.status == 202, answer
        job = "/v1/jobs/" + answer.json["id"]
        until(lambda: service.get(job).json["state"] == "running")
        time.sleep(0.3)
        os.kill(pid, signal.SIGSTOP)
        assert service.get(job).json["state"] == "running", "it should have been stopped in the middle"
        stopped, canaries, state = time.monotonic(), [], "running"
        while state == "running" or time.monotonic() - stopped < 5:
            assert time.monotonic() - stopped < 30
            if goes_on and time.monotonic() - stopped > 2:  # its job has been given up, and it has not been killed yet
                os.kill(pid, signal.SIGCONT)
                goes_on = False
            while id_ := canary(service, len(canaries)):
                canaries.append(id_)
            state = service.get(job).json["state"]
            time.sleep(0.05)
        document = service.get(job).json
        assert document["state"] == "failed" and document["error"]["code"] == "run_timeout" and document["error"]["ranks"] == [1], document
        if alive(pid):
            os.kill(pid, signal.SIGCONT)
        until(ledger.all_ready, 20)
        # All the room but for the inputs was filled, that of the given up output, too.
        assert len(canaries) * CANARY > service.metrics()["arena"]["size_bytes"] - 2 * LARGE - 4 * CANARY, len(canaries)
        for n, id_ in enumerate(canaries):
            got = service.get("/v1/tensors/%s?format=raw" % id_).body
            assert got == bytes([n % 251]) * CANARY, "canary %d was written to" % n
        for id_ in canaries:
            assert service.delete("/v1/tensors/" + id_).status == 204
        assert service.delete(job).status == 204
        assert ledger.sum(n=2, seed=1, wait=20).status == 200
        ledger.close()


def silent():
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


with row("F21"), ThreadPoolExecutor() as pool:
    list(pool.map(lambda what: what(), (silent, lambda: stopped_while_it_writes(False), lambda: stopped_while_it_writes(True))))
