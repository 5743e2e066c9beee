#!/usr/bin/python3
"""client.py [ROUNDS] - what the notebook client costs beside http.client doing the same bytes by hand, both over TCP and both over
the Unix socket: a small job, a call of one rank, a tensor of 64 MiB that comes. All take turns, call by call. Writes
BUILD/bench-client.json."""
import http.client
import os
import socket
import statistics
import sys
import time

import numpy as np

HERE = os.path.dirname(os.path.abspath(__file__))
sys.path[:0] = [HERE, os.path.join(os.path.dirname(os.path.dirname(HERE)), "web", "notebook")]
from tools import MIB, Figures, in_turns
import tutti
from service import Service

ROUNDS = int(sys.argv[1]) if len(sys.argv) > 1 else 9
RANKS = 4
LARGE = 64 * MIB
SMALL_CALLS = 150  # of a round, and each way
LARGE_CALLS = 3
WAYS = ("TCP", "the Unix socket")
SAFETENSORS, RAW = "application/vnd.safetensors", "application/octet-stream"
AIMS = {"a small job": 1.2, "a call of one rank": 1.2, "a tensor of 64 MiB comes": 1.1}


class UnixConnection(http.client.HTTPConnection):
    def __init__(self, path):
        super().__init__("localhost")
        self.path = path

    def connect(self):
        self.sock = socket.socket(socket.AF_UNIX)
        self.sock.connect(self.path)


class Bare:
    """The same request as the client's, made by hand, and its answer read to the end."""

    def __init__(self, connection):
        self.connection = connection

    def post(self, path, body, kind):
        headers = {"Content-Type": kind, "Accept": kind, "Idempotency-Key": os.urandom(16).hex()}
        self.connection.request("POST", path, body, headers)
        answer = self.connection.getresponse()
        data = answer.read()
        assert answer.status == 200, data
        return data

    def get(self, path):
        self.connection.request("GET", path)
        answer = self.connection.getresponse()
        flat = np.empty(answer.length, "u1")
        view, at = flat.data, 0
        while at < len(view):
            got = answer.readinto(view[at:])
            assert got, "the body ends at %d of %d bytes" % (at, len(view))
            at += got
        answer.read()
        return flat


def bares(service):
    return {"TCP": Bare(http.client.HTTPConnection(service.host, service.port)),
            "the Unix socket": Bare(UnixConnection(service.get("/v1").json["unix_socket"]))}


def clients(service):
    """Each on the transport that it is measured on, which the client picks by itself."""
    url = "http://%s:%d" % (service.host, service.port)
    found = {way: tutti.connect(url, progress=False, unix=way != "TCP") for way in WAYS}
    assert [found[way]._wire.near is None for way in WAYS] == [True, False], "a client is on the other transport"
    return found


def medians(works, calls):
    """Name -> the middle of so many calls, in microseconds."""
    def timed(work):
        begun = time.perf_counter()
        work()
        return time.perf_counter() - begun

    found = in_turns({name: lambda work=work: timed(work) for name, work in works.items()}, calls)
    return {name: statistics.median(took) * 1e6 for name, took in found.items()}


def works_of(bare, client):
    """What -> (by hand, by the client) over one transport."""
    x = [np.arange(4, dtype="f4")] * RANKS
    packed = {r: tutti._pack(a) for r, a in enumerate(x)}
    body = tutti._safetensors_head(packed) + b"".join(p.data for p in packed.values())
    alone = client.group([0], name="alone").rank(0)
    path = "/v1/groups/alone/ranks/0/calls?op=all_reduce_sum&dtype=float32&shape=4&wait=50"
    large = client.tensor(np.arange(LARGE // 4, dtype="f4"))
    large_path = "/v1/tensors/%s?format=raw" % large.id
    assert bytes(bare.get(large_path)) == large.get().tobytes()
    return {"a small job": (lambda: bare.post("/v1/jobs?op=all_reduce_sum&group=world&outputs=unique&wait=50", body, SAFETENSORS),
                            lambda: client.world.all_reduce_sum(x)),
            "a call of one rank": (lambda: bare.post(path, x[0].tobytes(), RAW), lambda: alone.all_reduce_sum(x[0])),
            "a tensor of 64 MiB comes": (lambda: bare.get(large_path), large.get)}


def measure(works, figures):
    """One round; each beside the one over the same transport."""
    for what, aim in AIMS.items():
        large = "MiB" in what
        sides = {(way, side): work for way in WAYS for side, work in zip(("bare", "client"), works[way][what])}
        took = medians(sides, LARGE_CALLS if large else SMALL_CALLS)
        scale, unit = (1e-3, "ms") if large else (1, "us")
        for way in WAYS:
            bare, own = took[way, "bare"], took[way, "client"]
            figures.add("http.client: %s, %s" % (what, way), bare * scale, unit, "low", table="client")
            figures.add("client: %s, %s" % (what, way), own * scale, unit, "low", own / bare, "http.client, " + way, aim, "client")


def main():
    figures = Figures()
    with Service(workers=RANKS, arena="1G", options=["--log-level", "warn"]) as service:
        by_hand, own = bares(service), clients(service)
        works = {way: works_of(by_hand[way], own[way]) for way in WAYS}
        for i in range(ROUNDS + 1):
            measure(works, figures if i else Figures())  # the first use of everything is slower
    figures.print_table("client", "the notebook client beside http.client by hand, over the same transport")
    figures.write_part("client")


if __name__ == "__main__":
    main()
