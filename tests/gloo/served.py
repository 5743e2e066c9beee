#!/usr/bin/python3
"""served.py - the service with --backend gloo: ranks are killed, jobs cancelled, groups overlap; what was accepted is right."""
import os
import signal
import sys
import time

sys.path.insert(0, os.path.join(os.path.dirname(os.path.abspath(__file__)), ".."))
from service import Service, until

LARGE = 1 << 22  # elements


def post(service, values, group, wait=60, more=""):
    body = b"".join(int(v).to_bytes(4, "little") * LARGE for v in values)
    return service.post("/v1/jobs?op=all_reduce_sum&dtype=int32&shape=%d,%d&wait=%d&group=%s%s" % (len(values), LARGE, wait, group, more), body,
                        {"Content-Type": "application/octet-stream"})


def right(service, job, total):
    document = service.get("/v1/jobs/%s?wait=60" % job).json
    assert document["state"] == "succeeded", document
    for rank in range(len(document["ranks"])):
        found = service.get("/v1/jobs/%s/outputs/%d?format=raw" % (job, rank)).body
        assert found == int(total).to_bytes(4, "little") * LARGE, (rank, found[:16])
    return document


def told(service):
    workers = service.get("/v1/workers").json["workers"]
    assert all(w["backend"] == "gloo" for w in workers), workers
    assert service.get("/v1").json["backend"] == "gloo"


def killed(service):
    """A rank that dies in the middle: the job is run again, on a communicator that is new."""
    assert post(service, (1, 2, 3), "0,1,2").status == 200
    pid = service.get("/v1/workers/1").json["pid"]
    os.kill(pid, signal.SIGSTOP)  # so that it is in the middle
    job = post(service, (4, 5, 6), "0,1,2", wait=0).json["id"]
    until(lambda: service.get("/v1/jobs/" + job).json["state"] == "running")
    os.kill(pid, signal.SIGKILL)
    document = right(service, job, 15)
    assert document["attempts"] == 2, document


def cancelled(service):
    """A job that is stopped while a rank does not answer: it costs that rank its worker, and the others nothing."""
    pid = service.get("/v1/workers/2").json["pid"]
    os.kill(pid, signal.SIGSTOP)
    job = post(service, (1, 2, 3), "0,1,2", wait=0).json["id"]
    until(lambda: service.get("/v1/jobs/" + job).json["state"] == "running")
    others = [service.get("/v1/workers/%d" % r).json["pid"] for r in (0, 1)]
    service.post("/v1/jobs/%s/cancel" % job, b"")
    until(lambda: service.get("/v1/jobs/" + job).json["state"] == "cancelled")
    right(service, post(service, (7, 8, 9), "0,1,2").json["id"], 24)
    assert [service.get("/v1/workers/%d" % r).json["pid"] for r in (0, 1)] == others


def side_by_side(service):
    """Groups that overlap, and streams on the same ranks."""
    jobs = []
    for i in range(12):
        group, values = ((0, 1, 2), (2, 0), (1, 2), (2, 1, 0))[i % 4], (i, i + 1, i + 2)
        jobs.append((post(service, values[:len(group)], ",".join(map(str, group)), wait=0, more="&stream=%d" % (i % 3)).json["id"],
                     sum(values[:len(group)])))
    for job, total in jobs:
        right(service, job, total)


def main():
    failed = 0
    cases = (told, killed, cancelled, side_by_side)
    for options in ([], ["--overlap"]):
        with Service(workers=3, arena="1G", options=["--backend", "gloo", *options]) as service:
            for case in cases:
                begun = time.monotonic()
                try:
                    case(service)
                    print("%s %s: ok, %.1f s" % (case.__name__, options, time.monotonic() - begun))
                except Exception as e:
                    failed += 1
                    print("%s %s: %s: %s" % (case.__name__, options, type(e).__name__, e))
    print("CASES %d %d" % (2 * len(cases) - failed, failed))
    return 1 if failed else 0


if __name__ == "__main__":
    sys.exit(main())
