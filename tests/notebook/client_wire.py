#!/usr/bin/python3
"""client_wire.py - the client on a bad line: answers that never come, a service that says later or is killed and started
again, connections that were closed meanwhile. Each job runs once. Threads and forks; a token and a path before a proxy;
redirects, strangers, and Ctrl-C, which cancels."""
import concurrent.futures
import json
import os
import re
import select
import signal
import socket
import subprocess
import sys
import tempfile
import threading
import time

import numpy as np

from tools import HERE, OwnHandler, OwnServer, raises, run_facts, tutti, url_of
from service import BUILD, Service, until


class Line:
    """A TCP proxy before the service. `drop_answers` of its next connections end when an answer begins; `cut` of them
    after so many bytes of a request."""
    answered = 0  # bytes

    def __init__(self, service):
        self.to = (service.host, service.port)
        self.listener = socket.create_server(("127.0.0.1", 0))
        self.url = "http://127.0.0.1:%d" % self.listener.getsockname()[1]
        self.drop_answers, self.cut_answer_at, self.connections, self.lock = 0, None, 0, threading.Lock()
        threading.Thread(target=self.accept, daemon=True).start()

    def accept(self):
        while True:
            try:
                client, _ = self.listener.accept()
            except OSError:
                return
            self.connections += 1
            threading.Thread(target=self.serve, args=(client,), daemon=True).start()

    def serve(self, client):
        with client, socket.create_connection(self.to) as server:
            passed = 0
            while True:
                for ready in select.select([client, server], [], [], 60)[0]:
                    data = ready.recv(1 << 16)
                    if not data:
                        return
                    if ready is client:
                        server.sendall(data)
                        passed = 0
                        continue
                    with self.lock:
                        dropped = self.drop_answers > 0
                        self.drop_answers -= dropped
                    if dropped:
                        return
                    if self.cut_answer_at is not None and passed + len(data) > self.cut_answer_at:
                        client.sendall(data[:self.cut_answer_at - passed])
                        self.cut_answer_at = None
                        return
                    passed += len(data)
                    self.answered += len(data)
                    client.sendall(data)

    def close(self):
        self.listener.close()


class Scripted(OwnServer):
    """An HTTP server that answers what it is told, one after the other, and what `then` gives for the rest."""

    def __init__(self, *answers, then=None):
        outer = self

        class Handler(OwnHandler):
            def answer(self):
                body = self.rfile.read(int(self.headers.get("Content-Length") or 0))
                outer.seen.append((self.command, self.path, dict(self.headers), body))
                status, headers, text = outer.answers.pop(0) if outer.answers else then(self.command, self.path, self.headers, body)
                self.send_response(status)
                for name, value in headers.items():
                    self.send_header(name, value)
                self.send_header("Content-Length", str(len(text)))
                self.end_headers()
                self.wfile.write(text)

            do_GET = do_POST = do_PUT = do_DELETE = answer

        self.answers, self.seen = list(answers), []
        super().__init__(Handler)


def forward(service, prefix):
    """A reverse proxy under a path."""
    def then(method, path, headers, body):
        assert path.startswith(prefix + "/"), path
        keep = {k: v for k, v in headers.items() if k.lower() not in ("host", "connection", "content-length")}
        answer = service.request(method, path[len(prefix):], body or None, keep)
        return answer.status, {k: v for k, v in answer.headers.items() if k not in ("content-length", "date", "connection")}, answer.body
    return then


def problem(status, code, **headers):
    return status, {"Content-Type": "application/problem+json", **headers}, json.dumps(
        {"type": "about:blank#" + code, "title": code, "status": status, "code": code, "detail": "by the test"}).encode()


def jobs_of(world, label):
    return [j.state for j in world.service.jobs(label=label)]


