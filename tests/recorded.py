"""recorded.py - keeps what tests in Python asked and were answered, in the form that `record` of tests/http/lib.sh has."""
import collections
import os
import re
import sys
import tempfile
import threading

MOST = 20  # of a kind: same method, status, media type, and path but for what differs from thing to thing
LONGEST = 4 << 20
_lock = threading.Lock()
_kinds = collections.Counter()
_place = None


def _room():
    global _place
    if _place is None:
        _place = tempfile.mkdtemp(dir=os.environ["TUTTI_TEST_RECORD"])
        with open(os.path.join(_place, "test"), "w") as f:
            f.write(os.path.basename(sys.argv[0]))
    return _place


def record(method, path, headers, sent, status, got_headers, got, kind=""):
    """Keeps an exchange where a run asks for it. headers and got_headers: pairs; sent and got: bytes, or None. kind tells
    apart what else would be one kind."""
    if not os.environ.get("TUTTI_TEST_RECORD"):
        return
    media = "".join(v for k, v in got_headers if k.lower() == "content-type")
    alike = (method, re.sub(r"[jt]_[0-9A-Z]{26}|\d+", "", path.partition("?")[0]), status, media, kind)
    with _lock:
        _kinds[alike] += 1
        if _kinds[alike] > MOST:
            return
        name = os.path.join(_room(), str(sum(_kinds.values())))
    options = [text for k, v in headers for text in ("-H", "%s: %s" % (k, v))]
    if isinstance(sent, bytes) and len(sent) < 65536 and any(k.lower() == "content-type" and "json" in v for k, v in headers):
        options += ["--data-binary", sent.decode("utf-8", "replace")]
    fields = [method, path, str(len(options)), *options]
    with open(name, "wb") as f:
        f.write("".join(text.replace("\0", "") + "\0" for text in fields).encode("utf-8", "surrogateescape"))
        f.write(("HTTP/1.1 %d\r\n" % status + "".join("%s: %s\r\n" % pair for pair in got_headers) + "\r\n").encode("latin-1"))
        f.write((got or b"")[:LONGEST])
