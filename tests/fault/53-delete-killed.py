#!/usr/bin/python3
"""kill -9 of the server around the deletion of a job: afterwards it is there with all of its outputs and what is kept for its
gradient, or nothing of it is, and its bytes are free."""
import sys

from invariants import RESET, database_whole
from service import Service, until

POINTS = [p % n for p in ("store.before_commit=kill@%d", "store.after_commit=kill@%d") for n in (1, 2)]


def deleted(point, op):
    with Service(workers=2) as service:
        body = {"op": op, "inputs": [[1, 2], [3, 4]]}
        job = service.post("/v1/jobs?wait=20", body, {"Idempotency-Key": "k"}).json
        assert job["state"] == "succeeded", job
        service.stop()
        service.start(failpoints=point)
        try:
            assert service.delete("/v1/jobs/" + job["id"]).status == 204
            service.kill()
        except RESET:
            service.wait_killed()
        service.start(failpoints="")
        again = service.get("/v1/jobs/" + job["id"])
        tensors = {o["tensor"] for o in job["outputs"]}
        found = {t: service.get("/v1/tensors/" + t).status for t in tensors}
        if again.status == 200:
            assert again.json == job and set(found.values()) == {200}, (again, found)
            grads = service.post("/v1/jobs/%s/backward?wait=20" % job["id"], {"grads": [[1, 1], [1, 1]]})
            assert grads.status == 200, grads
            for id_ in (grads.json["id"], job["id"]):
                assert service.delete("/v1/jobs/" + id_).status == 204
        else:
            assert again.status == 404 and set(found.values()) == {404}, (again, found)
        until(lambda: service.arena_used() == 0, 5)
        service.stop()
        database_whole(service)


failed = 0
cases = [(point, op) for point in POINTS for op in ("all_to_all", "all_reduce_max")]
for case in cases:
    try:
        deleted(*case)
    except Exception as e:
        failed += 1
        print("%s %s: %r" % (*case, e), flush=True)
print("CASES %d %d" % (len(cases) - failed, failed))
sys.exit(failed > 0)
