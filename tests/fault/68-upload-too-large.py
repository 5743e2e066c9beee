#!/usr/bin/python3
"""A body in chunks, whose length nobody said, passes what is allowed or what the arena has left: 413 or 507 once the rest is
read and thrown away; past the bound of that the connection is closed. Nothing is kept of it either way."""
import io
import re
import socket
import sys

from invariants import Ledger, np, row
from service import Service, until

MIB = 1 << 20
ARENA = 16 * MIB
JSON_LIMIT = DISCARD = 64 * MIB
HEAD = "POST %s HTTP/1.1\r\nHost: 127.0.0.1\r\nContent-Type: %s\r\nTransfer-Encoding: chunked\r\nConnection: close\r\n\r\n"
RAW, NPY, JSON = "application/octet-stream", "application/x-npy", "application/json"


def send(service, path, kind, pieces):
    """The answer to a body in chunks: (status, code), or None when the connection was closed without one."""
    s = service.socket()
    try:
        s.sendall((HEAD % (path, kind)).encode())
        for piece in pieces:
            s.sendall(b"%x\r\n%s\r\n" % (len(piece), piece))
        s.sendall(b"0\r\n\r\n")
        s.shutdown(socket.SHUT_WR)
    except (BrokenPipeError, ConnectionResetError):
        pass
    answer = b""
    try:
        while piece := s.recv(65536):
            answer += piece
    except ConnectionResetError:
        pass
    s.close()
    found = re.match(rb"HTTP/1.1 (\d+) ", answer)
    code = re.search(rb'"code":"(\w+)"', answer)
    return (int(found.group(1)), code and code.group(1).decode()) if found else None


def many(mib, byte=b"1"):
    for _ in range(mib):
        yield byte * (MIB // len(byte))


def npy_of(count):
    """Only the head of such a file."""
    head = io.BytesIO()
    np.lib.format.write_array_header_1_0(head, {"descr": "|u1", "fortran_order": False, "shape": (count,)})
    return head.getvalue()


def with_head(head, mib):
    yield head
    yield from many(mib)


def json_list(mib):
    yield b"["
    yield from many(mib, b"1,")
    yield b"1]"


def late(service):
    """The head says little, and the body is more."""
    yield npy_of(MIB)
    yield from many(3)


CASES = {
    "more than the arena has left": ("/v1/tensors", NPY, lambda s: with_head(npy_of(12 * MIB), 12), {(507, "arena_full")}),
    "more than the arena has": ("/v1/tensors", NPY, lambda s: with_head(npy_of(32 * MIB), 32), {(507, "arena_full")}),
    "raw, more than the arena has left": ("/v1/tensors?dtype=uint8&shape=12582912", RAW, lambda s: many(12), {(507, "arena_full")}),
    "more than its head says": ("/v1/tensors", NPY, late, {(400, "npy"), (422, "size"), (400, "trailing_bytes")}),
    "raw, more than its shape": ("/v1/tensors?dtype=uint8&shape=1048576", RAW, lambda s: many(3), {(422, "size_mismatch")}),
    "more JSON than is allowed": ("/v1/tensors", JSON, lambda s: json_list(JSON_LIMIT // MIB + 1), {(413, "body_too_large")}),
    "far more than is allowed": ("/v1/tensors", JSON, lambda s: json_list((JSON_LIMIT + DISCARD) // MIB + 8), {None}),
    "a job's, more than the arena has left": ("/v1/jobs?op=all_reduce_sum", NPY, lambda s: with_head(npy_of(12 * MIB), 12),
                                              {(507, "arena_full")}),
}

failed = 0
with Service(workers=2, arena="16M") as service:
    ledger = Ledger(service)
    ledger.keep(service.post("/v1/tensors?dtype=uint8&shape=%d" % (8 * MIB), b"\7" * 8 * MIB, {"Content-Type": RAW}).json["tensor"])
    used = service.arena_used()
    for name, (path, kind, pieces, expected) in CASES.items():
        try:
            with row("F53"):
                answer = send(service, path, kind, pieces(service))
                assert answer in expected, (answer, expected)
                until(lambda: service.arena_used() == used and service.metrics()["json_bytes"] == 0, 5)
        except Exception as e:
            failed += 1
            print("%s: %r" % (name, e), flush=True)
    # All of it can still be had.
    answer = service.post("/v1/tensors?dtype=uint8&shape=%d" % (7 * MIB), b"\1" * 7 * MIB, {"Content-Type": RAW})
    assert answer.status == 201, answer
    ledger.keep(answer.json["tensor"])
    ledger.sum(n=2, wait=20)
    ledger.close()
print("CASES %d %d" % (len(CASES) - failed, failed))
sys.exit(failed > 0)
