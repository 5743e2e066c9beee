#!/usr/bin/python3
"""flood.py [READERS WRITERS WAITERS STREAMS SECONDS] - one account reads slowly, writes slowly, waits and follows events on that many
connections at once, and has thousands of jobs queued. /healthz answers, another account's jobs are right and do not stand
behind the thousands, and when the flood is over memory, arena, descriptors and places are as after the one before."""
import http.client
import json
import os
import selectors
import socket
import subprocess
import sys
import threading
import time

sys.path[:0] = [os.path.dirname(os.path.dirname(os.path.abspath(__file__)))]
from service import BUILD, SANITIZED, Service, until

COUNTS = list(map(int, sys.argv[1:5])) or [100, 100, 200, 40]
SECONDS = float(sys.argv[5]) if len(sys.argv) > 5 else 4
QUEUED = 4000
TENSOR_BYTES = 4 << 20
ROOM_BYTES = 6 << 20
KEPT_BYTES = 24 << 20  # of the first flood, on purpose
KINDS = ("reader", "writer", "waiter", "stream")


def token(path, who):
    return subprocess.run([os.path.join(BUILD, "tutti-server"), "--token-file", path, "--new-token", who],
                          check=True, capture_output=True, text=True).stdout.strip()


class Flood(threading.Thread):
    """All connections of the flood, in one thread; each that the server ends is made anew."""

    def __init__(self, service, auth, tensor):
        super().__init__()
        self.service, self.over = service, False
        begin = "%s HTTP/1.1\r\nHost: 127.0.0.1\r\nAuthorization: " + auth + "\r\n"
        self.heads = {
            "reader": begin % ("GET /v1/tensors/%s?format=raw" % tensor) + "\r\n",
            "writer": begin % "POST /v1/tensors?dtype=uint8&shape=65536" +
            "Content-Type: application/octet-stream\r\nContent-Length: 65536\r\n\r\n",
            "waiter": begin % "GET /v1/groups/world/kv/never?wait=300" + "\r\n",
            "stream": begin % "GET /v1/events" + "\r\n"}
        self.selector = selectors.DefaultSelector()
        self.opened = dict.fromkeys(KINDS, 0)

    def open(self, kind):
        s = socket.socket()
        s.setsockopt(socket.SOL_SOCKET, socket.SO_RCVBUF, 4096)
        s.connect((self.service.host, self.service.port))
        s.setblocking(False)
        s.send(self.heads[kind].encode())
        self.selector.register(s, selectors.EVENT_READ, kind)
        self.opened[kind] += 1

    def turn(self, key):
        """A byte of each second, read or written; what waits or follows takes what comes."""
        s, kind = key.fileobj, key.data
        try:
            if kind == "writer":
                s.send(b"x")
            if not s.recv(1 if kind == "reader" else 65536):
                raise ConnectionError
        except BlockingIOError:
            pass
        except OSError:
            self.selector.unregister(s)
            s.close()
            self.open(kind)

    def run(self):
        for kind, count in zip(KINDS, COUNTS):
            for _ in range(count):
                self.open(kind)
        while not self.over:
            begun = time.monotonic()
            for key in list(self.selector.get_map().values()):
                self.turn(key)
            time.sleep(max(0, begun + 1 - time.monotonic()))
        for key in list(self.selector.get_map().values()):
            key.fileobj.close()


class Prober(threading.Thread):
    """/healthz on a connection of its own each time: how long each answer took."""

    def __init__(self, service):
        super().__init__()
        self.service, self.over, self.took = service, False, []

    def run(self):
        while not self.over:
            begun = time.monotonic()
            c = http.client.HTTPConnection(self.service.host, self.service.port, timeout=30)
            c.request("GET", "/healthz")
            assert c.getresponse().status == 200
            c.close()
            self.took.append(time.monotonic() - begun)
            time.sleep(0.02)


def small_jobs(service, auth, seconds):
    """One after the other; how many were answered, and the longest that one took."""
    end, n, worst = time.monotonic() + seconds, 0, 0
    while time.monotonic() < end:
        begun = time.monotonic()
        answer = service.post("/v1/jobs?wait=60", {"op": "all_reduce_sum", "inputs": [[n], [1]]}, {"Authorization": auth})
        assert answer.status == 200 and answer.json["outputs"][1]["data"] == [n + 1], answer
        worst = max(worst, time.monotonic() - begun)
        n += 1
    return n, worst


