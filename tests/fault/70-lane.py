#!/usr/bin/python3
"""Memory that a client shares: a client that is killed leaves its job to end and its memory to come back; a worker that is killed
maps the regions again, and the job is run again; a server that is killed forgets them, and says so of what lay there."""
import datetime
import os
import signal
import subprocess
import sys
import time

import numpy as np

from invariants import Ledger
from lane import Lane
from service import Service, until

MIB = 1 << 20
RANKS = 4
MAPS = "memfd:tutti-"

# A client of its own: it opens regions, says which, and waits to be killed.
CLIENT = """
import sys
sys.path.insert(0, %r)
from lane import Lane
import numpy as np
lane = Lane(sys.argv[1])
inputs, results = lane.inputs(4 << 20), lane.results(4 << 20)
inputs.put(np.arange(1024, dtype=np.int32))
print(inputs.id, results.id, flush=True)
sys.stdin.read()
""" % os.path.dirname(os.path.dirname(os.path.abspath(__file__)))


def maps(pid):
    with open("/proc/%d/maps" % pid) as f:
        return sum(MAPS in line for line in f)


def job_of(id_inputs, id_results):
    place = {"region": id_inputs, "dtype": "int32", "shape": [1024]}
    return {"op": "all_reduce_sum", "inputs": [place] * RANKS, "results": id_results}


def all_of(service):
    return [service.pid] + service.worker_pids()


def client_killed():
    """In the middle of its job: the job ends well, and then nothing of the regions is left, anywhere."""
    with Service(workers=RANKS, failpoints="worker.mid_run=sleep:600@1") as service:
        ledger = Ledger(service)
        client = subprocess.Popen([sys.executable, "-c", CLIENT, service.get("/v1").json["lane"]], stdin=subprocess.PIPE, stdout=subprocess.PIPE, text=True)
        inputs, results = client.stdout.readline().split()
        job = service.post("/v1/jobs", job_of(inputs, results)).json["id"]
        until(lambda: service.get("/v1/jobs/" + job).json["state"] == "running")
        client.send_signal(signal.SIGKILL)
        client.wait()
        client.stdin.close()
        client.stdout.close()
        more = []  # before the server hears of it
        until(lambda: more.append(service.post("/v1/jobs", job_of(inputs, results))) or more[-1].status == 404)
        done = service.get("/v1/jobs/%s?wait=30&data=1" % job).json
        assert done["outputs"][RANKS - 1]["data"] == (np.arange(1024) * RANKS).tolist(), done["state"]
        for answer in more[:-1]:
            service.get("/v1/jobs/%s?wait=30" % answer.json["id"])
            assert service.delete("/v1/jobs/" + answer.json["id"]).status == 204
        until(lambda: service.metrics()["lane"]["regions"] == 1)  # of the results, until they are deleted, or a minute is over
        left = service.get("/v1/tensors/%s?meta=1" % done["outputs"][0]["tensor"]).json["expires_at"]
        assert datetime.datetime.fromisoformat(left.replace("Z", "+00:00")).timestamp() < time.time() + 61, left
        assert service.delete("/v1/jobs/" + job).status == 204
        until(lambda: service.metrics()["lane"] == {"size_bytes": 32 * MIB, "used_bytes": 0, "regions": 0})
        until(lambda: not any(map(maps, all_of(service))))
        ledger.sum()
        ledger.close()


def worker_killed():
    with Service(workers=RANKS, failpoints="worker.mid_run=sleep:400@1") as service, Lane(service.get("/v1").json["lane"]) as lane:
        ledger = Ledger(service)
        inputs, results = lane.inputs(2 * MIB), lane.results(2 * MIB)
        inputs.put(np.arange(1024, dtype=np.int32))
        job = service.post("/v1/jobs", job_of(inputs.id, results.id)).json["id"]
        until(lambda: service.get("/v1/jobs/" + job).json["state"] == "running")
        os.kill(service.worker_pids()[1], signal.SIGKILL)
        done = service.get("/v1/jobs/%s?wait=60" % job).json
        assert done["state"] == "succeeded" and done["attempts"] == 2, done
        offset = done["outputs"][0]["offset"]
        assert (results.array("int32", [1024], offset) == np.arange(1024) * RANKS).all()
        until(ledger.all_ready)
        assert all(maps(pid) == 2 for pid in all_of(service)), [maps(pid) for pid in all_of(service)]
        assert service.delete("/v1/jobs/" + job).status == 204
        lane.close()
        until(lambda: not any(map(maps, all_of(service))))
        service.hang_up()
        ledger.sum()
        ledger.close()


def server_killed():
    """What lay in regions is gone, and is not taken for something else; what did not is there."""
    with Service(workers=RANKS) as service:
        lane = Lane(service.get("/v1").json["lane"])
        ledger = Ledger(service)
        inputs, results = lane.inputs(2 * MIB), lane.results(2 * MIB)
        inputs.put(np.arange(1024, dtype=np.int32))
        ask = job_of(inputs.id, results.id)
        done = service.post("/v1/jobs?wait=10", ask).json
        views = service.post("/v1/jobs?wait=10", {**ask, "op": "scatter"}).json
        assert views["outputs"][3]["offset"] > 0
        upload = service.post("/v1/tensors", ask["inputs"][0]).json["tensor"]
        kept = ledger.keep(upload)
        service.kill()
        service.start(failpoints="worker.mid_run=sleep:3000@1")
        lane.close()
        for tensor in (done["outputs"][0]["tensor"], views["outputs"][3]["tensor"]):
            answer = service.get("/v1/tensors/%s?format=raw" % tensor)
            assert answer.status == 410 and answer.json["code"] == "tensor_lost", answer
        assert ledger.checksum(kept) == ledger.sums[kept]
        assert service.post("/v1/jobs", ask).status == 404
        # One that had not finished.
        lane = Lane(service.get("/v1").json["lane"])
        inputs, results = lane.inputs(2 * MIB), lane.results(2 * MIB)
        running = service.post("/v1/jobs", job_of(inputs.id, results.id)).json["id"]
        # Its inputs survive where only the results were to lie in a region: then they lie in the arena.
        other = service.post("/v1/jobs", {"op": "all_reduce_sum", "inputs": [{"tensor": upload}] * RANKS, "results": results.id}).json["id"]
        service.kill()
        lane.close()
        service.start(failpoints="")
        lost = service.get("/v1/jobs/%s?wait=10" % running).json
        assert lost["state"] == "failed" and lost["error"]["code"] == "inputs_lost", lost
        saved = service.get("/v1/jobs/%s?wait=30&data=1" % other).json
        assert saved["outputs"][0]["data"] == (np.arange(1024) * RANKS).tolist() and "region" not in saved["outputs"][0], saved["state"]
        for job in service.get("/v1/jobs").json["jobs"]:
            assert service.delete("/v1/jobs/" + job["id"]).status == 204
        ledger.sum()
        ledger.close()


client_killed()
worker_killed()
server_killed()
