#!/usr/bin/python3
"""bench.py [ROUNDS] - what the service costs beside what this machine can do, measured in turns so that what else runs
here meets both: small jobs beside bare requests, collectives beside memory, large bodies beside a bare upload and
download. Prints tables; writes BUILD/bench.json. Run by run.sh, which builds the programs."""
import json
import os
import statistics
import sys
import tempfile

import numpy as np

sys.path[:0] = [os.path.dirname(os.path.abspath(__file__))]
from tools import BUILD, MIB, Bare, Figures, load, memory
from service import Service, until

ROUNDS = int(sys.argv[1]) if len(sys.argv) > 1 else 5
RANKS = 4
LARGE_MIB = 64
LARGE = LARGE_MIB * MIB
FLOATS = LARGE // 4
JSON = ("-H", "Content-Type: application/json")
NPY = ("-H", "Content-Type: application/x-npy", "-H", "Accept: application/x-npy")

# What limits a collective here: the sum of N arrays, or a copy of so many of them. None: nothing is moved.
COLLECTIVES = [
    ("all_reduce_sum", {}, "add", 1),
    ("all_reduce_max", {}, "add", 1),
    ("all_reduce_min", {}, "add", 1),
    ("reduce_sum", {}, "add", 1),
    ("reduce_scatter_sum", {}, "add", 1),
    ("all_gather", {}, "copy", RANKS),
    ("all_gather", {"axis": 1}, "copy", RANKS),
    ("gather", {}, "copy", RANKS),
    ("all_to_all", {}, "copy", RANKS),
    ("all_to_all", {"split_axis": 1, "concat_axis": 0}, "copy", RANKS),
    ("scatter", {"axis": 1}, "copy", 1),
    ("scatter", {}, None, 0),
    ("broadcast", {}, None, 0),
    ("remote_send", {}, None, 0),
    ("remote_recv", {}, None, 0),
]


def small_jobs(service, bare, folder, figures):
    """Jobs of four floats, on one connection and on 32, beside the shortest request there is."""
    bodies = {}
    for ranks in (2, 4):
        bodies[ranks] = os.path.join(folder, "small%d.json" % ranks)
        with open(bodies[ranks], "w") as f:
            json.dump({"op": "all_reduce_sum", "group": list(range(ranks)),
                       "inputs": [[r, 1, 2.5, -1] for r in range(ranks)]}, f)
    want = {2: '"data":[1,2,5,-2]', 4: '"data":[6,4,10,-4]'}
    for connections, count in ((1, 1000), (32, 4000)):
        get = load(bare.port, "GET", "/small", "-c", connections, "-n", count)
        post = load(bare.port, "POST", "/small", "-c", connections, "-n", count, "-b", bodies[4], *JSON)
        for name, got in (("bare GET", get), ("bare POST", post)):
            name = "%s, %d conn." % (name, connections)
            figures.add(name + ", p50", got["p50_us"], "us", "low", table="small")
            figures.add(name + ", requests", got["per_s"], "/s", "high", table="small")
        for ranks in (2, 4):
            got = load(service.port, "POST", "/v1/jobs?wait=10", "-c", connections, "-n", count, "-b", bodies[ranks],
                       *JSON, "-e", '"state":"succeeded"', "-e", want[ranks], "-e", '"rank":%d' % (ranks - 1))
            if connections == 1:
                timelines(service, ranks, figures)
            name = "job of %d ranks, %d conn." % (ranks, connections)
            figures.add(name + ", p50", got["p50_us"], "us", "low", got["p50_us"] / get["p50_us"], "bare GET p50",
                        4 if connections == 1 else None, "small")
            figures.add(name + ", p99", got["p99_us"], "us", "low", got["p99_us"] / get["p99_us"], "bare GET p99",
                        None, "small")
            figures.add(name + ", jobs", got["per_s"], "/s", "high", got["per_s"] / get["per_s"], "bare GETs",
                        None, "small")


def timelines(service, ranks, figures):
    """Where the time of the last jobs went, by their own timelines."""
    lines = [job["timeline"] for job in service.get("/v1/jobs?limit=500&state=succeeded").json["jobs"]]
    steps = ("validated_us", "queued_us", "dispatch_us", "collective_us")
    for step, sentence in zip(steps, ("read and checked", "recorded", "sent to the ranks", "in the ranks"), strict=True):
        figures.add("%d ranks: %s" % (ranks, sentence), statistics.median(line[step] for line in lines), "us", "low",
                    table="timeline")
    figures.add("%d ranks: its end, recorded" % ranks,
                statistics.median(line["total_us"] - sum(line[step] for step in steps) for line in lines), "us", "low",
                table="timeline")


