#!/usr/bin/python3
"""gloo.py [--rate GBIT] [--hosts 0,0,1,1] [--ways] [SIZE...] - an all_reduce of float32 among hosts that a veth joins, side by side
with gloo's own on the same ranks: network namespaces, one a host, of which nothing is left in the end.

Columns: microseconds (of the best tenth of the rounds, which other programs disturb least), and the bytes that the first host's interface moved, by those of the smallest possible.
--ways: each way of worker/gloo/cost.h instead, whose crossings say what HOP_BYTES is to be.
"""
import argparse
import os
import subprocess
import sys
import tempfile

HERE = os.path.dirname(os.path.abspath(__file__))
sys.path.insert(0, os.path.join(HERE, "..", "gloo"))
import stage
sys.path.insert(0, os.path.join(HERE, "..", "remote"))
import numpy as np
from hosts import command, own_network
from net import Net

SIZES = (4096, 65536, 1 << 20, 64 << 20)
WAYS = ("meet", "slices", "chain")


def rounds_of(size):
    return 10 if size >= 16 << 20 else 200 if size <= 65536 else 50


def best(took):
    return sorted(took)[len(took) // 10]


def tutti(net, hosts, size, way=""):
    """(microseconds, bytes moved by the first host in a round)."""
    placed = lambda rank, worker: [*net.hosts[hosts[rank]].prefix, *worker, "--gloo-interface", "far"]
    took, n = [], len(hosts)
    with stage.Stage(hosts, arena=(n + 2) * size + (1 << 20), environment={"TUTTI_GLOO_WAY": way}, command=placed) as s:
        group = list(range(n))
        inputs = [np.full(size // 4, r, np.float32) for r in group]
        prepared = s.prepare("all_reduce_sum", inputs, "float32", group, {})
        for i in range(rounds_of(size) + 3):
            if i == 3:
                before = sum(net.hosts[0].moved())
            s.begin([prepared], group)
            s.until(lambda: len(s.answers.get(prepared[0], {})) == n)
            answers = s.answers.pop(prepared[0]).values()
            took.append((max(a["end_ns"] for a in answers) - min(a["start_ns"] for a in answers)) / 1e3)
        moved = (sum(net.hosts[0].moved()) - before) / rounds_of(size)
        assert s.check(prepared, "all_reduce_sum", "float32") is None
    return best(took[3:]), moved


def flat(net, hosts, size, program, algorithm):
    with tempfile.TemporaryDirectory() as store:
        ranks = [subprocess.Popen([*net.hosts[h].prefix, program, net.hosts[h].address, store, str(r), str(len(hosts)), algorithm, str(size),
                                   str(rounds_of(size))], stdout=subprocess.PIPE) for r, h in enumerate(hosts)]
        out = [rank.communicate(timeout=300)[0] for rank in ranks]
    return float(out[0])


def main():
    parser = argparse.ArgumentParser()
    parser.add_argument("--rate", type=float, default=0)
    parser.add_argument("--hosts", default="0,0,1,1")
    parser.add_argument("--ways", action="store_true")
    parser.add_argument("sizes", nargs="*", type=int, default=SIZES)
    o = parser.parse_args()
    own_network()
    hosts = [int(h) for h in o.hosts.split(",")]
    n = len(set(hosts))
    with Net(n, o.rate) as net, tempfile.TemporaryDirectory() as place:
        program = os.path.join(place, "gloo_flat")
        command("g++", "-std=c++17", "-O2", os.path.join(HERE, "gloo_flat.cc"), "-o", program, "-lgloo", "-pthread")
        print("all_reduce_sum float32, hosts %s, %s" % (o.hosts, "%g Gbit/s" % o.rate if o.rate else "no limit"))
        for size in o.sizes:
            least = 2 * 2 * (n - 1) / n * size
            if o.ways:
                found = {way: tutti(net, hosts, size, way)[0] for way in WAYS}
                print("%10d B  " % size + "  ".join("%s %.0f us" % f for f in found.items()), flush=True)
                continue
            us, moved = tutti(net, hosts, size)
            ring, bcube = (flat(net, hosts, size, program, a) for a in ("ring", "bcube"))
            print("%10d B  tutti %.0f us (%.3f x the least bytes)  gloo ring %.0f us (%.2f)  gloo bcube %.0f us (%.2f)" %
                  (size, us, moved / least, ring, ring / us, bcube, bcube / us), flush=True)


if __name__ == "__main__":
    sys.exit(main())