def test_what_all_ranks_share_crosses_once(service, world):
    line = Line(service)
    far = tutti.connect(line.url, progress=False, lane=False).world
    for count in (3000, 300000):  # in the answer to the request, and fetched by itself
        before = line.answered
        got = far.all_reduce_sum([np.full(count, r, "f4") for r in range(4)])
        assert 4 * count <= line.answered - before < 4 * count + 6000, line.answered - before
        got[0][:] = -1
        assert all((x == 6).all() and x.flags.writeable for x in got[1:]), "each rank's is its own"
    with far.batch() as b:
        many = [b.all_reduce_sum([np.ones(1000, "i4")] * 4) for _ in range(5)]
    before = line.answered
    assert many[4].outputs()[3].tolist() == [4] * 1000 and line.answered == before, "it has come with the batch"
    assert [x is None for x in far.reduce_max([np.ones(3)] * 4)] == [False, True, True, True]
    assert [x is None for x in far.remote_send(np.ones(3), 1, 3)] == [True, True, True, False]
    line.close()


def test_an_answer_that_is_lost_runs_nothing_twice(service, world):
    line = Line(service)
    far = tutti.connect(line.url).world
    for label, drops, inputs in (("one", 1, [1, 2, 3, 4]), ("three", 3, [1, 2, 3, 4]), ("large", 2, np.ones((4, 40000)))):
        line.drop_answers = drops
        got = far.all_reduce_sum(inputs, label=label)
        assert np.all(got[2] == np.sum(inputs, axis=0)), got
        assert line.drop_answers == 0 and jobs_of(world, label) == ["succeeded"], (label, jobs_of(world, label))
    line.drop_answers = 1
    with far.batch() as b:
        sums = [b.all_reduce_sum([i] * 4, label="batch") for i in range(3)]
    assert [s.outputs() for s in sums] == [[0] * 4, [4] * 4, [8] * 4] and len(jobs_of(world, "batch")) == 3
    line.drop_answers = 1
    assert far.all_reduce_sum([1] * 4).backward([1] * 4) == [4] * 4
    line.close()


def test_a_rank_whose_answer_is_lost_is_not_called_twice(service, world):
    line = Line(service)
    far = tutti.connect(line.url).world
    with concurrent.futures.ThreadPoolExecutor(4) as threads:
        for step in range(3):
            line.drop_answers = step
            got = list(threads.map(lambda r: (far if r == 2 else world).rank(r).all_reduce_sum(r + step), range(4)))
            assert got == [6 + 4 * step] * 4, got  # else the ranks were out of step from then on
        line.drop_answers = 1
        assert list(threads.map(lambda r: (far if r == 1 else world).rank(r).bcast(r or "x"), range(4))) == ["x"] * 4
    line.close()


def test_an_answer_that_ends_early(service, world):
    line = Line(service)
    far = tutti.connect(line.url, lane=False).world
    x = np.arange(4 << 20, dtype="f4")
    for at in (40, 100000):
        line.cut_answer_at = at
        got = far.broadcast(x, label="cut%d" % at)
        assert all(g.tobytes() == x.tobytes() for g in got) and line.cut_answer_at is None
        assert jobs_of(world, "cut%d" % at) == ["succeeded"]
    line.close()


def test_what_cannot_be_asked_twice_is_not(service, world):
    line = Line(service)
    far = tutti.connect(line.url).world
    world.kv["once"] = 1
    line.drop_answers = 1
    with raises(tutti.ConnectionFailed, "may have been done"):
        far.kv.take("once")
    line.drop_answers = 1
    with raises(tutti.ConnectionFailed):
        far.kv.set("once", 2, new=True)
    line.drop_answers = 1
    far.kv["plain"] = 3  # the same value a second time
    assert far.kv.pop("plain") == 3
    line.close()


def test_what_counts_as_sent(service, world):
    """Not what a connection that is gone refused: a Ctrl-C need not look for its job. But what a signal came right after."""
    wire = world.service._wire
    for count in (8, 1 << 20):
        here, there = socket.socketpair()
        there.close()
        request = tutti._Request("POST", "/v1/jobs", body=[bytes(count)])
        with here, raises(Exception):
            wire.send(here, request)
        assert not request.sent, count

        class Interrupted:
            def sendall(self, data):
                if len(data) == request.total:
                    raise KeyboardInterrupt

        with raises(KeyboardInterrupt):
            wire.send_last(Interrupted(), request, request.body[0])
        assert request.sent


