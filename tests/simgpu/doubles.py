"""doubles.py - lets the servers of a Python test run on simulated GPUs; imported first."""
import atexit
import glob
import json
import os
import shutil
import sys
import tempfile

TESTS = os.path.dirname(os.path.dirname(os.path.abspath(__file__)))
sys.path[:0] = [TESTS, os.path.join(TESTS, "fault")]
LIBRARIES = os.path.join(os.path.abspath(os.environ.get("BUILD", "build")), "simgpu")
REPORT = tempfile.mkdtemp()
FAULT = os.path.join(REPORT, "fault")
atexit.register(shutil.rmtree, REPORT, ignore_errors=True)


def use(devices):
    """For every server started from now on. Leaves the test, as passed, where there is no CUDA toolkit."""
    if not os.path.exists(os.path.join(LIBRARIES, "libnccl.so.2")):
        print("NOTE skipped: no CUDA toolkit")
        sys.exit(0)
    os.environ.update(LD_LIBRARY_PATH=LIBRARIES, SIMGPU_DEVICES=str(devices), SIMGPU_REPORT=REPORT,
                      SIMGPU_FAULT=FAULT, SIMGPU_TAG="test%d" % os.getpid())


def complaints():
    """What the doubles had to complain of, or ""."""
    try:
        with open(os.path.join(REPORT, "complaints")) as f:
            return f.read()
    except FileNotFoundError:
        return ""


def counters():
    """What each process that came to its end has counted."""
    found = []
    for path in glob.glob(os.path.join(REPORT, "*.json")):
        with open(path) as f:
            found.append(json.load(f))
    return found


def run(tests):
    """Each of the tests, its failure printed; then what the doubles complain of. The status to leave with."""
    passed = failed = 0
    for test in tests:
        try:
            test()
            passed += 1
        except AssertionError as e:
            failed += 1
            print("FAILED %s: %s" % (getattr(test, "__name__", test), str(e)[:1500]))
    if complaints():
        failed += 1
        print("the double complains:\n%s" % complaints()[:3000])
    print("CASES %d %d" % (passed, failed))
    return failed > 0
