#!/usr/bin/python3
"""idle.py [SECONDS] - a server with 4 workers and nothing to do uses under 0.5 % of one core. The suite looks for 6 s; 30 is
the full measure. A window that is not quiet is looked at again, twice at most."""
import os
import sys
import time

sys.path[:0] = [os.path.dirname(os.path.dirname(os.path.abspath(__file__)))]
from service import SANITIZED, Service

SECONDS = float(sys.argv[1]) if len(sys.argv) > 1 else 6
LIMIT = 0.005


def used_ticks(pid):
    with open("/proc/%d/stat" % pid) as f:
        fields = f.read().rpartition(")")[2].split()
    return int(fields[11]) + int(fields[12])


def used_s(pids):
    """By the scheduler's nanoseconds where they are shown, for ticks are coarse."""
    total = 0.0
    for pid in pids:
        try:
            for task in os.listdir("/proc/%d/task" % pid):
                with open("/proc/%d/task/%s/schedstat" % (pid, task)) as f:
                    total += int(f.read().split()[0]) / 1e9
        except FileNotFoundError:
            total += used_ticks(pid) / os.sysconf("SC_CLK_TCK")
    return total


with Service(workers=4) as service:
    job = {"op": "all_reduce_sum", "inputs": [[1], [2], [3], [4]]}
    assert service.post("/v1/jobs?wait=10", job).status == 200
    time.sleep(1)
    pids = [service.pid] + service.worker_pids()
    shares = []
    for _ in range(3):  # a noisy neighbour only adds; what the service itself needs is in every window
        before, begun = used_s(pids), time.monotonic()
        time.sleep(SECONDS)
        shares.append((used_s(pids) - before) / (time.monotonic() - begun))
        if shares[-1] < LIMIT:
            break
    print("NOTE %.3f %% of one core" % (min(shares) * 100))
    assert SANITIZED or min(shares) < LIMIT, shares