def test_later(service, world):
    with Scripted(then=forward(service, "")) as busy:
        far = tutti.connect(busy.url)
        busy.answers = [problem(503, "overloaded", **{"Retry-After": "1"}), problem(429, "too_many_jobs"),
                        (502, {"Content-Type": "text/html"}, b"<h1>Bad Gateway</h1>")]
        begun, before = time.monotonic(), len(busy.seen)
        assert far.world.all_reduce_sum([1, 2, 3, 4], label="later") == [10] * 4
        assert time.monotonic() - begun >= 1 and jobs_of(world, "later") == ["succeeded"]
        posts = busy.seen[before:]
        assert len(posts) == 4 and len({h["Idempotency-Key"] for _, _, h, _ in posts}) == 1
        busy.answers = [problem(429, "too_many_failures", **{"Retry-After": "60"})]
        with raises(tutti.Busy, code="too_many_failures", retry_after=60.0):
            far.world.all_reduce_sum([1, 2, 3, 4])
        busy.answers = [problem(503, "draining")] * 100
        hasty = tutti.Service(busy.url, None, True, 0.3, None)
        with raises(tutti.Busy, code="draining", status=503):
            hasty.metrics()
        busy.answers = [(504, {"Content-Type": "text/html"}, b"<h1>nginx\n</h1>")] * 100
        with raises(tutti.ServerError, "something on the way", "504"):
            hasty.metrics()


def test_a_service_that_is_killed_and_started_again(service, world):
    with Service(workers=4, options=["--no-unix"]) as own:
        port = own.port
        far = tutti.connect(url_of(own)).world
        assert far.all_reduce_sum([1] * 4) == [4] * 4
        future = far.rank(0).all_gather([5], async_=True)
        done = far.broadcast(7, async_=True)
        done.result(20)
        own.kill()
        threading.Timer(0.3, own.start, kwargs={"options": ["--listen", "127.0.0.1:%d" % port]}).start()
        assert far.all_reduce_sum([2] * 4) == [8] * 4
        assert [int(x) for x in far.service.job(done.job.id).outputs()] == [7] * 4
        assert isinstance(future.exception(30), tutti.Error)  # a call that waited ends with a reason
        until(own.ready)


def test_a_connection_that_was_closed_meanwhile(service, world):
    line = Line(service)
    far = tutti.connect(line.url, retry_for=0).world  # no second try
    before = line.connections
    assert far.all_reduce_sum([1] * 4) == [4] * 4 and line.connections == before
    held = far.service._wire.local.held.sock
    held.shutdown(socket.SHUT_RDWR)
    time.sleep(1.1)
    assert far.all_reduce_sum([1] * 4) == [4] * 4 and line.connections == before + 1
    line.close()


def test_threads_and_forks(service, world):
    with concurrent.futures.ThreadPoolExecutor(8) as threads:
        got = list(threads.map(lambda i: world.all_reduce_sum([i, 1, 1, 1])[0], range(200)))
    assert got == [i + 3 for i in range(200)]
    world.all_reduce_sum([1] * 4, async_=True).result(10)
    pids = []
    for i in range(4):
        pid = os.fork()
        if pid == 0:  # with the parent's connection and threads of futures
            status = 1
            try:
                right = world.all_reduce_sum([i] * 4) == [4 * i] * 4
                right &= world.all_reduce_max([i] * 4, async_=True).result(20) == [i] * 4
                status = 0 if right else 2
            finally:
                os._exit(status)
        pids.append(pid)
    assert world.all_reduce_sum([9] * 4) == [36] * 4
    assert [os.waitpid(pid, 0)[1] for pid in pids] == [0] * 4


def test_a_path_before_a_proxy(service, world):
    with Scripted(then=forward(service, "/user/x/proxy")) as proxy:
        for url in (proxy.url + "/user/x/proxy", proxy.url + "/user/x/proxy/"):
            far = tutti.connect(url)
            assert far.url == proxy.url + "/user/x/proxy" and far.world.all_reduce_sum([1] * 4) == [4] * 4
            far.world.kv["k"] = 1
            assert far.world.kv.pop("k") == 1 and far.tensor([1, 2]).get().tolist() == [1, 2]
        job = far.world.all_gather([[1]] * 4, async_=True)
        assert job.result(10)[0].tolist() == [1] * 4


