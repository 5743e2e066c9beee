"""peers.py - who does an all_reduce of float32 among hosts, told turn by turn how many rounds of which size: tutti's workers,
gloo's own algorithms, Open MPI. All are there at the same time, and sleep while it is another's turn."""
import contextlib
import os
import shlex
import socket
import struct
import subprocess
import sys
import tempfile

HERE = os.path.dirname(os.path.abspath(__file__))
ROOT = os.path.dirname(os.path.dirname(HERE))
sys.path.insert(0, os.path.join(HERE, "..", "gloo"))
import stage
import numpy as np
from service import ended
from tools import tuned

OP = "all_reduce_sum"
OPS = (OP, "all_gather", "reduce_scatter_sum", "all_to_all")  # in the order of turns.h

# Open MPI's ways to do it, one of which is the best for a size and a network: nobody knows which before it is tried.
MPI = {
    "default": (),
    "han": ("--mca", "coll_han_priority", "100"),
    "doubling": tuned(allreduce_algorithm=3),
    "ring": tuned(allreduce_algorithm=4),
    "segmented": tuned(allreduce_algorithm=5, allreduce_algorithm_segmentsize=262144),
    "rabenseifner": tuned(allreduce_algorithm=6),
}
# TCP between hosts, shared memory within one; as root, in containers without a CPU each: so whoever waits yields.
MPI_ALWAYS = ("--allow-run-as-root", "--bind-to", "none", "--mca", "pml", "ob1", "--mca", "btl", "tcp,self,vader", "--mca",
              "btl_tcp_if_include", "far", "--mca", "oob_tcp_if_include", "far", "--mca", "mpi_yield_when_idle", "1")


def inside(net, host):
    """What is put before a program of that host. As machines do, hosts have CPUs of their own while there are enough: else it is
    luck which ranks share one, for as long as they live."""
    cpus = sorted(os.sched_getaffinity(0))
    return ["taskset", "-c", ",".join(map(str, cpus[host % len(cpus)::len(net.hosts)])), *net.hosts[host].prefix]


def compiled(place, libraries):
    """Programs by name, made there: gloo_flat, and an mpi_flat of each MPI (openmpi, mpich)."""
    made = {name: os.path.join(place, name) for name in ("gloo_flat", *("mpi_flat." + library for library in libraries))}
    compilers = {"gloo_flat": ["g++", "-std=c++17", "-O3", "-march=native", os.path.join(HERE, "gloo_flat.cc"), "-lgloo", "-pthread"]}
    for library in libraries:
        compilers["mpi_flat." + library] = ["mpicc." + library, "-std=gnu11", "-O2", "-D_GNU_SOURCE", os.path.join(HERE, "mpi_flat.c")]
    os.makedirs(place, exist_ok=True)
    for name, command in compilers.items():
        subprocess.run([*command, "-I", ROOT, "-o", made[name]], check=True)
    return made


class Turns:
    """Processes of turns.h. A turn gives the microseconds of each round from the first rank's begin to the last one's end; longest:
    what the slowest rank took from its own begin to its own end."""

    def __init__(self, ranks, name):
        self.ranks, self.name, self.processes, self.sockets = ranks, name, [], {}

    def __enter__(self):
        self.place = tempfile.TemporaryDirectory()
        path = os.path.join(self.place.name, "turns")
        with socket.socket(socket.AF_UNIX) as door:
            door.bind(path)
            door.listen(self.ranks)
            door.settimeout(1)
            try:
                self.start(path)
                for _ in range(self.ranks):
                    s = self.comes(door)
                    s.settimeout(300)
                    self.sockets[struct.unpack("=I", s.recv(4, socket.MSG_WAITALL))[0]] = s
            except BaseException:
                self.__exit__(*sys.exc_info())
                raise
        return self

    def comes(self, door):
        """The next rank."""
        for _ in range(60):
            with contextlib.suppress(socket.timeout):
                return door.accept()[0]
            assert all(p.poll() is None for p in self.processes), self.name + " has left before it came"
        raise AssertionError(self.name + " does not come")

    def __exit__(self, *what):
        for s in self.sockets.values():
            try:
                s.sendall(struct.pack("=QQQ", 0, 0, 0))
            except OSError:
                pass  # its rank is gone, which wait says
        for p in self.processes:
            if what[0] is not None:
                p.terminate()
            status = ended(p, 30)
            if what[0] is None and status != 0:
                raise AssertionError("%s has left with status %d" % (self.name, status))
        for s in self.sockets.values():
            s.close()
        self.place.cleanup()

    def turn(self, size, rounds, op=OP):
        for s in self.sockets.values():
            s.sendall(struct.pack("=QQQ", OPS.index(op), size, rounds))
        times = []
        for s in self.sockets.values():
            wrong, = struct.unpack("=Q", s.recv(8, socket.MSG_WAITALL))
            assert wrong == 0, "%s: %d elements of %d bytes are wrong" % (self.name, wrong, size)
            times.append(struct.unpack("=%dQ" % (2 * rounds), s.recv(16 * rounds, socket.MSG_WAITALL)))
        self.longest = [max(t[2 * i + 1] - t[2 * i] for t in times) / 1e3 for i in range(rounds)]
        return [(max(t[2 * i + 1] for t in times) - min(t[2 * i] for t in times)) / 1e3 for i in range(rounds)]


