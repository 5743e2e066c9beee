"""stage.py - the worker link's other end in Python: real workers, each host with an arena of its own, told by frames what to
do. So several hosts are played on one machine, and every byte in their arenas is this test's to look at."""
import mmap
import os
import re
import selectors
import signal
import socket
import subprocess
import sys
import tempfile
import time

import numpy as np

HERE = os.path.dirname(os.path.abspath(__file__))
for place in ("..", "../fault", "../conformance"):
    sys.path.insert(0, os.path.normpath(os.path.join(HERE, place)))
import link
import reference
from service import BUILD, ROOT, ended

NOWHERE = 0xFFFFFFFFFFFFFFFF
POISON = 0xA5
LEFT = 4  # the status of a worker whose link has ended
GUARD = 64  # bytes behind every output that nobody may touch


def rows_of(name):
    with open(os.path.join(ROOT, "schema", name)) as f:
        return re.findall(r"^(?:OP|DTYPE)\((\w+), *([^)]*)\)", f.read(), re.M)


OPS = {name: (number, [c.strip() for c in columns.split(",")]) for number, (name, columns) in enumerate(rows_of("ops.def"))}
DTYPES = {name: number for number, (name, _) in enumerate(rows_of("dtypes.def"))}


def gives(op, rank, params):
    return {"EACH": True, "ROOT": rank == 0, "SRC": rank == params.get("src", 0), "NOBODY": False}[OPS[op][1][2]]


def shares_output(op):
    return OPS[op][1][3] == "EACH" and OPS[op][1][4] in ("SAME", "GROW")


def masked(op, inputs, dtype, params, when, how, masks):
    """mask.h's two sentences."""
    best = reference.extreme(masks, dtype, how == "max")
    wide = reference.widen if dtype == "bfloat16" else lambda x: x
    keep = [wide(x) == wide(best) for x in masks]
    if when == "before":
        return reference.outputs(op, [np.where(k, x, np.zeros_like(x)) for k, x in zip(keep, inputs)], dtype, **params)
    whole = reference.outputs(op, inputs, dtype, **params)
    return [np.where(k, x, np.zeros_like(x)) for k, x in zip(keep, whole)]


class Host:
    """An arena, and what is free in it."""

    def __init__(self, size):
        self.fd = os.memfd_create("arena")
        os.ftruncate(self.fd, size)
        self.map = mmap.mmap(self.fd, size)
        self.bytes = np.frombuffer(self.map, np.uint8)
        self.at = 0

    def take(self, size, skew=0):
        at = (self.at + 63) // 64 * 64 + skew
        self.at = at + size + GUARD
        assert self.at <= len(self.bytes), "the arena is full"
        return at


class Failed(Exception):
    def __init__(self, answers):
        self.answers = answers
        super().__init__("; ".join("rank %d: %s: %s" % (r, a["code"], a["detail"]) for r, a in sorted(answers.items()) if "code" in a))


