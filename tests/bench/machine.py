#!/usr/bin/python3
"""machine.py [ROUNDS] - collectives inside the workers on one machine, beside what its memory can do and beside Open MPI, MPICH
and gloo, in turns: whose turn is first goes round, and the others sleep. Every turn's result is verified bit for bit. Of each
library the way is taken that was the quickest in a trial. Prints tables; writes BUILD/bench-machine.json.

A round lasts from the first rank's begin to the last rank's end on one clock. tutti's ranks do not meet, and begin when they are
told, one after the other, where the peers' ranks begin after a barrier and never sleep. So small tensors have two rows more: the
slowest rank from its own begin to its own end, and all of it, from the first frame sent to the last DONE received.
"""
import collections
import contextlib
import os
import signal
import statistics
import sys
import time

sys.path[:0] = [os.path.dirname(os.path.abspath(__file__))]
from peers import OP, compiled
from tools import MIB, PROGRAMS, Figures, in_turns, memory
from local import CORES, Tutti, best_of, ways_of
from service import Service

TURNS = int(sys.argv[1]) if len(sys.argv) > 1 else 5
# What is measured with so many ranks: operation, bytes that each gives, aim, and what the ratio to the best peer is of.
FASTER, LATENCY, TIME = ("high", "{} / best peer"), ("low", "{} latency / best peer"), ("low", "{} time / best peer")
CASES = {
    2: [(OP, 16 * MIB, 6, FASTER), (OP, 64 * MIB, 6, FASTER), (OP, 4, 1.2, LATENCY), (OP, 4096, 1.2, LATENCY)],
    4: [(OP, 16 * MIB, 8, FASTER), (OP, 64 * MIB, 8, FASTER), (OP, 4, 1.2, LATENCY), (OP, 4096, 1.2, LATENCY),
        ("all_gather", 16 * MIB, 5, FASTER), ("reduce_scatter_sum", 16 * MIB, 5, FASTER), ("all_to_all", 16 * MIB, 2, FASTER)],
    8: [(OP, MIB, 0.25, TIME)],
    16: [(OP, MIB, 0.25, TIME)],
}
LIMITED = 16 * MIB  # from there on it is the memory that limits
SHORT = ("float16", "bfloat16", "int8")
VIEWS = ("broadcast", "scatter", "remote_send")
VIEW_RANKS = 4


def rounds_of(size):
    return 3 if size > 16 * MIB else 5 if size > MIB else 15 if size > 4096 else 100


