#!/usr/bin/python3
"""small.py [ROUNDS [FINISHED]] - what a small job costs beside a bare HTTP server's shortest answer, in turns: alone, on many
connections, in batches, and with FINISHED jobs and a thousand groups in the database. Writes BUILD/bench-small.json."""
import json
import os
import statistics
import sys
import tempfile

sys.path[:0] = [os.path.dirname(os.path.abspath(__file__))]
from tools import Bare, Figures, MIB, load
from service import Service

RANKS = 4
GROUPS = 1000
LINES = 1000  # of a batch that is measured
FILL_LINES = 10000
OPTIONS = ["--retain", "5", "--log-level", "warn"]
JSON = ("-H", "Content-Type: application/json")
NDJSON = ("-H", "Content-Type: application/x-ndjson")
STEPS = {"validated_us": "read and checked", "queued_us": "recorded", "dispatch_us": "sent to the ranks",
         "collective_us": "in the ranks"}
WANT = {2: '"data":[1,2,5,-2]', 4: '"data":[6,4,10,-4]'}


def write(folder, name, text):
    path = os.path.join(folder, name)
    with open(path, "w") as f:
        f.write(text)
    return path


def job(ranks):
    return {"op": "all_reduce_sum", "group": list(range(ranks)), "inputs": [[r, 1, 2.5, -1] for r in range(ranks)]}


def post(service, connections, count, body, ranks):
    """A run of small jobs, each answer with the sum for every rank."""
    return load(service.port, "POST", "/v1/jobs?wait=10", "-c", connections, "-n", count, "-b", body, *JSON,
                "-e", '"state":"succeeded"', "-e", WANT[ranks], "-e", '"rank":%d' % (ranks - 1))


def one_at_a_time(service, bare, bodies, figures):
    get = load(bare.port, "GET", "/small", "-n", 2000)
    small = load(bare.port, "POST", "/small", "-n", 2000, "-b", bodies[4], *JSON)
    figures.add("bare GET, p50", get["p50_us"], "us", "low", table="small")
    figures.add("bare POST, p50", small["p50_us"], "us", "low", small["p50_us"] / get["p50_us"], "bare GET p50", table="small")
    for ranks in (2, 4):
        got = post(service, 1, 1000, bodies[ranks], ranks)
        timelines(service, ranks, figures)
        name = "small job of %d ranks" % ranks
        figures.add(name + ", p50", got["p50_us"], "us", "low", got["p50_us"] / get["p50_us"], "bare GET p50", 2.5, "small")
        figures.add(name + ", p99", got["p99_us"], "us", "low", got["p99_us"] / get["p99_us"], "bare GET p99", table="small")


def timelines(service, ranks, figures):
    """Where the time of the last jobs went, by their own timelines."""
    lines = [one["timeline"] for one in service.get("/v1/jobs?limit=500&state=succeeded").json["jobs"]]
    for step, sentence in STEPS.items():
        figures.add("%d ranks: %s" % (ranks, sentence), statistics.median(line[step] for line in lines), "us", "low", table="timeline")
    figures.add("%d ranks: its end, recorded" % ranks,
                statistics.median(line["total_us"] - sum(line[step] for step in STEPS) for line in lines), "us", "low", table="timeline")


def many_connections(service, bare, bodies, figures):
    for connections in (16, 64):
        get = load(bare.port, "GET", "/small", "-c", connections, "-n", 20000)
        figures.add("bare GETs, %d connections" % connections, get["per_s"], "/s", "high", table="small")
        got = post(service, connections, 6000, bodies[4], 4)
        figures.add("small jobs, %d connections" % connections, got["per_s"], "/s", "high", got["per_s"] / get["per_s"],
                    "bare GETs", 0.3, "small")
        figures.add("small jobs, %d connections, p99" % connections, got["p99_us"], "us", "low", got["p99_us"] / get["p99_us"],
                    "bare GET p99", table="small")


def batches(service, bodies, batch, figures):
    """A thousand jobs in one request, beside as many of one request each on one connection."""
    single = post(service, 1, LINES, bodies[4], 4)["per_s"]
    at_once = LINES * load(service.port, "POST", "/v1/jobs:batch?wait=30&data=0", "-n", 5, "-b", batch, *NDJSON,
                           "-e", '"state":"succeeded"')["per_s"]
    figures.add("jobs in batches of %d" % LINES, at_once, "/s", "high", at_once / single, "one job at a time", 8, "small")


def fill(service, folder, finished):
    """So many finished jobs, of a thousand groups."""
    for i in range(GROUPS):
        answer = service.post("/v1/groups", {"name": "g%d" % i, "ranks": [i % RANKS, (i + 1) % RANKS]})
        assert answer.status == 201, answer
    lines = "".join(json.dumps({"op": "all_reduce_sum", "group": "g%d" % (i % GROUPS), "inputs": [[i, 1], [2, 3]]}) + "\n"
                    for i in range(FILL_LINES))
    batch = write(folder, "fill.ndjson", lines)
    for done in range(0, finished, FILL_LINES):
        load(service.port, "POST", "/v1/jobs:batch?wait=60&data=0", "-b", batch, *NDJSON, "-e", '"state":"succeeded"')


def with_many_finished(folder, bodies, rounds, finished, figures):
    with Service(workers=RANKS, options=OPTIONS) as empty, Service(workers=RANKS, arena="256M", options=OPTIONS) as full:
        fill(full, folder, finished)
        for i in range(rounds + 1):
            both = {}
            for one in (empty, full) if i % 2 else (full, empty):
                both[one] = post(one, 1, 1000, bodies[4], 4)["p50_us"]
            if i:
                figures.add("small job, p50, %d finished before" % finished, both[full], "us", "low", both[full] / both[empty],
                            "none finished before", 1.1, "small")


def main():
    rounds = int(sys.argv[1]) if len(sys.argv) > 1 else 7
    finished = int(sys.argv[2]) if len(sys.argv) > 2 else 1000000
    figures = Figures()
    with tempfile.TemporaryDirectory(prefix="tutti-bench-") as folder:
        bodies = {ranks: write(folder, "small%d.json" % ranks, json.dumps(job(ranks))) for ranks in (2, 4)}
        batch = write(folder, "batch.ndjson", (json.dumps(job(4)) + "\n") * LINES)
        with Bare(MIB) as bare, Service(workers=RANKS, options=OPTIONS) as service:
            post(service, 1, 500, bodies[4], 4)
            for _ in range(rounds):
                one_at_a_time(service, bare, bodies, figures)
                many_connections(service, bare, bodies, figures)
                batches(service, bodies, batch, figures)
        with_many_finished(folder, bodies, rounds, finished, figures)
    figures.print_table("small", "all_reduce_sum of four floats as JSON, from POST to its answer")
    figures.print_table("timeline", "where the time of a small job goes, one connection")
    figures.write_part("small")


if __name__ == "__main__":
    main()
