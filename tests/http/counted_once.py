#!/usr/bin/python3
"""What an account has in use is never counted twice, nor longer than it is in use: outputs that are being made count as what was
set aside for them, and whoever has been answered waits no more."""
import http.client
import json
import os
import subprocess
import sys
import tempfile
import threading

sys.path.append(os.path.dirname(os.path.dirname(os.path.abspath(__file__))))
from service import BUILD, Service

MIB = 1 << 20
WORLD = 8
JOBS = 12
WAITS = 6000

with tempfile.TemporaryDirectory() as here:
    tokens = os.path.join(here, "tokens")
    token = subprocess.check_output(
        [os.path.join(BUILD, "tutti-server"), "--token-file", tokens, "--new-token", "alice:user"], text=True).strip()
    with open(tokens) as f:
        line = f.read().strip()
    with open(tokens, "w") as f:
        f.write(line + " arena=200M waits=1\n")
    head = {"Authorization": "Bearer " + token}
    with Service(workers=WORLD, arena="256M", options=["--token-file", tokens]) as service:
        upload = service.post("/v1/tensors?dtype=uint8&shape=%d" % MIB, bytes(MIB), {**head, "Content-Type": "application/octet-stream"})
        assert upload.status == 201, upload

        # Each rank's output is its own, and on pages that nobody has touched: making them takes a while.
        seen, stop = set(), threading.Event()

        def look():
            while not stop.is_set():
                seen.add(service.get("/v1", head).json["account"]["arena"]["used"])

        looks = threading.Thread(target=look)
        looks.start()
        try:
            for _ in range(JOBS):
                got = service.post("/v1/jobs?wait=30", {"op": "all_to_all", "inputs": [{"tensor": upload.json["tensor"]}] * WORLD}, head)
                assert got.status == 200 and got.json["state"] == "succeeded", got
        finally:
            stop.set()
            looks.join()
        whole = {MIB + MIB * WORLD * done for done in range(JOBS + 1)}
        assert seen <= whole, sorted(seen - whole)

        # One place to wait, and connections of many threads: the answer is there when the place is free.
        connections = [http.client.HTTPConnection(service.host, service.port, timeout=60) for _ in range(8)]
        for i in range(WAITS):
            c = connections[i % len(connections)]
            c.request("POST", "/v1/jobs?wait=30", json.dumps({"op": "barrier", "group": [0]}),
                      {**head, "Content-Type": "application/json"})
            answer = c.getresponse()
            body = answer.read()
            assert answer.status == 200, (i, answer.status, body)
        for c in connections:
            c.close()
