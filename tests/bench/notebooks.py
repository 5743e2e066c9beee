#!/usr/bin/python3
"""notebooks.py [ROUNDS] - from four NumPy arrays in a notebook to their sum as one NumPy array in the notebook: tutti's client beside
others that a notebook can drive, and beside NumPy itself. All are there at the same time, asleep while it is another's turn; whose
turn is first goes round; every result is verified. Prints tables; writes BUILD/bench-notebooks.json."""
import contextlib
import itertools
import os
import statistics
import sys

import numpy as np

sys.path[:0] = [os.path.dirname(os.path.abspath(__file__))]
from tools import Figures, in_turns
from driver_work import COUNT, MIB, RANKS
from drivers import TRANSPORTS, Mpi, NumPy, Tutti
from driver_ipyparallel import Ipyparallel
from driver_torch import Torch

ROUNDS = int(sys.argv[1]) if len(sys.argv) > 1 else 15
CALLS = 3  # of a turn
TRIALS = 2
SIZE = "%d x %d MiB" % (RANKS, MIB)


def best_way(driver, arrays):
    """(seconds, the way) of a trial of each."""
    took = {way: [] for way in driver.ways}
    for i in range(TRIALS):
        for way in driver.ways:
            took[way] += driver.turn(way, arrays, i, CALLS)
    return min((statistics.median(t), way) for way, t in took.items())


def best_mpi(arrays):
    """(seconds, the way, the transport) of a trial of each."""
    found = []
    for transport in TRANSPORTS:
        with Mpi(transport) as driver:
            found.append((*best_way(driver, arrays), transport))
    return min(found)


def player(driver, way, arrays):
    """What plays its turns, one after the other: each gives the middle call, in seconds."""
    turns = itertools.count()
    return lambda: statistics.median(driver.turn(way, arrays, next(turns), CALLS))


def report(took, peers):
    figures = Figures()
    best = min(peers, key=lambda name: statistics.median(took[name]))
    rows = [(SIZE + " NumPy, by the lane / best peer", "tutti, by the lane", best, 1.4),
            (SIZE + " in the lane / best peer", "tutti, in the lane", best, 5),
            (SIZE + " in the lane / NumPy", "tutti, in the lane", "NumPy", 1)]
    for i in range(len(took[best])):
        for name, own, other, aim in rows:
            mine, theirs = took[own][i], took[other][i]
            better, ratio = ("high", theirs / mine) if other == best else ("low", mine / theirs)
            figures.add(name, mine * 1e3, "ms", better, ratio, other, aim, "ratio")
        for name, seconds in took.items():
            figures.add(name, seconds[i] * 1e3, "ms", "low", table="plain")
    figures.print_table("ratio", "all_reduce_sum of %s of float32, NumPy to NumPy: tutti" % SIZE)
    figures.print_table("plain", "the same: each driver by itself")
    figures.write_part("notebooks")


def main():
    arrays = [np.empty(COUNT, np.float32) for _ in range(RANKS)]
    _, mpi_way, transport = best_mpi(arrays)
    with contextlib.ExitStack() as stack:
        tutti, numpy, mpi, torch, engines = map(stack.enter_context, (Tutti(), NumPy(), Mpi(transport), Torch(), Ipyparallel()))
        peers = {"mpi4py: %s; %s" % (mpi_way, transport): (mpi, mpi_way)}
        for name, driver in (("torch gloo", torch), ("ipyparallel", engines)):
            way = best_way(driver, arrays)[1]
            peers["%s: %s" % (name, way)] = (driver, way)
        turns = {**{"tutti, " + way: (tutti, way) for way in tutti.ways}, "NumPy": (numpy, numpy.ways[0]), **peers}
        players = {name: player(*of, arrays) for name, of in turns.items()}
        in_turns(players, 1)
        took = in_turns(players, ROUNDS)
    report(took, list(peers))


if __name__ == "__main__":
    main()
