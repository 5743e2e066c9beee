"""hosts.py - for tests of workers on other hosts: a service, and workers with arenas of their own. A "host" is a directory:
its workers do not see the server's arena, as on another machine.
"""
import os
import queue
import shutil
import socket
import struct
import sys
import tempfile
import threading
import time

TESTS = os.path.dirname(os.path.dirname(os.path.abspath(__file__)))
sys.path[:0] = [TESTS, os.path.join(TESTS, "fault")]
from tcp_link import NEAR, Far, Ledger, Proxy, TcpService, TcpWorker, alive, command, own_network, row, until  # noqa: F401

MIB = 1 << 20
SO_ORIGINAL_DST = 80  # linux/netfilter_ipv4.h


class Hosts(TcpService):
    """Ranks 0 to workers-1 are the server's own; then come those of each host, hosts[h] of them."""

    def __init__(self, workers=2, hosts=(2,), arena_size="64M", **more):
        super().__init__(workers=workers, tcp=sum(hosts), **more)
        self.arena_size, self.ranks, first = arena_size, [], workers
        for n in hosts:
            self.ranks.append(list(range(first, first + n)))
            first += n
        shm = os.environ.get("TUTTI_TEST_SHM") or "/dev/shm"
        self.dirs = [tempfile.mkdtemp(prefix="host%d-" % h, dir=shm) for h in range(len(hosts))]

    def worker_of(self, host, rank, options=(), **more):
        return TcpWorker(self, rank, options=["--arena-dir", self.dirs[host], "--arena-size", self.arena_size, *options], **more)

    def all_up(self, **more):
        """Opened, and every worker of every host there. Gives them by rank."""
        self.open()
        found = {rank: self.worker_of(h, rank, **more) for h, ranks in enumerate(self.ranks) for rank in ranks}
        self.wait_ready()
        return found

    def __exit__(self, *what):
        try:
            super().__exit__(*what)
        finally:
            for path in self.dirs:
                shutil.rmtree(path, ignore_errors=True)

    def arena(self, host=0):
        """The host's figures, as a rank of it that is there has them."""
        return next(a for a in (self.worker(rank)["arena"] for rank in self.ranks[host]) if a)

    def upload(self, array):
        answer = self.post("/v1/tensors?dtype=%s&shape=%s" % (array.dtype, ",".join(map(str, array.shape))), array.tobytes(),
                           {"Content-Type": "application/octet-stream"})
        assert answer.status == 201, answer
        return answer.json["id"] if "id" in answer.json else answer.json["tensor"]

    def run(self, op, inputs, wait=30, **parameters):
        return self.post("/v1/jobs?wait=%s" % wait, {"op": op, "inputs": [i and {"tensor": i} for i in inputs], **parameters})


def meant(s):
    """Where a connection that iptables redirected to us was to go."""
    _, port, a = struct.unpack("!HH4s8x", s.getsockopt(socket.SOL_IP, SO_ORIGINAL_DST, 16))
    return socket.inet_ntoa(a), port


class Cable:
    """TCP through us, for the workers of one host: connections, in the order in which they came, can be cut, held, or have a
    byte changed; all are as late as delay says. Where `to` is None each goes to where it was redirected from, with that mark,
    so that it is not redirected again."""

    def __init__(self, to, delay=0.0, port=0, mark=None):
        self.to, self.delay, self.mark, self.lines = to, delay, mark, []
        self.rate = None        # bytes a second from the server on a connection
        self.cut_after = None   # bytes from the server on one connection: then it ends, once
        self.flip_after = None  # a byte there is another, once
        self.socket = socket.create_server(("127.0.0.1", port), backlog=64)
        threading.Thread(target=self.accept, daemon=True).start()

    @property
    def address(self):
        return "127.0.0.1:%d" % self.socket.getsockname()[1]

    def accept(self):
        while True:
            try:
                near = self.socket.accept()[0]
            except OSError:
                return
            threading.Thread(target=self.join, args=(near,), daemon=True).start()

    def connected(self, near):
        """The other half of the line."""
        far = socket.socket()
        if self.mark is not None:
            far.setsockopt(socket.SOL_SOCKET, socket.SO_MARK, self.mark)
        far.connect(self.to or meant(near))
        return far

    def join(self, near):
        try:
            far = self.connected(near)
        except OSError:  # the server has ended
            near.close()
            return
        line = {"sockets": (near, far), "bytes": [0, 0]}
        self.lines.append(line)
        for way, (a, b) in enumerate(((near, far), (far, near))):
            for s in (a, b):
                s.setsockopt(socket.IPPROTO_TCP, socket.TCP_NODELAY, 1)
            late = queue.SimpleQueue()
            threading.Thread(target=self.read, args=(line, way, a, late), daemon=True).start()
            threading.Thread(target=self.write, args=(line, b, late), daemon=True).start()

    def read(self, line, way, a, late):
        while True:
            try:
                data = a.recv(1 << 16)
            except OSError:
                data = b""
            line["bytes"][way] += len(data)
            if way == 1 and self.flip_after is not None and line["bytes"][1] > self.flip_after:
                data, self.flip_after = data[:-1] + bytes([data[-1] ^ 1]), None
            late.put((time.monotonic() + self.delay, data))
            if way == 1 and self.cut_after is not None and line["bytes"][1] > self.cut_after:
                self.cut_after = None
                self.cut(line)
            if not data:
                return

    def write(self, line, b, late):
        while True:
            due, data = late.get()
            time.sleep(max(0.0, due - time.monotonic()))
            if self.rate and len(data) > 1000:
                time.sleep(len(data) / self.rate)
            try:
                if not data:
                    b.shutdown(socket.SHUT_WR)
                    return
                b.sendall(data)
            except OSError:
                return

    @staticmethod
    def cut(line):
        for s in line["sockets"]:
            try:
                s.shutdown(socket.SHUT_RDWR)
            except OSError:
                pass

    def close(self):
        self.socket.close()
        for line in self.lines:
            self.cut(line)
