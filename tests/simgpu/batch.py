#!/usr/bin/python3
"""batch.py [COUNT] - 100 small jobs that queue up behind a slow one are run by at most 10 launches, each with its own result; when
one of a batch goes wrong, the others run again and do not suffer from it. COUNT: only so many of these tests."""
import sys

import doubles
from service import Service

JOBS = 100
LAUNCHES = 10
SLOW = "0 slow 2000000"  # longer than it takes to ask for all the others, also beside other tests and with a sanitizer

OPS = (("all_reduce_sum", {}, [[6, 6]] * 3 + [[6, 6]]),
       ("all_gather", {}, [[0, 0, 1, 1, 2, 2, 3, 3]] * 4),
       ("reduce_sum", {}, [[6, 6], None, None, None]),
       ("all_reduce_max", {}, [[3, 3]] * 4))


def fault(text):
    with open(doubles.FAULT, "w") as f:
        f.write(text + "\n")


def submit(service, i):
    op, parameters, want = OPS[i % len(OPS)]
    a = service.post("/v1/jobs", {"op": op, "dtype": "int32", "inputs": [[r, r] for r in range(4)], **parameters})
    assert a.status == 202, a
    return a.json["id"], want


def warm(service):
    """The communicator is there."""
    assert service.post("/v1/jobs?wait=20", {"op": "all_reduce_sum", "inputs": [1, 2, 3, 4]}).status == 200


def outputs(document):
    return [o and o["data"] for o in document["outputs"]]


def together():
    with Service(workers=4, options=["--backend", "nccl"]) as service:
        warm(service)
        fault(SLOW)
        first, _ = submit(service, 0)
        jobs = [submit(service, i) for i in range(JOBS)]
        for job, want in jobs:
            a = service.get("/v1/jobs/%s?wait=20" % job)
            assert a.json["state"] == "succeeded" and a.json["attempts"] == 1, a.json
            assert outputs(a.json) == want, a.json
        assert service.get("/v1/jobs/%s" % first).json["state"] == "succeeded"
    ranks = doubles.counters()
    launches = [r["launches"] for r in ranks]
    collectives = [r["collectives"] for r in ranks]
    print("NOTE %d jobs by %s launches of %s collectives" % (JOBS + 2, launches, collectives))
    assert len(ranks) == 4 and max(launches) <= LAUNCHES + 2, launches  # and the two before them
    assert min(collectives) >= JOBS, collectives


def with_a_fault(kind, attempts):
    """Rank 2 goes wrong in the middle of a batch: nobody knows whose fault it was, and nobody pays for it."""
    with Service(workers=4, options=["--backend", "nccl"]) as service:
        warm(service)
        fault(SLOW)
        submit(service, 0)
        jobs = [submit(service, i) for i in range(12)]
        fault("2 " + kind)  # taken by the batch: the slow one has begun
        for job, want in jobs:
            a = service.get("/v1/jobs/%s?wait=20" % job)
            assert a.json["state"] == "succeeded", a.json
            assert a.json["attempts"] == attempts, a.json
            assert outputs(a.json) == want, a.json


def cancelled():
    """One of a batch is cancelled while it runs: it alone."""
    with Service(workers=4, options=["--backend", "nccl"]) as service:
        warm(service)
        fault(SLOW)
        first, _ = submit(service, 0)
        jobs = [submit(service, i) for i in range(12)]
        fault("1 slow 5000000")
        service.get("/v1/jobs/%s?wait=20" % first)
        a = service.post("/v1/jobs/%s/cancel" % jobs[5][0])
        assert a.status == 200 and a.json["state"] == "cancelled", a
        for job, want in jobs[:5] + jobs[6:]:
            a = service.get("/v1/jobs/%s?wait=20" % job)
            assert a.json["state"] == "succeeded" and outputs(a.json) == want, a.json


def main():
    doubles.use(4)
    tests = (together, cancelled, lambda: with_a_fault("async", 2), lambda: with_a_fault("die", 2))
    return doubles.run(tests[:int(sys.argv[1]) if len(sys.argv) > 1 else len(tests)])


if __name__ == "__main__":
    sys.exit(main())
