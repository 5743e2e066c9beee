#!/usr/bin/python3
"""The arena is gone at a start, or cut short, or of before a reboot: its tensors are 410 tensor_lost, unfinished jobs fail
with inputs_lost, finished ones keep their record, and the service works."""
import os
import sys

from invariants import Ledger, row
from service import Service

BOOT_ID_AT = 32  # in the arena's first page


def cut(path):
    os.truncate(path, 1 << 20)


def reboot(path):
    """The page says that another boot made it, which is all that a kept file would say."""
    with open(path, "r+b") as f:
        f.seek(BOOT_ID_AT)
        was = f.read(36)
        assert was.count(b"-") == 4, was
        f.seek(BOOT_ID_AT)
        f.write(was[::-1])


def lost(damage):
    with Service(workers=2) as service:
        ledger = Ledger(service)
        done = ledger.sum(n=2, wait=20).json
        upload = service.post("/v1/tensors", [1, 2]).json["tensor"]
        service.stop()
        service.start(failpoints="worker.before_run=sleep:1500")
        answers = [ledger.sum(n=2, seed=n) for n in range(2)]
        answers.append(service.post("/v1/jobs", {"op": "broadcast", "inputs": [{"tensor": upload}, None]}))
        assert [a.status for a in answers] == [202] * 3, answers
        service.kill()
        damage(service.arena_dir + "/arena")

        service.start(failpoints="")
        for tensor in (upload, done["outputs"][0]["tensor"]):
            answer = service.get("/v1/tensors/" + tensor)
            assert answer.status == 410 and answer.json["code"] == "tensor_lost", answer
        for answer in answers:
            job = service.get("/v1/jobs/" + answer.json["id"]).json
            assert (job["state"], job["error"]["code"]) == ("failed", "inputs_lost"), job
            assert service.delete("/v1/jobs/" + job["id"]).status == 204
        job = service.get("/v1/jobs/" + done["id"]).json
        assert job["state"] == "succeeded", job
        answer = service.get("/v1/jobs/%s/outputs" % done["id"])
        assert answer.status == 410, answer
        answer = service.post("/v1/jobs?wait=10", {"op": "broadcast", "inputs": [{"tensor": upload}, None]})
        assert answer.status == 410 and answer.json["code"] == "tensor_lost", answer
        assert service.delete("/v1/tensors/" + upload).status == 204
        assert service.delete("/v1/jobs/" + done["id"]).status == 204
        ledger.jobs.clear()
        ledger.sum(n=2, wait=20)
        ledger.close()


failed = 0
for each in (os.remove, cut, reboot):
    try:
        with row("F14"):
            lost(each)
    except Exception as e:
        failed += 1
        print("%s: %r" % (each.__name__, e), flush=True)
print("CASES %d %d" % (3 - failed, failed))
sys.exit(failed > 0)
