#!/usr/bin/python3
"""steps.py [ROUNDS] - where the time of a small job goes, step by step, and that of a large one by each of its ways: what
ARCHITECTURE.md says under "Where the time goes". Prints tables; every figure is a median of one run."""
import json
import os
import statistics
import sys
import tempfile
import time

import numpy as np

sys.path[:0] = [os.path.dirname(os.path.abspath(__file__))]
import small
from tools import MIB, Bare, load
from service import ROOT, Service

sys.path[:0] = [os.path.join(ROOT, "web", "notebook")]
import tutti

ROUNDS = int(sys.argv[1]) if len(sys.argv) > 1 else 15
JOBS = 5000
RANKS = 4
LARGE = 16 * MIB  # bytes of a rank
TICK_US = 1e6 / os.sysconf("SC_CLK_TCK")


def threads(pids):
    """(process, thread) -> its name, microseconds of CPU, times that it slept."""
    found = {}
    for pid in pids:
        for thread in os.listdir("/proc/%d/task" % pid):
            place = "/proc/%d/task/%s/" % (pid, thread)
            with open(place + "stat") as stat, open(place + "status") as status:
                name, _, rest = stat.read().partition("(")[2].rpartition(")")
                slept = next(int(line.split()[1]) for line in status if line.startswith("voluntary"))
            found[pid, thread] = name, TICK_US * sum(map(int, rest.split()[11:13])), slept
    return found


def small_job(folder):
    body = small.write(folder, "small.json", json.dumps(small.job(RANKS)))
    with Bare(MIB) as bare, Service(workers=RANKS, options=small.OPTIONS) as service:
        small.post(service, 1, 500, body, RANKS)
        turns = [(load(bare.port, "GET", "/small", "-n", 1000)["p50_us"], small.post(service, 1, 500, body, RANKS)["p50_us"])
                 for _ in range(ROUNDS)]
        get, whole = (statistics.median(of) for of in zip(*turns, strict=True))
        lines = [one["timeline"] for one in service.get("/v1/jobs?limit=500&state=succeeded").json["jobs"]]
        pids = [service.pid, *service.worker_pids()]
        before = threads(pids)
        small.post(service, 1, JOBS, body, RANKS)
        after = threads(pids)
    print("a small job of %d ranks, one connection: %.0f us; a bare libmicrohttpd's GET: %.0f us" % (RANKS, whole, get))
    steps = {sentence: statistics.median(line[step] for line in lines) for step, sentence in small.STEPS.items()}
    total = statistics.median(line["total_us"] for line in lines)
    steps["its end, recorded"] = total - sum(steps.values())
    steps["before and after: client, sockets, libmicrohttpd, hand-overs"] = whole - total
    for sentence, us in steps.items():
        print("  %-62s %5.0f us" % (sentence, us))
    print("CPU and sleeps a job, by thread")
    for key, (name, us, slept) in sorted(after.items(), key=lambda row: -row[1][1]):
        before_us, before_slept = before.get(key, (name, 0, 0))[1:]
        if slept - before_slept > JOBS / 10:
            print("  %-14s %5.0f us %6.2f" % (name, (us - before_us) / JOBS, (slept - before_slept) / JOBS))


def timed(found, name, work):
    begun = time.perf_counter()
    result = work()
    found.setdefault(name, []).append((time.perf_counter() - begun) * 1e3)
    return result


def in_ranks(found, name, service):
    line = service.get("/v1/jobs?limit=1").json["jobs"][0]["timeline"]
    found.setdefault(name, []).append(line["collective_us"] / 1e3)


def large_job():
    found = {}
    arrays = [np.full(LARGE // 4, r, np.float32) for r in range(RANKS)]
    raw = {"Content-Type": "application/octet-stream"}
    with Service(workers=RANKS, arena="2G", options=["--log-level", "warn"]) as service:
        world = tutti.connect("http://%s:%d" % (service.host, service.port), progress=False).world
        lane = [world.empty(x.shape, x.dtype) for x in arrays]
        for x, y in zip(arrays, lane, strict=True):
            y[:] = x
        body = np.stack(arrays).tobytes()
        for turn in range(ROUNDS + 2):
            found = {} if turn == 2 else found
            ids = [timed(found, "HTTP over TCP: a rank's 16 MiB up", lambda i=i: service.post(
                "/v1/tensors?dtype=float32&shape=%d" % (LARGE // 4), body[i * LARGE:(i + 1) * LARGE], raw)).json["tensor"] for i in range(RANKS)]
            job = timed(found, "HTTP over TCP: the job", lambda: service.post(
                "/v1/jobs?wait=60&data=0", {"op": "reduce_sum", "inputs": [{"tensor": id_} for id_ in ids]})).json
            in_ranks(found, "HTTP over TCP: of it in the ranks", service)
            timed(found, "HTTP over TCP: the result's 16 MiB down", lambda: service.get("/v1/tensors/%s?format=raw" % job["outputs"][0]["tensor"]))
            assert service.delete("/v1/jobs/" + job["id"]).status == 204
            assert all(service.delete("/v1/tensors/" + id_).status == 204 for id_ in ids)
            timed(found, "lane, ordinary arrays: the call", lambda: world.reduce_sum(arrays))
            in_ranks(found, "lane, ordinary arrays: of it in the ranks", service)
            timed(found, "lane, arrays that live there: the call", lambda: world.reduce_sum(lane))
            in_ranks(found, "lane, arrays that live there: of it in the ranks", service)
            timed(found, "NumPy: the same sum", lambda: arrays[0] + arrays[1] + arrays[2] + arrays[3])
    print("\na large job, reduce_sum of %d x %d MiB, by the Python that asks" % (RANKS, LARGE // MIB))
    for name, times in found.items():
        print("  %-62s %6.2f ms" % (name, statistics.median(times)))


def main():
    with tempfile.TemporaryDirectory(prefix="tutti-bench-") as folder:
        small_job(folder)
    large_job()


if __name__ == "__main__":
    main()
