#!/usr/bin/python3
"""bodies.py [ROUNDS] - large bodies through HTTP, in turns: a stacked .npy up, its job, a stacked .npy down, beside a bare
libmicrohttpd and nginx that move the same bytes, over TCP and the Unix socket; the server's CPU time for it; and a JSON tensor beside
jansson's tree of it. Writes BUILD/bench-bodies.json."""
import contextlib
import json
import os
import subprocess
import sys
import tempfile
import time

import numpy as np

sys.path[:0] = [os.path.dirname(os.path.abspath(__file__))]
from nginx import Nginx
from tools import MIB, PROGRAMS, Bare, Figures, load
from service import Service, until

RANKS = 4
LARGE = 64 * MIB  # bytes of a rank
JSON_FLOATS = 1000000
NPY = ("-H", "Content-Type: application/x-npy", "-H", "Accept: application/x-npy")
JSON = ("-H", "Content-Type: application/json")


def write_stacks(folder):
    """The inputs as one stacked .npy, in whole numbers so that every sum is exact; and what must come back."""
    x = np.arange(LARGE // 4, dtype=np.float32) % 251
    stack = np.stack([x + r for r in range(RANKS)])
    sent, back = os.path.join(folder, "sent.npy"), os.path.join(folder, "back.npy")
    np.save(sent, stack)
    np.save(back, np.broadcast_to(stack.sum(axis=0), stack.shape))
    return sent, back


def cpu_seconds(pid):
    """What all threads of a process have used: its CPU clock (clock_getcpuclockid(3))."""
    return time.clock_gettime((~pid << 3) | 2)


@contextlib.contextmanager
def cpu_of(pid, found):
    begun = cpu_seconds(pid)
    yield
    found.append(cpu_seconds(pid) - begun)


def large(service, bare, nginx, sent, back, figures):
    size = os.path.getsize(sent)
    both = 2 * size / 1e9
    cpu = []
    with cpu_of(bare.process.pid, cpu):
        up = load(bare.port, "PUT", "/copy", "-b", sent, "-s", 204)["seconds"]
        down = load(bare.port, "GET", "/bytes/%d" % size, "-f", sent)["seconds"]
    nginx_up = load(nginx.port, "PUT", "/up/x", "-b", sent, "-s", 201)["seconds"]
    os.unlink(os.path.join(nginx.folder, "up", "x"))
    nginx_down = load(nginx.port, "GET", "/down/sent.npy", "-f", sent)["seconds"]
    with cpu_of(service.pid, cpu):
        tcp = load(service.port, "POST", "/v1/jobs?op=all_reduce_sum&wait=60", "-b", sent, "-f", back, *NPY)["seconds"]
    settled(service)
    unix = load(0, "POST", "/v1/jobs?op=all_reduce_sum&wait=60", "-b", sent, "-f", back, *NPY, host=service.unix)["seconds"]
    settled(service)
    figures.add("bare upload", both / 2 / up, "GB/s", "high", table="http")
    figures.add("bare download", both / 2 / down, "GB/s", "high", table="http")
    figures.add("nginx upload", both / 2 / nginx_up, "GB/s", "high", up / nginx_up, "bare upload", table="http")
    figures.add("nginx download", both / 2 / nginx_down, "GB/s", "high", down / nginx_down, "bare download", table="http")
    figures.add("4 x 64 MiB npy over TCP", both / tcp, "GB/s", "high", (up + down) / tcp, "bare upload + download", 0.85, "http")
    figures.add("4 x 64 MiB npy over the Unix socket", both / unix, "GB/s", "high", tcp / unix, "TCP", 1.3, "http")
    figures.add("server's CPU for bytes through HTTP", cpu[1] / both, "s/GB", "low", cpu[1] / cpu[0], "bare", 1.2, "http")


def settled(service):
    until(lambda: service.arena_used() == 0)


def write_json(folder):
    """A tensor as JSON, with the digits that a float32 needs."""
    x = np.random.default_rng(8).standard_normal(JSON_FLOATS).astype(np.float32)
    path = os.path.join(folder, "tensor.json")
    with open(path, "w") as f:
        json.dump({"dtype": "float32", "data": [float(str(v)) for v in x]}, f)
    return path


def json_tensor(service, path, figures):
    done = subprocess.run([os.path.join(PROGRAMS, "jansson_tree"), path, "data"], capture_output=True, text=True, timeout=100, check=True)
    tree = json.loads(done.stdout)
    up = load(service.port, "POST", "/v1/tensors", "-b", path, "-s", 201, *JSON)["seconds"]
    with open(path) as f:
        tensor = service.post("/v1/tensors", f.read(), {"Content-Type": "application/json"}).json["tensor"]
    body = path + ".job"
    with open(body, "w") as f:
        json.dump({"op": "all_reduce_sum", "group": [0], "inputs": [{"tensor": tensor}]}, f)
    got = load(service.port, "POST", "/v1/jobs?wait=60&data=1", "-b", body, *JSON)
    assert got["received_bytes"] > 8 * JSON_FLOATS, got  # its data is in it
    down = got["seconds"]
    assert service.delete("/v1/tensors/" + tensor).status == 204
    settled(service)
    figures.add("jansson: text to floats", tree["parse_s"] * 1e3, "ms", "low", table="json")
    figures.add("jansson: floats to text", tree["write_s"] * 1e3, "ms", "low", table="json")
    figures.add("JSON tensor of 10^6 floats in", up * 1e3, "ms", "low", up / tree["parse_s"], "jansson's tree", 0.3, "json")
    figures.add("JSON tensor of 10^6 floats out", down * 1e3, "ms", "low", down / tree["write_s"], "jansson's tree", 0.3, "json")


def main():
    rounds = int(sys.argv[1]) if len(sys.argv) > 1 else 7
    figures = Figures()
    shm = "/dev/shm" if os.access("/dev/shm", os.W_OK) else None
    with tempfile.TemporaryDirectory(prefix="tutti-bench-", dir=shm) as folder:
        sent, back = write_stacks(folder)
        text = write_json(folder)
        with Bare(RANKS * LARGE + MIB) as bare, Nginx(folder) as nginx, \
                Service(workers=RANKS, arena="%d" % (LARGE * RANKS * 4), options=["--log-level", "warn", "--retain", "1"]) as service:
            service.unix = service.get("/v1").json["unix_socket"]
            for i in range(rounds + 1):
                large(service, bare, nginx, sent, back, figures if i else Figures())  # the first use of a page is slower
                json_tensor(service, text, figures if i else Figures())
    figures.print_table("http", "%d ranks x %d MiB float32 as .npy, through HTTP" % (RANKS, LARGE // MIB))
    figures.print_table("json", "10^6 floats as JSON; tutti's with HTTP, jansson's in one process")
    figures.write_part("bodies")


if __name__ == "__main__":
    main()
