#!/usr/bin/python3
"""bench.py [PART...] - runs the parts (all: PARTS), joins what they measured in BUILD/bench.json, and prints one table of the
figures that have an aim. bench.py --check: nothing is run; what BUILD/bench.json has is compared with ratios.json beside this file, and
what moved by more than a tenth is said; status 1 when something got worse by more than that and more than its spread. --keep: ratios.json is
written anew. Run by run.sh, which builds the programs."""
import json
import os
import subprocess
import sys

HERE = os.path.dirname(os.path.abspath(__file__))
sys.path[:0] = [HERE]
from tools import BUILD, number

PARTS = ("machine", "ops", "small", "bodies", "client", "notebooks")
RESULT = os.path.join(BUILD, "bench.json")
KEPT = os.path.join(HERE, "ratios.json")
MOVED = 0.1


def machine():
    with open("/proc/cpuinfo") as f:
        names = [line.split(":", 1)[1].strip() for line in f if line.startswith("model name")]
    return {"cores": len(os.sched_getaffinity(0)), "processor": names[0] if names else "unknown"}


def read(path):
    with open(path) as f:
        return json.load(f)


def holds(row):
    return row["ratio"] >= row["aim"] if row["better"] == "high" else row["ratio"] <= row["aim"]


def print_aims(figures):
    rows = [row for row in figures if row["aim"] is not None]
    wide = max(len(row["name"]) for row in rows)
    print("\n%-*s %8s %18s %8s" % (wide, "", "ratio", "middle half", "aim"))
    for row in rows:
        print("%-*s %8s %18s %s%7s  %-6s / %s" % (
            wide, row["name"], number(row["ratio"]), "%s to %s" % (number(row["ratio_low"]), number(row["ratio_high"])),
            ">" if row["better"] == "high" else "<", number(row["aim"]), "holds" if holds(row) else "missed", row["against"]))
    print("%d of %d aims hold" % (sum(map(holds, rows)), len(rows)))


def run(parts):
    """A part that fails ends the run: half a table is none."""
    for part in parts:
        print("== %s" % part, flush=True)
        subprocess.run(["/usr/bin/python3", os.path.join(HERE, part + ".py")], check=True)
    figures = [{"part": part, **row} for part in parts for row in read(os.path.join(BUILD, "bench-%s.json" % part))]
    with open(RESULT, "w") as f:
        json.dump({"machine": machine(), "figures": figures}, f, indent=1)
        f.write("\n")
    print_aims(figures)
    print("written to %s" % os.path.relpath(RESULT))


def keep():
    """The ratios alone: a figure without one is this machine's and of this hour."""
    result = read(RESULT)
    rows = ["  %s: %s" % (json.dumps(row["name"]), json.dumps({k: round(row[k], 3) for k in ("ratio", "ratio_low", "ratio_high")}))
            for row in result["figures"] if row["ratio"] is not None]
    with open(KEPT, "w") as f:
        f.write('{"machine": %s,\n "ratios": {\n%s\n}}\n' % (json.dumps(result["machine"]), ",\n".join(rows)))


def check():
    """The number of ratios that are worse, by more than a tenth and beyond both middle halves."""
    result, kept = read(RESULT), read(KEPT)
    if result["machine"] != kept["machine"]:
        print("NOTE measured on %(cores)d cores, %(processor)s" % result["machine"])
        print("NOTE kept from   %(cores)d cores, %(processor)s" % kept["machine"])
    now = {row["name"]: row for row in result["figures"] if row["ratio"] is not None}
    worse = 0
    for name in sorted(kept["ratios"].keys() | now.keys()):
        if name not in now or name not in kept["ratios"]:
            print("%-8s %s" % ("gone" if name not in now else "new", name))
            continue
        row, old = now[name], kept["ratios"][name]
        moved = row["ratio"] / old["ratio"]
        if 1 / (1 + MOVED) <= moved <= 1 + MOVED:
            continue
        apart = row["ratio_low"] > old["ratio_high"] or row["ratio_high"] < old["ratio_low"]
        verdict = "better" if (moved > 1) == (row["better"] == "high") else "worse"
        worse += verdict == "worse" and apart
        print("%-8s %s: %s (%s to %s), was %s (%s to %s)%s" % (
            verdict, name, number(row["ratio"]), number(row["ratio_low"]), number(row["ratio_high"]), number(old["ratio"]),
            number(old["ratio_low"]), number(old["ratio_high"]), "" if apart else ", within the spread"))
    print("%d ratios compared, %d worse" % (len(now.keys() & kept["ratios"].keys()), worse))
    return worse


def main():
    if sys.argv[1:] == ["--check"]:
        return 1 if check() else 0
    if sys.argv[1:] == ["--keep"]:
        return keep()
    unknown = [part for part in sys.argv[1:] if part not in PARTS]
    if unknown:
        sys.exit("bench.py: no part %s; there are %s" % (unknown[0], ", ".join(PARTS)))
    run(sys.argv[1:] or PARTS)
    return 0


if __name__ == "__main__":
    sys.exit(main())
