#!/usr/bin/python3
"""The memory of the server's control group is out, and the kernel kills it in the middle of a request, while a job runs; that of a
worker's, and the kernel kills the worker: as after any kill, what was accepted runs to the right end."""
import os
import signal
import sys

from invariants import RESET, Ledger, np, row
from service import Service, alive, until

MIB = 1 << 20
ROOTS = ("/sys/fs/cgroup/memory", "/sys/fs/cgroup")
LIMITS = ("memory.limit_in_bytes", "memory.max")


class Group:
    """A control group of memory, for one process."""

    def __init__(self, name):
        self.path = None
        for root in ROOTS:
            path = os.path.join(root, "tutti-test-%d-%s" % (os.getpid(), name))
            try:
                os.mkdir(path)
            except OSError:
                continue
            self.limit_file = next((f for f in LIMITS if os.path.exists(os.path.join(path, f))), None)
            if self.limit_file:
                self.path = path
                return
            os.rmdir(path)

    def __enter__(self):
        return self

    def __exit__(self, *unused):
        if self.path:
            until(lambda: not self.processes(), 10)
            os.rmdir(self.path)

    def processes(self):
        with open(self.path + "/cgroup.procs") as f:
            return f.read().split()

    def has_killed(self):
        """Was it the kernel, for want of memory?"""
        for name in ("memory.oom_control", "memory.events"):
            try:
                with open(os.path.join(self.path, name)) as f:
                    return int(dict(line.split() for line in f)["oom_kill"]) > 0
            except FileNotFoundError:
                pass
        raise AssertionError("nobody says")

    def take(self, pid, limit_bytes):
        """From now on it gets so much. False: there are no such groups here."""
        if not self.path:
            return False
        for name, text in ((self.limit_file, limit_bytes), ("cgroup.procs", pid)):
            with open(os.path.join(self.path, name), "w") as f:
                f.write(str(text))
        return True


def server():
    with Group("server") as group, Service(workers=2) as service:
        ledger = Ledger(service)
        ledger.keep(service.post("/v1/tensors", [1, 2]).json["tensor"])
        service.stop()
        service.start(failpoints="worker.before_run=sleep:1500@1")
        for n in range(3):
            assert ledger.sum(n=2, seed=n, key="k%d" % n).status == 202
        until(lambda: service.metrics()["jobs"]["running"] == 1)
        if group.take(service.pid, 16 * MIB):
            try:
                service.post("/v1/tensors", b"[" + b"1," * (30 * MIB) + b"1]", {"Content-Type": "application/json"})
            except RESET:
                pass
            service.wait_killed()
            assert group.has_killed()
        else:
            service.kill()
        service.start(failpoints="")
        ledger.retry()
        documents = ledger.close()
        assert max(d["attempts"] for d in documents.values()) == 2, documents


def worker():
    with Group("worker") as group, Service(workers=2, arena="512M", failpoints="worker.mid_run=sleep:700@1") as service:
        ledger = Ledger(service)
        pid = service.get("/v1/workers/1").json["pid"]
        inputs = [np.full(2 * MIB, r + 1, np.int32) for r in range(2)]
        taken = group.take(pid, 4096)
        job = service.post("/v1/jobs?op=all_reduce_sum&dtype=int32&shape=2,%d" % (2 * MIB), b"".join(i.tobytes() for i in inputs),
                           {"Content-Type": "application/octet-stream"}).json["id"]
        if not taken:
            until(lambda: service.get("/v1/jobs/" + job).json["state"] == "running")
            os.kill(pid, signal.SIGKILL)
        until(lambda: not alive(pid), 20)
        assert not taken or group.has_killed()
        document = service.get("/v1/jobs/%s?wait=60" % job).json
        assert (document["state"], document["attempts"]) == ("succeeded", 2), document
        assert service.get("/v1/jobs/%s/outputs/1?format=raw" % job).body == (inputs[0] + inputs[1]).tobytes()
        assert "signal 9" in service.log()
        assert service.delete("/v1/jobs/" + job).status == 204
        ledger.sum(n=2, wait=20)
        ledger.close()


failed = 0
with Group("probe") as probe:
    if not probe.path:
        print("NOTE no control group of memory can be made: killed by a signal instead")
for case in (server, worker):
    try:
        with row("F37"):
            case()
    except Exception as e:
        failed += 1
        print("%s: %r" % (case.__name__, e), flush=True)
print("CASES %d %d" % (2 - failed, failed))
sys.exit(failed > 0)
