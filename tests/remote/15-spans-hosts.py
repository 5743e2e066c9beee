#!/usr/bin/python3
"""Every operation, dtype, axis, group and format, and every gradient, as tests/conformance has them, on two hosts of two ranks,
which a network joins to each other and to the server: they work together by gloo."""
import os
import sys

from hosts import TESTS, own_network
from net import Net, NetHosts

sys.path.insert(0, os.path.join(TESTS, "conformance"))
import conformance
import gradients


class TwoAndTwo(NetHosts):
    def __init__(self, workers=4, arena="512M", options=()):
        super().__init__(net, arena_size="64M", arena=arena)
        self.options += options

    def __enter__(self):
        self.all_up()
        self.moved = [host.moved() for host in net.hosts]
        return self

    def __exit__(self, kind, error, trace):
        if not kind:
            sent = [self.arena(h)["sent_bytes"] for h in (0, 1)]
            for host, before, inputs in zip(net.hosts, self.moved, sent, strict=True):
                left, came = (now - was for now, was in zip(host.moved(), before))
                assert left > 0 and came > inputs > 0, (left, came, inputs)
        super().__exit__(kind, error, trace)


own_network()
with Net() as net:
    sys.exit(conformance.main(TwoAndTwo) or gradients.main(TwoAndTwo))
