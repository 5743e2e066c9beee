#!/usr/bin/python3
"""scale.py [RANKS GROUPS SECONDS] - the coordinator against simulated ranks that answer at once (sim_workers.c): every group
gets jobs, the world gets some; all succeed. Prints jobs a second, dispatch times, memory a rank, and how long each thread was busy
for a job, on which other programs have little say: the longest says how many jobs a second are possible with cores enough.
The suite runs 1,024 ranks in 256 groups for 3 s."""
import http.client
import json
import os
import subprocess
import sys
import threading
import time

sys.path[:0] = [os.path.dirname(os.path.dirname(os.path.abspath(__file__)))]
from service import BUILD, SANITIZED, Service, until

RANKS, GROUPS, SECONDS = (int(a) for a in (sys.argv[1:4] if len(sys.argv) > 3 else (1024, 256, 3)))
CLIENTS = 4
LINES = max(1, min(256, 1024 * GROUPS // RANKS))  # of a body: 1,024 inputs at most
TICKS = os.sysconf("SC_CLK_TCK")


def resident(pid):
    with open("/proc/%d/status" % pid) as f:
        return sum(int(line.split()[1]) << 10 for line in f if line.startswith("RssAnon"))


def threads_busy(pid):
    """Seconds on a CPU, by the name of the thread."""
    busy = {}
    for task in os.listdir("/proc/%d/task" % pid):
        with open("/proc/%d/task/%s/stat" % (pid, task)) as f:
            name, _, rest = f.read().partition("(")[2].rpartition(")")
        fields = rest.split()
        busy[name] = busy.get(name, 0) + (int(fields[11]) + int(fields[12])) / TICKS
    return busy


def percentile(values, share):
    return sorted(values)[min(len(values) - 1, int(len(values) * share))]


class Client(threading.Thread):
    """Bodies of that many lines, each job of the next group, until the time is over."""

    def __init__(self, service, first, end, many):
        super().__init__()
        self.service, self.first, self.end, self.many = service, first, end, many
        self.jobs, self.dispatch, self.error = 0, [], None

    def run(self):
        try:
            self.work()
        except BaseException as e:
            self.error = e

    def work(self):
        connection = http.client.HTTPConnection(self.service.host, self.service.port, timeout=120)
        at = self.first
        while time.monotonic() < self.end:
            lines = []
            for _ in range(self.many):
                lines.append(json.dumps({"op": "all_reduce_sum", "group": "g%d" % (at % GROUPS),
                                         "inputs": [[1]] * (RANKS // GROUPS)}))
                at += CLIENTS
            connection.request("POST", "/v1/jobs:batch?wait=60", "\n".join(lines), {"Content-Type": "application/x-ndjson"})
            answer = connection.getresponse()
            documents = [json.loads(line) for line in answer.read().splitlines()]
            assert answer.status == 200 and len(documents) == self.many, documents[:1]
            for document in documents:
                assert document["state"] == "succeeded", document
            self.dispatch += [d["timeline"]["dispatch_us"] for d in documents]
            self.jobs += self.many
        connection.close()


def start(service):
    service.start(wait=False)
    path = os.path.join(service.data_dir, "worker.sock")
    until(lambda: os.path.exists(path), 30)
    before = resident(service.pid)
    ranks = subprocess.Popen([os.path.join(BUILD, "tests/load/sim_workers"), path, str(RANKS)], stdout=subprocess.PIPE)
    service.wait_ready()
    return ranks, before


def main():
    service = Service(workers=0, arena="256M", options=["--retain", "1", "--world", str(RANKS)])
    ranks, before = start(service)
    with service:
        measure(service, before)
    assert ranks.wait(30) == 0, ranks.returncode


def asked(service, many, seconds):
    """By CLIENTS clients, each of which has that many jobs in a body. Gives the dispatch times, jobs, and seconds."""
    clients = [Client(service, i, time.monotonic() + seconds, many) for i in range(CLIENTS)]
    begun = time.monotonic()
    for c in clients:
        c.start()
    for c in clients:
        c.join()
    took = time.monotonic() - begun
    for c in clients:
        if c.error:
            raise c.error
    return sum((c.dispatch for c in clients), []), sum(c.jobs for c in clients), took


def measure(service, before):
    joined = resident(service.pid)
    size = RANKS // GROUPS
    for g in range(GROUPS):
        answer = service.post("/v1/groups", {"name": "g%d" % g, "ranks": list(range(g * size, (g + 1) * size))})
        assert answer.status == 201, answer
    answer = service.post("/v1/jobs?wait=60", {"op": "barrier"})
    assert answer.status == 200 and answer.json["ranks"] == list(range(RANKS)), answer
    one, _, _ = asked(service, 1, SECONDS / 3)
    busy = threads_busy(service.pid)
    dispatch, jobs, took = asked(service, LINES, SECONDS)
    after = threads_busy(service.pid)
    shares = sorted(((after[n] - busy.get(n, 0)), n) for n in after)[::-1]
    print("%d ranks, %d groups: %d jobs/s, dispatch p50 %d us, p99 %d us, of jobs alone %d, %d; %.1f KiB a rank; CPU a job: %s" % (
        RANKS, GROUPS, jobs / took, *(percentile(d, share) for d in (dispatch, one) for share in (0.5, 0.99)),
        (joined - before) / RANKS / 1024, ", ".join("%s %.1f us" % (n, 1e6 * s / jobs) for s, n in shares if s > 0.02 * took)))
    print("NOTE %d jobs" % jobs if SANITIZED else "NOTE %d jobs/s" % (jobs / took))


if __name__ == "__main__":
    main()
