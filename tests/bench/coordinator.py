#!/usr/bin/python3
"""coordinator.py [ROUNDS] - what a byte costs the server on its way to another host and back: seconds on a CPU for each
gigabyte, by thread, on which other programs have little say. One divided by it is the most that thread can move. A host is a
directory with an arena of its own, reached over the loopback."""
import os
import sys

import numpy as np

TESTS = os.path.dirname(os.path.dirname(os.path.abspath(__file__)))
sys.path[:0] = [os.path.join(TESTS, "load"), os.path.join(TESTS, "remote")]
from hosts import MIB, Hosts
from scale import threads_busy

ROUNDS = int(sys.argv[1]) if len(sys.argv) > 1 else 5
TENSOR = 64 * MIB


def spent(service, work):
    before = threads_busy(service.pid)
    moved = work()
    after = threads_busy(service.pid)
    return {name: (after[name] - before.get(name, 0)) / moved * 1e9 for name in after}


def show(what, rounds):
    """Medians, of the threads that had more than a hundredth of a second to do."""
    names = sorted({name for r in rounds for name in r})
    costs = {name: float(np.median([r.get(name, 0) for r in rounds])) for name in names}
    print("%-28s %s" % (what, ", ".join("%s %.2f s/GB" % (n, c) for n, c in costs.items() if c > 0.01)))


def main():
    x = np.arange(TENSOR // 4, dtype=np.float32)
    found = {"upload": [], "to a host and back": [], "download": []}
    with Hosts(workers=1, hosts=(2,), arena="1G", arena_size="512M") as service:
        service.all_up()
        for _ in range(ROUNDS):
            ids = []

            def upload():
                ids.extend(service.upload(x) for _ in range(4))
                return 4 * TENSOR

            def there_and_back():
                before = service.arena()
                for pair in (ids[:2], ids[2:]):
                    job = service.run("all_reduce_sum", pair, group=service.ranks[0])
                    assert job.json["state"] == "succeeded", job
                    results.append(job.json)
                after = service.arena()
                return sum(after[k] - before[k] for k in ("sent_bytes", "received_bytes"))

            def download():
                for job in results:
                    body = service.get("/v1/tensors/%s?format=raw" % job["outputs"][0]["tensor"]).body
                    assert (np.frombuffer(body, np.float32) == 2 * x).all()
                return 2 * TENSOR

            results = []
            for name, work in zip(found, (upload, there_and_back, download), strict=True):
                found[name].append(spent(service, work))
            for job in results:
                service.delete("/v1/jobs/" + job["id"])
            for i in ids:
                service.delete("/v1/tensors/" + i)
    for name, rounds in found.items():
        show(name, rounds)


if __name__ == "__main__":
    main()
