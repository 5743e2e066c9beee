#!/usr/bin/python3
"""A container gives 64 MiB of shared memory, and locks as little: the start says which lines of the compose file help, and the
service works as far as its memory goes: 507, and never a SIGBUS."""
import os
import subprocess
import sys

sys.path.append(os.path.join(os.path.dirname(os.path.dirname(os.path.abspath(__file__))), "simgpu"))
import doubles
from invariants import Ledger, row
from service import BUILD, Service

SMALL_SHM = ["unshare", "--mount", "sh", "-c", 'mount -t tmpfs -o size=64m tmpfs /dev/shm && exec "$@"', "sh"]
LITTLE_LOCKED = ["setpriv", "--bounding-set", "-ipc_lock", "prlimit", "--memlock=65536:65536"]
MIB = 1 << 20
RAW = {"Content-Type": "application/octet-stream"}


class InShm(Service):
    """Its arena is in a /dev/shm of its own, which is not there any more when the server is not."""

    def check_left(self):
        pass


def small_shm():
    with InShm(workers=2, arena="1G", prefix=SMALL_SHM, options=["--backend", "shm"]) as service:
        warning = [line for line in service.log().splitlines() if " warn " in line]
        assert len(warning) == 1 and "`shm_size: 1024m`" in warning[0] and "67108864" in warning[0], warning
        ledger = Ledger(service)
        kept = []
        for _ in range(80):
            answer = service.post("/v1/tensors?dtype=uint8&shape=%d" % MIB, b"\1" * MIB, RAW)
            if answer.status != 201:
                break
            kept.append(answer.json["tensor"])
        assert answer.status == 507 and answer.json["code"] == "arena_full", answer
        assert 50 < len(kept) < 64, len(kept)
        ledger.keep(kept.pop())
        for tensor in kept:
            assert service.delete("/v1/tensors/" + tensor).status == 204
        assert ledger.sum(n=2, size=MIB // 4, wait=20).status == 200
        ledger.close()


def small_volume():
    """A volume in memory of the compose file's own."""
    service = InShm(workers=1, arena="100M", options=["--backend", "shm"])
    service.prefix = ["unshare", "--mount", "sh", "-c", 'mount -t tmpfs -o size=64m,mode=700 tmpfs %s && exec "$@"' % service.arena_dir, "sh"]
    with service:
        warning = [line for line in service.log().splitlines() if " warn " in line]
        assert len(warning) == 1 and "`size=100m` into `driver_opts: o:`" in warning[0], warning


def enough_shm():
    """No warning without a reason."""
    with Service(workers=2, options=["--backend", "shm"]) as service:
        assert " warn " not in service.log(), service.log()
        Ledger(service).close()


def little_locked():
    """GPUs want the whole arena pinned."""
    with Service(workers=2, prefix=LITTLE_LOCKED, options=["--backend", "nccl"]) as service:
        warnings = [line for line in service.log().splitlines() if " warn " in line]
        assert warnings and all("ulimits: memlock: -1" in line for line in warnings), warnings
        assert service.post("/v1/jobs?wait=20", {"op": "all_reduce_sum", "inputs": [[1], [2]]}).status == 200


def enough_locked():
    with Service(workers=2, options=["--backend", "nccl"]) as service:
        assert " warn " not in service.log(), service.log()


failed, cases = 0, [enough_shm]
if subprocess.run([*SMALL_SHM, "true"], capture_output=True).returncode == 0:
    cases += [small_shm, small_volume]
else:
    print("NOTE skipped: no tmpfs can be mounted in a namespace")
if os.path.exists(os.path.join(BUILD, "simgpu", "libnccl.so.2")):
    doubles.use(2)
    cases += [little_locked, enough_locked]
else:
    print("NOTE no CUDA toolkit")
for case in cases:
    try:
        with row("F56"):
            case()
    except Exception as e:
        failed += 1
        print("%s: %r" % (case.__name__, e), flush=True)
print("CASES %d %d" % (len(cases) - failed, failed))
sys.exit(failed > 0)