def upload_inputs(service):
    """One tensor a rank, in whole numbers, so that every sum is exact."""
    ids = []
    for r in range(RANKS):
        x = np.arange(FLOATS, dtype=np.float32) % 251 + r
        answer = service.post("/v1/tensors?dtype=float32&shape=%d,%d" % (RANKS, FLOATS // RANKS), x.tobytes(),
                              {"Content-Type": "application/octet-stream"})
        assert answer.status == 201, answer
        ids.append(answer.json["tensor"])
    return ids


def collectives(service, ids, figures):
    """Large jobs on tensors that are there already: the time inside the workers."""
    limits = memory(RANKS, LARGE_MIB, 3)
    figures.add("memory: sum of %d" % RANKS, limits["add"] / 1e9, "GB/s", "high", table="large")
    figures.add("memory: copy", limits["copy"] / 1e9, "GB/s", "high", table="large")
    for op, params, limit, arrays in COLLECTIVES:
        answer = service.post("/v1/jobs?wait=60&data=0", {"op": op, "inputs": [{"tensor": i} for i in ids], **params})
        assert answer.status == 200, answer
        job = answer.json
        seconds = max(job["timeline"]["collective_us"], 1) / 1e6
        name = " ".join([op] + ["%s=%d" % p for p in params.items()])
        if limit:
            figures.add(name + ", algbw", job["algbw_GBps"], "GB/s", "high", LARGE * arrays / limits[limit] / seconds,
                        "memory: " + ("sum of %d" % RANKS if limit == "add" else "copy"),
                        0.9 if op == "all_reduce_sum" else None, "large")
            figures.add(name + ", busbw", job["busbw_GBps"], "GB/s", "high", table="bus")
        else:
            figures.add(name + ", a view", seconds * 1e6, "us", "low", table="large")
        assert service.delete("/v1/jobs/" + job["id"]).status == 204


def write_stacks(folder):
    """The inputs as one stacked .npy, and what must come back."""
    x = np.arange(FLOATS, dtype=np.float32) % 251
    stack = np.stack([x + r for r in range(RANKS)])
    sent, back = os.path.join(folder, "sent.npy"), os.path.join(folder, "back.npy")
    np.save(sent, stack)
    np.save(back, np.broadcast_to(stack.sum(axis=0), stack.shape))
    return sent, back


def bodies(service, bare, sent, back, figures):
    """A stacked .npy up, all_reduce_sum, a stacked .npy down, beside the same bytes to and from a bare server."""
    size = os.path.getsize(sent)
    both = 2 * size / 1e9
    bare_up = load(bare.port, "PUT", "/copy", "-b", sent, "-s", 204)["seconds"]
    bare_down = load(bare.port, "GET", "/bytes/%d" % size, "-f", sent)["seconds"]
    job = load(service.port, "POST", "/v1/jobs?op=all_reduce_sum&wait=60", "-b", sent, "-f", back, *NPY)["seconds"]
    up = load(service.port, "POST", "/v1/tensors", "-b", sent, "-s", 201, *NPY[:2])["seconds"]
    until(lambda: service.arena_used() == 0)
    figures.add("bare upload", both / 2 / bare_up, "GB/s", "high", table="http")
    figures.add("bare download", both / 2 / bare_down, "GB/s", "high", table="http")
    figures.add("bare upload + download", both / (bare_up + bare_down), "GB/s", "high", table="http")
    figures.add("upload", both / 2 / up, "GB/s", "high", bare_up / up, "bare upload", None, "http")
    figures.add("upload + all_reduce_sum + download", both / job, "GB/s", "high", (bare_up + bare_down) / job,
                "bare upload + download", 0.8, "http")


def processor():
    with open("/proc/cpuinfo") as f:
        for line in f:
            if line.startswith("model name"):
                return line.split(":", 1)[1].strip()
    return "unknown processor"


def main():
    figures = Figures()
    print("%d cores, %s; %d rounds" % (os.cpu_count(), processor(), ROUNDS), flush=True)
    folder = tempfile.mkdtemp(prefix="tutti-bench-", dir="/dev/shm" if os.access("/dev/shm", os.W_OK) else None)
    try:
        with Bare((RANKS * LARGE_MIB + 1) * MIB) as bare:
            with Service(workers=RANKS, options=["--retain", "5", "--log-level", "warn"]) as service:
                for _ in range(ROUNDS):
                    small_jobs(service, bare, folder, figures)
            figures.print_table("small", "all_reduce_sum of four floats as JSON, from POST to its answer")
            figures.print_table("timeline", "where the time of a small job goes, 1 connection")
            measure_large(bare, folder, figures)
    finally:
        for name in os.listdir(folder):
            os.unlink(os.path.join(folder, name))
        os.rmdir(folder)
    figures.write(os.path.join(BUILD, "bench.json"))
    print("\nwritten to %s" % os.path.relpath(os.path.join(BUILD, "bench.json")))


def measure_large(bare, folder, figures):
    sent, back = write_stacks(folder)
    options = ["--log-level", "warn"]
    with Service(workers=RANKS, arena="%dM" % (LARGE_MIB * RANKS * 5), options=options) as service:
        ids = upload_inputs(service)
        collectives(service, ids, Figures())  # the first use of a page is slower
        for _ in range(ROUNDS):
            collectives(service, ids, figures)
    figures.print_table("large", "%d ranks x %d MiB float32, inside the workers" % (RANKS, LARGE_MIB))
    figures.print_table("bus", "the same as bus bandwidth")
    with Service(workers=RANKS, arena="%dM" % (LARGE_MIB * RANKS * 5), options=[*options, "--retain", "1"]) as service:
        bodies(service, bare, sent, back, Figures())
        for _ in range(ROUNDS):
            bodies(service, bare, sent, back, figures)
    figures.print_table("http", "%d ranks x %d MiB float32 as .npy, through HTTP" % (RANKS, LARGE_MIB))


if __name__ == "__main__":
    main()
