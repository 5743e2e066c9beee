"""preload.py - builds a library of tests/fault that goes between a program and libc."""
import atexit
import os
import shutil
import subprocess
import tempfile

HERE = os.path.dirname(os.path.abspath(__file__))


def preload(name, **variables):
    """The environment of a server with NAME.c in between, and with the variables."""
    place = tempfile.mkdtemp()
    atexit.register(shutil.rmtree, place, ignore_errors=True)
    library = os.path.join(place, name + ".so")
    subprocess.run([os.environ.get("CC", "gcc"), "-O1", "-shared", "-fPIC", "-D_GNU_SOURCE", "-Wall", "-Wextra", "-Werror",
                    "-o", library, os.path.join(HERE, name + ".c")], check=True)
    # A sanitizer wants to be first among the libraries, but has nothing against these.
    options = os.environ.get("ASAN_OPTIONS", "") + ":verify_asan_link_order=0"
    return {"LD_PRELOAD": library, "ASAN_OPTIONS": options.lstrip(":"), **variables}
