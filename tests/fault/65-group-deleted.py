#!/usr/bin/python3
"""A group is deleted while its jobs run and queue: they keep their ranks and run to their end, also over a restart; the name is
free at once, and the next group of that name is another."""
from invariants import Ledger, np, row
from service import Service, until

with row("F47"), Service(workers=3, failpoints="worker.before_run=sleep:300") as service:
    ledger = Ledger(service)
    one = [np.array([n, 1], np.int32) for n in range(2)]
    assert service.post("/v1/groups", {"name": "pair", "ranks": [2, 0]}).status == 201
    jobs = [ledger.post("all_gather", one, group="pair", key="k%d" % n).json["id"] for n in range(5)]
    until(lambda: service.get("/v1/jobs/" + jobs[0]).json["state"] == "running")
    assert service.get("/v1/jobs/" + jobs[4]).json["state"] == "queued"
    assert service.delete("/v1/groups/pair").status == 204
    assert service.get("/v1/groups/pair").status == 404
    refused = service.post("/v1/jobs", {"op": "all_reduce_sum", "group": "pair", "inputs": [[1], [2]]})
    assert refused.status == 404 and refused.json["code"] == "group_unknown", refused
    assert service.post("/v1/groups", {"name": "pair", "ranks": [1, 2, 0]}).status == 201
    ledger.sum(n=3, group="pair", key="other")
    service.kill()

    service.start(failpoints="")
    documents = ledger.close()
    assert [documents[id_]["ranks"] for id_ in jobs] == [[2, 0]] * 5, documents
    assert documents[ledger.ids["other"]]["ranks"] == [1, 2, 0], documents
