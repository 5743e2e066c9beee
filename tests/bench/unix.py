#!/usr/bin/python3
"""unix.py [ROUNDS [MIB [SEND]]] - requests over the Unix socket beside the same over TCP, one after the other in turns, so that what
else runs here meets both: a stacked .npy of 4 ranks up, an all_reduce of it, its stack down again; and a small job. Prints a
table of ratios, with the middle half of the rounds as the spread. SEND is the Unix socket's SO_SNDBUF at the client: 1 MiB, as
the notebook client has it; 0 leaves the system's, as curl does."""
import os
import socket
import statistics
import sys
import time

HERE = os.path.dirname(os.path.abspath(__file__))
sys.path[:0] = [os.path.dirname(HERE)]
from service import Service
from tools import in_turns, quartiles

ROUNDS = int(sys.argv[1]) if len(sys.argv) > 1 else 15
MIB = int(sys.argv[2]) if len(sys.argv) > 2 else 64
SEND_BYTES = int(sys.argv[3]) if len(sys.argv) > 3 else 1 << 20
SMALL_ROUNDS = 100 * ROUNDS
RANKS = 4


class Wire:
    """One keep-alive connection, no layer between it and the socket."""

    def __init__(self, family, address):
        self.sock = socket.socket(family)
        if family == socket.AF_INET:
            self.sock.setsockopt(socket.IPPROTO_TCP, socket.TCP_NODELAY, 1)
        elif SEND_BYTES:
            self.sock.setsockopt(socket.SOL_SOCKET, socket.SO_SNDBUF, SEND_BYTES)
        self.sock.connect(address)

    def ask(self, method, path, body=b"", into=None, kind="application/x-npy"):
        """The head of the answer, its body in `into` or behind the head."""
        head = ("%s %s HTTP/1.1\r\nHost: localhost\r\nAccept: application/x-npy\r\nContent-Type: %s\r\nContent-Length: %d\r\n\r\n"
                % (method, path, kind, len(body))).encode()
        self.sock.sendall(head + body if len(body) < 65536 else head)
        if len(body) >= 65536:
            self.sock.sendall(body)
        got = b""
        while b"\r\n\r\n" not in got:
            got += self.sock.recv(65536)
        head, _, rest = got.partition(b"\r\n\r\n")
        assert head.startswith(b"HTTP/1.1 20"), (head, rest)
        length = int((head.lower().partition(b"content-length:")[2].split() or [0])[0])  # 204 has none
        view = memoryview(into if into is not None else bytearray(length))[:length]
        view[:len(rest)] = rest
        at = len(rest)
        while at < length:
            at += self.sock.recv_into(view[at:], min(length - at, 4 << 20))
        return head, view


def npy(ranks, count):
    text = "{'descr': '<f4', 'fortran_order': False, 'shape': (%d, %d), }" % (ranks, count)
    text += " " * (-(10 + len(text) + 1) % 64) + "\n"
    return b"\x93NUMPY\x01\x00" + len(text).to_bytes(2, "little") + text.encode()


def large(wire, body, into):
    """Seconds of upload with the job, and of the download of all ranks' outputs."""
    begun = time.perf_counter()
    head, _ = wire.ask("POST", "/v1/jobs?op=all_reduce_sum&wait=60&format=json&data=0", body)
    between = time.perf_counter()
    job = head.lower().partition(b"tutti-job: ")[2].split()[0].decode().upper().replace("J_", "j_")
    wire.ask("GET", "/v1/jobs/%s/outputs?format=npy" % job, into=into)
    end = time.perf_counter()
    wire.ask("DELETE", "/v1/jobs/" + job)
    return between - begun, end - between, end - begun


def small(wire):
    begun = time.perf_counter()
    wire.ask("POST", "/v1/jobs?op=all_reduce_sum&wait=10&format=raw&dtype=float32&shape=4,1", b"\0" * 16, kind="application/octet-stream")
    return (time.perf_counter() - begun,)


def row(name, tcp, local):
    """Ratio of each round: how many times as long TCP takes."""
    low, _, high = quartiles([t / u for t, u in zip(tcp, local)])
    print("| %-30s | %9.2f | %9.2f | %5.2f | %5.2f to %5.2f |" % (
        name, statistics.median(tcp) * 1e3, statistics.median(local) * 1e3, statistics.median(tcp) / statistics.median(local),
        low, high))


def main():
    with Service(workers=RANKS, arena="2G") as service:
        wires = [Wire(socket.AF_INET, (service.host, service.port)), Wire(socket.AF_UNIX, service.get("/v1").json["unix_socket"])]
        count = MIB << 18
        body, into = npy(RANKS, count) + bytes(4 * RANKS * count), bytearray(4 * RANKS * count + 4096)
        for wire in wires:
            large(wire, body, into)
            for _ in range(200):
                small(wire)
        print("| %-30s | %9s | %9s | %5s | %14s |\n|%s|" % ("", "TCP, ms", "Unix, ms", "ratio", "middle half", "-" * 81))
        found = in_turns({i: lambda w=w: large(w, body, into) for i, w in enumerate(wires)}, ROUNDS).values()
        for i, name in enumerate(("upload and job", "download", "upload, job, download")):
            row("%d x %d MiB, %s" % (RANKS, MIB, name), *([figures[i] for figures in side] for side in found))
        found = in_turns({i: lambda w=w: small(w) for i, w in enumerate(wires)}, SMALL_ROUNDS).values()
        row("a small job", *([figures[0] for figures in side] for side in found))


if __name__ == "__main__":
    main()
