#!/usr/bin/python3
"""69-stop-under-load.py [TIMES] - SIGTERM while clients come and go as fast as they can, and the HTTP threads are in the middle of something:
the server leaves with status 0 each time, and what it has acknowledged is there. Also when a connection that was open asks for something
to wait for at the last moment."""
import http.client
import signal
import sys
import threading
import time

from invariants import RESET, Ledger, row
from preload import preload
from service import Service

TIMES = int(sys.argv[1]) if len(sys.argv) > 1 else 5
CLIENTS = 8


def come_and_go(service, stop):
    while not stop.is_set():
        try:
            connection = http.client.HTTPConnection(service.host, service.port, timeout=10)
            connection.request("GET", "/healthz")
            connection.getresponse().read()
            connection.close()
        except RESET:
            pass


def asks_at_last(service):
    """After the last answer, while the HTTP threads are about to end; and what it asks for takes a while."""
    connection = http.client.HTTPConnection(service.host, service.port, timeout=10)
    connection.request("GET", "/healthz")
    connection.getresponse().read()
    service.process.send_signal(signal.SIGTERM)
    time.sleep(0.6)
    try:
        connection.request("POST", "/v1/groups", '{"name":"last","ranks":[0]}', {"Content-Type": "application/json"})
        connection.getresponse().read()
    except RESET:
        pass
    connection.close()


with row("F39"), Service(workers=2, failpoints="http.stop=sleep:1000,store.before_commit=sleep:700") as service:
    asks_at_last(service)
    status = service.process.wait(30)
    assert status == 0, "the server left with status %d on SIGTERM" % status
    service.process = None

with row("F39"), Service(workers=2, environment=preload("slow_epoll")) as service:
    ledger = Ledger(service)
    for n in range(TIMES):
        stop = threading.Event()
        clients = [threading.Thread(target=come_and_go, args=(service, stop)) for _ in range(CLIENTS)]
        for c in clients:
            c.start()
        try:
            assert ledger.sum(n=2, seed=n, key="k%d" % n, wait=20).status == 200
            service.stop()
        finally:
            stop.set()
            for c in clients:
                c.join()
        service.start()
    assert not [line for line in service.log().splitlines() if " info " not in line], service.log()
    ledger.close()