def test_a_proxy_of_the_environment(service, world):
    def then(method, path, headers, body):
        assert path.startswith("http://tutti.invalid:81/v1"), path
        return forward(service, "http://tutti.invalid:81")(method, path, headers, body)

    with Scripted(then=then) as proxy:
        os.environ["http_proxy"] = proxy.url
        try:
            assert tutti.connect("http://tutti.invalid:81").world.all_reduce_sum([1] * 4) == [4] * 4
            os.environ["no_proxy"] = "127.0.0.1"
            assert tutti.connect(url_of(service)).world.all_reduce_sum([2] * 4) == [8] * 4 and len(proxy.seen) == 2
        finally:
            del os.environ["http_proxy"], os.environ["no_proxy"]


def test_tokens(service, world):
    with tempfile.TemporaryDirectory() as folder:
        tokens = os.path.join(folder, "tokens")

        def new(who):
            return subprocess.run([os.path.join(BUILD, "tutti-server"), "--token-file", tokens, "--new-token", who],
                                  capture_output=True, check=True, text=True).stdout.strip()

        alice, reader = new("alice:user"), new("bob:read")
        with Service(workers=2, options=["--token-file", tokens, "--no-unix"]) as own:
            url = url_of(own)
            for far in (tutti.connect(url, alice), tutti.connect(url + "/#token=" + alice)):
                assert far.world.all_reduce_sum([1, 2]) == [3, 3] and far.doc["account"]["name"] == "alice"
                assert alice.split(".")[1] not in repr(far) + far._repr_html_() + far.url
            os.environ["TUTTI_URL"], os.environ["TUTTI_TOKEN"] = url, alice
            try:
                assert tutti.connect().world.all_reduce_sum([1, 2]) == [3, 3]
            finally:
                del os.environ["TUTTI_URL"], os.environ["TUTTI_TOKEN"]
            with raises(tutti.Forbidden, code="forbidden"):
                tutti.connect(url, reader).world.all_reduce_sum([1, 2])
            for token in (None, "alice.wrong"):
                with raises(tutti.Unauthorized, code="unauthorized", status=401):
                    tutti.connect(url, token)
            with raises(ValueError):
                tutti.connect(url, "a\r\nX-Evil: 1")


def test_tls(service, world):
    with tempfile.TemporaryDirectory() as folder:
        cert, key = os.path.join(folder, "cert.pem"), os.path.join(folder, "key.pem")
        subprocess.run(["openssl", "req", "-x509", "-newkey", "ec", "-pkeyopt", "ec_paramgen_curve:P-256", "-nodes", "-days", "2",
                        "-subj", "/CN=127.0.0.1", "-addext", "subjectAltName=IP:127.0.0.1", "-keyout", key, "-out", cert],
                       check=True, capture_output=True)
        os.chmod(key, 0o600)
        with Tls(workers=2, options=["--tls-cert", cert, "--tls-key", key]) as own:
            url = url_of(own).replace("http:", "https:")
            x = np.arange(1 << 20, dtype="f8")
            for verify in (cert, False):
                far = tutti.connect(url, verify=verify)
                assert far.world.all_reduce_sum([1, 2]) == [3, 3]
                assert far.world.broadcast(x)[1].tobytes() == x.tobytes()
            begun = time.monotonic()
            with raises(tutti.ConnectionFailed, "certificate"):
                tutti.connect(url, wait=30)
            assert time.monotonic() - begun < 10  # a certificate that is not trusted stays so


class Tls(Service):
    def ready(self):
        with open(self.out_path) as f:
            found = re.search(r"listening on https://([^:\n]+):(\d+)\n", f.read())
        if found:
            self.host, self.port = found.group(1), int(found.group(2))
        return found


