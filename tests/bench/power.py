#!/usr/bin/python3
"""power.py [ROUNDS] - what --durable costs on this machine's disk: a server with it and one without, in turns. Prints a
table. Run by `run.sh --durable`, which builds the load program."""
import json
import os
import shutil
import statistics
import sys
import tempfile
import time

TESTS = os.path.dirname(os.path.dirname(os.path.abspath(__file__)))
sys.path[:0] = [os.path.join(TESTS, "bench"), os.path.join(TESTS, "fault")]
from durable import DurableService, disk_place
from service import Service, until
from tools import MIB, load

ROUNDS = int(sys.argv[1]) if len(sys.argv) > 1 else 5
JSON = ("-H", "Content-Type: application/json")
RAW = ("-H", "Content-Type: application/octet-stream")
OPTIONS = ["--retain", "1", "--log-level", "warn"]


def figures(service, job, chunk, mib):
    """name -> value, of one round."""
    got = {}
    for connections, count in ((1, 300), (32, 2000)):
        one = load(service.port, "POST", "/v1/jobs?wait=10", "-c", connections, "-n", count, "-b", job, *JSON,
                   "-e", '"state":"succeeded"')
        got["small jobs, %d conn., 1/s" % connections] = one["per_s"]
        got["small jobs, %d conn., p50 us" % connections] = one["p50_us"]
    one = load(service.port, "POST", "/v1/tensors?dtype=uint8&shape=%d" % (mib * MIB), "-c", 1, "-n", 8, "-b", chunk, "-s", 201, *RAW)
    got["uploads of %d MiB, 1 conn., MiB/s" % mib] = one["per_s"] * mib
    until(lambda: service.arena_used() == 0)
    return got


def bare_flush_us(place):
    """Of 4 KiB that are appended to a file, and flushed: the median."""
    with tempfile.TemporaryFile(dir=place, buffering=0) as f:
        took = []
        for _ in range(100):
            begun = time.perf_counter()
            f.write(bytes(4096))
            os.fdatasync(f.fileno())
            took.append((time.perf_counter() - begun) * 1e6)
    return statistics.median(took)


def main():
    place = disk_place()
    if not place:
        sys.exit("power.py: no directory here is on a disk")
    folder = tempfile.mkdtemp(prefix="tutti-bench-")
    job, chunk, rows = os.path.join(folder, "job.json"), os.path.join(folder, "chunk"), {}
    flushes = []
    try:
        with open(job, "w") as f:
            json.dump({"op": "all_reduce_sum", "inputs": [[1, 2, 3, 4], [5, 6, 7, 8]]}, f)
        with open(chunk, "wb") as f:
            f.write(os.urandom(16 * MIB))
        with Service(workers=2, arena="512M", options=OPTIONS) as plain, \
                DurableService(place=place, workers=2, arena="512M", options=OPTIONS) as durable:
            for n in range(ROUNDS + 1):
                flushes.append(bare_flush_us(place))
                pair = [figures(service, job, chunk, 16) for service in (plain, durable)]
                for name in pair[0] if n else ():  # the first use of a page is slower
                    rows.setdefault(name, []).append((pair[0][name], pair[1][name]))
    finally:
        shutil.rmtree(folder)
    print("%-36s %10s %10s %8s   median of %d rounds" % ("", "without", "--durable", "ratio", ROUNDS))
    for name, pairs in rows.items():
        print("%-36s %10.0f %10.0f %8.2f" % (name, statistics.median(a for a, _ in pairs), statistics.median(b for _, b in pairs),
                                             statistics.median(b / a for a, b in pairs)))
    print("4 KiB appended to a file and flushed: %.0f us" % statistics.median(flushes))


main()
