#!/usr/bin/python3
"""chain.py [COUNT] - a chain of COUNT jobs (default 200), each taking the output of the one before, in one request and in
COUNT requests: one answer, the right end value. And COUNT small jobs of one bucket, in one request and in COUNT."""
import json
import os
import sys
import time

sys.path[:0] = [os.path.dirname(os.path.dirname(os.path.abspath(__file__)))]
from service import Service

RANKS = 4
LINES = {"Content-Type": "application/x-ndjson"}


def link(before):
    """The sum of one output and of three constants."""
    return {"op": "all_reduce_sum", "dtype": "int64", "inputs": [before, [1, 0], [1, 1], [1, 2]]}


def batch(service, jobs):
    a = service.post("/v1/jobs:batch?wait=300", "".join(json.dumps(j) + "\n" for j in jobs).encode(), LINES)
    assert a.status == 200, a
    documents = [json.loads(line) for line in a.body.decode().splitlines()]
    assert len(documents) == len(jobs) and all(d["state"] == "succeeded" for d in documents), documents[-1]
    return documents


def check_chain(documents):
    for n, d in enumerate(documents):
        want = [[3 * (n + 1), 3 * (n + 1)]] * RANKS
        assert [o["data"] for o in d["outputs"]] == want, (n, d)
    made = [d["timeline"]["finished_at"] for d in documents]
    assert made == sorted(made), "a job ended before the one whose output it takes"


def chain_in_one(service, count):
    check_chain(batch(service, [link([0, 0])] + [link({"job": -1, "rank": n % RANKS}) for n in range(1, count)]))


def chain_by_one(service, count):
    documents, before = [], [0, 0]
    for _ in range(count):
        a = service.post("/v1/jobs?wait=60", link(before))
        assert a.status == 200, a
        documents.append(a.json)
        before = {"job": a.json["id"], "rank": len(documents) % RANKS}
    check_chain(documents)


def bucket(n):
    return {"op": "all_reduce_sum", "dtype": "int64", "inputs": [[n], [1], [2], [3]]}


def bucket_in_one(service, count):
    for n, d in enumerate(batch(service, [bucket(n) for n in range(count)])):
        assert [o["data"] for o in d["outputs"]] == [[n + 6]] * RANKS, (n, d)


def bucket_by_one(service, count):
    for n in range(count):
        a = service.post("/v1/jobs?wait=60", bucket(n))
        assert a.status == 200 and [o["data"] for o in a.json["outputs"]] == [[n + 6]] * RANKS, a


def seconds(what, *arguments):
    begun = time.perf_counter()
    what(*arguments)
    return time.perf_counter() - begun


count = int(sys.argv[1]) if len(sys.argv) > 1 else 200
with Service(workers=RANKS, arena="256M") as service:
    seconds(chain_in_one, service, 20)
    seconds(chain_by_one, service, 20)
    for name, in_one, by_one in (("chained", chain_in_one, chain_by_one), ("independent", bucket_in_one, bucket_by_one)):
        took = [(seconds(in_one, service, count), seconds(by_one, service, count)) for _ in range(3)]
        ratios = sorted(b / a for a, b in took)
        print("NOTE %d %s jobs: one request takes 1/%.1f of the time of %d (%.1f to %.1f)" %
              (count, name, ratios[1], count, ratios[0], ratios[2]))
        print("seconds: %s" % took)

# The ranks of all jobs of a batch are limited, at 262,144.
with Service(workers=64) as service:
    a = service.post("/v1/jobs:batch", b'{"op": "barrier"}\n' * 4097, LINES)
    documents = [json.loads(line) for line in a.body.decode().splitlines()]
    assert [d.get("code") for d in documents[4095:]] == [None, "body_too_large"], documents[4095:]
