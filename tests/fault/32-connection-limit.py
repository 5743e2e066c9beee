#!/usr/bin/python3
"""At the connection limit new clients are told so: 503 with Retry-After, never silence; /healthz still answers, and when
the others leave everything works again. The limit follows the process's descriptors."""
import re
import socket

from invariants import Ledger
from service import Service, until

REQUEST = b"GET %s HTTP/1.1\r\nHost: 127.0.0.1\r\nConnection: close\r\n\r\n"


def ask(service, path):
    s = service.socket(10)
    try:
        s.sendall(REQUEST % path)
        answer = b""
        while piece := s.recv(65536):
            answer += piece
    finally:
        s.close()
    return answer


with Service(workers=2, descriptors=256) as service:
    ledger = Ledger(service)
    ledger.sum(n=2, wait=20)
    idle = []
    while True:
        answer = ask(service, b"/v1")
        if not answer.startswith(b"HTTP/1.1 200 "):
            break
        idle.append(service.socket())
        assert len(idle) < 256, "there should be a limit"
    assert len(idle) > 50, "only %d connections" % len(idle)
    assert answer.startswith(b"HTTP/1.1 503 "), answer
    assert re.search(rb"(?i)\r\nretry-after: *\d+", answer) and b'"code":"overloaded"' in answer, answer
    assert ask(service, b"/healthz").startswith(b"HTTP/1.1 200 ")
    for s in idle:
        s.close()
    until(lambda: ask(service, b"/v1").startswith(b"HTTP/1.1 200 "), 5)
    assert ledger.sum(n=2, seed=1, wait=20).status == 200
    ledger.close()
