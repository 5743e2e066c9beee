#!/usr/bin/python3
"""Every operation, dtype, axis, group and format, and every gradient, as tests/conformance has them, on four ranks of another
host: each input goes there over the data channel, and each output comes back."""
import os
import sys

from hosts import TESTS, Hosts

sys.path.insert(0, os.path.join(TESTS, "conformance"))
import conformance
import gradients


class FourAway(Hosts):
    def __init__(self, workers=4, arena="512M", options=()):
        super().__init__(workers=0, hosts=(workers,), arena_size="32M", arena=arena)
        self.options += options

    def __enter__(self):
        self.all_up()
        return self

    def __exit__(self, kind, error, trace):
        if not kind:
            figures = self.arena()
            assert figures["sent_bytes"] > 0 and figures["received_bytes"] > 0, figures
        super().__exit__(kind, error, trace)


sys.exit(conformance.main(FourAway) or gradients.main(FourAway))