class Stage:
    """hosts: of each world rank. Workers in a `with` block; they are gone at its end."""

    def __init__(self, hosts, arena=64 << 20, environment=None, command=None, backend="gloo"):
        self.hosts, self.environment, self.backend = list(hosts), environment or {}, backend
        self.command = command or (lambda rank, worker: worker)  # what becomes the worker in the end
        self.places = {h: Host(arena) for h in set(hosts)}
        self.comms, self.last_comm, self.last_job = {}, 0, 0
        self.answers, self.puts = {}, 0  # job -> world rank -> frame; frames that were passed on
        self.workers, self.sockets, self.dead = [], [], set()

    def __enter__(self):
        self.dir = tempfile.TemporaryDirectory()
        path = os.path.join(self.dir.name, "door")
        self.select = selectors.DefaultSelector()
        environment = {k: v for k, v in os.environ.items() if not k.startswith("TUTTI_")}
        with socket.socket(socket.AF_UNIX) as door, open(os.devnull) as nothing:
            door.bind(path)
            door.listen(len(self.hosts))
            door.settimeout(30)
            for rank in range(len(self.hosts)):
                self.workers.append(subprocess.Popen(
                    self.command(rank, [os.path.join(BUILD, "tutti-worker"), "--server", "unix:" + path, "--rank", str(rank),
                                        "--backend", self.backend, "--log-level", "warn"]),
                    stdin=nothing, env={**environment, **self.environment}))
            found = {}
            for _ in self.hosts:
                s, _ = door.accept()
                name, hello = link.read_frame(s)
                assert name == "hello" and hello["backend"] == self.backend
                found[hello["rank"]] = s
        self.sockets = [found[r] for r in range(len(self.hosts))]
        for rank, s in enumerate(self.sockets):
            self.select.register(s, selectors.EVENT_READ, rank)
            self.welcome(rank, s)
        return self

    def welcome(self, rank, s):
        place = self.places[self.hosts[rank]]
        frame = link.encode("welcome", rank=rank, world_size=len(self.hosts), epoch=rank + 1, arena_bytes=len(place.bytes),
                            heartbeat_ms=1000)
        with open(os.devnull) as fence:
            socket.send_fds(s, [frame], [place.fd, fence.fileno()])

    def __exit__(self, *what):
        for s in self.sockets:
            s.close()
        wrong = [how for how in map(self.leaves, range(len(self.workers))) if how]
        self.dir.cleanup()
        if what[0] is None:
            assert not wrong, wrong

    def leaves(self, rank):
        """How it left when its server was gone, if not as it should."""
        status = ended(self.workers[rank], 30)
        return None if rank in self.dead or status == LEFT else "rank %d left with status %d" % (rank, status)

    # ---- frames ----

    def send(self, to, name, **values):
        try:
            self.sockets[to].sendall(link.encode(name, **values))
        except BrokenPipeError:
            assert self.workers[to].poll() is not None, "rank %d has left by itself" % to

    def heard(self, rank, name, values):
        if name == "store_put":
            self.puts += 1
            for other in self.comms_of(values["comm"]):
                if other != rank:
                    self.send(other, name, **values)
        elif name in ("done", "failed"):
            self.answers.setdefault(values["job"], {})[rank] = values

    def comms_of(self, comm):
        return next((list(group) for group, known in self.comms.items() if known == comm), [])

    def pump(self, seconds):
        """Hears what there is, for at most so long."""
        for key, _ in self.select.select(seconds):
            frame = link.read_frame(key.fileobj)
            if frame is None:
                self.select.unregister(key.fileobj)
                assert key.data in self.dead, "the worker of rank %d has left: %s" % (key.data, self.workers[key.data].wait(10))
            else:
                self.heard(key.data, *frame)

    def until(self, what, seconds=60):
        end = time.monotonic() + seconds
        while not what():
            assert time.monotonic() < end, "it never came true"
            self.pump(0.2)

    # ---- jobs ----

    def join(self, group, without=()):
        """The communicator of these world ranks; `without` are not told of it."""
        group = tuple(group)
        if group not in self.comms:
            self.last_comm += 1
            self.comms[group] = self.last_comm
            order = list(dict.fromkeys(self.hosts[r] for r in group))
            hosts = [order.index(self.hosts[r]) for r in group]
            for rank, r in enumerate(group):
                if r not in without:
                    self.send(r, "join", comm=self.last_comm, n=len(group), rank=rank, ranks=group, hosts=hosts, backend=self.backend)
        return self.comms[group]

    def leave(self, group, broken=False):
        comm = self.comms.pop(tuple(group))
        for r in group:
            if self.workers[r].poll() is None:
                self.send(r, "leave", comm=comm, broken=broken)

    def prepare(self, op, inputs, dtype, group, params, skew=0, mask=None):
        """Puts the inputs into their arenas, poisons the outputs; (job, fields of RUN by host, where each output is, what is to
        be there). mask: ("after" or "before", "max" or "min", a tensor a rank)."""
        if mask:
            want = masked(op, inputs, dtype, params, *mask)
        else:
            want = reference.outputs(op, inputs, dtype, **params) if op != "barrier" else [None] * len(group)
        self.last_job += 1
        fields, where, shared = {}, [None] * len(group), {}
        for h in {self.hosts[r] for r in group}:
            place = self.places[h]
            ins, outs = [NOWHERE] * len(group), [NOWHERE] * len(group)
            for i, r in enumerate(group):
                if self.hosts[r] != h:
                    continue
                if gives(op, i, params):
                    ins[i] = self.put(h, inputs[i], skew)
                if want[i] is None:
                    continue
                outs[i] = shared.get(h) if shares_output(op) and h in shared else place.take(want[i].nbytes, skew)
                place.bytes[outs[i]:outs[i] + want[i].nbytes + GUARD] = POISON
                where[i] = (place, outs[i], want[i].nbytes)
                if not (mask and mask[0] == "after"):
                    shared[h] = outs[i]
            axis = params.get("axis", 0)
            masks = [self.put(h, x, skew) if mask and self.hosts[r] == h else NOWHERE for r, x in zip(group, mask[2] if mask else ())]
            fields[h] = dict(masks=masks, mask=0 if not mask else 1 + (mask[0] == "before"), mask_reduce=0 if not mask else 2 + (mask[1] == "min"),
                             job=self.last_job, id="j%d" % self.last_job, attempt=1, op=OPS[op][0], dtype=DTYPES[dtype],
                             split_axis=params.get("split_axis", axis), concat_axis=params.get("concat_axis", axis),
                             src=params.get("src", 0), dst=params.get("dst", 1), in_shape=list(inputs[0].shape), inputs=ins, outputs=outs)
        return self.last_job, fields, where, want

    def put(self, host, x, skew):
        place, raw = self.places[host], np.frombuffer(x.tobytes(), np.uint8)
        at = place.take(len(raw), skew)
        place.bytes[at:at + len(raw)] = raw
        return at

    def begin(self, jobs, group, without=()):
        comm = self.join(group, without)
        for number, (_, fields, _, _) in enumerate(jobs):
            for i, r in enumerate(group):
                if r not in without:
                    self.send(r, "run", comm=comm, epoch=r + 1, more=int(number + 1 < len(jobs)), **fields[self.hosts[r]])

    def wait(self, job, group, seconds=60):
        self.until(lambda: len(self.answers.get(job, {})) == len(group), seconds)
        answers = self.answers.pop(job)
        if any("code" in a for a in answers.values()):
            raise Failed(answers)

    def check(self, prepared, op, dtype):
        """What is wrong with the outputs, or None."""
        _, _, where, want = prepared
        for i, w in enumerate(want):
            if w is None:
                continue
            place, at, size = where[i]
            got = np.frombuffer(place.bytes[at:at + size].tobytes(), w.dtype).reshape(w.shape)
            if not reference.same(got, w, dtype, op.endswith(("_max", "_min"))):
                return "rank %d\n got %s\nwant %s" % (i, got.ravel()[:40], w.ravel()[:40])
            if not (place.bytes[at + size:at + size + GUARD] == POISON).all():
                return "rank %d: bytes behind its output" % i
        return None

    def run(self, op, inputs, dtype, group, skew=0, mask=None, **params):
        """One job; what is wrong with it, or None."""
        prepared = self.prepare(op, inputs, dtype, group, params, skew, mask)
        self.begin([prepared], group)
        self.wait(prepared[0], group)
        wrong = self.check(prepared, op, dtype)
        for place in self.places.values():
            place.at = 0
        return wrong

    def signal(self, rank, number):
        self.workers[rank].send_signal(number)

    def kill(self, rank):
        self.dead.add(rank)
        self.signal(rank, signal.SIGKILL)
        self.workers[rank].wait()
