#!/usr/bin/python3
"""The thread that looks for slow clients is itself late, and clients are answered meanwhile: none of them is taken for one
that has been silent for ages."""
import http.client
import time

from invariants import Ledger
from service import Service

LOOKS = 6  # one a second, each late by most of it

with Service(workers=2, failpoints="http.reap=sleep:900") as service:
    ledger = Ledger(service)
    ledger.sum(n=2, wait=20)
    kept = [http.client.HTTPConnection(service.host, service.port, timeout=10) for _ in range(8)]
    until, asked = time.monotonic() + LOOKS, 0
    while time.monotonic() < until:
        for connection in kept:
            connection.request("GET", "/healthz")
            answer = connection.getresponse()
            answer.read()
            assert answer.status == 200, answer.status
            asked += 1
    print("%d requests on %d connections" % (asked, len(kept)))
    for connection in kept:
        connection.close()
    ledger.close()
