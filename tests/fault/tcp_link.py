"""tcp_link.py - for tests of the worker link over TCP: a service with tokens, workers of the test's own, a second
network to put them into, a proxy that delays and cuts, and the frames of the handshake.

own_network() puts the test into a network namespace of its own, where it may drop what it likes; nothing of it is left
when the test's processes have ended.
"""
import hashlib
import hmac
import os
import random
import re
import secrets
import signal
import socket
import struct
import subprocess
import sys
import threading
import time

from invariants import Ledger, row  # noqa: F401, and finds the modules above
from service import BUILD, SANITIZER, Service, alive, children, until  # noqa: F401

NEAR, FAR = "10.99.0.1", "10.99.0.2"
WORKER = os.path.join(BUILD, "tutti-worker")


def own_network():
    """Starts the test again in a network namespace; as root of a user namespace where it is not root."""
    if os.environ.get("TUTTI_TEST_NETWORK") != "own":
        os.environ["TUTTI_TEST_NETWORK"] = "own"
        unshare = ["unshare", "--net"] + (["--map-root-user"] if os.geteuid() else [])
        os.execvp("unshare", unshare + [sys.executable, os.path.abspath(sys.argv[0])] + sys.argv[1:])
    command("ip", "link", "set", "lo", "up")


def command(*words):
    done = subprocess.run(words, stdin=subprocess.DEVNULL, stdout=subprocess.PIPE, stderr=subprocess.STDOUT, text=True)
    assert done.returncode == 0, "%s: %s" % (" ".join(words), done.stdout)
    return done.stdout


class Far:
    """A network namespace at the other end of a cable: far is its end, near ours, with NEAR; or a port of that switch of ours.
    Ends with the block."""

    def __init__(self, address=FAR, near="near", switch=None):
        self.address, self.near, self.switch, self.dropped = address, near, switch, []

    def __enter__(self):
        # A process of its own keeps it; when its standard input ends, so does it, whatever becomes of us.
        self.keeper = subprocess.Popen(["unshare", "--net", "cat"], stdin=subprocess.PIPE, stdout=subprocess.DEVNULL)
        pid = str(self.keeper.pid)
        until(lambda: os.readlink("/proc/%s/ns/net" % pid) != os.readlink("/proc/self/ns/net"), 10)
        self.prefix = ["nsenter", "--net", "--target", pid]
        command("ip", "link", "add", self.near, "type", "veth", "peer", "name", "far", "netns", pid)
        if self.switch:
            command("ip", "link", "set", self.near, "master", self.switch)
        else:
            command("ip", "addr", "add", NEAR + "/24", "dev", self.near)
        command("ip", "link", "set", self.near, "up")
        self.inside("ip", "addr", "add", self.address + "/24", "dev", "far")
        for device in ("lo", "far"):
            self.inside("ip", "link", "set", device, "up")
        return self

    def __exit__(self, *_):
        command("ip", "link", "del", self.near)  # it goes with the namespace too, but some time after
        self.keeper.stdin.close()
        self.keeper.wait(10)

    def inside(self, *words):
        return command(*self.prefix, *words)

    def drop(self, prefix, *which):
        words = [*prefix, "iptables", "-w", "-A", *which, "-j", "DROP"]
        command(*words)
        self.dropped.append(["-D" if w == "-A" else w for w in words])

    def cut(self):
        """No packet passes any more; nobody is told."""
        self.drop(self.prefix, "INPUT", "-i", "far")
        self.drop(self.prefix, "OUTPUT", "-o", "far")

    def lose(self, share):
        """That share of the packets, in both directions, where they arrive."""
        dice = ["-m", "statistic", "--mode", "random", "--probability", str(share)]
        self.drop(self.prefix, "INPUT", "-i", "far", *dice)
        self.drop([], "INPUT", "-s", self.address, *dice)

    def heal(self):
        while self.dropped:
            command(*self.dropped.pop())


