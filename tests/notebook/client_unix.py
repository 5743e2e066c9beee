#!/usr/bin/python3
"""client_unix.py - the client and the service's Unix socket: it is taken by itself where it leads to the same service, and never
another's; everything is the same over it, and over TCP where it cannot be."""
import json
import os
import shutil
import socket
import socketserver
import subprocess
import tempfile
import threading
import time

import numpy as np

from tools import OwnHandler, OwnServer, raises, run_facts, tutti, url_of
from service import BUILD, Service, until


def family(service):
    """Of the connection that this thread has now."""
    return service._wire.local.held.sock.family


def is_near(service):
    service.metrics()
    return family(service) == socket.AF_UNIX


def test_it_goes_by_itself_where_it_can(own):
    assert is_near(tutti.connect(url_of(own)))
    assert is_near(tutti.connect("http://localhost:%d" % own.port))
    assert not is_near(tutti.connect(url_of(own), unix=False))
    service = tutti.connect(url_of(own))
    assert service.url == url_of(own)
    assert service._side.near == service._wire.near
    found = []
    thread = threading.Thread(target=lambda: found.append(is_near(service)))
    thread.start()
    thread.join()
    assert found == [True], "another thread's connection"


def test_everything_is_the_same_over_it(own):
    service = tutti.connect(url_of(own), progress=False)
    world = service.world
    assert world.all_reduce_sum([1, 2, 3, 4]) == [10] * 4
    large = [np.arange(1 << 20, dtype="f4") + r for r in range(4)]
    for got in world.all_reduce_sum(large):
        np.testing.assert_array_equal(got, sum(large))
    results = [world.rank(r).all_reduce_sum(large[r], async_=True) for r in range(4)]
    np.testing.assert_array_equal(results[3].result(60), sum(large))
    with world.batch() as b:
        most = b.all_reduce_max(b.all_reduce_sum([1, 2, 3, 4]))
    assert most.outputs() == [10] * 4
    with raises(tutti.Full):
        service.tensor(np.zeros(1 << 30, np.uint8))  # refused before the body
    with raises(tutti.RanksMissing, ranks=[0, 2, 3]):
        world.rank(1).barrier(timeout=1)
    for r in (0, 2, 3):
        with raises(tutti.RanksMissing):
            world.rank(r).barrier()
    assert is_near(service)


def test_a_path_is_a_url(own):
    path = own.get("/v1").json["unix_socket"]
    for url in ("unix:" + path, "unix://" + path):
        service = tutti.connect(url)
        assert is_near(service) and service.url == "unix:" + path
        assert service.world.all_reduce_sum([1, 2, 3, 4]) == [10] * 4
    with raises(tutti.ConnectionFailed, "unix:/nowhere/http.sock"):
        tutti.connect("unix:/nowhere/http.sock", retry_for=0.1)
    for wrong in ("unix:", "unix://host/path"):
        with raises(ValueError, "unix:/PATH"):
            tutti.connect(wrong)


def test_a_child_has_a_connection_of_its_own(own):
    service = tutti.connect(url_of(own))
    assert is_near(service)
    child = os.fork()
    if child == 0:
        os._exit(0 if is_near(service) and service.world.all_reduce_sum([1, 1, 1, 1]) == [4] * 4 else 1)
    assert os.waitpid(child, 0)[1] == 0
    assert is_near(service)


class Front(OwnServer):
    """A server on the loopback that answers as `own` does, but says that its Unix socket is elsewhere."""

    def __init__(self, own, **changed):
        class Handler(OwnHandler):
            def do_GET(self):
                answer = own.get(self.path)
                body = answer.body
                if self.path == "/v1":
                    body = json.dumps({**json.loads(body), **changed}).encode()
                self.send_response(answer.status)
                self.send_header("Content-Type", answer.headers["content-type"])
                if "tutti-instance" in answer.headers:
                    self.send_header("Tutti-Instance", answer.headers["tutti-instance"])
                self.send_header("Content-Length", str(len(body)))
                self.end_headers()
                self.wfile.write(body)

        super().__init__(Handler)


def test_another_server_is_never_taken_for_it(own):
    mine = own.get("/v1").json
    with Front(own) as front:
        assert is_near(tutti.connect(front.url)), "the same service, found in two ways"
    with Service(workers=1) as other:
        with Front(own, unix_socket=other.get("/v1").json["unix_socket"]) as front:
            assert not is_near(tutti.connect(front.url))
    for changed in ({"uid": mine["uid"] + 1}, {"unix_socket": None}, {"unix_socket": "/nowhere/http.sock"}, {"unix_socket": 7},
                    {"instance": "i_00000000000000000000000000"}, {"instance": None}):
        with Front(own, **changed) as front:
            # An instance that is not of today may be a server that was started anew: then the port says which it is.
            renewed = "i_" in (changed.get("instance") or "")
            assert is_near(tutti.connect(front.url)) == renewed, changed


