"""lane.py - a client of the lane for tests: regions as they come over the socket, with NumPy arrays in them."""
import json
import mmap
import os
import socket

import numpy as np


class Refused(Exception):
    def __init__(self, problem):
        super().__init__(problem)
        self.code, self.status = problem.get("code"), problem.get("status")


class Region:
    """One that was opened: its id, the descriptor that came, and all of it mapped."""

    def __init__(self, doc, fd, writes):
        self.id, self.size, self.fd = doc["region"], doc["size_bytes"], fd
        self.map = mmap.mmap(fd, self.size, mmap.MAP_SHARED, mmap.PROT_READ | (mmap.PROT_WRITE if writes else 0))

    def array(self, dtype, shape, offset=0):
        count = int(np.prod(shape, dtype=np.int64))
        return np.frombuffer(self.map, dtype, count, offset).reshape(shape)

    def put(self, array, offset=0):
        """Copies it there; gives what a job's input says."""
        self.array(array.dtype, array.shape, offset)[...] = array
        return self.names(array.dtype.name, array.shape, offset)

    def names(self, dtype, shape, offset=0):
        return {"region": self.id, "offset": offset, "dtype": dtype, "shape": list(shape)}

    def drop(self):
        if self.fd >= 0:
            os.close(self.fd)
            self.fd = -1


class Lane:
    """A connection. `with` closes it, and so its regions."""

    def __init__(self, path, token=None):
        self.token, self.regions = token, []
        self.socket = socket.socket(socket.AF_UNIX)
        self.socket.settimeout(30)
        self.socket.connect(path)

    def __enter__(self):
        return self

    def __exit__(self, *_):
        self.close()

    def line(self, bytes_):
        """Sends this, and gives the answer with its descriptor, or None; of b"", what comes without being asked for."""
        if bytes_:  # nothing cannot be sent either to whoever hung up
            self.socket.sendall(bytes_)
        got, fds, _, _ = socket.recv_fds(self.socket, 4096, 4)
        assert len(fds) <= 1, fds
        while got and not got.endswith(b"\n"):
            more = self.socket.recv(4096)
            assert more, got
            got += more
        return (json.loads(got) if got else None), (fds[0] if fds else None)

    def ask(self, **what):
        doc, fd = self.line(json.dumps({"lane": 1, **what}).encode() + b"\n")
        if doc is None or "code" in doc:
            raise Refused(doc or {"code": "closed"})
        return doc, fd

    def open(self, kind, size):
        more = {"token": self.token} if self.token else {}
        doc, fd = self.ask(open=kind, size_bytes=size, **more)
        self.regions.append(Region(doc, fd, kind == "inputs"))
        return self.regions[-1]

    def inputs(self, size):
        return self.open("inputs", size)

    def results(self, size):
        return self.open("results", size)

    def hold(self, tensor):
        return self.ask(hold=tensor)[0]

    def release(self, tensor):
        self.ask(release=tensor)

    def close_region(self, region):
        region.drop()
        self.ask(close=region.id)

    def close(self):
        for region in self.regions:
            region.drop()
        self.socket.close()
