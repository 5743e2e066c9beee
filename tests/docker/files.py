#!/usr/bin/python3
"""files.py - the Dockerfile and the compose files keep the house's rules: no variable that the programs do not know, bases with
a version, containers without rights, a target for every image; and docker-compose, where there is one, understands them."""
import glob
import os
import re
import shutil
import subprocess
import sys

import yaml

ROOT = os.path.dirname(os.path.dirname(os.path.dirname(os.path.abspath(__file__))))
DOCKER = os.path.join(ROOT, "docker")
BUILD = os.path.join(ROOT, os.environ.get("BUILD", "build"))
VARIABLE = re.compile(r"\bTUTTI_[A-Z_]+\b")
wrong = []


def must(truth, *words):
    if not truth:
        wrong.append(" ".join(map(str, words)))


def known(program):
    """The environment's twins of its options, from --help."""
    said = subprocess.run([os.path.join(BUILD, program), "--help"], check=True, stdout=subprocess.PIPE, text=True).stdout
    return set(VARIABLE.findall(said))


def stages(text):
    """name -> (its FROM, its own lines)."""
    found = {}
    for part in re.split(r"^FROM ", text, flags=re.M)[1:]:
        base, name = re.match(r"(\S+) AS (\S+)", part).groups()
        found[name] = (base, part)
    return found


def up(name, of):
    """The lines of a stage and of those below it."""
    lines = ""
    while name in of:
        name, part = of[name]
        lines = part + lines
    return lines


def check_dockerfile(known_to):
    with open(os.path.join(DOCKER, "Dockerfile")) as f:
        text = f.read()
    arguments = dict(re.findall(r"^ARG (\w+)=(\S+)$", text, re.M))
    of = stages(text)
    for name, (base, _) in of.items():
        base = arguments.get(base.strip("${}"), base)
        must(base in of or re.search(r":\S*\d+\.\d+", base), "Dockerfile: the base", base, "of", name, "has no version")
    for name, program in (("server", "tutti-server"), ("worker-cpu", "tutti-worker"), ("worker-cuda", "tutti-worker")):
        lines = up(name, of)
        must(re.findall(r"^USER (\S+)", lines, re.M)[-1:] == ["10001:10001"], name, "does not run as 10001")
        must('ENTRYPOINT ["%s"]' % program in lines, name, "does not start", program)
        must("org.opencontainers.image.title" in lines, name, "has no title")
        own = set(VARIABLE.findall("\n".join(re.findall(r"^ENV (.*(?:\\\n.*)*)", lines, re.M))))
        must(own <= known_to[program], name, "sets what", program, "does not know:", own - known_to[program])
    must("HEALTHCHECK" in of["server"][1], "server has no health check")
    return set(of)


def check_service(where, service, targets, known_to):
    program = "tutti-worker" if "worker" in service["image"] else "tutti-server"
    environment = set(service.get("environment", {}))
    must(environment <= known_to[program], where, "sets what", program, "does not know:", environment - known_to[program])
    must(service.get("read_only") is True and service.get("cap_drop") == ["ALL"] and
         "no-new-privileges:true" in service.get("security_opt", []), where, "has rights that it does not need")
    must(not {"privileged", "cap_add", "user", "devices"} & set(service), where, "takes more rights")
    must(service.get("restart") == "unless-stopped", where, "is not started again")
    must("max-size" in service.get("logging", {}).get("options", {}), where, "logs without a limit")
    if "build" in service:
        build = service["build"]
        must(build["target"] in targets and service["image"] == "tutti-" + build["target"], where, "builds", build["target"])
        must(os.path.samefile(os.path.join(DOCKER, build["context"]), ROOT), where, "builds", build["context"])
    for port in service.get("ports", []):
        must(re.sub(r"\$\{\w+:-(.*?)\}", r"\1", port).startswith("127.0.0.1:"), where, "is open to other machines")


def check_compose(path, targets, known_to):
    name = os.path.basename(path)
    with open(path) as f:
        text = f.read()
    unknown = set(VARIABLE.findall(text)) - known_to["tutti-server"] - known_to["tutti-worker"]
    must(not unknown, name, "names", unknown)
    must(not set(re.findall(r"\$\{(\w+)", text)) - set(VARIABLE.findall(text)), name, "asks the environment for what is not TUTTI_*")
    document = yaml.safe_load(text)
    for service, what in document["services"].items():
        check_service("%s: %s" % (name, service), what, targets, known_to)
    world = [s["environment"]["TUTTI_WORLD"] for s in document["services"].values() if "TUTTI_WORLD" in s.get("environment", {})]
    ranks = sorted(s["environment"]["TUTTI_RANK"] for s in document["services"].values() if "TUTTI_RANK" in s.get("environment", {}))
    must(ranks == [str(r) for r in range(int(world[0]))], name, "has ranks", ranks, "in a world of", world)
    if shutil.which("docker-compose"):
        done = subprocess.run(["docker-compose", "-f", path, "config", "-q"], capture_output=True, text=True)
        must(done.returncode == 0 and not done.stderr, name, done.stderr)


known_to = {program: known(program) for program in ("tutti-server", "tutti-worker")}
targets = check_dockerfile(known_to)
files = sorted(glob.glob(os.path.join(DOCKER, "compose*.yaml")))
must(len(files) >= 3, "only", files)
for path in files:
    check_compose(path, targets, known_to)
if not shutil.which("docker-compose"):
    print("NOTE no docker-compose: it was not asked")
print("\n".join(wrong))
sys.exit(bool(wrong))
