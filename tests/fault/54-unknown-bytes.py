#!/usr/bin/python3
"""A commit that fails and is found done at the next start: what it recorded has the bytes that it had, whatever came
between the failure and the exit."""
import errno
import threading

import numpy as np

from invariants import RESET, database_whole
from service import Service, until

OUTCOME_UNKNOWN, SIZE = 70, 1 << 16
RAW = {"Content-Type": "application/octet-stream"}
PATH = "/v1/jobs?op=broadcast&dtype=uint8&shape=2,%d&wait=20&format=raw" % SIZE


def others(service):
    """Uploads of the same size, as long as somebody answers."""
    try:
        while service.post("/v1/tensors?dtype=uint8&shape=2,%d" % SIZE, b"\xee" * 2 * SIZE, RAW).status in (201, 503):
            pass
    except RESET:
        pass


with Service(workers=2) as service:
    service.stop()
    service.start(failpoints="store.commit_err=err:%d@1" % errno.EIO)
    want = np.random.default_rng(1).integers(0, 255, (2, SIZE), np.uint8)
    refused = service.post(PATH, want.tobytes(), {**RAW, "Idempotency-Key": "k"})
    assert refused.status == 503 and refused.json["code"] == "outcome_unknown", refused
    threads = [threading.Thread(target=others, args=(service,)) for _ in range(4)]
    for t in threads:
        t.start()
    assert service.process.wait(20) == OUTCOME_UNKNOWN
    service.process = None
    for t in threads:
        t.join()
    service.start(failpoints="")
    jobs = service.get("/v1/jobs").json["jobs"]
    assert len(jobs) == 1, jobs  # else the commit was undone, and this shows nothing
    answer = service.post(PATH, want.tobytes(), {**RAW, "Idempotency-Key": "k"})
    assert answer.status == 200 and answer.headers["tutti-job"] == jobs[0]["id"], answer
    got = np.frombuffer(answer.body, np.uint8).reshape(2, SIZE)
    assert (got == want[0]).all(), "%d bytes of the recorded job were overwritten" % (got != want[0]).sum()
    assert service.delete("/v1/jobs/" + jobs[0]["id"]).status == 204
    until(lambda: service.arena_used() == 0, 5)
    service.stop()
    database_whole(service)
