#!/usr/bin/python3
"""At the connection limit new clients are told so: 503 with Retry-After, never silence; /healthz still answers, and when
the others leave everything works again. The limit follows the process's descriptors."""
import re
import socket
import time

from invariants import Ledger, row
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


def fill(service, occupy):
    """Until there is no more room; then what clients are told. Gives the connections."""
    held, refused = [], 0
    while refused < 3:  # once may be because of who was answered before, and is leaving
        answer = ask(service, b"/v1")
        one = occupy(service) if answer.startswith(b"HTTP/1.1 200 ") else None
        if one:  # else there is no room, or who asked is still leaving and has the last place
            held.append(one)
            refused = 0
        else:
            refused += 1
            time.sleep(0.05)
        assert len(held) < 256, "there should be a limit"
    answer = ask(service, b"/v1")
    assert len(held) > 50, "only %d connections" % len(held)
    assert answer.startswith(b"HTTP/1.1 503 "), answer
    assert re.search(rb"(?i)\r\nretry-after: *\d+", answer) and b'"code":"overloaded"' in answer, answer
    for _ in range(3):
        assert ask(service, b"/healthz").startswith(b"HTTP/1.1 200 ")
        assert ask(service, b"/v1/jobs").startswith(b"HTTP/1.1 503 ")
    return held


def fresh(service):
    return service.socket()


def kept(service):
    """A connection that was answered, and is kept for the next request; None: there was no room for it."""
    s = service.socket(10)
    s.sendall(b"GET /v1/workers HTTP/1.1\r\nHost: 127.0.0.1\r\n\r\n")
    answer = s.recv(65536)
    if answer.startswith(b"HTTP/1.1 503 "):
        s.close()
        return None
    assert answer.startswith(b"HTTP/1.1 200 "), answer
    return s


def leave(service, held):
    for s in held:
        s.close()
    until(lambda: ask(service, b"/v1").startswith(b"HTTP/1.1 200 "), 5)


with Service(workers=2, descriptors=256) as service:
    ledger = Ledger(service)
    ledger.sum(n=2, wait=20)
    with row("F34"):
        leave(service, fill(service, fresh))
    with row("F51"):
        held = fill(service, kept)
        held[0].sendall(b"GET /v1 HTTP/1.1\r\nHost: 127.0.0.1\r\n\r\n")
        assert held[0].recv(65536).startswith(b"HTTP/1.1 200 "), "who was there first is served"
        leave(service, held)
        assert ledger.sum(n=2, seed=1, wait=20).status == 200
        ledger.close()
