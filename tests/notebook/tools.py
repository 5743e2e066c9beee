"""tools.py - what the tests of the client share: the client as it stands in web/notebook, and how they count."""
import contextlib
import http.server
import os
import sys
import threading
import traceback

HERE = os.path.dirname(os.path.abspath(__file__))
ROOT = os.path.dirname(os.path.dirname(HERE))
sys.path[:0] = [os.path.join(ROOT, "web", "notebook"), os.path.join(ROOT, "tests", "conformance"), os.path.join(ROOT, "tests")]
# Nobody's settings but the test's; a proxy of the machine's is none of its business.
for _name in ("TUTTI_URL", "TUTTI_TOKEN", "http_proxy", "HTTP_PROXY", "https_proxy", "HTTPS_PROXY", "all_proxy", "ALL_PROXY"):
    os.environ.pop(_name, None)
import tutti


def url_of(service):
    return "http://%s:%d" % (service.host, service.port)


class OwnHandler(http.server.BaseHTTPRequestHandler):
    """Connections are kept, and nothing is logged."""

    protocol_version = "HTTP/1.1"

    def log_message(self, *a):
        pass


class OwnServer:
    """An HTTP server of the test's own on the loopback, at url, while the block lasts."""

    def __init__(self, handler):
        self.server = http.server.ThreadingHTTPServer(("127.0.0.1", 0), handler)
        self.server.daemon_threads = True
        self.url = "http://127.0.0.1:%d" % self.server.server_address[1]
        threading.Thread(target=self.server.serve_forever, daemon=True).start()

    def __enter__(self):
        return self

    def __exit__(self, *a):
        self.server.shutdown()
        self.server.server_close()


@contextlib.contextmanager
def raises(kind, *words, **attributes):
    """The block raises such an error, whose message has the words; gives a list with it."""
    caught = []
    try:
        yield caught
    except kind as error:
        caught.append(error)
        missing = [w for w in words if w not in str(error)]
        assert not missing, "%r says nothing of %s" % (str(error), missing)
        for name, value in attributes.items():
            assert getattr(error, name) == value, (name, getattr(error, name), value)
    else:
        raise AssertionError("no %s was raised" % kind.__name__)


def run_facts(module, *arguments):
    """Calls every function of the module whose name begins with test_, and prints how many passed."""
    passed = failed = 0
    for name, function in list(module.items()):
        if name.startswith("test_"):
            try:
                function(*arguments)
                passed += 1
            except Exception:
                failed += 1
                print("%s fails:" % name)
                traceback.print_exc(file=sys.stdout)
    print("CASES %d %d" % (passed, failed))
    return 1 if failed or not passed else 0
