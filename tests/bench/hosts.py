#!/usr/bin/python3
"""hosts.py [--rate GBIT,...] [--hosts 0,0,1,1] [--turns N] [--ways | --against BUILD] [SIZE...] - an all_reduce of float32 among
hosts that a network joins: tutti's gloo backend beside gloo's own algorithms and Open MPI. All are measured in turns,
so that what else runs here meets all. Without --rate: 1 Gbit/s, then no limit.

A round lasts from the first rank's begin to the last rank's end, and its result is verified. Columns: median microseconds, and
peer / tutti: the median of the turns' ratios, between their quartiles. Of Open MPI's ways the two best in a trial are taken.
--ways: each way of worker/gloo/cost.h instead, whose crossings say what HOP_BYTES is to be; --against: another build of tutti.
"""
import argparse
import contextlib
import os
import signal
import statistics
import sys
import tempfile

sys.path[:0] = [os.path.join(os.path.dirname(os.path.dirname(os.path.abspath(__file__))), "remote")]  # its hosts, not this
from hosts import own_network
from net import Net
import tools
from peers import MPI, Gloo, Mpi, Tutti, compiled, inside

SIZES = (4 << 10, 1 << 20, 64 << 20)
WAYS = ("meet", "slices", "chain")


def rounds_of(size):
    return 2 if size >= 16 << 20 else 40 if size <= 65536 else 15


def in_turns(peers, size, turns):
    """Name -> median microseconds of each turn."""
    return tools.in_turns({name: lambda p=p: statistics.median(p.turn(size, rounds_of(size))) for name, p in peers.items()}, turns)


def best_of_mpi(mpi, size):
    """The two quickest ways in a short trial, which is not long enough to tell them apart."""
    trial = in_turns(mpi, size, 1 if size >= 16 << 20 else 3)
    return sorted(mpi, key=lambda way: statistics.median(trial[way]))[:2]


def show(size, found, first, note):
    print("%10d B  %s %.0f us%s" % (size, first, statistics.median(found[first]), note))
    for name in found:
        if name != first:
            low, middle, high = tools.quartiles([a / b for a, b in zip(found[name], found[first])])
            print("            %-22s %.0f us: %.2f (%.2f to %.2f)" % (name, statistics.median(found[name]), middle, low, high), flush=True)


def measure(net, o, hosts, programs, keep):
    """One network: a row a size."""
    tutti = keep.enter_context(Tutti(net, hosts, o.sizes))
    places = [(inside(net, h), net.hosts[h].address) for h in hosts]
    others = {"gloo " + way: keep.enter_context(Gloo(places, programs["gloo_flat"], way)) for way in ("ring", "bcube")}
    mpi = {way: keep.enter_context(Mpi(net, hosts, programs["mpi_flat.openmpi"], way)) for way in MPI}
    n = len(set(hosts))
    for size in o.sizes:
        ways = best_of_mpi(mpi, size)
        before = sum(net.hosts[0].moved())
        tutti.turn(size, 4)
        moved = (sum(net.hosts[0].moved()) - before) / 5 / (2 * 2 * (n - 1) / n * size)
        found = in_turns({"tutti": tutti, **others, **{"Open MPI " + way: mpi[way] for way in ways}}, size, o.turns)
        show(size, found, "tutti", " (%.3f x the least bytes)" % moved)


def measure_tutti(net, o, hosts, keep):
    """The same with nobody but tutti: its ways, or another build."""
    if o.ways:
        peers = {way: keep.enter_context(Tutti(net, hosts, o.sizes, way=way)) for way in WAYS}
    else:
        peers = {"tutti": keep.enter_context(Tutti(net, hosts, o.sizes)),
                 o.against: keep.enter_context(Tutti(net, hosts, o.sizes, build=o.against))}
    for size in o.sizes:
        show(size, in_turns(peers, size, o.turns), "meet" if o.ways else "tutti", "")


def main():
    signal.signal(signal.SIGTERM, lambda *_: sys.exit(143))  # and not without what was started
    parser = argparse.ArgumentParser()
    parser.add_argument("--rate", default="1,0")
    parser.add_argument("--hosts", default="0,0,1,1")
    parser.add_argument("--turns", type=int, default=9)
    parser.add_argument("--ways", action="store_true")
    parser.add_argument("--against")
    parser.add_argument("sizes", nargs="*", type=int)
    o = parser.parse_args()
    own_network()
    o.sizes = o.sizes or SIZES
    hosts = [int(h) for h in o.hosts.split(",")]
    with tempfile.TemporaryDirectory() as place:
        programs = None if o.ways or o.against else compiled(place, ["openmpi"])
        for rate in map(float, o.rate.split(",")):
            print("all_reduce_sum float32, hosts %s, %s" % (o.hosts, "%g Gbit/s" % rate if rate else "no limit"), flush=True)
            with Net(len(set(hosts)), rate or None) as net, contextlib.ExitStack() as keep:
                if programs:
                    measure(net, o, hosts, programs, keep)
                else:
                    measure_tutti(net, o, hosts, keep)
    return 0


if __name__ == "__main__":
    sys.exit(main())
