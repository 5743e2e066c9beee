#!/usr/bin/python3
"""bad_input.py - sends every case of bad_input_cases.py to one server, over raw sockets, and looks at the answer, at
what it gives away, at the next request, and in the end at the server's memory and arena."""
import json
import os
import re
import socket
import subprocess
import sys
import threading

sys.path[:0] = [os.path.dirname(os.path.dirname(os.path.abspath(__file__)))]
from bad_input_cases import CASES, ELSEWHERE
from recorded import record
from service import ROOT, SANITIZED, Service, until

ROWS = range(1, 127)
ANSWER_S = 40
# What no problem document says, whatever went wrong: an address, a process, a place of the system or of the source,
# a nonce or a unique id, an errno or a library by name.
INTERNAL = re.compile(r"0x[0-9a-f]{6,}|\b(pid|process|thread)\b[ =:#]*\d+|/(dev|proc|tmp|var|usr|home|root|sys)/|\.(c|h|cc):\d+|"
                      r"\b[0-9a-f]{32,}\b|\berrno\b|\bE[A-Z]{3,}\b|(?i:sqlite|libmicrohttpd|nccl|cuda)|simgpu-")
GROWTH_BYTES = 8 << 20


class Conversation:
    """Sends bytes on a connection of its own and reads one answer."""

    def __init__(self, service, data, end):
        self.raw, self.closed = b"", False
        self.socket = service.socket(ANSWER_S)
        sender = threading.Thread(target=self.send, args=(data, end), daemon=True)
        sender.start()
        try:
            if end != "gone":
                self.read(end)
        finally:
            sender.join(ANSWER_S)
            self.socket.close()

    def send(self, data, end):
        try:
            self.socket.sendall(data)
            if end == "half":
                self.socket.shutdown(socket.SHUT_WR)
        except OSError:
            pass  # refused while sending: the answer is what counts

    def read(self, end):
        """One whole answer, or up to the end of the stream."""
        while not self.whole() or end == "rest":
            try:
                piece = self.socket.recv(1 << 20)
            except ConnectionResetError:
                piece = b""
            if not piece:
                self.closed = True
                return
            self.raw += piece

    def whole(self):
        head, found, body = self.raw.partition(b"\r\n\r\n")
        if not found:
            return False
        if head.startswith(b"HTTP/1.1 100"):
            self.raw = body
            self.continued = True
            return self.whole()
        length = re.search(rb"(?im)^content-length: *(\d+)", head)
        return bool(length) and len(body) >= int(length.group(1))

    def ends(self):
        """Does the server close the connection after its answer?"""
        return self.closed or re.search(rb"(?im)^connection: *close", self.raw.partition(b"\r\n\r\n")[0])


