#!/usr/bin/python3
"""A deletion that the database has no room for is a 507 and leaves everything as it was: the tensor can still be read, its
bytes are not given to another, and after a restart it is the same."""
import errno

from invariants import Ledger, row
from service import Service

FULL = "store.before_commit=err:%d@%%d" % errno.ENOSPC


def data(service, tensor):
    return service.get("/v1/tensors/" + tensor).json["data"]


with row("F9"), Service(workers=2, failpoints=FULL % 2) as service:
    tensor = service.post("/v1/tensors?dtype=int32", [1, 2, 3]).json["tensor"]
    used = service.arena_used()
    refused = service.delete("/v1/tensors/" + tensor)
    assert refused.status == 507 and refused.json["code"] == "storage_full", refused
    assert service.arena_used() == used and data(service, tensor) == [1, 2, 3]
    others = [service.post("/v1/tensors?dtype=int32", [7, 8, 9]).json["tensor"] for _ in range(3)]
    service.stop()
    service.start(failpoints="")
    assert data(service, tensor) == [1, 2, 3] and all(data(service, t) == [7, 8, 9] for t in others)
    for t in others + [tensor]:
        assert service.delete("/v1/tensors/" + t).status == 204
    assert service.arena_used() == 0
    Ledger(service).close()

# A job and its outputs. Its own record and its end are the first two commits.
with row("F9"), Service(workers=2, failpoints=FULL % 3) as service:
    job = service.post("/v1/jobs?wait=10", {"op": "all_reduce_sum", "inputs": [[1], [2]]}).json
    refused = service.delete("/v1/jobs/" + job["id"])
    assert refused.status == 507, refused
    again = service.get("/v1/jobs/" + job["id"]).json
    assert again["outputs"] == job["outputs"], again
    assert service.delete("/v1/jobs/" + job["id"]).status == 204
    assert service.get("/v1/tensors/" + job["outputs"][0]["tensor"]).status == 404
    assert service.arena_used() == 0
    Ledger(service).close()
