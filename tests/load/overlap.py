#!/usr/bin/python3
"""overlap.py [COUNT] - COUNT random jobs on eight overlapping groups from eight clients at once, some cancelled: all end, each
once, each right; nothing locks up, and ranks that have jobs in common begin them in one order. The suite runs 1,200; 10,000 is the full measure."""
import http.client
import itertools
import json
import os
import random
import re
import sys
import threading

TESTS = os.path.dirname(os.path.dirname(os.path.abspath(__file__)))
sys.path[:0] = [TESTS, os.path.join(TESTS, "fault")]
from invariants import row
from service import Service, until

COUNT = int(sys.argv[1]) if len(sys.argv) > 1 else 1200
CLIENTS = 8
GROUPS = ([0, 1, 2, 3], [3, 1], [2, 0, 1], [1], [0, 3], [1, 2], [3, 2, 1, 0], [2])
ends, lock = {}, threading.Lock()


def count(state):
    with lock:
        ends[state] = ends.get(state, 0) + 1


class Client:
    def __init__(self, service, seed):
        self.connection = http.client.HTTPConnection(service.host, service.port, timeout=120)
        self.draw = random.Random(seed)

    def ask(self, method, path, body=None):
        self.connection.request(method, path, None if body is None else json.dumps(body),
                                {"Content-Type": "application/json"} if body is not None else {})
        answer = self.connection.getresponse()
        text = answer.read()
        return answer.status, json.loads(text) if text else None

    def one(self):
        group = self.draw.choice(GROUPS)
        values = [self.draw.randrange(-1000, 1000) for _ in group]
        job = {"op": "all_reduce_sum", "dtype": "int64", "group": group, "inputs": [[v] for v in values],
               "priority": self.draw.choice((0, 0, 0, 5, -5))}
        cancel = self.draw.random() < 0.15
        status, document = self.ask("POST", "/v1/jobs?wait=%d" % (0 if cancel else 120), job)
        assert status in (200, 202), document
        if cancel:
            status, answer = self.ask("POST", "/v1/jobs/%s/cancel" % document["id"])
            assert status == 200 or answer["code"] == "job_finished", answer
            ended = answer.get("state")  # it may have finished first
            status, document = self.ask("GET", "/v1/jobs/%s?wait=120" % document["id"])
            assert ended in (None, document["state"]), (ended, document)
        assert document["state"] in ("succeeded", "cancelled"), document
        count(document["state"])
        if document["state"] == "succeeded":
            assert [o["data"] for o in document["outputs"]] == [[sum(values)]] * len(group), document
        status, answer = self.ask("DELETE", "/v1/jobs/" + document["id"])
        assert status == 204, answer


def in_one_order(service, least):
    """What each rank says that it was told to run: two ranks began what both had a part in in the same order."""
    began = {}
    with open(service.log_path) as f:
        for line in f:
            if said := re.search(r"debug worker (\d+) run job=(\S+) attempt=(\d+)$", line):
                began.setdefault(said.group(1), {})[said.group(2), said.group(3)] = len(began.get(said.group(1), ()))
    assert len(began) == 4, began.keys()
    assert len({job for told in began.values() for job, _ in told}) >= least
    compared = 0
    for a, b in itertools.combinations(began.values(), 2):
        common = sorted(a.keys() & b.keys(), key=a.get)
        assert common == sorted(common, key=b.get), "in another order"
        compared += len(common)
    return compared


with row("F43"), Service(workers=4, options=["--log-level", "debug"]) as service:
    errors = []

    def run(seed):
        try:
            client = Client(service, seed)
            for _ in range(COUNT // CLIENTS):
                client.one()
        except BaseException as e:
            errors.append(e)

    threads = [threading.Thread(target=run, args=(seed,)) for seed in range(CLIENTS)]
    [t.start() for t in threads]
    [t.join() for t in threads]
    assert not errors, errors[:3]
    assert sum(ends.values()) == COUNT // CLIENTS * CLIENTS, ends
    until(lambda: service.arena_used() == 0, 5)
    metrics = service.metrics()["jobs"]
    assert metrics["queued"] == metrics["running"] == 0, metrics
    assert metrics["succeeded"] == ends["succeeded"] and metrics["cancelled"] == ends.get("cancelled", 0), (metrics, ends)
    common = in_one_order(service, ends["succeeded"])
    print("NOTE %s; %d runs in one order on two ranks" % (ends, common))
