#!/usr/bin/python3
"""soak.py [COUNT] - COUNT (20,000) small jobs on one keep-alive connection, then COUNT on 32, by load.c, so as fast as the
service goes: every answer right, and memory, descriptors and arena at the end as after the first thousand. Prints
latencies. tests/load/jobs.py does the same with answers that all differ, at a Python client's pace."""
import json
import os
import sys
import tempfile
import time

sys.path[:0] = [os.path.dirname(os.path.abspath(__file__))]
from tools import load
from service import Service, until

COUNT = int(sys.argv[1]) if len(sys.argv) > 1 else 20000
ROOM_KIB = 2048
RANKS = 4


def status_kib(pid, *names):
    with open("/proc/%d/status" % pid) as f:
        rows = dict(line.split(":", 1) for line in f if ":" in line)
    return {name: int(rows[name].split()[0]) for name in names}


def measure(service, pids):
    """After retention has caught up."""
    until(lambda: service.arena_used() == 0, 60, 0.2)
    time.sleep(1)
    return {"resident_kib": [sum(status_kib(p, "RssAnon", "RssFile", "RssShmem").values()) for p in pids],
            "own_kib": [sum(status_kib(p, "RssAnon", "RssFile").values()) for p in pids],
            "descriptors": [len(os.listdir("/proc/%d/fd" % p)) for p in pids],
            "arena_bytes": service.arena_used()}


def main():
    job = {"op": "all_reduce_sum", "inputs": [[r, 1, 2.5, -1] for r in range(RANKS)]}
    right = ["-e", '"state":"succeeded"']
    for r in range(RANKS):
        right += ["-e", '"rank":%d' % r]
    right += ["-e", '"shape":[4],"data":[6,4,10,-4]}]']
    with tempfile.NamedTemporaryFile("w", suffix=".json") as body:
        json.dump(job, body)
        body.flush()
        options = ["-b", body.name, "-H", "Content-Type: application/json", *right]
        with Service(workers=RANKS, options=["--retain", "2", "--log-level", "warn"]) as service:
            pids = [service.pid] + service.worker_pids()
            load(service.port, "POST", "/v1/jobs?wait=10", "-n", 500, *options)
            load(service.port, "POST", "/v1/jobs?wait=10", "-n", 500, "-c", 32, *options)
            before = measure(service, pids)
            for connections in (1, 32):
                got = load(service.port, "POST", "/v1/jobs?wait=10", "-n", COUNT, "-c", connections, *options)
                print("%d jobs on %d connections: p50 %.0f us, p99 %.0f us, %.0f jobs/s" %
                      (got["requests"], connections, got["p50_us"], got["p99_us"], got["per_s"]), flush=True)
            after = measure(service, pids)
            succeeded = service.metrics()["jobs"]["succeeded"]
    for name in before:
        print("%-14s after 1,000: %s   at the end: %s" % (name, before[name], after[name]))
    assert succeeded == 2 * COUNT + 1000, succeeded
    assert before["descriptors"] == after["descriptors"] and before["arena_bytes"] == after["arena_bytes"]
    grown = max(b - a for a, b in zip(before["own_kib"], after["own_kib"], strict=True))
    assert grown <= ROOM_KIB, "resident memory grew by %d KiB" % grown
    print("all right; resident memory grew by at most %d KiB" % grown)


if __name__ == "__main__":
    main()
