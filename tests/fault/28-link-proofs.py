#!/usr/bin/python3
"""Who comes over TCP proves who he is, and so does the server: a wrong secret, an unknown name, a proof that is used again,
altered bytes and other builds are refused; whoever is wrong too often is turned away; a frame that is too long before all
that ends the connection; and a worker does not work for a server that does not know its token."""
import copy
import os
import secrets
import socket
import struct
import threading
import time

from tcp_link import (AUTH, CHALLENGE, PROOF, REFUSE, WELCOME, Auth, Ledger, Proxy, TcpService, TcpWorker, counted, frame,
                      read_frame, row, take, until)

NO_PROOF = "does not prove that it has a worker's token"


def connect(service, source="127.0.0.1"):
    """A connection and the nonce of its challenge."""
    s = socket.create_connection((service.link_host, service.link_port), 10, (source, 0))
    kind, payload = read_frame(s)
    if kind != CHALLENGE:
        s.close()
        return None, take(take(payload)[1])[0].decode()
    return s, take(payload)[0]


def answer_to(service, auth, source):
    """The frames that the server answers to AUTH: bytes, or what auth(nonce) gives. And the nonce."""
    s, nonce = connect(service, source)
    assert s, nonce
    with s:
        s.sendall(frame(AUTH, auth(nonce).payload() if callable(auth) else auth))
        frames = [read_frame(s)]
        if frames[0][0] == PROOF:
            frames.append(read_frame(s))
        return frames, nonce


def refusal(frames):
    kind, payload = frames[-1]
    assert kind == REFUSE, frames
    return take(take(payload)[1])[0].decode()


def seen_auth(service):
    """What a worker with a good token sends, through a proxy that keeps it: it joins, and is ended again."""
    proxy = Proxy((service.link_host, service.link_port))
    worker = TcpWorker(service, 1, address=proxy.address)
    service.says("rank=1 joined")
    worker.kill()
    service.says("rank=1 its worker is gone")
    proxy.close()
    size, kind = struct.unpack_from("<II", proxy.heard[0])
    assert kind == AUTH, kind
    return proxy.heard[0][8:8 + size]


def wrong_ones(service, bytes_):
    """Each from an address of its own, so that none is turned away for the others."""
    real, secret, texts = Auth(bytes_), service.secret(), set()

    def altered(change):
        def make(nonce):
            auth = copy.copy(real).sign(secret, nonce)
            change(auth)
            return auth
        return make

    def name(auth):
        auth.name = b"nobody"

    def hello(auth):
        auth.hello = auth.hello[:-1] + bytes([auth.hello[-1] ^ 1])

    def unproved(auth):
        auth.proof = b""

    cases = {
        "used again": bytes_,
        "wrong secret": lambda nonce: copy.copy(real).sign("x" * 43, nonce),
        "altered name": altered(name),
        "altered hello": altered(hello),
        "no proof": altered(unproved),
        "another's nonce": lambda nonce: copy.copy(real).sign(secret, secrets.token_bytes(32)),
    }
    for i, (what, auth) in enumerate(cases.items()):
        frames, _ = answer_to(service, auth, "127.0.1.%d" % (i + 1))
        assert len(frames) == 1, (what, frames)
        texts.add(refusal(frames))
    assert len(texts) == 1 and NO_PROOF in texts.pop(), texts

    # Signed as it should be, the same is welcome; so it was the proof that was wanting. And the server proves itself.
    auth = copy.copy(real)
    frames, nonce = answer_to(service, lambda nonce: auth.sign(secret, nonce), "127.0.1.20")
    assert [kind for kind, _ in frames] == [PROOF, WELCOME], frames
    assert take(frames[0][1])[0] == auth.proof_by(b"server to worker", secret, nonce)
    service.says("rank=1 its worker is gone: closed by peer")


def other_build(service, bytes_):
    auth = Auth(bytes_)
    auth.schema_hash, auth.version = 0x1234, b"0.0.7"
    frames, _ = answer_to(service, lambda nonce: auth.sign(service.secret(), nonce), "127.0.1.30")
    assert frames[0][0] == PROOF, frames  # only one who has a token hears which build this is
    for text in (refusal(frames), service.log()):
        assert "worker 0.0.7" in text and "0000000000001234" in text and "of another build" in text, text


def too_often(service, bytes_):
    """Ten wrong proofs from an address: the next from there is turned away unheard, and one from elsewhere is not."""
    for _ in range(10):
        frames, _ = answer_to(service, bytes_, "127.0.2.1")
        assert NO_PROOF in refusal(frames)
    s, text = connect(service, "127.0.2.1")
    assert s is None and "10 proofs from this address were wrong" in text, text
    connect(service, "127.0.2.2")[0].close()


def too_much(service):
    """A frame that is too long for a stranger, or too many connections of one."""
    s, _ = connect(service, "127.0.3.1")
    with s:
        begun = time.monotonic()
        s.sendall(struct.pack("<II", 3000, AUTH))  # and no more, while the server would wait for it
        try:
            assert s.recv(1) == b""
        except ConnectionResetError:
            pass
        assert time.monotonic() - begun < 3, "the server waits for a frame that it should not take"
    held = [connect(service, "127.0.3.2")[0] for _ in range(16)]
    s, text = connect(service, "127.0.3.2")
    assert s is None and "too many connections" in text, text
    for s in held:
        s.close()
    until(lambda: retried(service, "127.0.3.2"))


