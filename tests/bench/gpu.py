#!/usr/bin/python3
"""gpu.py [MAX_BYTES [ROUNDS]] - what each operation reaches on the GPUs of this machine, by size, as nccl-tests count it:
algbw is size / time, busbw is algbw times the factor of the operation (nccl-tests, doc/PERFORMANCE.md). Tensors stay on
the devices, so that it is NCCL and not the bus to the host that is measured. Says when the GPUs are simulated."""
import os
import subprocess
import sys

sys.path[:0] = [os.path.dirname(os.path.dirname(os.path.abspath(__file__)))]
from service import BUILD, Service

MOST = int(sys.argv[1]) if len(sys.argv) > 1 else 1 << 30
ROUNDS = int(sys.argv[2]) if len(sys.argv) > 2 else 10
LEAST = 1 << 10
MEDIA = {"Content-Type": "application/octet-stream"}

# op: which size nccl-tests mean, of one rank's buffers; the factor of n ranks
OPS = (("all_reduce_sum", "in", lambda n: 2 * (n - 1) / n), ("reduce_sum", "in", lambda n: 1), ("broadcast", "in", lambda n: 1),
       ("all_gather", "out", lambda n: (n - 1) / n), ("reduce_scatter_sum", "in", lambda n: (n - 1) / n),
       ("all_to_all", "in", lambda n: (n - 1) / n), ("gather", "out", lambda n: (n - 1) / n),
       ("scatter", "in", lambda n: (n - 1) / n), ("remote_send", "in", lambda n: 1))


def gpus():
    got = subprocess.run([os.path.join(BUILD, "tutti-worker"), "--print-gpus"], stdout=subprocess.PIPE, check=True)
    return int(got.stdout)


def post(service, path, body, headers=None):
    a = service.post(path, body, headers)
    assert a.status in (200, 201), a
    return a.json


def on_devices(service, n, count):
    """A float32 tensor of so many elements on each rank's device; its id."""
    t = post(service, "/v1/tensors?dtype=float32&shape=%d" % count, bytes(4 * count), MEDIA)["tensor"]
    made = post(service, "/v1/jobs?wait=120", {"op": "all_reduce_sum", "resident": True, "inputs": [{"tensor": t}] * n})
    service.delete("/v1/tensors/%s" % t)
    return made["outputs"][0]["tensor"]


def measure(service, op, n, tensor):
    """The best of the rounds: microseconds, algbw, busbw as the service says them."""
    best = None
    for _ in range(ROUNDS):
        job = post(service, "/v1/jobs?wait=120", {"op": op, "resident": True, "inputs": [{"tensor": tensor}] * n})
        us = job["timeline"]["collective_us"]
        if best is None or us < best[0]:
            best = us, job["algbw_GBps"], job["busbw_GBps"]
        service.delete("/v1/jobs/%s" % job["id"])
    return best


def main():
    n = gpus()
    if n == 0:
        print("gpu: there is no GPU here")
        return 0
    with Service(workers=n, arena="%dM" % (64 + (4 * MOST >> 20)), options=["--backend", "nccl"]) as service:
        workers = service.get("/v1/workers").json["workers"]
        facts = workers[0]["gpu"]
        print("%d x %s, NCCL %s, CUDA %s, driver %s%s" %
              (n, facts["name"], facts["nccl_version"], facts["runtime_version"], facts["driver_version"],
               ": SIMULATED, these figures say nothing of a GPU" if facts["simulated"] else ""))
        print("%-20s %12s %12s %10s %10s %8s" % ("op", "bytes", "time us", "algbw GB/s", "busbw GB/s", "factor"))
        for op, which, factor in OPS:
            if n == 1 and op == "remote_send":
                continue
            size = LEAST
            while size <= MOST:
                count = max(size // 4 // (n if which == "out" else 1) // n, 1) * n
                tensor = on_devices(service, n, count)
                us, algbw, busbw = measure(service, op, n, tensor)
                service.delete("/v1/tensors/%s" % tensor)
                counted = 4 * count * (n if which == "out" else 1)
                if algbw and us:
                    assert abs(algbw - counted / us / 1e3) <= 0.02 * algbw + counted / 1e9, (op, size, us, algbw)
                    assert abs(busbw - algbw * factor(n)) <= 1e-6 + 0.001 * busbw, (op, algbw, busbw)
                print("%-20s %12d %12d %10.3f %10.3f %8.3f" % (op, counted, us, algbw or 0, busbw or 0, factor(n)))
                size *= 8
    return 0


if __name__ == "__main__":
    sys.exit(main())
