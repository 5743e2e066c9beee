#!/usr/bin/python3
"""Every operation, dtype, axis, group and format, and every gradient, as tests/conformance has them, on two ranks of the
server's machine and two of another host, which work together by gloo."""
import os
import sys

from hosts import TESTS, Hosts

sys.path.insert(0, os.path.join(TESTS, "conformance"))
import conformance
import gradients


class TwoAndTwo(Hosts):
    def __init__(self, workers=4, arena="512M", options=()):
        super().__init__(workers=workers - 2, hosts=(2,), arena_size="64M", arena=arena)
        self.options += options

    def __enter__(self):
        self.all_up()
        return self


sys.exit(conformance.main(TwoAndTwo) or gradients.main(TwoAndTwo))