def retried(service, source):
    s, _ = connect(service, source)
    if s:
        s.close()
    return s


def worker_says(service, status, text, **more):
    worker = TcpWorker(service, 1, **more)
    assert worker.ended() == status, (worker.process.returncode, worker.log())
    assert text in worker.log(), worker.log()


def wrong_token(service):
    path = os.path.join(service.dir, "wrong")
    with open(path, "w") as f:
        os.fchmod(f.fileno(), 0o600)
        f.write("w." + "x" * 43)
    worker_says(service, 3, NO_PROOF, token=path)
    worker_says(service, 3, NO_PROOF, token=service.token("r:read", "reader"))
    os.chmod(path, 0o644)
    worker_says(service, 2, "chmod 600", token=path)


class FalseServer:
    """Listens, asks, and answers AUTH with what answer(auth, nonce) gives."""

    def __init__(self, answer):
        self.answer = answer
        self.socket = socket.create_server(("127.0.0.1", 0))
        self.address = "127.0.0.1:%d" % self.socket.getsockname()[1]
        threading.Thread(target=self.serve, daemon=True).start()

    def serve(self):
        s = self.socket.accept()[0]
        nonce = secrets.token_bytes(32)
        s.sendall(frame(CHALLENGE, counted(nonce)))
        kind, payload = read_frame(s)
        assert kind == AUTH
        s.sendall(self.answer(Auth(payload), nonce))
        s.recv(1)  # its end
        self.socket.close()


def false_servers(service):
    """A worker opens no arena for a server that does not prove that it knows the token; and says what one that does tells
    it about versions."""
    welcome = frame(WELCOME, struct.pack("<IIQQIIQ", 1, 2, 7, 64 << 20, 1000, 1, 1) +
                    counted(os.path.join(service.arena_dir, "arena").encode()) +
                    counted(os.path.join(service.arena_dir, "fence").encode()) + counted(b"") + struct.pack("<QIIQ", 1, 1, 1, 0))
    mute = "the server does not prove that it knows the token"
    answers = {
        "none": (lambda auth, nonce: welcome, 4, "where proof was to come"),
        "random": (lambda auth, nonce: frame(PROOF, counted(secrets.token_bytes(32))) + welcome, 3, mute),
        "empty": (lambda auth, nonce: frame(PROOF, counted(b"")) + welcome, 3, mute),
        "its own": (lambda auth, nonce: frame(PROOF, counted(auth.proof)) + welcome, 3, mute),
        "another build": (lambda auth, nonce: frame(PROOF, counted(
            auth.proof_by(b"server to worker", service.secret(), nonce))) +
            frame(REFUSE, counted(b"refused") + counted(b"it is of another build: worker 0.1.0, server 9.9")), 3,
            "refused: it is of another build: worker 0.1.0, server 9.9"),
    }
    for what, (answer, status, text) in answers.items():
        worker_says(service, status, text, address=FalseServer(answer).address)


def another_user(service):
    """On the Unix socket the kernel says who it is: another user is not let in, even where the files would allow it."""
    os.chmod(service.data_dir, 0o755)
    os.chmod(os.path.join(service.data_dir, "worker.sock"), 0o666)
    pid = os.fork()
    if pid == 0:
        os.chdir(service.data_dir)  # whoever may enter the directories above it
        try:
            os.setuid(65534)
        except OSError:
            os._exit(77)
        try:
            with socket.socket(socket.AF_UNIX) as s:
                s.connect("worker.sock")
                s.settimeout(3)  # LIMIT_HELLO_MS is longer
                os._exit(0 if s.recv(1) == b"" else 1)
        finally:
            os._exit(2)
    status = os.waitstatus_to_exitcode(os.waitpid(pid, 0)[1])
    os.chmod(service.data_dir, 0o700)
    if status == 77:
        print("NOTE only root can try to come as another user")
        return
    assert status == 0, "another user was let in, or could not even ask: %d" % status
    service.says("it runs as user 65534")


def main():
    with TcpService(workers=1, tcp=1) as service:
        service.open()
        silent, _ = connect(service, "127.0.4.1")
        bytes_ = seen_auth(service)
        with row("F28"):
            wrong_ones(service, bytes_)
            other_build(service, bytes_)
            wrong_token(service)
        false_servers(service)
        too_often(service, bytes_)
        too_much(service)
        another_user(service)
        assert "no HELLO within" in refusal([read_frame(silent)])  # it has had its five seconds
        silent.close()

        # After all that the right one still comes in, and works.
        TcpWorker(service, 1)
        service.wait_ready()
        until(lambda: service.worker(1)["state"] == "ready")
        service.descriptors_at_start = service.descriptors_settled()  # one has come, and gone again, before
        rows = service.get("/v1/workers").json["workers"]
        assert [w["link"] for w in rows] == ["unix", "tcp"], rows
        assert service.secret() not in service.log()
        ledger = Ledger(service)
        assert ledger.sum(n=2, wait=20).status == 200
        ledger.close()


main()
