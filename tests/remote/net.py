"""net.py - for tests of hosts that a network joins: each a network namespace behind a cable to one switch, which is in the
test's own namespace, the server's. As a program, what makes a namespace's connections late."""
import contextlib
import json
import os
import re
import subprocess
import sys

from hosts import NEAR, Cable, Far, Hosts, command

LATE_PORT, LATE_MARK = 7, 7  # in a namespace of our own


class Host(Far):
    def __init__(self, number):
        super().__init__("10.99.0.%d" % (number + 2), "near%d" % number, "switch")

    def limit(self, gbit):
        """So much a second each way."""
        for prefix, device in (([], self.near), (self.prefix, "far")):
            command(*prefix, "tc", "qdisc", "add", "dev", device, "root", "tbf", "rate", "%ggbit" % gbit, "burst", "256k", "latency", "50ms")

    @contextlib.contextmanager
    def late(self, seconds):
        """Every connection that begins here, to other hosts, is so late each way while the block lasts."""
        self.inside("iptables", "-w", "-t", "nat", "-A", "OUTPUT", "-o", "far", "-p", "tcp", "-m", "mark", "!", "--mark", str(LATE_MARK),
                    "-j", "REDIRECT", "--to-ports", str(LATE_PORT))
        with subprocess.Popen([*self.prefix, sys.executable, __file__, str(seconds)], stdin=subprocess.PIPE, stdout=subprocess.PIPE) as proxy:
            assert proxy.stdout.readline() == b"ready\n"
            yield
        self.inside("iptables", "-w", "-t", "nat", "-F", "OUTPUT")

    def moved(self):
        """Bytes at its interface: those that left, and those that came."""
        found, = json.loads(self.inside("ip", "-json", "-stats", "link", "show", "dev", "far"))
        return found["stats64"]["tx"]["bytes"], found["stats64"]["rx"]["bytes"]

    def count(self, others):
        """From now on: bytes to and from each of these addresses."""
        for other in others:
            for chain, which in (("INPUT", "-s"), ("OUTPUT", "-d")):
                self.inside("iptables", "-w", "-A", chain, which, other)

    def rules(self):
        """Of each rule: packets, bytes, what it says."""
        return [(int(packets), int(n), rule) for packets, n, rule in
                re.findall(r"^\[(\d+):(\d+)\] (.*)", self.inside("iptables-save", "--counters", "--table", "filter"), re.M)]

    def counted(self):
        """Those bytes, by ("from", address) and ("to", address)."""
        found = {}
        for _, n, rule in self.rules():
            of = re.fullmatch(r"-A (INPUT|OUTPUT) -[sd] ([\d.]+)/32 *", rule)
            if of:
                found["from" if of.group(1) == "INPUT" else "to", of.group(2)] = n
        return found

    def lost(self):
        """Packets."""
        return sum(packets for packets, _, rule in self.rules() if "DROP" in rule)


class Net:
    """In a `with` block: the hosts, and what joins them to us, at address."""

    address = NEAR

    def __init__(self, hosts=2, rate=None):
        self.hosts, self.rate = [Host(n) for n in range(hosts)], rate

    def __enter__(self):
        with contextlib.ExitStack() as stack:
            command("ip", "link", "add", "name", "switch", "type", "bridge")
            stack.callback(command, "ip", "link", "del", "switch")
            command("ip", "addr", "add", NEAR + "/24", "dev", "switch")
            command("ip", "link", "set", "switch", "up")
            for host in self.hosts:
                stack.enter_context(host)
                if self.rate:
                    host.limit(self.rate)
            self.stack = stack.pop_all()
        return self

    def __exit__(self, *what):
        return self.stack.__exit__(*what)


class NetHosts(Hosts):
    """Two ranks on each host of the net; before them `workers` of the server's own."""

    def __init__(self, net, workers=0, **more):
        super().__init__(workers=workers, hosts=(2,) * len(net.hosts), host=NEAR, **more)
        self.net = net

    def worker_of(self, host, rank, options=(), **more):
        return super().worker_of(host, rank, options, prefix=self.net.hosts[host].prefix, **more)


if __name__ == "__main__":
    Cable(None, float(sys.argv[1]), LATE_PORT, LATE_MARK)
    print("ready", flush=True)
    sys.stdin.read()
    os._exit(0)
