#!/usr/bin/python3
"""client.py [ROUNDS] - what the notebook client costs beside http.client doing the same bytes by hand, one after the other in
turns, so that what else runs here meets both: a small job, a call of one rank, a large job. Prints a table of ratios."""
import http.client
import os
import statistics
import sys
import time

import numpy as np

HERE = os.path.dirname(os.path.abspath(__file__))
sys.path[:0] = [os.path.dirname(HERE), os.path.join(os.path.dirname(HERE), "notebook")]
from tools import tutti, url_of
from service import Service

ROUNDS = int(sys.argv[1]) if len(sys.argv) > 1 else 2000
RANKS = 4


class Bare:
    """The same request as the client's, made by hand, and its answer read to the end."""

    def __init__(self, service):
        self.connection = http.client.HTTPConnection(service.host, service.port)

    def post(self, path, body, headers):
        self.connection.request("POST", path, body, {**headers, "Idempotency-Key": os.urandom(16).hex()})
        answer = self.connection.getresponse()
        data = answer.read()
        assert answer.status == 200, data
        return data

    def get(self, path):
        self.connection.request("GET", path)
        answer = self.connection.getresponse()
        view, at = np.empty(answer.length, "u1").data, 0
        while at < len(view):
            at += answer.readinto(view[at:])
        answer.read()


def in_turns(rounds, *works):
    """The median of each, in microseconds."""
    times = [[] for _ in works]
    for _ in range(rounds):
        for took, work in zip(times, works):
            begun = time.perf_counter()
            work()
            took.append(time.perf_counter() - begun)
    return [statistics.median(t[len(t) // 10:]) * 1e6 for t in times]


def row(name, bare, client):
    print("| %-44s | %9.0f | %9.0f | %5.2f |" % (name, bare, client, client / bare))


def main():
    print("| %-44s | %9s | %9s | %5s |\n|%s|" % ("p50", "bare, us", "client, us", "ratio", "-" * 80))
    with Service(workers=RANKS, arena="2G") as service:
        world, bare = tutti.connect(url_of(service)).world, Bare(service)
        x = [np.arange(4, dtype="f4")] * RANKS
        packed = {r: tutti._pack(a) for r, a in enumerate(x)}
        body = tutti._safetensors_head(packed) + b"".join(p.data for p in packed.values())
        media = {"Content-Type": "application/vnd.safetensors", "Accept": "application/vnd.safetensors"}
        row("all_reduce_sum, 4 ranks of 4 floats", *in_turns(
            ROUNDS, lambda: bare.post("/v1/jobs?op=all_reduce_sum&group=world&wait=25", body, media), lambda: world.all_reduce_sum(x)))
        alone, raw = world.service.group([0], name="alone"), {"Content-Type": "application/octet-stream", "Accept": "application/octet-stream"}
        path = "/v1/groups/alone/ranks/0/calls?op=all_reduce_sum&dtype=float32&shape=4&wait=25"
        row("a call of the rank of a group of one", *in_turns(
            ROUNDS, lambda: bare.post(path, x[0].tobytes(), raw), lambda: alone.rank(0).all_reduce_sum(x[0])))
        large = world.service.tensor(np.ones(16 << 20, "f4"))
        row("a tensor of 64 MiB comes", *in_turns(
            max(5, ROUNDS // 200), lambda: bare.get("/v1/tensors/%s?format=raw" % large.id), large.get))
    return 0


if __name__ == "__main__":
    sys.exit(main())
