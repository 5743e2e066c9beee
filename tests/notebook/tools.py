"""tools.py - what the tests of the client share: the client as it stands in web/notebook, and how they count."""
import contextlib
import os
import sys
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
