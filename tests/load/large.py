#!/usr/bin/python3
"""large.py [MIB] - all_reduce_sum of 4 ranks x MIB MiB of float32 through .npy: the right result, and server and workers
each stay within the arena plus 64 MiB. The suite takes 16 MiB; 256 is the full measure."""
import http.client
import io
import os
import sys
import threading
import time

import numpy as np

sys.path[:0] = [os.path.dirname(os.path.dirname(os.path.abspath(__file__)))]
from service import SANITIZED, Service

MIB = int(sys.argv[1]) if len(sys.argv) > 1 else 16
COUNT = MIB << 18
ROOM_BYTES = 64 << 20


def own_bytes(pid):
    """Resident and not the arena's."""
    with open("/proc/%d/status" % pid) as f:
        return sum(int(line.split()[1]) << 10 for line in f if line.startswith(("RssAnon", "RssFile")))


rng = np.random.default_rng(3)
piece = rng.standard_normal(1 << 18, np.float32)
header = io.BytesIO()
np.lib.format.write_array_header_1_0(header, {"descr": "<f4", "fortran_order": False, "shape": (4, COUNT)})
want = ((piece + piece * 2) + piece * 3) + piece * 4

with Service(workers=4, arena="%dM" % (5 * MIB + 32)) as service:
    pids, most, over = [service.pid] + service.worker_pids(), {}, threading.Event()

    def watch():
        while not over.wait(0.02):
            for pid in pids:
                most[pid] = max(most.get(pid, 0), own_bytes(pid))

    watcher = threading.Thread(target=watch)
    watcher.start()
    try:
        begun = time.perf_counter()
        connection = http.client.HTTPConnection(service.host, service.port, timeout=300)
        connection.putrequest("POST", "/v1/jobs?op=all_reduce_sum&wait=300")
        connection.putheader("Content-Type", "application/x-npy")
        connection.putheader("Accept", "application/x-npy")
        connection.putheader("Content-Length", str(len(header.getvalue()) + 16 * COUNT))
        connection.endheaders(header.getvalue())
        for r in range(4):
            part = (piece * np.float32(r + 1)).tobytes()
            for _ in range(MIB):
                connection.send(part)
        answer = connection.getresponse()
        assert answer.status == 200, answer.read(2000)
        sent = time.perf_counter() - begun
        got = answer.read(len(header.getvalue()))
        assert got == header.getvalue(), got
        right = np.float32(want).tobytes()
        for n in range(4 * MIB):
            assert answer.read(1 << 20) == right, "MiB %d is wrong" % n
        assert answer.read() == b""
        total = time.perf_counter() - begun
    finally:
        over.set()
        watcher.join()
    figures = ["%.1f" % (most[pid] / (1 << 20)) for pid in pids]
    print("4 x %d MiB: %.2f s to the answer, %.2f s in all; beside the arena, server and workers held at most %s MiB" %
          (MIB, sent, total, ", ".join(figures)))
    assert SANITIZED or max(most.values()) <= ROOM_BYTES, figures
    print("NOTE at most %s MiB beside the arena" % max(figures, key=float))
