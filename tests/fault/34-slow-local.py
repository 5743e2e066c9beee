#!/usr/bin/python3
"""Over the Unix socket, where the kernel counts no bytes that a client took: one that takes nothing of its answer, or sends a
body by the byte, is sent away at the same deadline; one that takes it little by little, or fast and then rests, is not. A
crowd before the port leaves the socket open."""
import socket
import threading
import time

import invariants  # finds service.py
from service import Service, until

BIG = 64 << 20


def dial(path):
    s = socket.socket(socket.AF_UNIX)
    s.settimeout(80)
    s.connect(path)
    return s


def ask(path, target):
    s = dial(path)
    s.sendall(b"GET %s HTTP/1.1\r\nHost: localhost\r\n\r\n" % target.encode())
    return s


def drain(s):
    """How many bytes still come, until the end of the stream."""
    count = 0
    try:
        while piece := s.recv(1 << 20):
            count += len(piece)
    except ConnectionError:
        pass
    return count


class Steady(threading.Thread):
    """Takes so many bytes twice a second, for longer than the grace, and then the rest."""

    def __init__(self, s, step):
        super().__init__()
        self.socket, self.step, self.got = s, step, 0
        self.start()

    def run(self):
        end = time.monotonic() + 42
        while time.monotonic() < end:
            self.got += len(self.socket.recv(self.step))
            time.sleep(0.5)
        while self.got < BIG and (piece := self.socket.recv(1 << 20)):
            self.got += len(piece)


with Service(workers=2, arena="256M", descriptors=512) as service:
    path = service.get("/v1").json["unix_socket"]
    answer = service.post("/v1/tensors?dtype=uint8&shape=%d" % BIG, bytes(BIG), {"Content-Type": "application/octet-stream"})
    target = "/v1/tensors/%s?format=raw" % answer.json["tensor"]
    begun = time.monotonic()
    stalled = [ask(path, target) for _ in range(20)]
    steady = [Steady(ask(path, target), step) for step in (8 << 10, 100 << 10, 1 << 20)]
    body = dial(path)
    body.sendall(b"POST /v1/tensors?dtype=uint8&shape=9 HTTP/1.1\r\nHost: localhost\r\nContent-Type: application/octet-stream\r\n"
                 b"Content-Length: 9\r\n\r\n1")
    assert drain(body) == 0 and 9 < time.monotonic() - begun < 40, "a body that does not come is waited for"
    until(lambda: service.metrics()["connections"]["too_slow"] >= 1 + len(stalled), 60)
    assert time.monotonic() - begun > 25, "too early for a client that only pauses"
    assert all(drain(s) < BIG // 2 for s in stalled)
    for thread in steady:
        thread.join(100)
        assert thread.got > BIG, "%d of %d bytes came to one that took %d at a time" % (thread.got, BIG, thread.step)
    assert service.metrics()["connections"]["too_slow"] == 1 + len(stalled)

    service.hang_up()
    crowd = []
    for _ in range(400):  # more than there is room for at the port
        crowd.append(service.socket())
    over = ask(path, "/v1/workers")
    assert over.recv(65536).startswith(b"HTTP/1.1 200 "), "the socket has places of its own"
    for s in crowd:
        s.close()
    until(lambda: service.metrics()["connections"]["open"] < 10, 10)