def test_who_is_no_service(service, world):
    with raises(tutti.ConnectionFailed, "127.0.0.1:1/v1"):
        tutti.connect("http://127.0.0.1:1")
    with Scripted((200, {"Content-Type": "text/html"}, b"<h1>Login</h1>"), (200, {}, b'{"name": "other"}'),
                  (302, {"Location": "/login"}, b"")) as other:
        for words in ("is no tutti service", "is no tutti service", "points to /login"):
            with raises(tutti.Error, words):
                tutti.connect(other.url)
    for url in ("ftp://x", "http://", "nonsense://"):
        with raises(ValueError, "no URL"):
            tutti.connect(url)


def test_waiting_for_a_service(service, world):
    taken = socket.create_server(("127.0.0.1", 0))
    port = taken.getsockname()[1]
    taken.close()
    line = []
    threading.Timer(0.5, lambda: line.append(Later(service, port))).start()
    far = tutti.connect("http://127.0.0.1:%d" % port, wait=20)
    assert far.world.all_reduce_sum([1] * 4) == [4] * 4
    line[0].close()


class Later(Line):
    def __init__(self, service, port):
        self.to, self.drop_answers, self.cut_answer_at = (service.host, service.port), 0, None
        self.connections, self.lock = 0, threading.Lock()
        self.listener = socket.create_server(("127.0.0.1", port))
        threading.Thread(target=self.accept, daemon=True).start()


WAITS = """
import sys
sys.path.insert(0, %r)
from tools import tutti
world = tutti.connect(%r).world
print("ready", flush=True)
try:
    %s
except KeyboardInterrupt:
    print("interrupted", flush=True)
"""


def test_ctrl_c_cancels(service, world):
    for label, line in (("call", "world.rank(0, rejoin=True).all_reduce_sum(1, label='call', timeout=600)"),
                        ("future", "world.rank(0, rejoin=True).barrier(label='future', timeout=600, async_=True).result()"),
                        ("much", "import numpy; world.rank(0, rejoin=True).all_gather(numpy.ones(1 << 20), label='much', timeout=600)")):
        child = subprocess.Popen([sys.executable, "-c", WAITS % (HERE, url_of(service), line)], stdout=subprocess.PIPE, text=True)
        try:
            assert child.stdout.readline() == "ready\n"
            until(lambda: jobs_of(world, label) == ["waiting"], 20)
            child.send_signal(signal.SIGINT)
            assert child.stdout.readline() == "interrupted\n"
            assert child.wait(20) == 0
            assert jobs_of(world, label) == ["cancelled"], (label, jobs_of(world, label))
        finally:
            child.kill()
            child.wait()
            child.stdout.close()


def test_a_notebook_that_was_killed_in_a_call(service, world):
    """Nothing of it is left when all begin anew, whoever comes first."""
    line = "world.rank(3, rejoin=True).all_reduce_sum(1000, label='dead')"
    child = subprocess.Popen([sys.executable, "-c", WAITS % (HERE, url_of(service), line)], stdout=subprocess.PIPE, text=True)
    try:
        assert child.stdout.readline() == "ready\n"
        until(lambda: jobs_of(world, "dead") == ["waiting"], 20)
        child.kill()
        child.wait()
        time.sleep(0.3)
        with concurrent.futures.ThreadPoolExecutor(4) as threads:
            assert list(threads.map(lambda r: world.rank(r, rejoin=True).all_reduce_sum(r), range(4))) == [6] * 4
        assert jobs_of(world, "dead") == ["cancelled"]
    finally:
        child.kill()
        child.stdout.close()


def test_long_waits_are_asked_for_again(service, world):
    slice_s, tutti._SLICE_S = tutti._SLICE_S, 0.3
    try:
        with concurrent.futures.ThreadPoolExecutor(4) as threads:
            def call(r):
                time.sleep(1.2 * (r == 3))
                return world.rank(r, rejoin=True).all_reduce_sum(r)

            assert list(threads.map(call, range(4))) == [6] * 4
    finally:
        tutti._SLICE_S = slice_s


def main():
    with Service(workers=4, arena="512M", options=["--no-unix"]) as service:
        status = run_facts(globals(), service, tutti.connect(url_of(service)).world)
        service.hang_up()
        return status


if __name__ == "__main__":
    sys.exit(main())
