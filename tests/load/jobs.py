#!/usr/bin/python3
"""jobs.py [COUNT] - COUNT small jobs on one keep-alive connection, then COUNT on 32: all right, and memory, descriptors
and arena at the end as after the first thousand. The suite runs 2,000 each; 20,000 is the full measure."""
import http.client
import json
import os
import sys
import threading
import time

sys.path[:0] = [os.path.dirname(os.path.dirname(os.path.abspath(__file__)))]
from service import SANITIZED, Service, until

COUNT = int(sys.argv[1]) if len(sys.argv) > 1 else 2000
FIRST = 1000
ROOM_BYTES = 2 << 20


def resident(pid):
    """Its own memory: pages of files and of the arena are the kernel's to give and take."""
    with open("/proc/%d/status" % pid) as f:
        return sum(int(line.split()[1]) << 10 for line in f if line.startswith("RssAnon"))


def measure(service):
    """Once what was kept for --retain is gone."""
    until(lambda: service.arena_used() == 0, 30, 0.2)
    time.sleep(4)  # the server gives a burst's memory back when it has been idle for a moment
    pids = [service.pid] + service.worker_pids()
    return {"resident": [resident(p) for p in pids],
            "descriptors": [len(os.listdir("/proc/%d/fd" % p)) for p in pids],
            "arena": service.metrics()["arena"]["used_bytes"]}


def some(service, count, took, first):
    connection = http.client.HTTPConnection(service.host, service.port, timeout=60)
    for n in range(first, first + count):
        body = json.dumps({"op": "all_reduce_sum", "dtype": "int32", "inputs": [[n, r] for r in range(4)]})
        begun = time.perf_counter()
        connection.request("POST", "/v1/jobs?wait=30", body, {"Content-Type": "application/json"})
        answer = connection.getresponse()
        document = json.loads(answer.read())
        took.append(time.perf_counter() - begun)
        assert answer.status == 200 and [o["data"] for o in document["outputs"]] == [[4 * n, 6]] * 4, document
    connection.close()


def phase(service, count, connections):
    took, errors = [], []

    def run(i):
        try:
            some(service, count // connections, took, i * 1000000)
        except BaseException as e:
            errors.append(e)

    threads = [threading.Thread(target=run, args=(i,)) for i in range(connections)]
    begun = time.perf_counter()
    [t.start() for t in threads]
    [t.join() for t in threads]
    seconds = time.perf_counter() - begun
    assert not errors, errors[0]
    took.sort()
    print("%d jobs on %d connections: p50 %.2f ms, p99 %.2f ms, %.0f jobs/s" %
          (len(took), connections, took[len(took) // 2] * 1e3, took[len(took) * 99 // 100] * 1e3, len(took) / seconds))


with Service(workers=4, options=["--retain", "1"]) as service:
    phase(service, FIRST // 2, 1)
    phase(service, FIRST // 2 // 32 * 32, 32)
    before = measure(service)
    phase(service, COUNT, 1)
    phase(service, COUNT // 32 * 32, 32)
    after = measure(service)
    print("after the first thousand: %s\nat the end: %s" % (before, after))
    growth = [b - a for a, b in zip(before["resident"], after["resident"], strict=True)]
    assert after["descriptors"] == before["descriptors"] and after["arena"] == before["arena"], (before, after)
    assert SANITIZED or max(growth) <= ROOM_BYTES, "resident memory grew by %s bytes" % growth
    print("NOTE grew %d KiB in %d jobs" % (max(growth) // 1024, 2 * COUNT))
