"""link.py - the worker link spoken in Python, from schema/frames.def: a worker that says whatever a test wants, in a process
of its own, since the server kills it when it has had enough of it."""
import multiprocessing
import os
import re
import socket
import struct
import subprocess
import tempfile

from service import BUILD, ROOT

HEADER = struct.Struct("<II")
ANY_RANK = 0xFFFFFFFF
SCALARS = {"U32": "<I", "U64": "<Q", "I64": "<q"}
LISTS = {"SHAPE": "<q", "BYTES": "<B", "LIST32": "<I", "LIST64": "<Q"}


def frames():
    """name -> [(kind, field)], in the order of their types, which begin with 1."""
    with open(os.path.join(ROOT, "schema", "frames.def")) as f:
        text = re.sub(r"/\*.*?\*/", "", f.read(), flags=re.S)
    rows = re.findall(r"^FRAME\((\w+),((?:\s*\w+\([^()]*\))+)\)", text, re.M)
    return {name: [(kind, args.split(",")[0].strip()) for kind, args in re.findall(r"(\w+)\(([^()]*)\)", fields)]
            for name, fields in rows}


FRAMES = frames()
assert {"hello", "welcome", "heartbeat", "run", "done", "failed", "cancel"} <= set(FRAMES)


def encode(name, **values):
    body = b""
    for kind, field in FRAMES[name]:
        if kind in SCALARS:
            body += struct.pack(SCALARS[kind], values.get(field, 0))
        elif kind == "STR":
            text = values.get(field, "").encode()
            body += struct.pack("<I", len(text)) + text
        else:
            items = values.get(field, [])
            body += struct.pack("<I", len(items)) + b"".join(struct.pack(LISTS[kind], x) for x in items)
    return HEADER.pack(len(body), 1 + list(FRAMES).index(name)) + body


def decode(type_, body):
    name, at, values = list(FRAMES)[type_ - 1], 0, {}
    for kind, field in FRAMES[name]:
        if kind in SCALARS:
            values[field], = struct.unpack_from(SCALARS[kind], body, at)
            at += struct.calcsize(SCALARS[kind])
            continue
        n, = struct.unpack_from("<I", body, at)
        at += 4
        if kind == "STR":
            values[field] = body[at:at + n].decode()
            at += n
        else:
            size = struct.calcsize(LISTS[kind])
            values[field] = [struct.unpack_from(LISTS[kind], body, at + i * size)[0] for i in range(n)]
            at += n * size
    assert at == len(body), (name, at, len(body))
    return name, values


def read_frame(s):
    """(name, fields); None at the end of the stream. Descriptors that come along are closed."""
    def take(n):
        got = b""
        while len(got) < n:
            piece, fds, _, _ = socket.recv_fds(s, n - len(got), 8)
            for fd in fds:
                os.close(fd)
            if not piece:
                return None
            got += piece
        return got

    try:
        header = take(HEADER.size)
        if header is None:
            return None
        size, type_ = HEADER.unpack(header)
        body = take(size)
    except ConnectionError:
        return None
    return None if body is None else decode(type_, body)


def hello_of_a_worker(**environment):
    """What tutti-worker says first, as it says it to a server of ours; and how it takes the refusal: (fields, status, words)."""
    with tempfile.TemporaryDirectory() as place, socket.socket(socket.AF_UNIX) as door:
        path = os.path.join(place, "door")
        door.bind(path)
        door.listen(1)
        door.settimeout(30)
        worker = subprocess.Popen([os.path.join(BUILD, "tutti-worker"), "--server", "unix:" + path, "--rank", "1",
                                   "--device", "cpu", "--backend", "shm"], stderr=subprocess.PIPE, env={**os.environ, **environment})
        s, _ = door.accept()
        with s:
            name, fields = read_frame(s)
            assert name == "hello", name
            s.sendall(encode("refuse", code="refused", detail="this is not your server"))
            words = worker.communicate(timeout=30)[1].decode()
        return fields, worker.returncode, words


def child(path, pipe):
    """Does what it is told through the pipe until it is killed."""
    s = socket.socket(socket.AF_UNIX)
    s.connect(path)
    s.settimeout(60)
    pipe.send(True)
    while True:
        what, value = pipe.recv()
        try:
            if what == "send":
                s.sendall(value)
                pipe.send(True)
            elif what == "fds":
                socket.send_fds(s, [value], [0] * 16)
                pipe.send(True)
            else:
                pipe.send(read_frame(s))
        except OSError:
            pipe.send(None)


class Worker:
    """A process that is connected to a server's socket for workers."""

    def __init__(self, service):
        self.pipe, other = multiprocessing.Pipe()
        self.process = multiprocessing.get_context("fork").Process(target=child, daemon=True,
                                                                   args=(os.path.join(service.data_dir, "worker.sock"), other))
        self.process.start()
        other.close()
        assert self.pipe.recv()

    def ask(self, what, value=None):
        """None: the link is closed, or we are dead."""
        try:
            self.pipe.send((what, value))
            return self.pipe.recv()
        except (EOFError, ConnectionError):
            return None

    def raw(self, data):
        return self.ask("send", data)

    def send(self, name, **values):
        return self.raw(encode(name, **values))

    def send_fds(self, name, **values):
        return self.ask("fds", encode(name, **values))

    def read(self, *names):
        """The next frame, or the next of these names."""
        while True:
            got = self.ask("read")
            if got is None or not names or got[0] in names:
                return got

    def join(self, hello, **more):
        """HELLO, and what WELCOME says."""
        self.send("hello", **{**hello, **more})
        name, welcome = self.read()
        assert name == "welcome", (name, welcome)
        self.epoch = welcome["epoch"]
        return welcome

    def ended(self, seconds=10):
        """How it ended: -9 when the server has killed it. None: it lives."""
        self.process.join(seconds)
        return self.process.exitcode

    def leave(self):
        self.process.kill()
        self.process.join()
