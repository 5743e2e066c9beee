#!/usr/bin/python3
"""kill -9 of the server while jobs are queued and running: finished ones are there after the next start, accepted ones
run to the right result, keys hold, no worker is left behind."""
from invariants import Ledger, np, row
from service import Service, until

with row("F3"), Service(workers=4) as service:
    ledger = Ledger(service)
    for n in range(3):
        assert ledger.sum(seed=n, key="done%d" % n, wait=20).status == 200
    finished = {id_: service.get("/v1/jobs/" + id_).json for id_ in ledger.jobs}
    upload = ledger.keep(service.post("/v1/tensors", [1, 2, 3]).json["tensor"])
    assert service.post("/v1/groups", {"name": "pair", "ranks": [2, 0]}).status == 201
    service.stop()

    service.start(failpoints="worker.before_run=sleep:500")
    for n in range(6):
        answer = ledger.sum(seed=100 + n, key="open%d" % n)
        assert answer.status == 202, answer
    ledger.post("gather", [np.arange(3, dtype=np.int32), np.arange(3, 6, dtype=np.int32)], group=[3, 1], key="pair")
    until(lambda: service.get("/v1/jobs?state=running").json["jobs"])
    service.kill()

    service.start(failpoints="")
    for id_, document in finished.items():
        assert service.get("/v1/jobs/" + id_).json == document, id_
    assert service.get("/v1/tensors/" + upload).json["data"] == [1, 2, 3]
    assert service.get("/v1/groups/pair").json["ranks"] == [2, 0]
    ledger.retry()
    documents = ledger.close()
    assert len(documents) == 10
    assert max(d["attempts"] for d in documents.values()) == 2, "the running job should have begun twice"