class Driver:
    def __init__(self, service):
        self.service, self.failures, self.lock, self.tensors = service, [], threading.Lock(), []
        self.secrets = [service.arena_dir, service.data_dir, "/dev/shm", "0x7f"]

    def prepare(self):
        """What cases name: a tensor, one of bfloat16, a finished job."""
        def made(answer):
            assert answer.status in (200, 201), answer
            return answer.json

        service = self.service
        self.names = {
            b"TENSOR": made(service.post("/v1/tensors", [1, 2, 3, 4, 5, 6]))["tensor"],
            b"BF16": made(service.post("/v1/tensors?dtype=bfloat16", [1, 2]))["tensor"],
            b"JOB": made(service.post("/v1/jobs?wait=10", {"op": "all_reduce_sum", "inputs": [1, 2, 3, 4]}))["id"],
            b"HOST": "%s:%d" % (service.host, service.port)}
        self.tensors += [self.names[b"TENSOR"], self.names[b"BF16"]]

    def bytes_of(self, send):
        data = send() if callable(send) else send
        if len(data) > 100000:  # names stand in small requests only, but for the Host
            head, found, body = data.partition(b"\r\n\r\n")
            return head.replace(b"HOST", self.names[b"HOST"].encode()) + found + body
        before = data
        for name, text in self.names.items():
            data = data.replace(name, text.encode())
        grown = len(data.partition(b"\r\n\r\n")[2]) - len(before.partition(b"\r\n\r\n")[2])
        if grown:
            data = re.sub(rb"Content-Length: (\d+)", lambda m: b"Content-Length: %d" % (int(m.group(1)) + grown), data, 1)
        return data

    def run(self, case):
        try:
            if case.setup:
                Conversation(self.service, self.bytes_of(case.setup), "")
            talk = Conversation(self.service, self.bytes_of(case.send), case.end)
            self.check(case, talk)
            if not case.slow:
                self.next_request()
        except Exception as e:
            with self.lock:
                self.failures.append(case)
                print("row %d, %s: %s" % (case.row, case.name, str(e)[:700] or repr(e)))

    def check(self, case, talk):
        if case.end == "gone":
            return
        if not talk.raw:
            assert case.status == "closed" and talk.closed, "the connection ended without an answer"
            return
        head, _, body = talk.raw.partition(b"\r\n\r\n")
        status = int(head.split()[1])
        assert status == case.status, "status %d, should be %s: %s" % (status, case.status, body[:500].decode(errors="replace"))
        headers = {k.lower(): v.strip() for k, _, v in (line.partition(":") for line in head.decode("latin-1").split("\r\n")[1:])}
        assert "access-control-allow-origin" not in headers, "a CORS header"
        assert not case.close or talk.ends(), "the connection should end"
        assert not case.header or case.header.lower() in headers, "no %s" % case.header
        if status == 201:
            self.tensors += re.findall(rb'"(t_[0-9A-Z]{26})"', body)
        if case.end == "rest":
            rest = body[int(headers["content-length"]):]
            assert re.match(rb"HTTP/1\.[01] 400 ", rest), "what follows should be a 400: %r" % rest[:60]
            return
        if not case.html:
            keep(case, self.bytes_of(case.send), status, headers, body)
            self.check_document(case, status, headers, body)

    def check_document(self, case, status, headers, body):
        if "HEAD " == bytes(self.bytes_of(case.send)[:5]).decode("latin-1"):
            return
        if status >= 400:
            assert headers.get("content-type") == "application/problem+json", headers.get("content-type")
            problem = json.loads(body)
            assert problem["code"] == case.code, "code %s, should be %s: %s" % (problem["code"], case.code, problem["detail"])
            assert problem["status"] == status and problem["title"] and problem["type"], problem
            assert len(problem["detail"]) > 8, problem
            assert len(problem["detail"]) < 600, problem
            # What was sent may come back, and does: it is no secret.
            said = [m.group() for m in INTERNAL.finditer(body.decode())]
            told = [text for text in said if text.encode() not in self.bytes_of(case.send)]
            assert not told, "gives away %s: %s" % (told, problem)
            assert status not in (429, 503) or "retry-after" in headers, "no Retry-After"
        text = body.decode() if "json" in headers["content-type"] else ""  # strictly: it must be UTF-8
        said = text.replace('\\"', '"')
        assert not case.says or re.search(case.says, said), "should say %s: %s" % (case.says, text[:500])
        for secret in self.secrets:
            given_away = secret in text and secret.encode() not in self.bytes_of(case.send)
            assert not given_away, "gives away %s: %s" % (secret, text[:500])
        assert not re.search(r'[\x00-\x1f\x7f]', text.replace("\n", "")) or headers.get("content-type") != "application/problem+json", "control characters"

    def next_request(self):
        talk = Conversation(self.service, self.bytes_of(b"GET /v1 HTTP/1.1\r\nHost: HOST\r\nConnection: close\r\n\r\n"), "")
        assert talk.raw.startswith(b"HTTP/1.1 200 "), "the next request fails: %r" % talk.raw[:200]


