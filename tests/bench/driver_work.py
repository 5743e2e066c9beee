"""driver_work.py - what every driver does: four arrays that it holds become their sum, timed and verified call by call."""
import time

import numpy as np

RANKS = 4
MIB = 16
COUNT = MIB << 18
PAGE = 4096 // 4  # elements of a page

_BASE = (np.arange(COUNT) % 997).astype(np.float32)


def fresh(arrays, turn):
    """Gives the arrays, one a rank, elements of this turn: whole numbers, so that every sum is exact."""
    for r, x in enumerate(arrays):
        np.add(_BASE, np.float32(1000 * r + turn), out=x)


def wanted(turn):
    return RANKS * _BASE + np.float32(1000 * sum(range(RANKS)) + RANKS * turn)


def timed(add, arrays, turn, calls):
    """Seconds of each call. Every page of the result is looked at within: pages that come when they are touched have come, too."""
    fresh(arrays, turn)
    want, took = wanted(turn), []
    for _ in range(calls + 1):
        begun = time.perf_counter()
        out = add(arrays)
        out[::PAGE].sum()
        took.append(time.perf_counter() - begun)
        assert np.array_equal(out, want), "the sum of turn %d is wrong" % turn
        out = None  # as a cell that is run again gives up what it had
    return took[1:]  # the first one wakes everybody
