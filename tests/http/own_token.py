#!/usr/bin/python3
"""own_token.py - started by hand at a terminal, beyond this machine and without a token file, the service makes a token for the
process, and prints a link with it in the fragment; without a terminal it does not start. In a network namespace of its own."""
import http.client
import os
import pty
import re
import signal
import subprocess
import sys
import tempfile

sys.path[:0] = [os.path.dirname(os.path.dirname(os.path.abspath(__file__)))]
from service import BUILD, PATIENCE_S

if os.environ.get("TUTTI_TEST_OWN_NETWORK") != "1":
    own = ["unshare", "--net"] if os.geteuid() == 0 else ["unshare", "--net", "--map-root-user"]
    os.environ["TUTTI_TEST_OWN_NETWORK"] = "1"
    os.execvp("unshare", own + ["--", "sh", "-c", 'ip link set lo up && exec "$0" "$@"', sys.executable, os.path.abspath(__file__)])


def options(place):
    shm = tempfile.mkdtemp(dir=os.environ.get("TUTTI_TEST_SHM") or place)
    return [os.path.join(BUILD, "tutti-server"), "--listen", "0.0.0.0:0", "--workers", "2", "--arena-size", "16M",
            "--data-dir", os.path.join(place, "data"), "--arena-dir", os.path.join(shm, "arena")]


def status(port, token=None, path="/v1"):
    c = http.client.HTTPConnection("127.0.0.1", port, timeout=PATIENCE_S)
    c.request("GET", path, headers={"Authorization": "Bearer " + token} if token else {})
    return c.getresponse().status


with tempfile.TemporaryDirectory() as place:
    refused = subprocess.run(options(place), stdin=subprocess.DEVNULL, capture_output=True, text=True, timeout=PATIENCE_S)
    assert refused.returncode == 1 and "--new-token" in refused.stderr, refused

    master, slave = pty.openpty()
    with open(os.path.join(place, "log"), "wb") as log:
        server = subprocess.Popen(options(place), stdin=subprocess.DEVNULL, stdout=slave, stderr=log)
    os.close(slave)
    try:
        said = ""
        while "a token of this process" not in said:
            said += os.read(master, 4096).decode()
        port = int(re.search(r"listening on http://127\.0\.0\.1:(\d+)\r?\n\(on all addresses of this machine", said).group(1))
        token = re.search(r"open http://127\.0\.0\.1:%d/#token=(\S+)" % port, said).group(1)
        assert re.fullmatch(r"admin\.[\w-]{43}", token), token
        assert (status(port), status(port, token + "x"), status(port, token)) == (401, 401, 200)
        assert status(port, path="/v1?token=" + token) == 400
        with open(os.path.join(place, "log")) as f:
            assert token not in f.read(), "the log has the token"
        server.send_signal(signal.SIGTERM)
        assert server.wait(PATIENCE_S) == 0
    finally:
        if server.poll() is None:
            server.kill()
            server.wait()
        os.close(master)