def keep(case, sent, status, headers, body):
    """The exchange, for tests/http/answers.py."""
    lines = sent.partition(b"\r\n\r\n")[0].decode("latin-1").split("\r\n")
    method, _, rest = lines[0].partition(" ")
    asked = [tuple(text.strip() for text in line.split(":", 1)) for line in lines[1:] if ":" in line]
    record(method, rest.rpartition(" ")[0], asked, None, status, list(headers.items()), body, case.code)


def settled(service, tensors):
    """Deletes what the cases made; is the arena empty then?"""
    while tensors:
        name = tensors.pop()
        service.delete("/v1/tensors/" + (name if isinstance(name, str) else name.decode()))
    while True:
        jobs = service.get("/v1/jobs?limit=500").json["jobs"]
        if not jobs:
            break
        for job in jobs:
            if job["state"] in ("queued", "running"):
                service.post("/v1/jobs/%s/cancel" % job["id"], "")
            answer = service.delete("/v1/jobs/" + job["id"])
            assert answer.status in (204, 404, 409), answer
    return service.arena_used() == 0


def rows_without_a_case():
    covered = {case.row for case in CASES}
    for row, path in ELSEWHERE.items():
        assert os.path.exists(os.path.join(ROOT, path)), path
        covered.add(row)
    return sorted(set(ROWS) - covered)


def passes(path):
    """Does the test of the rows that are tested elsewhere?"""
    return subprocess.run([os.path.join(ROOT, path)], stdout=subprocess.DEVNULL, stderr=subprocess.DEVNULL,
                          timeout=300, check=False).returncode == 0


def print_table(failed, extra):
    """A line a row of the matrix: its number, its result, its cases or its test."""
    elsewhere = {path: passes(path) for path in sorted(set(ELSEWHERE.values()))}
    good = 0
    for row in ROWS:
        names = [case.name for case in CASES if case.row == row]
        paths = [ELSEWHERE[row]] if row in ELSEWHERE else []
        ok = row not in failed and all(elsewhere[path] for path in paths)
        good += ok
        print("%3d %-6s %s" % (row, "ok" if ok else "FAILED", "; ".join(names + paths)))
    print("%d of %d rows" % (good, len(ROWS)))
    print("%d passed, %d failed" % (good, len(ROWS) - good + extra))
    return 1 if good < len(ROWS) or extra else 0


def main():
    table = sys.argv[1:] == ["--table"]
    only = set() if table else set(map(int, sys.argv[1:]))
    cases = [c for c in CASES if not only or c.row in only]
    missing = rows_without_a_case()
    assert not missing, "matrix rows without a case: %s" % missing

    with Service(workers=4, arena="64M") as service:
        driver = Driver(service)
        driver.prepare()
        driver.next_request()
        rss = service.rss_bytes()
        slow = [threading.Thread(target=driver.run, args=(c,)) for c in cases if c.slow]
        for thread in slow:
            thread.start()
        for case in cases:
            if not case.slow:
                driver.run(case)
        for thread in slow:
            thread.join()
        growth = service.rss_bytes() - rss
        print("resident memory grew by %d KiB" % (growth // 1024))
        extra = 0
        if not SANITIZED and growth > GROWTH_BYTES:
            print("resident memory grew by more than %d MiB" % (GROWTH_BYTES >> 20))
            extra += 1
        try:
            until(lambda: settled(service, driver.tensors), 20, 0.2)
        except AssertionError:
            print("the arena still holds %s" % service.metrics()["arena"])
            extra += 1
    failed = len(driver.failures) + extra
    print("NOTE %d cases of %d rows, grew %d KiB" % (len(cases), len({c.row for c in cases}), growth // 1024))
    if table:
        return print_table({case.row for case in driver.failures}, extra)
    print("CASES %d %d" % (len(cases) + 3 - failed, failed))
    return 1 if failed else 0


if __name__ == "__main__":
    sys.exit(main())
