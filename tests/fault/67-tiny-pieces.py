#!/usr/bin/python3
"""67-tiny-pieces.py [MIB [REQUESTS]] - a body of MIB in chunks of one byte, and REQUESTS requests that are sent before any answer is
read: each is served, in a time that grows no faster than its number, and without memory that does."""
import sys
import threading
import time

from invariants import Ledger, row
from service import SANITIZED, Service

SIZE = int(float(sys.argv[1] if len(sys.argv) > 1 else 8) * (1 << 20))
REQUESTS = int(sys.argv[2]) if len(sys.argv) > 2 else 100000
ONE = b"GET /healthz HTTP/1.1\r\nHost: 127.0.0.1\r\n\r\n"
GROWTH = 8 << 20


def answers(service, pieces):
    """Sends them all, and reads meanwhile. Gives what came, and the seconds."""
    s = service.socket(120)
    begun = time.monotonic()

    def send():
        for piece in pieces:
            s.sendall(piece)

    sender = threading.Thread(target=send)
    sender.start()
    got = bytearray()
    while piece := s.recv(1 << 20):
        got += piece
    sender.join()
    s.close()
    return bytes(got), time.monotonic() - begun


def upload(service, ledger, size):
    """Seconds; and that the bytes have come in their order."""
    data = bytes(n * 7 % 251 for n in range(251)) * (size // 251 + 1)
    data = data[:size]
    head = (b"POST /v1/tensors?dtype=uint8&shape=%d HTTP/1.1\r\nHost: 127.0.0.1\r\nConnection: close\r\n"
            b"Content-Type: application/octet-stream\r\nTransfer-Encoding: chunked\r\n\r\n" % size)
    step = 1 << 16
    chunks = (b"".join(b"1\r\n%c\r\n" % c for c in data[at:at + step]) for at in range(0, size, step))
    got, seconds = answers(service, [head, *chunks, b"0\r\n\r\n"])
    assert got.startswith(b"HTTP/1.1 201 "), got[:300]
    tensor = got.rpartition(b'"tensor":"')[2].partition(b'"')[0].decode()
    assert service.get("/v1/tensors/%s?format=raw" % tensor).body == data
    ledger.keep(tensor)
    return seconds


def pipeline(service, count):
    last = ONE.replace(b"\r\n\r\n", b"\r\nConnection: close\r\n\r\n")
    got, seconds = answers(service, [ONE * 1000] * (count // 1000 - 1) + [ONE * 999 + last])
    assert got.count(b"HTTP/1.1 200 ") == count, (got.count(b"HTTP/1.1 200 "), got[-300:])
    return seconds


def grows(name, service, what, amount):
    """Four times as much takes at most some eight times as long; and no more memory."""
    what(amount // 4)
    before = service.rss_bytes()
    small, large = what(amount // 4), what(amount)
    growth = service.rss_bytes() - before
    print("NOTE %s: %.2f s, four times as many %.2f s, %d KiB more" % (name, small, large, growth >> 10))
    assert large < 8 * small + 3, (name, small, large)
    assert SANITIZED or growth < GROWTH, (name, growth)


with row("F52"), Service(workers=2, arena="256M") as service:
    ledger = Ledger(service)
    grows("chunks of a byte", service, lambda n: upload(service, ledger, n), SIZE)
    grows("requests at once", service, lambda n: pipeline(service, n), REQUESTS)
    ledger.sum(n=2, wait=20)
    ledger.close()
