"""door.py - how the soak's clients ask: a connection a thread, to wherever the server is now; every wait is bounded."""
import http.client
import json
import socket
import struct
import sys
import os
import time

sys.path[:0] = [os.path.join(os.path.dirname(os.path.dirname(os.path.abspath(__file__))), name)
                for name in ("", "conformance", "fault")]
from service import SANITIZED, Answer

HEADERS = {}  # what every request carries
RESET = (ConnectionError, http.client.HTTPException, OSError)
SLOWER = 4 if SANITIZED else 1
BOUND_S = 15 * SLOWER   # past a request's own wait: stops of the server, and a machine that is busy
DOWN_S = 60 * SLOWER    # a start takes no longer, whatever killed the last one
END_S = 120 * SLOWER    # from its acknowledgement to the end of a job, over all restarts
LATER = (429, 503, 507)


class Finding(Exception):
    """Something that must not be: lost, wrong, duplicated, hung or other."""

    def __init__(self, kind, text):
        super().__init__("%s: %s" % (kind, text))
        self.kind, self.text = kind, text


def code_of(answer):
    try:
        return answer.json.get("code", str(answer.status))
    except (ValueError, AttributeError):
        return str(answer.status)


class Door:
    def __init__(self, stage):
        self.stage, self.connection, self.epoch = stage, None, 0

    def close(self):
        if self.connection:
            self.connection.close()
        self.connection = None

    def port(self):
        """Where it is, once it is up again."""
        end = time.monotonic() + DOWN_S
        while not self.stage.port.value:
            if time.monotonic() > end or self.stage.dead.value:
                raise Finding("hung", "the server was not back" + (" within %d s" % DOWN_S if not self.stage.dead.value else ""))
            time.sleep(0.01)
        return self.stage.port.value

    def fresh(self, timeout=BOUND_S):
        """A connection of its own; raises one of RESET."""
        connection = http.client.HTTPConnection("127.0.0.1", self.port(), timeout=timeout)
        connection.connect()
        if connection.sock.getsockname() == connection.sock.getpeername():
            connection.close()  # of a port that nobody listens on, with itself
            raise ConnectionRefusedError
        return connection

    def ask(self, method, path, body=None, headers=None, wait=0):
        """The answer, or None: it is not known whether the server heard."""
        begun = time.monotonic()
        try:
            if self.epoch != self.stage.epoch.value:
                self.close()  # to a server of before
            if self.connection is None:
                self.epoch = self.stage.epoch.value
                self.connection = self.fresh()
                begun = time.monotonic()  # it may have been down until now
            self.connection.sock.settimeout(wait + BOUND_S)
            try:
                self.connection.request(method, path, body, {**HEADERS, **(headers or {})})
            except (BrokenPipeError, ConnectionResetError):
                pass  # refused before the body, or gone: the answer tells
            got = self.connection.getresponse()
            answer = Answer(got.status, {k.lower(): v for k, v in got.getheaders()}, got.read())
            if got.will_close:
                self.close()
        except TimeoutError:
            self.close()
            raise Finding("hung", "%s %s: no answer after %.1f s of a wait of %s s" %
                          (method, path, time.monotonic() - begun, wait)) from None
        except RESET:
            self.close()
            time.sleep(0.005)
            return None
        if time.monotonic() - begun > wait + BOUND_S:
            raise Finding("hung", "%s %s took %.1f s" % (method, path, time.monotonic() - begun))
        return answer

    def insist(self, method, path, body=None, headers=None, wait=0, seconds=END_S):
        """Asks until it is heard and not put off; for what may be said twice."""
        end = time.monotonic() + seconds
        while True:
            answer = self.ask(method, path, body, headers, wait)
            if answer is not None and answer.status not in LATER:
                return answer
            if time.monotonic() > end:
                raise Finding("hung", "%s %s: not heard within %d s, last %s" % (method, path, seconds, answer))
            if answer is not None:
                time.sleep(0.05)

    def stream(self, path, seconds, last=None):
        """(name, id, data) of server-sent events, until the stream ends; then (None, None, None) unless it was cut off."""
        end = time.monotonic() + seconds
        try:
            connection = self.fresh(1)
        except RESET:
            return
        try:
            connection.request("GET", path, headers={**HEADERS, **({"Last-Event-ID": last} if last else {})})
            answer = connection.getresponse()
            if answer.status != 200:
                return
            yield from self.events(answer, end)
        except RESET:
            pass  # cut off, or nothing for a second
        finally:
            connection.close()

    def events(self, answer, end):
        name = id_ = data = None
        while time.monotonic() < end:
            line = answer.readline().decode()
            if not line:
                if answer.isclosed() or answer.chunk_left is None:
                    yield None, None, None
                return
            word, _, rest = line.rstrip("\n").partition(": ")
            if word == "event":
                name = rest
            elif word == "id":
                id_ = rest
            elif word == "data":
                data = json.loads(rest)
            elif not line.strip() and name:
                yield name, id_, data
                name = id_ = data = None

    def rude(self, method, path, body, headers, sent, seconds):
        """Sends a part of a request, or all of it, and is gone with a reset."""
        head = "".join("%s: %s\r\n" % i for i in {**HEADERS, **headers, "Content-Length": len(body)}.items())
        text = ("%s %s HTTP/1.1\r\nHost: 127.0.0.1\r\n%s\r\n" % (method, path, head)).encode() + body
        try:
            s = socket.create_connection(("127.0.0.1", self.port()), 5)
            s.setsockopt(socket.SOL_SOCKET, socket.SO_LINGER, struct.pack("ii", 1, 0))
            s.settimeout(5)
            try:
                s.sendall(text[:max(1, int(sent * len(text)))])
                time.sleep(seconds)
            finally:
                s.close()
        except OSError:
            pass
