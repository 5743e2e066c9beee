#!/usr/bin/python3
"""streams.py - jobs of different streams: one after the other, in their order, unless --overlap lets them run side by side;
then each has its communicator, and what goes wrong on one stream does not fail another's job."""
import os
import sys
import time

import doubles
from invariants import row
from service import Service

SLOW_S = 4  # a quick job takes less, also beside other tests and with a sanitizer


def fault(text):
    with open(doubles.FAULT, "w") as f:
        f.write(text + "\n")


def submit(service, stream, value):
    a = service.post("/v1/jobs", {"op": "all_reduce_sum", "stream": stream, "inputs": [[value]] * 2})
    assert a.status == 202, a
    return a.json["id"]


def state(service, job):
    return service.get("/v1/jobs/%s" % job).json["state"]


def ended(service, job, want):
    a = service.get("/v1/jobs/%s?wait=20" % job)
    assert a.json["state"] == "succeeded" and a.json["outputs"][0]["data"] == [want], a.json


def warm(service):
    for stream in (0, 1):
        ended(service, submit(service, stream, 1), 2)


def slow_and_quick(service):
    """A slow job on stream 0, one on stream 1, one more on stream 0."""
    warm(service)
    fault("0 slow %d" % (SLOW_S * 1e6))
    slow = submit(service, 0, 1)
    time.sleep(SLOW_S / 8)
    return slow, submit(service, 1, 2), submit(service, 0, 3)


def in_one_order():
    os.environ["SIMGPU_KERNELS"] = "1"
    with Service(workers=2, options=["--backend", "nccl"]) as service:
        slow, quick, behind = slow_and_quick(service)
        ended(service, quick, 4)
        assert state(service, slow) == "succeeded"
        ended(service, behind, 6)


def side_by_side():
    os.environ["SIMGPU_KERNELS"] = "8"
    with Service(workers=2, options=["--backend", "nccl", "--overlap"]) as service:
        slow, quick, behind = slow_and_quick(service)
        ended(service, quick, 4)
        assert state(service, slow) == "running", "stream 1 waited for stream 0"
        assert state(service, behind) == "queued", "a stream keeps its order"
        ended(service, slow, 2)
        ended(service, behind, 6)


def one_goes_wrong():
    """Both communicators of the device are aborted; the job on the other stream runs again."""
    os.environ["SIMGPU_KERNELS"] = "8"
    with row("G9"), Service(workers=2, options=["--backend", "nccl", "--overlap"]) as service:
        warm(service)
        fault("0 slow %d" % (SLOW_S * 1e6))
        slow = submit(service, 0, 1)
        time.sleep(SLOW_S / 8)
        fault("1 async")
        wrong = submit(service, 1, 2)
        a = service.get("/v1/jobs/%s?wait=20" % wrong)
        assert a.json["state"] == "failed" and a.json["error"]["ranks"] == [1], a.json
        a = service.get("/v1/jobs/%s?wait=20" % slow)
        assert a.json["state"] == "succeeded" and a.json["attempts"] == 2, a.json
        warm(service)


def more_communicators_than_are_kept():
    """One for each group and stream: those used longest ago are given up, and made anew when they are wanted again."""
    os.environ["SIMGPU_KERNELS"] = "1"
    with Service(workers=2, options=["--backend", "nccl"]) as service:
        for turn in range(2):
            for stream in range(40):
                a = service.post("/v1/jobs?wait=20", {"op": "all_reduce_sum", "stream": stream, "group": [1, 0],
                                                      "inputs": [[stream], [turn]]})
                assert a.status == 200 and a.json["outputs"][1]["data"] == [stream + turn], a


def main():
    doubles.use(2)
    return doubles.run((in_one_order, side_by_side, one_goes_wrong, more_communicators_than_are_kept))


if __name__ == "__main__":
    sys.exit(main())
