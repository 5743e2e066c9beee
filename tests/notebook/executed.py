"""executed.py - a notebook run from top to bottom, as people do, without its kernel's ports being taken from it."""
import json
import os
import random
import socket
import subprocess
import threading

# Jupyter looks for free ports before it starts the kernel that will listen at them. They are of the range that the system gives
# to whoever asks for any port, so on a busy machine somebody else has one by then, and the kernel dies. Hence ports below.
_BELOW = (10000, 30000)
_KINDS = ("shell", "iopub", "stdin", "hb", "control")


def _is_free(port):
    with socket.socket() as s:
        s.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEADDR, 1)
        try:
            s.bind(("127.0.0.1", port))
        except OSError:
            return False
    return True


_taken = []  # sockets whose names say which blocks are ours, as long as we run


def _take(first):
    """Is the block of ports that begins there nobody else's of those who ask here, in this process or another?"""
    s = socket.socket(socket.AF_UNIX)
    try:
        s.bind("\0tutti-kernels-%d" % first)
    except OSError:
        s.close()
        return False
    _taken.append(s)
    return True


def kernels(n):
    """For each of n kernels that run at the same time, the options that give it ports of its own."""
    size = 8 * len(_KINDS)
    assert n <= 8, n
    while True:
        first = random.randrange(*_BELOW, size)
        if _take(first) and all(_is_free(p) for p in range(first, first + n * len(_KINDS))):
            break
    return [["--KernelManager.cache_ports=False"] +
            ["--KernelManager.%s_port=%d" % (kind, first + rank * len(_KINDS) + i) for i, kind in enumerate(_KINDS)]
            for rank in range(n)]


DIED = b"Kernel died before replying to kernel_info"  # nothing of the notebook has run


class _Run(threading.Thread):
    """nbconvert on a notebook; once more where the kernel died before it had begun, which says nothing of the notebook."""

    def __init__(self, notebook, directory, kernel, environment):
        super().__init__(daemon=True)
        self.command = ["/usr/bin/jupyter-nbconvert", "--to", "notebook", "--execute", "--stdout", "--log-level", "ERROR",
                        "--ExecutePreprocessor.timeout=240", notebook]
        self.directory, self.kernel, self.done, self.why = directory, kernel, None, None
        self.environment = {**os.environ, "PYTHONDONTWRITEBYTECODE": "1", "HOME": directory, "IPYTHONDIR": directory,
                            "OMP_NUM_THREADS": "1", **environment}
        self.start()

    def once(self, kernel):
        self.done = subprocess.run([*self.command, *kernel], capture_output=True, cwd=self.directory, env=self.environment, timeout=300,
                                   check=False)

    def run(self):
        try:
            self.once(self.kernel)
            if self.done.returncode != 0 and DIED in self.done.stderr:
                print("NOTE a kernel died at its start, and was started again: %s" % self.done.stderr[:200].decode().replace("\n", " "))
                self.once(kernels(1)[0])
        except (OSError, subprocess.TimeoutExpired) as error:
            self.why = error


def begin(notebook, directory, kernel, **environment):
    """Executes it in the directory, aside; kernel: of `kernels`. What it gives is for `outputs`."""
    return _Run(notebook, directory, kernel, environment)


def outputs(run):
    """The outputs of each code cell. One that failed is an AssertionError with what it said first and last."""
    run.join()
    if run.why:
        raise AssertionError(str(run.why))
    said = run.done.stderr.decode()
    assert run.done.returncode == 0, said if len(said) < 4000 else said[:2000] + " [...] " + said[-2000:]
    return [c["outputs"] for c in json.loads(run.done.stdout)["cells"] if c["cell_type"] == "code"]
