"""tools.py - the benchmark's own: programs to run, figures of several rounds, tables."""
import json
import os
import statistics
import subprocess
import sys

sys.path[:0] = [os.path.dirname(os.path.dirname(os.path.abspath(__file__)))]
from service import BUILD, ROOT

PROGRAMS = os.path.join(BUILD, "tests", "bench")
MIB = 1 << 20


def load(port, method, path, *options, host="127.0.0.1"):
    """One run of load.c, its line of figures; raises when an answer was wrong."""
    done = subprocess.run([os.path.join(PROGRAMS, "load"), *map(str, options), host, str(port), method, path],
                          capture_output=True, text=True, timeout=200)
    if done.returncode != 0:
        raise AssertionError("%s %s: %s" % (method, path, done.stderr.strip()))
    return json.loads(done.stdout)


def memory(n, mib, rounds, pick=max):
    """Best of the rounds, or what else is picked: bytes per second that memory.c copies and adds."""
    done = subprocess.run([os.path.join(PROGRAMS, "memory"), str(n), str(mib), str(rounds)],
                          capture_output=True, text=True, timeout=100, check=True)
    got = json.loads(done.stdout)
    return {"copy": pick(got["copy_GBps"]) * 1e9, "add": pick(got["add_GBps"]) * 1e9}


def tuned(**algorithms):
    """mpirun's options for Open MPI's algorithms by their numbers, which `ompi_info --param coll tuned --level 9` lists."""
    rules = ["--mca", "coll_tuned_use_dynamic_rules", "1"]
    return rules + [word for what, value in algorithms.items() for word in ("--mca", "coll_tuned_%s" % what, str(value))]


def in_turns(players, turns):
    """Name -> what its player found each turn. Whose turn is first goes round."""
    found = {name: [] for name in players}
    names = list(players)
    for i in range(turns):
        for name in names[i % len(names):] + names[:i % len(names)]:
            found[name].append(players[name]())
    return found


def quartiles(values):
    return statistics.quantiles(values, n=4, method="inclusive") if len(values) > 1 else list(values) * 3


class Bare:
    """bare_mhd with a buffer of `size` bytes."""

    def __init__(self, size):
        self.size = size

    def __enter__(self):
        self.process = subprocess.Popen([os.path.join(PROGRAMS, "bare_mhd"), str(self.size)],
                                        stdin=subprocess.PIPE, stdout=subprocess.PIPE, text=True)
        self.port = int(self.process.stdout.readline())
        return self

    def __exit__(self, *_):
        self.process.stdin.close()
        self.process.wait(20)


class Figures:
    """Named figures, each of several rounds, some beside another one of the same round."""

    def __init__(self):
        self.rows = {}

    def add(self, name, value, unit, better, ratio=None, against=None, aim=None, table=None):
        row = self.rows.setdefault(name, {"name": name, "unit": unit, "better": better, "against": against,
                                          "aim": aim, "table": table, "values": [], "ratios": []})
        row["values"].append(value)
        if ratio is not None:
            row["ratios"].append(ratio)

    def results(self):
        for row in self.rows.values():
            values = row["values"]
            low, ratio, high = quartiles(row["ratios"]) if row["ratios"] else (None, None, None)
            yield {"name": row["name"], "value": statistics.median(values), "unit": row["unit"],
                   "ratio": ratio, "ratio_low": low, "ratio_high": high, "against": row["against"],
                   "aim": row["aim"], "better": row["better"], "min": min(values), "max": max(values),
                   "runs": len(values)}

    def print_table(self, table, title):
        rows = [(row, result) for row, result in zip(self.rows.values(), self.results(), strict=True)
                if row["table"] == table]
        wide = max(len(result["name"]) for _, result in rows)
        print("\n%s\n%-*s %10s %-6s %10s %10s %7s %-14s %5s  %s" %
              (title, wide, "", "median", "", "min", "max", "ratio", "", "aim", "against"))
        for _, r in rows:
            between = "" if r["ratio"] is None else "%s to %s" % (number(r["ratio_low"]), number(r["ratio_high"]))
            print("%-*s %10s %-6s %10s %10s %7s %-14s %5s  %s" %
                  (wide, r["name"], number(r["value"]), r["unit"], number(r["min"]), number(r["max"]),
                   number(r["ratio"]), between, number(r["aim"]), r["against"] or ""))

    def write_part(self, part):
        """As BUILD/bench-PART.json, which bench.py joins to the others'."""
        path = os.path.join(BUILD, "bench-%s.json" % part)
        self.write(path)
        print("\nwritten to %s" % os.path.relpath(path))

    def write(self, path):
        with open(path, "w") as f:
            json.dump(list(self.results()), f, indent=1)
            f.write("\n")


def number(x):
    if x is None:
        return ""
    return "%.0f" % x if abs(x) >= 100 else "%.3g" % x