class TcpWorker:
    """A tutti-worker that the test starts. prefix puts it into another namespace."""

    def __init__(self, service, rank="any", prefix=(), address=None, token=None, options=(), failpoints=None):
        self.log_path = os.path.join(service.dir, "worker-%s" % secrets.token_hex(4))
        environment = {k: v for k, v in os.environ.items() if not k.startswith("TUTTI_")}
        environment["TUTTI_FAILPOINTS"] = service.worker_failpoints if failpoints is None else failpoints
        with open(self.log_path, "wb") as log:
            self.process = subprocess.Popen(
                [*prefix, WORKER, "--server", address or "%s:%d" % (service.link_host, service.link_port), "--rank", str(rank),
                 "--token-file", token or service.worker_token, *options],
                stdin=subprocess.DEVNULL, stdout=log, stderr=log, env=environment)
        service.tcp_workers.append(self)

    @property
    def pid(self):
        return self.process.pid

    def log(self):
        with open(self.log_path, errors="replace") as f:
            return f.read()

    def ended(self, seconds=20):
        """Waits for its end; gives its status."""
        try:
            return self.process.wait(seconds)
        except subprocess.TimeoutExpired:
            raise AssertionError("the worker goes on: %s" % self.log())

    def kill(self):
        self.process.kill()
        self.process.wait()


class Inner:
    """The one child of a process that only waits for it, as if it were started by us."""

    def __init__(self, outer):
        self.outer, self.pid = outer, until(lambda: children(outer.pid), 10)[0]

    def send_signal(self, number):
        os.kill(self.pid, number)

    def kill(self):
        self.send_signal(signal.SIGKILL)

    def wait(self, timeout=None):
        return self.outer.wait(timeout)

    def poll(self):
        return self.outer.poll()

    @property
    def returncode(self):
        return self.outer.returncode


class TcpService(Service):
    """Ranks 0 to workers-1 are the server's own; the others come over TCP, with a token."""

    def __init__(self, workers=2, tcp=1, host="127.0.0.1", worker_failpoints="", **more):
        super().__init__(workers=workers, **more)
        self.tcp_workers, self.link_host, self.link_port = [], host, 0
        self.worker_failpoints = worker_failpoints
        self.token_file = os.path.join(self.dir, "tokens")
        self.bearer = self.new_token("tester:admin")
        self.worker_token = self.token("w:worker", "token")
        self.options += ["--world", str(workers + tcp), "--token-file", self.token_file, "--worker-listen",
                         "%s:0" % host]

    def new_token(self, who):
        return subprocess.run([os.path.join(BUILD, "tutti-server"), "--token-file", self.token_file, "--new-token", who],
                              check=True, stdout=subprocess.PIPE, text=True).stdout.strip()

    def token(self, who, file):
        """A new token in a file of its own; gives the file's name."""
        path = os.path.join(self.dir, file)
        with open(path, "w") as f:
            os.fchmod(f.fileno(), 0o600)
            f.write(self.new_token(who) + "\n")
        return path

    def secret(self):
        with open(self.worker_token) as f:
            return f.read().strip().split(".", 1)[1]

    def open(self):
        """Started, and waiting for its workers."""
        self.start(wait=False)
        self.link_port = int(until(lambda: re.search(r"with a token connect to .*:(\d+)\n", self.log())).group(1))
        return self

    def check_left(self):
        mine = self.workers_seen & {w.pid for w in self.tcp_workers}  # which the server tells to leave, and does not wait for
        until(lambda: not [pid for pid in mine if alive(pid)], 10)
        super().check_left()

    def own_processes(self):
        """The server in a process namespace of its own, so that it does not see the workers of the test. Its pids are not
        ours then."""
        self.prefix = ["unshare", "--pid", "--fork", "--kill-child=SIGKILL"]
        self.open()
        self.process = Inner(self.process)
        return self

    def __enter__(self):
        return self

    def __exit__(self, kind, error, trace):
        logs = [worker.log() for worker in self.tcp_workers]
        complaint = any(SANITIZER.search(log) for log in logs)
        if kind or complaint:
            sys.stderr.write("".join("a worker's log:\n" + log for log in logs))
        try:
            super().__exit__(kind, error, trace)
        finally:
            for worker in self.tcp_workers:
                worker.kill()
        assert kind or not complaint, "a sanitizer complains"

    def log(self):
        with open(self.log_path, errors="replace") as f:
            return f.read()

    def worker_pids(self):
        return super().worker_pids() + [w.pid for w in self.tcp_workers if w.process.poll() is None]

    def request(self, method, path, body=None, headers=None):
        return super().request(method, path, body, {"Authorization": "Bearer " + self.bearer, **(headers or {})})

    def worker(self, rank):
        return self.get("/v1/workers/%d" % rank).json

    def says(self, text, seconds=10):
        """Waits until the server's log has it."""
        until(lambda: text in self.log(), seconds)


