#!/usr/bin/python3
"""No descriptor is left, or no thread: a running service goes on with what it has and recovers; one that cannot start says why and
leaves nothing behind; a worker that cannot is started again."""
import os
import re
import resource
import subprocess
import tempfile
import time

from invariants import Ledger, processes_of, row
from service import SANITIZED, Service, until

WORKER = "/v1/workers/1"


def descriptors(service):
    return sorted(int(fd) for fd in os.listdir("/proc/%d/fd" % service.pid))


def cpu_s(service):
    with open("/proc/%d/stat" % service.pid) as f:
        fields = f.read().rpartition(")")[2].split()
    return (int(fields[11]) + int(fields[12])) / os.sysconf("SC_CLK_TCK")


def no_descriptors():
    """Its limit falls to what it has open: connections that are there are served, new ones wait; a worker that dies meanwhile comes
    back when there are descriptors again."""
    with Service(workers=2) as service:
        ledger = Ledger(service)
        ledger.sum(n=2, wait=20)
        before = resource.prlimit(service.pid, resource.RLIMIT_NOFILE)
        resource.prlimit(service.pid, resource.RLIMIT_NOFILE, (max(descriptors(service)) + 1, before[1]))
        assert ledger.sum(n=2, seed=1, wait=20).status == 200
        pending = [service.socket(60) for _ in range(40)]
        for s in pending:
            s.sendall(b"GET /v1 HTTP/1.1\r\nHost: 127.0.0.1\r\nConnection: close\r\n\r\n")
        os.kill(service.get(WORKER).json["pid"], 9)
        begun, used = time.monotonic(), cpu_s(service)
        until(lambda: service.get(WORKER).json["state"] != "ready", 10)
        while time.monotonic() - begun < 3:
            assert ledger.sum(n=1, group=[0], wait=20).status == 200
            assert service.get("/healthz").status == 200
            time.sleep(0.1)
        used = cpu_s(service) - used
        print("NOTE 3 s without descriptors took %.2f s of the processor" % used)
        resource.prlimit(service.pid, resource.RLIMIT_NOFILE, before)
        until(lambda: service.get(WORKER).json["state"] == "ready", 20)
        for s in pending:
            assert s.recv(65536)[:12] == b"HTTP/1.1 200", "whoever waited should be served then"
            s.close()
        assert ledger.sum(n=2, seed=2, wait=20).status == 200
        ledger.close()


def no_threads():
    """The n-th thread of the server cannot be had, for each n; then that of the workers."""
    n = 0
    while True:
        n += 1
        assert n < 40
        service = Service(workers=2)
        os.environ["TUTTI_TEST_THREADS"] = "tutti-server:%d" % n
        service.start(wait=False)
        until(lambda: service.process.poll() is not None or service.ready(), 30)
        ended = service.process.poll() is not None
        with open(service.log_path) as f:
            log = f.read()
        if not ended:
            with service:
                pass
            if "no Unix socket: " in log:  # the port is enough
                continue
            break
        assert 0 < service.process.returncode < 128, (n, service.process.returncode, log)
        assert re.search(r"error server .{10}|^tutti-server: .{10}", log, re.M), (n, log)
        until(lambda: not processes_of(service), 10)
        service.process = None
        os.environ.pop("TUTTI_TEST_THREADS")
        with service:  # the same directories
            ledger = Ledger(service)
            assert ledger.sum(n=2, wait=20).status == 200
    assert n > 4, "a server has more threads than %d" % n
    print("NOTE a server starts %d threads" % (n - 1))

    os.environ["TUTTI_TEST_THREADS"] = "tutti-worker:1"
    service = Service(workers=2)
    service.start(wait=False)
    time.sleep(2)
    assert service.process.poll() is None  # it may have had both of them for a moment
    with open(service.log_path) as f:
        log = f.read()
    tries = log.count("start the heartbeat thread")
    assert 2 <= tries <= 12, "two workers, each a few times, with growing pauses: %d\n%s" % (tries, log)
    service.process.terminate()
    assert service.process.wait(20) == 0
    service.process = None
    os.environ.pop("TUTTI_TEST_THREADS")
    with service:
        ledger = Ledger(service)
        assert ledger.sum(n=2, wait=20).status == 200
        ledger.close()


with row("F35"), tempfile.TemporaryDirectory() as place:
    no_descriptors()
    if SANITIZED:
        print("NOTE threads: only in the plain build, a sanitizer's library wants to be the first")
    else:
        library = os.path.join(place, "threads.so")
        source = os.path.join(os.path.dirname(os.path.abspath(__file__)), "threads.c")
        subprocess.run(["cc", "-shared", "-fPIC", "-D_GNU_SOURCE", "-o", library, source, "-ldl"], check=True)
        os.environ["LD_PRELOAD"] = library
        no_threads()