def size_name(size):
    return "%d MiB" % (size // MIB) if size >= MIB else "%d KiB" % (size >> 10) if size >= 1024 else "%d B" % size


def medians(times):
    return [statistics.median(of) for of in zip(*times, strict=True)]


def peer_turn(peer, op, size):
    """Medians, as Tutti.turn's first two."""
    spans = peer.turn(size, rounds_of(size), op)
    return medians(zip(spans, peer.longest, strict=True))


def limit_us(ranks, size):
    return size / memory(ranks, size // MIB, rounds_of(size), statistics.median)["add"] * 1e6


def measure(case, ranks, tutti, peers, figures):
    """One case; peers: library -> the best of its ways."""
    op, size, _, _ = case
    tutti.clear()
    job = tutti.prepare(op, "float32", size)
    tutti.turn(job, 1)  # the first use of a page is slower
    players = {"tutti": lambda: medians(tutti.turn(job, rounds_of(size)))}
    if op == OP and size >= LIMITED:
        players["limit"] = lambda: limit_us(ranks, size)
    for library, peer in peers.items():
        players[library] = lambda peer=peer: peer_turn(peer, op, size)
    report(case, ranks, in_turns(players, TURNS), peers, figures)


def report(case, ranks, found, peers, figures):
    """The rows of one case."""
    op, size, aim, (better, title) = case
    name = "%s %d x %s" % (op, ranks, size_name(size))
    best = [min((found[library][i][0], library) for library in peers) for i in range(TURNS)]
    against = "best peer: " + peers[collections.Counter(library for _, library in best).most_common(1)[0][0]].name
    for i, (span, longest, whole) in enumerate(found["tutti"]):
        us = best[i][0]
        if "limit" in found:
            figures.add(name + " / add limit", span, "us", "high", found["limit"][i] / span, "memory: sum of %d" % ranks, 0.9, "limit")
        figures.add(title.format(name), span, "us", better, us / span if better == "high" else span / us, against, aim, "best")
        if title == LATENCY[1]:
            own = min(found[library][i][1] for library in peers)
            figures.add(name + " slowest rank / best peer", longest, "us", "low", longest / own, against, None, "best")
            figures.add(name + " frames to DONEs / best peer", whole, "us", "low", whole / us, against, None, "best")
        for library in peers:
            figures.add("%s: %s" % (name, library), found[library][i][0], "us", "low", found[library][i][0] / span,
                        "tutti; way: " + peers[library].way, None, "peers")


def measure_dtypes(ranks, tutti, figures):
    """What 64 MiB of the other types take, by the bytes of float32 in that time."""
    tutti.clear()
    jobs = {dtype: tutti.prepare(OP, dtype, 64 * MIB) for dtype in ("float32", *SHORT)}
    for job in jobs.values():
        tutti.turn(job, 1)
    found = in_turns({dtype: lambda job=job: medians(tutti.turn(job, rounds_of(64 * MIB)))[0] for dtype, job in jobs.items()}, TURNS)
    for dtype in SHORT:
        for us, beside in zip(found[dtype], found["float32"], strict=True):
            figures.add("%s %s %d x 64 MiB / float32" % (OP, dtype, ranks), 64 * MIB / us / 1e3, "GB/s", "high", beside / us, "float32", 0.8,
                        "limit")


def measure_ranks(ranks, figures):
    cases = CASES[ranks]
    largest = max(size for _, size, _, _ in cases)
    arena = (2 * ranks * ranks + 2) * largest if ranks < 8 else (ranks + 2) * largest
    began = time.monotonic()
    with contextlib.ExitStack() as keep:
        trial = {library: best_of(ways, [case[:2] for case in cases], rounds_of, keep) for library, ways in ways_of(ranks).items()}
        tried = time.monotonic()
        tutti = keep.enter_context(Tutti(ranks, arena))
        for case in cases:
            measure(case, ranks, tutti, {library: best[case[:2]] for library, best in trial.items()}, figures)
        if ranks == 4:
            measure_dtypes(ranks, tutti, figures)
    print("%d ranks: ways tried in %.0f s, measured in %.0f s" % (ranks, tried - began, time.monotonic() - tried), flush=True)


def view_job(service, op, tensor):
    """(in the workers, from its request to its end) of one job that moves nothing, by its own timeline."""
    answer = service.post("/v1/jobs?wait=60&data=0", {"op": op, "inputs": [{"tensor": tensor}] + [None] * (VIEW_RANKS - 1)})
    assert answer.status == 200, answer
    line = answer.json["timeline"]
    assert service.delete("/v1/jobs/" + answer.json["id"]).status == 204
    return line["collective_us"], line["total_us"]


def measure_views(figures):
    """64 MiB beside 4 bytes, through the service."""
    with Service(workers=VIEW_RANKS, arena="256M", options=["--log-level", "warn"]) as service:
        tensors = {}
        for size in (4, 64 * MIB):
            answer = service.post("/v1/tensors?dtype=uint8&shape=%d" % size, bytes(size), {"Content-Type": "application/octet-stream"})
            assert answer.status == 201, answer
            tensors[size] = answer.json["tensor"]
        for op in VIEWS:
            several = lambda size, op=op: [view_job(service, op, tensors[size]) for _ in range(50)]
            found = in_turns({size: lambda size=size: medians(several(size)) for size in tensors}, TURNS)
            for large, small in zip(found[64 * MIB], found[4], strict=True):
                for i, what in enumerate(("in the workers", "whole job")):
                    figures.add("%s %d x 64 MiB / 4 B, %s" % (op, VIEW_RANKS, what), large[i], "us", "low", large[i] / small[i], "4 B", 1.2,
                                "views")


def main():
    signal.signal(signal.SIGTERM, lambda *_: sys.exit(143))  # and not without what was started
    figures = Figures()
    compiled(PROGRAMS, ["openmpi", "mpich"])
    print("%d cores; %d turns" % (CORES, TURNS), flush=True)
    for ranks in CASES:
        measure_ranks(ranks, figures)
    measure_views(figures)
    figures.print_table("limit", "inside the workers beside the machine's memory, and 64 MiB of short types beside float32")
    figures.print_table("best", "inside the workers beside the best peer; latency and time: tutti / peer, else peer / tutti")
    figures.print_table("views", "nothing is moved, through the service")
    figures.print_table("peers", "each library's best way: peer / tutti")
    figures.write_part("machine")


if __name__ == "__main__":
    main()
