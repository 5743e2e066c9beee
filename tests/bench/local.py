"""local.py - who does a collective among ranks of one machine, told turn by turn as peers.py says: tutti's workers on the shm
backend, gloo over the loopback, and Open MPI and MPICH over shared memory, each in several ways."""
import os
import socket
import statistics
import struct
import subprocess
import time

import numpy as np

from peers import Gloo, Turns, stage
from tools import PROGRAMS, tuned

import reference

CORES = len(os.sched_getaffinity(0))
PATIENCE_S = 60
MPI_LIBRARIES = ("Open MPI vader", "Open MPI UCX", "MPICH")


# Each way takes an algorithm for every operation; which is the best for an operation and a size nobody knows before it is tried.
OPEN_MPI = {
    "default": [],
    "doubling": tuned(allreduce_algorithm=3, allgather_algorithm=3, reduce_scatter_algorithm=2, alltoall_algorithm=2),
    "ring": tuned(allreduce_algorithm=4, allgather_algorithm=4, reduce_scatter_algorithm=3, alltoall_algorithm=4),
    "segmented": tuned(allreduce_algorithm=5, allreduce_algorithm_segmentsize=262144, allgather_algorithm=5, reduce_scatter_algorithm=4,
                       alltoall_algorithm=1),
    "rabenseifner": tuned(allreduce_algorithm=6, allgather_algorithm=2, reduce_scatter_algorithm=1, alltoall_algorithm=3),
    "sm": ["--mca", "coll_sm_priority", "100"],
}
OPEN_MPI_ALWAYS = ["mpirun.openmpi", "--allow-run-as-root", "--oversubscribe", "--mca", "oob_tcp_if_include", "lo"]
TRANSPORT = {
    "Open MPI vader": ["--mca", "pml", "ob1", "--mca", "btl", "self,vader"],
    "Open MPI UCX": ["--mca", "pml", "ucx", "--mca", "osc", "ucx", "--mca", "opal_common_ucx_tls", "any",
                     "--mca", "opal_common_ucx_devices", "any"],  # else it wants an InfiniBand's
}


def intra(allreduce, allgather, reduce_scatter, alltoall):
    return {"MPIR_CVAR_%s_INTRA_ALGORITHM" % name: value for name, value in
            (("ALLREDUCE", allreduce), ("ALLGATHER", allgather), ("REDUCE_SCATTER", reduce_scatter), ("ALLTOALL", alltoall))}


MPICH = {
    "default": {},
    "doubling": intra("recursive_doubling", "recursive_doubling", "recursive_doubling", "pairwise"),
    "halving": intra("reduce_scatter_allgather", "ring", "recursive_halving", "scattered"),
    "pairwise": intra("reduce_scatter_allgather", "brucks", "pairwise", "pairwise_sendrecv_replace"),
    "release_gather": {"MPIR_CVAR_ALLREDUCE_POSIX_INTRA_ALGORITHM": "release_gather"},
}


class Mpi(Turns):
    """An MPI over shared memory. Where ranks share cores, whoever waits yields, where the library can."""

    def __init__(self, ranks, library, way):
        super().__init__(ranks, "%s %s" % (library, way))
        self.library, self.way = library, way

    def command(self):
        """(what to run, its environment)"""
        environment = {**os.environ, "TMPDIR": self.place.name, "UCX_TLS": "self,sm"}
        bound = self.ranks <= CORES and self.way != "yielding"
        if self.library == "MPICH":
            ways = {} if self.way == "yielding" else MPICH[self.way]
            return ["mpirun.mpich", *(["-bind-to", "core"] if bound else [])], {**environment, **ways}
        more = ["--bind-to", "core" if bound else "none", "--mca", "mpi_yield_when_idle", str(int(not bound))]
        ways = [] if self.way == "yielding" else OPEN_MPI[self.way]
        return [*OPEN_MPI_ALWAYS, *TRANSPORT[self.library], *more, *ways], environment

    def start(self, path):
        command, environment = self.command()
        program = os.path.join(PROGRAMS, "mpi_flat." + ("mpich" if self.library == "MPICH" else "openmpi"))
        self.processes.append(subprocess.Popen([*command, "-n", str(self.ranks), program, path], stdin=subprocess.DEVNULL, env=environment))


def ways_of(ranks):
    """library -> its ways, each a peer to be entered. Where every rank has a core, they may also not be bound to it, and yield."""
    yielding = ["yielding"] if ranks <= CORES else []
    gloo = os.path.join(PROGRAMS, "gloo_flat")  # over the loopback: it has no shared memory
    ways = {"gloo": [Gloo([([], "127.0.0.1")] * ranks, gloo, way) for way in ("ring", "bcube", "halving")]}
    for library in MPI_LIBRARIES:
        ways[library] = [Mpi(ranks, library, way) for way in [*(MPICH if library == "MPICH" else OPEN_MPI), *yielding]]
    return ways


