#!/usr/bin/python3
"""Three restarts, two of them by kill -9, change nothing: jobs, tensors, groups and counts stay as they were."""
from invariants import Ledger, row
from service import Service


def state(service):
    jobs = service.get("/v1/jobs?limit=500").json
    return {
        "jobs": [service.get("/v1/jobs/%s" % job["id"]).json for job in jobs["jobs"]],
        "outputs": [service.get("/v1/jobs/%s/outputs?format=raw" % job["id"]).body for job in jobs["jobs"]
                    if job["op"] != "reduce_sum"],
        "groups": service.get("/v1/groups").json["groups"][1:],  # the world is made at each start
        "arena": service.arena_used(),
    }


with row("F5"), Service(workers=2) as service:
    ledger = Ledger(service)
    for n in range(4):
        ledger.sum(n=2, seed=n, key="k%d" % n, wait=20)
    upload = service.post("/v1/tensors", [[1], [2], [3], [4]]).json["tensor"]
    ledger.tensors.append(upload)
    for op in ("broadcast", "scatter"):  # views: several tensors in one extent
        job = service.post("/v1/jobs?wait=20", {"op": op, "inputs": [{"tensor": upload}, None]}).json
        assert job["state"] == "succeeded", job
        ledger.tensors += [o["tensor"] for o in job["outputs"]]
    service.post("/v1/groups", {"name": "one", "ranks": [1]})
    before = state(service)
    for stop in (service.kill, service.stop, service.kill):
        stop()
        service.start()
        after = state(service)
        for part in before:
            assert after[part] == before[part], (part, before[part], after[part])
    # The upload goes first; its bytes live on in the outputs that share them.
    assert service.delete("/v1/tensors/" + upload).status == 204
    for tensor in ledger.tensors[1:]:
        assert service.get("/v1/tensors/" + tensor).status == 200
    for job in service.get("/v1/jobs").json["jobs"]:
        if job["id"] not in ledger.jobs:
            assert service.delete("/v1/jobs/" + job["id"]).status == 204
    ledger.tensors.clear()
    ledger.close()