def queue(service, auth):
    """Jobs that nobody waits for, ahead of everybody else's."""
    line = json.dumps({"op": "all_reduce_sum", "inputs": [[1] * 16, [2] * 16]})
    answer = service.request("POST", "/v1/jobs:batch", "\n".join([line] * QUEUED),
                             {"Authorization": auth, "Content-Type": "application/x-ndjson"})
    assert answer.status == 202, answer


def held(service, auth):
    v1 = service.get("/v1", {"Authorization": auth}).json["account"]
    return {name: v1[name]["used"] for name in ("arena", "jobs", "waits", "streams")}


def flood_once(service, flood, other, tensor):
    """What it was like, and what is held afterwards: resident bytes."""
    before = held(service, flood), len(os.listdir("/proc/%d/fd" % service.pid))
    attack, probe = Flood(service, flood, tensor), Prober(service)
    attack.start()
    until(lambda: (held(service, flood)["waits"], held(service, flood)["streams"]) == (COUNTS[2], COUNTS[3]), 60)
    probe.start()
    queue(service, flood)
    done, worst = small_jobs(service, other, SECONDS)
    probe.over = True
    probe.join()
    most = service.rss_bytes()
    attack.over = True
    attack.join()
    until(lambda: not any(held(service, flood)[name] for name in ("waits", "streams", "jobs")), 120)
    for auth in (flood, other):
        while jobs := service.get("/v1/jobs?limit=500", {"Authorization": auth}).json["jobs"]:
            for job in jobs:
                assert service.request("DELETE", "/v1/jobs/" + job["id"], None, {"Authorization": auth}).status == 204
    # Threads open the database late.
    until(lambda: len(os.listdir("/proc/%d/fd" % service.pid)) <= before[1] + 4, 30)
    until(lambda: held(service, flood) == before[0], 30)
    print("connections opened: %s" % attack.opened)
    assert probe.took and max(probe.took) < 5 and done > 0
    return sorted(probe.took), done, worst, most


def settled_bytes(service):
    """What is freed goes back to the system within some seconds: the least of some looks."""
    least = service.rss_bytes()
    for _ in range(0 if SANITIZED else 13):
        time.sleep(1)
        least = min(least, service.rss_bytes())
    return least


def main():
    with Service(workers=2, arena="256M", options=["--log-level", "warn"]) as service:
        service.stop()
        tokens = os.path.join(service.dir, "tokens")
        flood, other = "Bearer " + token(tokens, "flood:user"), "Bearer " + token(tokens, "other:user")
        with open(tokens) as f:
            lines = f.read().splitlines()
        with open(tokens, "w") as f:
            f.write("%s waits=%d streams=%d\n%s\n" % (lines[0], COUNTS[2], COUNTS[3], lines[1]))
        service.start(options=["--token-file", tokens])
        small_jobs(service, other, 1)
        upload = service.request("POST", "/v1/tensors?dtype=uint8&shape=%d" % TENSOR_BYTES, bytes(TENSOR_BYTES),
                                 {"Authorization": flood, "Content-Type": "application/octet-stream"})
        assert upload.status == 201, upload
        tensor = upload.json["tensor"]
        fresh = service.rss_bytes()
        alone, _ = small_jobs(service, other, 1)
        # The first flood fills what is kept on purpose: the database's caches, the last events.
        flood_once(service, flood, other, tensor)
        before = settled_bytes(service)
        took, done, worst, most = flood_once(service, flood, other, tensor)
        growth = settled_bytes(service) - before
        print("%d readers, %d writers, %d waiters, %d streams, %d jobs queued, twice" % (*COUNTS, QUEUED))
        print("NOTE /healthz p50 %.1f ms, p99 %.1f ms of %d; another's jobs %d/s, alone %d/s, longest %.0f ms; memory +%d MiB at "
              "most, +%d KiB after the second, +%d KiB after the first" %
              (1000 * took[len(took) // 2], 1000 * took[int(len(took) * 0.99)], len(took), done / SECONDS, alone, 1000 * worst,
               (most - fresh) >> 20, growth >> 10, (before - fresh) >> 10))
        assert SANITIZED or growth < ROOM_BYTES, "grew by %d bytes" % growth
        assert SANITIZED or before - fresh < KEPT_BYTES, "%d bytes were kept" % (before - fresh)


main()
