#!/usr/bin/python3
"""Clients that send a head or a body by the byte, or take their answer so, are sent away at a deadline, however fast they were at
first, and the bytes that they held are free again; all the while others are served."""
import resource
import socket
import threading
import time

from invariants import Ledger, row
from service import SANITIZED, Service, until

READERS = 500
TCP_CLOSE = 7
BIG = 64 << 20
HEAD = b"POST /v1/tensors?dtype=uint8&shape=%d HTTP/1.1\r\nHost: 127.0.0.1\r\nContent-Type: application/octet-stream\r\nContent-Length: %d\r\n\r\n"
soft, hard = resource.getrlimit(resource.RLIMIT_NOFILE)
resource.setrlimit(resource.RLIMIT_NOFILE, (min(hard, 4096), hard))


class Slow(threading.Thread):
    """Sends `first`, then a byte now and then, until it is cut off: after `took` seconds."""

    def __init__(self, service, first, byte=b"x"):
        super().__init__()
        self.socket, self.first, self.byte, self.took = service.socket(100), first, byte, None
        self.start()

    def run(self):
        begun = time.monotonic()
        try:
            self.socket.sendall(self.first)
            self.socket.settimeout(0.4)
            while time.monotonic() - begun < 90:
                try:
                    self.socket.sendall(self.byte)
                    if not self.socket.recv(4096):
                        break
                except TimeoutError:
                    pass
            else:
                return
        except OSError:
            pass
        self.took = time.monotonic() - begun
        self.socket.close()


def reader(service, path):
    """Asks for much, and has a small buffer for it."""
    s = socket.socket()
    s.setsockopt(socket.SOL_SOCKET, socket.SO_RCVBUF, 4096)
    s.settimeout(60)
    s.connect((service.host, service.port))
    s.sendall(b"GET %s HTTP/1.1\r\nHost: 127.0.0.1\r\n\r\n" % path.encode())
    return s


def closed(s):
    return s.getsockopt(socket.IPPROTO_TCP, socket.TCP_INFO, 1)[0] == TCP_CLOSE


def sip(readers):
    """A byte of each. How many are cut off, though their buffers are not empty."""
    for s in readers:
        try:
            s.recv(1)
        except ConnectionError:
            pass
    return sum(map(closed, readers))


with Service(workers=2, arena="256M") as service:
    ledger = Ledger(service)
    ledger.sum(n=2, wait=20)
    used = service.arena_used()
    answer = service.post("/v1/tensors?dtype=uint8&shape=%d" % BIG, bytes(BIG), {"Content-Type": "application/octet-stream"})
    tensor = answer.json["tensor"]
    rss = service.rss_bytes()
    with row("F30", "F31"):
        heads = [Slow(service, b"GET /v1 HTTP/1.1\r\nHost: 127.0.0.1\r\nX-Long: "), Slow(service, b"\x16\x03\x01\x02\x00\x01\x00\x01\xfc\x03\x03")]
        bodies = [Slow(service, HEAD % (8 << 20, 8 << 20)), Slow(service, HEAD % (8 << 20, 8 << 20) + bytes(4 << 20))]
        readers = [reader(service, "/v1/tensors/%s?format=raw" % tensor) for _ in range(READERS)]
        deaf = reader(service, "/v1/events")
        until(lambda: service.metrics()["event_streams"] == 1)
        for n in range(30):
            assert ledger.sum(n=2, seed=n, wait=20).status == 200  # more to tell than its buffer takes
        # Those to whom there is nothing to say are not slow: one who waits, one who follows a job of which there is no news.
        call = service.post("/v1/groups/world/ranks/0/calls?wait=0", {"op": "all_reduce_sum", "input": [1]}).json["id"]
        quiet = [reader(service, "/v1/jobs/%s%s" % (call, what)) for what in ("?wait=50", "/events")]
        begun = time.monotonic()
        slowest, asked = 0, 0
        left = READERS
        while left:
            assert time.monotonic() - begun < 60, "%d slow readers are still served" % left
            gone = sip(readers)
            left = READERS - gone
            before = time.monotonic()
            assert ledger.sum(n=2, seed=asked, wait=20).status == 200
            assert service.get("/healthz").status == 200
            slowest, asked = max(slowest, time.monotonic() - before), asked + 1
            time.sleep(0.5)
        took = time.monotonic() - begun
        print("NOTE %d readers were sent away after %.0f s; a job in between took %.2f s at most" % (READERS, took, slowest))
        assert took > 25, "too early for a client that only pauses"
        assert SANITIZED or slowest < 5, slowest
        for slow in heads + bodies:
            slow.join(90)
            assert slow.took is not None and 9 < slow.took < 60, (slow.first[:60], slow.took)
        until(lambda: closed(deaf), 20)
        assert not any(map(closed, quiet)), "a client that waits was cut off"
        assert service.post("/v1/groups/world/ranks/1/calls?wait=20", {"op": "all_reduce_sum", "input": [2]}).status == 200
        for s in quiet:
            got = b""
            while b'"state":"succeeded"' not in got:
                piece = s.recv(65536)
                assert piece, got
                got += piece
            s.close()
        until(lambda: service.metrics()["event_streams"] == 0, 5)
        assert service.delete("/v1/jobs/" + call).status == 204
        assert service.metrics()["connections"]["too_slow"] >= READERS + 1 + len(heads + bodies)
        until(lambda: service.metrics()["connections"]["open"] < 10, 5)
        assert service.get("/v1/tensors/%s?format=raw" % tensor).body == bytes(BIG), "who reads gets it all"
        assert service.delete("/v1/tensors/" + tensor).status == 204
        for s in readers:
            s.close()
        growth = service.rss_bytes() - rss
        assert SANITIZED or growth < READERS << 17, "grew by %d bytes: more than a buffer each" % growth
        ledger.close()