class Proxy:
    """A TCP connection that goes through us: later, slower, or not at all; and what was said is kept."""

    def __init__(self, to, delay=0.0, jitter=0.0, rate=None):
        self.to, self.delay, self.jitter, self.rate = to, delay, jitter, rate
        self.heard = [b"", b""]  # from the client, from the server
        self.held = ()
        self.socket = socket.create_server(("127.0.0.1", 0))
        self.port = self.socket.getsockname()[1]
        threading.Thread(target=self.accept, daemon=True).start()

    @property
    def address(self):
        return "127.0.0.1:%d" % self.port

    def hold(self, ways=(0, 1)):
        """From now on nothing comes through, from the client (0) or the server (1); both see an open connection."""
        self.held = ways

    def accept(self):
        while True:
            try:
                client = self.socket.accept()[0]
            except OSError:
                return
            server = socket.create_connection(self.to)
            for side in (client, server):
                side.setsockopt(socket.IPPROTO_TCP, socket.TCP_NODELAY, 1)
            for way, (a, b) in enumerate(((client, server), (server, client))):
                chunks = []
                threading.Thread(target=self.read, args=(way, a, chunks), daemon=True).start()
                threading.Thread(target=self.write, args=(way, b, chunks), daemon=True).start()

    def read(self, way, a, chunks):
        dice = random.Random(way)
        due = 0.0
        while True:
            try:
                data = a.recv(1024)
            except OSError:
                data = b""
            self.heard[way] += data
            now = time.monotonic()
            due = max(due, now + self.delay + dice.uniform(0, self.jitter))  # in order: it is TCP
            if self.rate:
                due += len(data) / self.rate
                time.sleep(len(data) / self.rate)
            chunks.append((due, data))
            if not data:
                return

    def write(self, way, b, chunks):
        while True:
            if not chunks:
                time.sleep(0.002)
                continue
            due, data = chunks.pop(0)
            time.sleep(max(0.0, due - time.monotonic()))
            try:
                if way in self.held:
                    continue
                if data:
                    b.sendall(data)
                else:
                    b.shutdown(socket.SHUT_WR)
                    return
            except OSError:
                return

    def close(self):
        self.socket.close()


# ---- frames of the handshake: u32 payload bytes, u32 type, payload; texts and bytes have a u32 count before them ----

REFUSE, CHALLENGE, AUTH, PROOF, WELCOME = 4, 5, 6, 7, 3


def read_exactly(s, n):
    data = b""
    while len(data) < n:
        more = s.recv(n - len(data))
        if not more:
            raise EOFError("the server closed after %d of %d bytes" % (len(data), n))
        data += more
    return data


def read_frame(s):
    size, kind = struct.unpack("<II", read_exactly(s, 8))
    return kind, read_exactly(s, size)


def frame(kind, payload):
    return struct.pack("<II", len(payload), kind) + payload


def counted(data):
    return struct.pack("<I", len(data)) + data


def take(payload):
    n, = struct.unpack_from("<I", payload)
    return payload[4:4 + n], payload[4 + n:]


class Auth:
    """An AUTH frame's fields."""

    def __init__(self, payload):
        self.schema_hash, = struct.unpack_from("<Q", payload)
        rest = payload[8:]
        self.version, rest = take(rest)
        self.name, rest = take(rest)
        self.nonce, rest = take(rest)
        self.hello, rest = take(rest)
        self.proof, rest = take(rest)
        assert not rest

    def payload(self):
        return struct.pack("<Q", self.schema_hash) + b"".join(
            counted(x) for x in (self.version, self.name, self.nonce, self.hello, self.proof))

    def proof_by(self, who, secret, nonce):
        """who: b"worker to server" or b"server to worker"."""
        mine, self.proof = self.proof, b""
        text = b"tutti link 1, " + who + b".\0" + nonce + frame(AUTH, self.payload())
        self.proof = mine
        return hmac.new(hashlib.sha256(secret.encode()).digest(), text, hashlib.sha256).digest()

    def sign(self, secret, nonce):
        self.proof = self.proof_by(b"worker to server", secret, nonce)
        return self