class Tutti:
    """Workers on one machine with the server's arena, told by frames as the server would; without HTTP."""

    def __init__(self, ranks, arena):
        self.group = list(range(ranks))
        self.stage = stage.Stage([0] * ranks, arena=arena, backend="shm")

    def __enter__(self):
        s = self.stage
        s.__enter__()
        self.comm = s.join(self.group)
        for end in s.sockets:  # one system call a frame, and an end to waiting
            end.setsockopt(socket.SOL_SOCKET, socket.SO_RCVTIMEO, struct.pack("ll", PATIENCE_S, 0))
        return self

    def __exit__(self, *what):
        self.stage.__exit__(*what)

    def clear(self):
        """All that was prepared is gone."""
        for place in self.stage.places.values():
            place.at = 0

    def prepare(self, op, dtype, size):
        inputs = [values(r, dtype, size) for r in self.group]
        prepared = self.stage.prepare(op, inputs, dtype, self.group, {})
        frames = [stage.link.encode("run", comm=self.comm, epoch=r + 1, **prepared[1][0]) for r in self.group]
        return op, dtype, prepared, frames

    def turn(self, job, rounds):
        """Three times of each round, in microseconds: from the first rank's begin to the last one's end; the slowest rank's own;
        and from before the first frame was sent until every rank's DONE was received."""
        op, dtype, prepared, frames = job
        for place, at, n in prepared[2]:
            place.bytes[at:at + n] = stage.POISON
        times = []
        for _ in range(rounds + 1):
            begun = time.monotonic_ns()
            for s, frame in zip(self.stage.sockets, frames, strict=True):
                s.sendall(frame)
            bodies = [answer(s) for s in self.stage.sockets]
            ended = time.monotonic_ns()
            answers = [stage.link.decode(*body) for body in bodies]
            assert all(name == "done" for name, _ in answers), answers
            span = max(a["end_ns"] for _, a in answers) - min(a["start_ns"] for _, a in answers)
            longest = max(a["end_ns"] - a["start_ns"] for _, a in answers)
            times.append((span / 1e3, longest / 1e3, (ended - begun) / 1e3))
        wrong = self.stage.check(prepared, op, dtype)
        assert wrong is None, wrong
        return times[1:]


ENDS = [1 + list(stage.link.FRAMES).index(name) for name in ("done", "failed")]


def answer(s):
    """(type, body) of the frame that ends a job; between them there are signs of life."""
    header, got = stage.link.HEADER, b""
    while True:
        more = s.recv(1 << 16)
        assert more, "a worker has left"
        got += more
        while len(got) >= header.size:
            size, type_ = header.unpack_from(got)
            if len(got) < header.size + size:
                break
            body, got = got[header.size:header.size + size], got[header.size + size:]
            if type_ in ENDS:
                return type_, body


def values(rank, dtype, size):
    """An input of so many bytes. Of float32: whole numbers, as the peers have."""
    i = np.arange(size // (2 if dtype == "bfloat16" else np.dtype(dtype).itemsize), dtype=np.int32) % 997
    if dtype == "float32":
        return (i + 1000 * rank).astype(np.float32)
    if dtype == "int8":
        return (i + 31 * rank).astype(np.int8)
    x = i.astype(np.float32) / 7 + rank  # sums of which are rounded
    return reference.narrow(x) if dtype == "bfloat16" else x.astype(np.float16)


def best_of(ways, cases, rounds_of, keep):
    """For each case (op, size) the quickest of these peers in a trial, one after the other. Those that are the best of a case are
    there until `keep` ends, the others have left."""
    best = {}  # case -> (microseconds, peer)
    running = []
    for peer in ways:
        peer.__enter__()
        running.append(peer)
        keep.push(lambda *what, peer=peer: leaves(running, peer, *what))
        for case in cases:
            op, size = case
            us = statistics.median(peer.turn(size, (rounds_of(size) + 4) // 5, op))
            if case not in best or us < best[case][0]:
                best[case] = (us, peer)
        for other in list(running):
            if not any(other is p for _, p in best.values()):
                leaves(running, other, None, None, None)
    return {case: peer for case, (_, peer) in best.items()}


def leaves(running, peer, *what):
    if peer in running:
        running.remove(peer)
        peer.__exit__(*what)
