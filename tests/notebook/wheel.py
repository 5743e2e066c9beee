#!/usr/bin/python3
"""wheel.py - the wheel that the build makes, as people install it: into a virtual environment, without a network, under the
Makefile's version, with its types; it is the client of web/notebook to the byte, and works."""
import filecmp
import glob
import os
import subprocess
import sys
import tempfile

from tools import ROOT, url_of
from service import BUILD, Service

USES = """
import importlib.metadata, os, sys
sys.path = [p for p in sys.path if not p.startswith(%r)]
import tutti
assert tutti.__file__.startswith(sys.prefix), tutti.__file__
assert importlib.metadata.version("tutti") == tutti.__version__ == %r, tutti.__version__
assert os.path.exists(os.path.join(os.path.dirname(tutti.__file__), "py.typed"))
print(tutti.__file__)
assert tutti.connect(%r).world.all_reduce_sum([1, 2, 3, 4]) == [10] * 4
"""


def version():
    made = subprocess.run([os.path.join(BUILD, "tutti-server"), "--version"], capture_output=True, text=True, check=True)
    return made.stdout.split()[-1]


def main():
    wheels = glob.glob(os.path.join(BUILD, "wheel", "*.whl"))
    if not wheels:
        sys.exit("there is no wheel in %s: run make wheel" % os.path.join(BUILD, "wheel"))
    assert [os.path.basename(w) for w in wheels] == ["tutti-%s-py3-none-any.whl" % version()], wheels
    with tempfile.TemporaryDirectory(prefix="tutti-test-") as folder, Service(workers=4) as service:
        venv = os.path.join(folder, "venv")
        subprocess.run(["/usr/bin/python3", "-m", "venv", "--system-site-packages", venv], check=True)
        python = os.path.join(venv, "bin", "python")
        subprocess.run([python, "-m", "pip", "install", "--quiet", "--no-index", "--disable-pip-version-check", wheels[0]],
                       check=True)
        got = subprocess.run([python, "-c", USES % (ROOT, version(), url_of(service))], capture_output=True, text=True, cwd=folder)
        assert got.returncode == 0, got.stderr
        assert filecmp.cmp(got.stdout.strip(), os.path.join(ROOT, "web", "notebook", "tutti.py"), shallow=False)
    return 0


if __name__ == "__main__":
    sys.exit(main())
