#!/usr/bin/python3
"""init.py - a communicator that is never made: one rank cannot, takes too long, or dies in the middle. The job ends or is run
again, the worker that cannot be trusted any more is started anew, the others keep no thread and no descriptor of it."""
import contextlib
import os
import sys
import time

import doubles
from invariants import row
from service import Service, children, until

RANKS = 3
GROUP = [2, 0, 1]  # not the world, whose communicator is made before there is a job


def fault(text):
    with open(doubles.FAULT, "w") as f:
        f.write(text + "\n")


def job(service, **more):
    return service.post("/v1/jobs?wait=20", {"op": "all_reduce_sum", "group": GROUP, "inputs": [[1.0], [2.0], [4.0]], **more})


def pids(service):
    return [w["pid"] for w in service.get("/v1/workers").json["workers"]]


def ready(service):
    return service.get("/readyz").status == 200


def holds(pid):
    """Its threads, and its descriptors that are no file of the arena's or the libraries'."""
    return len(os.listdir("/proc/%d/task" % pid)), len(os.listdir("/proc/%d/fd" % pid))


@contextlib.contextmanager
def serve():
    """Every worker has opened its device, and all of them have met once."""
    with Service(workers=RANKS, options=["--backend", "nccl"]) as service:
        assert service.post("/v1/jobs?wait=20", {"op": "all_reduce_sum", "inputs": [1, 2, 4]}).status == 200
        yield service


def next_is_right(service):
    until(lambda: ready(service), 20)
    after = job(service)
    assert after.status == 200 and after.json["outputs"][0]["data"] == [7.0], after


def fails():
    """NCCL counts a group level too many on that thread afterwards: only a new process will do."""
    with row("G5"), serve() as service:
        before = pids(service)
        fault("1 init_fail")
        a = job(service)
        assert a.status == 500 and a.json["ranks"] == [2], a  # device 1 is the group's rank 2
        assert "ncclCommInitRankConfig" in a.json["detail"] and "no socket interface" in a.json["detail"], a
        assert not os.path.exists(doubles.FAULT)
        until(lambda: ready(service) and pids(service)[1] != before[1], 20)
        next_is_right(service)
        after = pids(service)
        assert [after[0], after[2]] == [before[0], before[2]], "the others go on"


def never_completes():
    with row("G5"), serve() as service:
        begun = time.monotonic()
        fault("1 init_slow 60000000")
        a = job(service, timeout=1)
        assert a.status == 504 and a.json["code"] == "run_timeout" and 2 in a.json["ranks"], a
        assert time.monotonic() - begun < 10, "the deadline of the job, and the wait for the abort"
        next_is_right(service)


def dies():
    with row("G12", "G4"), serve() as service:
        before = pids(service)
        kept = [holds(before[r]) for r in (0, 2)]
        fault("1 init_die")
        a = job(service, timeout=15)
        assert a.status == 200 and a.json["attempts"] == 2 and a.json["outputs"][2]["data"] == [7.0], a
        after = pids(service)
        assert after[1] != before[1] and [after[0], after[2]] == [before[0], before[2]], (before, after)
        next_is_right(service)
        # One communicator more than before; what was of the broken one has gone.
        now = [holds(after[r]) for r in (0, 2)]
        again = None
        for _ in range(2):
            fault("1 init_die")
            a = job(service, timeout=15, stream=1 if again is None else 2)
            assert a.status == 200 and a.json["attempts"] == 2, a
            again = [holds(after[r]) for r in (0, 2)]
        # What an abort ends may be about to end.
        with contextlib.suppress(AssertionError):
            until(lambda: all(a[0] <= b[0] + 2 and a[1] <= b[1] + 2 for a, b in zip([holds(after[r]) for r in (0, 2)], now)), 5)
        again = [holds(after[r]) for r in (0, 2)]
        print("NOTE threads and descriptors: %s, then %s, then %s" % (kept, now, again))
        assert all(a[0] <= b[0] + 2 and a[1] <= b[1] + 2 for a, b in zip(again, now)), (now, again)
        assert not [p for p in children(service.pid) if p not in pids(service)], "a process is left"


def no_device_memory():
    """cudaMalloc says no, though the server counted on room: the job names the rank."""
    with row("G7"), serve() as service:
        fault("1 alloc")
        a = job(service, resident=True)
        assert a.status in (500, 507) and a.json["ranks"] == [2], a
        assert "out of memory" in a.json["detail"] and "gpu:1" in a.json["detail"], a
        next_is_right(service)
        a = job(service, resident=True)
        assert a.status == 200, a


def main():
    doubles.use(RANKS)
    return doubles.run((fails, never_completes, dies, no_device_memory))


if __name__ == "__main__":
    sys.exit(main())