class Gloo(Turns):
    """gloo's own collectives, every rank by itself. places: of each rank, what is put before its program, and its address."""

    def __init__(self, places, program, way):
        super().__init__(len(places), "gloo " + way)
        self.places, self.program, self.way = places, program, way

    def start(self, path):
        store = os.path.join(self.place.name, "store")
        os.mkdir(store)
        for r, (prefix, address) in enumerate(self.places):
            self.processes.append(subprocess.Popen([*prefix, self.program, path, address, store, str(r), str(self.ranks), self.way],
                                                   stdin=subprocess.DEVNULL))


class Mpi(Turns):
    """Open MPI, which sees hosts: each namespace has a name of its own."""

    def __init__(self, net, hosts, program, way):
        super().__init__(len(hosts), "Open MPI " + way)
        self.net, self.hosts, self.program, self.way = net, hosts, program, way

    def start(self, path):
        agent = os.path.join(self.place.name, "agent")  # what is ssh elsewhere
        with open(agent, "w") as f:
            f.write("#!/bin/sh\ncase $1 in\n")
            for h in set(self.hosts):
                f.write("host%d) in='%s' ;;\n" % (h, " ".join(inside(self.net, h))))
            f.write("esac\nexec $in unshare --uts sh -c 'hostname \"$1\"; shift; exec sh -c \"$*\"' sh \"$@\"\n")
        os.chmod(agent, 0o700)
        slots = ",".join("host%d:%d" % (h, self.hosts.count(h)) for h in dict.fromkeys(self.hosts))
        mpirun = ["mpirun.openmpi", *MPI_ALWAYS, "--mca", "plm_rsh_agent", agent, "--host", slots, *MPI[self.way], self.program, path]
        self.processes.append(subprocess.Popen([agent, "host%d" % self.hosts[0], *map(shlex.quote, mpirun)], stdin=subprocess.DEVNULL,
                                               env={**os.environ, "TMPDIR": self.place.name}))


class Tutti:
    """Workers of a build, each host with an arena of its own, told by frames as the server would."""

    def __init__(self, net, hosts, sizes, build=stage.BUILD, way=""):
        command = lambda rank, worker: [*inside(net, hosts[rank]), os.path.join(build, os.path.basename(worker[0])), *worker[1:],
                                        "--gloo-interface", net.hosts[hosts[rank]].address]
        self.name, self.group, self.sizes = "tutti", list(range(len(hosts))), sizes
        self.stage = stage.Stage(hosts, arena=sum((len(hosts) + 2) * size + (1 << 20) for size in sizes),
                                 environment={"TUTTI_GLOO_WAY": way}, command=command)

    def __enter__(self):
        self.stage.__enter__()
        s, self.jobs, self.frames = self.stage, {}, {}
        comm = s.join(self.group)
        for size in self.sizes:
            inputs = [(np.arange(size // 4) % 997 + 1000 * r).astype(np.float32) for r in self.group]
            job = self.jobs[size] = s.prepare(OP, inputs, "float32", self.group, {})
            self.frames[size] = [stage.link.encode("run", comm=comm, epoch=r + 1, **job[1][s.hosts[r]]) for r in self.group]
        self.turn(min(self.sizes), 1)  # the ranks find each other through this process, which has to be listening
        return self

    def __exit__(self, *what):
        self.stage.__exit__(*what)

    def turn(self, size, rounds):
        s, job = self.stage, self.jobs[size]
        for place, at, n in job[2]:
            place.bytes[at:at + n] = stage.POISON
        spans = []
        for _ in range(rounds + 1):
            for r, frame in enumerate(self.frames[size]):
                s.sockets[r].sendall(frame)
            s.until(lambda: len(s.answers.get(job[0], {})) == len(self.group), 300)
            answers = s.answers.pop(job[0]).values()
            if any("code" in a for a in answers):
                raise AssertionError(str(answers))
            spans.append((max(a["end_ns"] for a in answers) - min(a["start_ns"] for a in answers)) / 1e3)
        wrong = s.check(job, OP, "float32")
        assert wrong is None, wrong
        return spans[1:]
