"""drivers.py - who makes one array of four that a driver holds: tutti's client, NumPy itself, mpi4py. A driver has `ways`, one of
which is the best here, and `turn(way, arrays, turn, calls)`, the seconds of so many calls."""
import contextlib
import json
import os
import socket
import subprocess
import sys
import tempfile

import numpy as np

from driver_work import COUNT, RANKS, timed

HERE = os.path.dirname(os.path.abspath(__file__))
sys.path[:0] = [os.path.dirname(HERE), os.path.join(HERE, "..", "..", "web", "notebook")]
os.environ["no_proxy"] = "*"  # what is measured is here
import tutti
from service import Service, ended
from tools import tuned


class NumPy:
    """One thread, and no process but this one."""

    ways = ["np.add with out="]

    def __enter__(self):
        self.out = np.empty(COUNT, np.float32)
        return self

    def __exit__(self, *_):
        pass

    def turn(self, way, arrays, turn, calls):
        def add(arrays):
            np.add(arrays[0], arrays[1], out=self.out)
            for x in arrays[2:]:
                np.add(self.out, x, out=self.out)
            return self.out

        return timed(add, arrays, turn, calls)


class Tutti:
    """The client of one service, as it is, and with parts of it off."""

    ways = ["by the lane", "in the lane", "HTTP, Unix socket", "HTTP, TCP"]

    def __enter__(self):
        self.stack = contextlib.ExitStack()
        service = self.stack.enter_context(Service(workers=RANKS, arena="2G", options=["--retain", "5", "--log-level", "warn"]))
        options = [{}, {}, {"lane": False}, {"lane": False, "unix": False}]
        self.worlds = {way: tutti.connect("http://%s:%d" % (service.host, service.port), progress=False, **more).world for way, more in zip(self.ways, options)}
        self.there = [self.worlds["in the lane"].empty(COUNT) for _ in range(RANKS)]
        return self

    def __exit__(self, *what):
        self.there = self.worlds = None
        return self.stack.__exit__(*what)

    def turn(self, way, arrays, turn, calls):
        world = self.worlds[way]
        return timed(lambda x: world.all_reduce_sum(x)[0], self.there if way == "in the lane" else arrays, turn, calls)


# Whoever waits yields: five ranks have no CPU each here. How large messages go within a machine, and how a sum is made.
MPIRUN = ["mpirun.openmpi", "-n", str(1 + RANKS), "--allow-run-as-root", "--oversubscribe", "--bind-to", "none",
          "--mca", "mpi_yield_when_idle", "1", "--mca", "pml", "ob1", "--mca", "btl", "vader,self"]
COPY = ("--mca", "btl_vader_single_copy_mechanism")
TRANSPORTS = {
    "single copy": (*COPY, "cma"),
    "two copies": (*COPY, "none"),
    "single copy, ring": (*COPY, "cma", *tuned(allreduce_algorithm=4)),
    "single copy, Rabenseifner": (*COPY, "cma", *tuned(allreduce_algorithm=6)),
}


class Mpi:
    """mpi4py under Open MPI: rank 0 is the driver, and times itself."""

    def __init__(self, transport):
        self.transport = transport

    def __enter__(self):
        self.place, self.told, self.process = tempfile.TemporaryDirectory(), {}, None
        path = os.path.join(self.place.name, "told")
        program = os.path.join(HERE, "driver_mpi.py")
        with socket.socket(socket.AF_UNIX) as door:
            door.bind(path)
            door.listen(1 + RANKS)
            door.settimeout(60)
            try:
                self.process = subprocess.Popen([*MPIRUN, *TRANSPORTS[self.transport], "/usr/bin/python3", program, path],
                                                stdin=subprocess.DEVNULL, env={**os.environ, "TMPDIR": self.place.name})
                for _ in range(1 + RANKS):
                    s, _ = door.accept()
                    s.settimeout(300)
                    told = s.makefile("rw")
                    s.close()  # when the file is
                    rank, self.ways = json.loads(told.readline())
                    self.told[rank] = told
            except BaseException:
                self.__exit__()
                raise
        return self

    def __exit__(self, *_):
        for told in self.told.values():
            told.close()
        if self.process is not None:
            ended(self.process, 20)
        self.place.cleanup()

    def turn(self, way, arrays, turn, calls):
        for told in self.told.values():
            print(json.dumps([way, turn, calls]), file=told, flush=True)
        answer = self.told[0].readline()
        if not answer:
            raise AssertionError("the mpi4py driver has left")
        return json.loads(answer)
