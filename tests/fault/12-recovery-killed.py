#!/usr/bin/python3
"""The server dies at each step of recovery, several times: it ends in the same state as after one restart."""
from invariants import Ledger, row
from service import Service

with row("F5"), Service(workers=2) as service:
    ledger = Ledger(service)
    ledger.keep(service.post("/v1/tensors", [5, 6]).json["tensor"])
    assert service.post("/v1/groups", {"name": "two", "ranks": [1, 0]}).status == 201
    for n in range(2):
        ledger.sum(n=2, seed=n, key="done%d" % n, wait=20)
    service.stop()
    service.start(failpoints="worker.before_run=sleep:5000")
    for n in range(3):
        assert ledger.sum(n=2, seed=10 + n, key="open%d" % n).status == 202
    service.kill()
    for point in ("recover.tensors", "recover.groups", "recover.jobs") * 3:
        service.start(failpoints="%s=kill" % point, wait=False)
        service.wait_killed()
    service.start(failpoints="")
    assert service.get("/v1/groups/two").json["ranks"] == [1, 0]
    assert service.get("/v1/tensors/" + ledger.tensors[0]).json["data"] == [5, 6]
    ledger.retry()
    ledger.close()