def test_no_token_goes_to_whoever_listens_there(own):
    heard = []

    class Handler(OwnHandler):
        def do_GET(self):
            heard.append((self.path, self.headers.get("Authorization")))
            self.send_response(200)
            self.send_header("Tutti-Instance", "i_another")
            self.send_header("Content-Length", "0")
            self.end_headers()

        def address_string(self):
            return "unix"

    class Server(socketserver.ThreadingUnixStreamServer):
        daemon_threads = True

    with tempfile.TemporaryDirectory() as folder:
        path = os.path.join(folder, "s")
        with Server(path, Handler) as server:
            threading.Thread(target=server.serve_forever, daemon=True).start()
            with Front(own, unix_socket=path) as front:
                assert not is_near(tutti.connect(front.url, token="alice.secret"))
            server.shutdown()
    assert heard == [("/healthz", None)], heard


def test_a_server_that_nobody_serves_is_left_alone(own):
    with tempfile.TemporaryDirectory() as folder:
        path = os.path.join(folder, "s")
        with socket.socket(socket.AF_UNIX) as dead:
            dead.bind(path)  # and does not listen
            with Front(own, unix_socket=path) as front:
                assert not is_near(tutti.connect(front.url))
        with socket.socket(socket.AF_UNIX) as silent:
            os.unlink(path)
            silent.bind(path)
            silent.listen(5)
            with Front(own, unix_socket=path) as front:
                begun = time.monotonic()
                assert not is_near(tutti.connect(front.url))
                assert time.monotonic() - begun < 30


def test_a_service_that_is_started_anew(_):
    with tempfile.TemporaryDirectory() as folder, Service(workers=2) as own:
        port = "127.0.0.1:%d" % own.port
        service = tutti.connect(url_of(own), progress=False)
        assert is_near(service)
        job = service.world.all_reduce_sum([1, 2]).job
        before = service._wire.near.instance
        for options in ([], ["--no-unix"], []):
            own.kill()
            own.start(wait=False, options=["--listen", port, *options])
            until(lambda: own.ready())
            assert service.world.all_reduce_sum([3, 4]) == [7, 7]
            service.close()
            assert service.world.all_reduce_sum([3, 4]) == [7, 7]
            assert is_near(service) == (not options)
        assert service._wire.near.instance != before
        assert job.outputs() == [3, 3]


def test_tokens_are_asked_for_as_over_tcp(_):
    with tempfile.TemporaryDirectory() as folder:
        tokens = os.path.join(folder, "tokens")
        token = subprocess.run([os.path.join(BUILD, "tutti-server"), "--token-file", tokens, "--new-token", "alice:user"],
                               check=True, capture_output=True, text=True).stdout.strip()
        with Service(workers=2, options=["--token-file", tokens]) as own:
            service = tutti.connect(url_of(own), token)
            path = service.doc["unix_socket"]
            assert is_near(service) and service.world.all_reduce_sum([1, 2]) == [3, 3]
            assert is_near(tutti.connect("unix:%s#token=%s" % (path, token)))
            with raises(tutti.Unauthorized):
                tutti.connect("unix:" + path)


def test_over_tls_too(_):
    with tempfile.TemporaryDirectory() as folder:
        cert, key = os.path.join(folder, "cert"), os.path.join(folder, "key")
        subprocess.run(["openssl", "req", "-x509", "-newkey", "ed25519", "-nodes", "-days", "2", "-subj", "/CN=localhost",
                        "-addext", "subjectAltName=IP:127.0.0.1", "-keyout", key, "-out", cert], check=True, capture_output=True)
        os.chmod(key, 0o600)
        own = Service(workers=2, options=["--tls-cert", cert, "--tls-key", key])
        try:
            own.start(wait=False)
            port = until(lambda: open(own.out_path).read().rpartition(":")[2].strip())
            service = tutti.connect("https://127.0.0.1:" + port, verify=cert)
            assert is_near(service) and service.world.all_reduce_sum([1, 2]) == [3, 3]
            assert not is_near(tutti.connect("https://127.0.0.1:" + port, verify=cert, unix=False))
        finally:
            own.process.terminate()
            assert own.process.wait(60) == 0
            shutil.rmtree(own.dir)
            shutil.rmtree(own.arena_dir)


if __name__ == "__main__":
    with Service(workers=4, arena="512M") as service:
        raise SystemExit(run_facts(globals(), service))
