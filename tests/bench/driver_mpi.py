#!/usr/bin/python3
"""driver_mpi.py SOCKET - a rank of the mpi4py driver, as mpirun starts five of them: rank 0 holds the arrays. Told through the
socket, where each says which rank it is, turn by turn by which of WAYS; asleep meanwhile. Rank 0 answers with the seconds."""
import json
import os
import socket
import sys

from mpi4py import MPI
import numpy as np

sys.path[:0] = [os.path.dirname(os.path.abspath(__file__))]
from driver_work import COUNT, RANKS, timed

WORLD = MPI.COMM_WORLD
ME = WORLD.rank
APART = WORLD.Split(0 if ME > 0 else MPI.UNDEFINED)  # four workers beside the driver
AMONG = WORLD.Split(0 if ME < RANKS else MPI.UNDEFINED)  # the driver is one of four
OUT = np.empty(COUNT, np.float32)


def bring(comm, arrays, first, into):
    """Each of `comm` from rank `first` on gets its array; they are not one buffer, and so no Scatter."""
    if comm.rank == 0:
        MPI.Request.Waitall([comm.Isend(arrays[r - first], r) for r in range(max(1, first), first + RANKS)])
    else:
        comm.Recv(into, 0)


def apart(arrays, into):
    """Send to four workers, Allreduce among them, Send of one result."""
    bring(WORLD, arrays, 1, into)
    if ME > 0:
        APART.Allreduce(into, OUT)
    if ME == 0:
        WORLD.Recv(OUT, 1)
    elif ME == 1:
        WORLD.Send(OUT, 0)
    return OUT


def among(arrays, into):
    """Send to three, Allreduce with the driver among them."""
    bring(AMONG, arrays, 0, into)
    AMONG.Allreduce(arrays[0] if ME == 0 else into, OUT)
    return OUT


def reduced(arrays, into):
    """Send to three, Reduce at the driver."""
    bring(AMONG, arrays, 0, into)
    AMONG.Reduce(arrays[0] if ME == 0 else into, OUT)
    return OUT


class Window:
    """Memory that the four share, a piece each."""

    def __init__(self):
        self.window = MPI.Win.Allocate_shared(4 * COUNT, 4, comm=AMONG)
        self.pieces = [np.frombuffer(self.window.Shared_query(r)[0], np.float32) for r in range(RANKS)]

    def reduced(self, arrays, _):
        """The driver copies the arrays into memory that all share; Reduce at the driver."""
        if ME == 0:
            for r in range(1, RANKS):
                np.copyto(self.pieces[r], arrays[r])
        AMONG.Barrier()
        AMONG.Reduce(arrays[0] if ME == 0 else self.pieces[ME], OUT)
        return OUT


WINDOW = Window() if ME < RANKS else None
# Each with how many of the ranks take part in it.
WAYS = {"send, Allreduce of four workers, send": (apart, 1 + RANKS), "send, Allreduce with the driver": (among, RANKS),
        "send, Reduce at the driver": (reduced, RANKS), "window, Reduce at the driver": (WINDOW and WINDOW.reduced, RANKS)}


def main():
    into = np.empty(COUNT, np.float32)
    arrays = [np.empty(COUNT, np.float32) for _ in range(RANKS)] if ME == 0 else None
    with socket.socket(socket.AF_UNIX) as s:
        s.connect(sys.argv[1])
        told = s.makefile("rw")
        say = lambda x: print(json.dumps(x), file=told, flush=True)
        say([ME, list(WAYS)])
        for line in told:
            way, turn, calls = json.loads(line)
            work, ranks = WAYS[way]
            if ME == 0:
                say(timed(lambda x: work(x, into), arrays, turn, calls))
            elif ME < ranks:
                for _ in range(calls + 1):
                    work(None, into)


main()
