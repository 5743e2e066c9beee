#!/bin/sh
# check_tables.sh - the tables that the server is built from, as it prints them, say the same as schema/openapi.yaml:
# paths, what each takes and in which form, parameters with their ranges and defaults, codes, operations, dtypes, states,
# limits; and every operation has an example. And so does the notebook client, web/notebook/tutti.py: operations, dtypes,
# parameters, codes, version. And what tests/planted takes away is still there to be taken.
set -eu
cd "$(dirname "$0")/.."
build=${BUILD:-build}
tables=$(mktemp)
trap 'rm -f "$tables"' EXIT
"$build/tutti-server" --print-tables >"$tables"

"$build/tutti-server" --version >>"$tables"

PYTHONDONTWRITEBYTECODE=1 PYTHONPATH=web/notebook /usr/bin/python3 - "$tables" schema/openapi.yaml <<'PY'
import inspect
import re
import shlex
import sys

import tutti
import yaml

bad = 0


def differ(what, table, document):
    global bad
    for name in sorted(set(table) - set(document), key=str):
        print("%s: the document lacks %s" % (what, name))
        bad = 1
    for name in sorted(set(document) - set(table), key=str):
        print("%s: the tables lack %s" % (what, name))
        bad = 1


def equal(what, table, document):
    global bad
    if table != document:
        print("%s: %r in the tables, %r in the document" % (what, table, document))
        bad = 1


rows = {}
*printed, version = open(sys.argv[1]).read().splitlines()
version = version.split()[-1]
for line in printed:
    kind, rest = line.rstrip("\n").split(" ", 1)
    rows.setdefault(kind, []).append(rest)
text = open(sys.argv[2]).read()
document = yaml.safe_load(text)
schemas, parameters = document["components"]["schemas"], document["components"]["parameters"]

# Paths. A GET row answers HEAD too; the names in braces are the document's own. What pages load is no API.
rows["route"], rows["open"] = ([r for r in rows[kind] if not r.split()[1].startswith("/ui/")] for kind in ("route", "open"))
blank = lambda path: re.sub(r"{\w+}", "{}", path)
differ("path", {(m, blank(p)) for m, p in (r.split()[:2] for r in rows["route"])},
       {(method.upper(), blank(path)) for path, item in document["paths"].items() for method in item
        if method in ("get", "post", "put", "delete", "patch")})

operations = {(method.upper(), blank(path)): (o, item.get("parameters", [])) for path, item in document["paths"].items()
              for method, o in item.items() if method in ("get", "post", "put", "delete")}


def inside(node):
    """What a $ref leads to."""
    while isinstance(node, dict) and "$ref" in node:
        place = document
        for part in node["$ref"].lstrip("#/").split("/"):
            place = place[part]
        node = place
    return node


def route_rows(kind):
    for row in rows[kind]:
        method, path, *rest = row.split()
        if not path.startswith("/ui/"):
            yield (method, blank(path)), rest


# What each operation takes of the query; the names of its path; Prefer where it may wait.
for key, names in route_rows("takes"):
    operation, of_path = operations[key]
    given = [inside(p) for p in of_path + operation.get("parameters", [])]
    equal("%s %s, parameters" % key, sorted(names), sorted(p["name"] for p in given if p["in"] == "query"))
    equal("%s %s, Prefer" % key, "wait" in names, "Prefer" in [p["name"] for p in given])
for path, item in document["paths"].items():
    equal(path + ", names in the path", re.findall(r"{(\w+)}", path),
          [inside(p)["name"] for p in item.get("parameters", []) if inside(p)["in"] == "path"])

# The body that it takes, and whether it may be left out.
TENSORS = ["application/json", "application/octet-stream", "application/vnd.safetensors", "application/x-npy"]
BODIES = {"none": ([], None), "json": (["application/json"], True), "tensors": (TENSORS, True), "maybe": (TENSORS, False),
          "value": (["application/json"], None), "lines": (["application/x-ndjson"], True)}
for key, (kind,) in route_rows("body"):
    body = operations[key][0].get("requestBody", {})
    equal("%s %s, body" % key, BODIES[kind][0], sorted(body.get("content", {})))
    if BODIES[kind][1] is not None:
        equal("%s %s, body wanted" % key, BODIES[kind][1], body.get("required"))

# In JSON every parameter may be a member.
for name, key, more in (("NewJob", ("POST", "/v1/jobs"), "inputs"), ("NewGradient", ("POST", "/v1/jobs/{}/backward"), "grads"),
                        ("NewCall", ("POST", "/v1/groups/{}/ranks/{}/calls"), "input")):
    equal("members of " + name, sorted(dict(route_rows("takes"))[key] + [more]), sorted(schemas[name]["properties"]))

# Files, by their media types.
for row in rows["static"]:
    path, type_ = row.split(" ", 1)
    if not path.startswith("/ui/"):
        content = operations["GET", path][0]["responses"]["200"]["content"]
        equal(path + ", media type", type_.partition(";")[0], "".join(content))

# Each operation shows what is sent and what comes.
for key, (operation, _) in operations.items():
    contents = [("body", list(operation["requestBody"]["content"].items()))] if "requestBody" in operation else []
    contents += [("answer", [c for status, r in operation["responses"].items() if status[0] == "2" for c in inside(r).get("content", {}).items()])]
    for what, media in contents:
        plain = [m for name, m in media if "json" in name or name in ("text/plain", "text/event-stream")]
        if plain and not any("example" in m or "examples" in m or {"example", "examples"} & set(inside(m["schema"])) for m in plain):
            print("%s %s: no example of its %s" % (*key, what))
            bad = 1

# What is answered without a token.
differ("open path", {tuple(r.split()) for r in rows["open"]},
       {(method.upper(), path) for path, item in document["paths"].items() for method, o in item.items()
        if method in ("get", "post", "put", "delete") and o.get("security") == []})

# Parameters of the query: the same names, ranges and defaults.
table = {}
for row in rows["param"]:
    name, type_, least, most, rest = row.split(" ", 4)
    table[name] = (type_, int(least), int(most), shlex.split(rest.split(" ", 1)[0])[0] if rest.startswith('""') else re.match('"(.*?)"', rest).group(1))
used = {p["$ref"].rsplit("/", 1)[1] for item in document["paths"].values() for o in list(item.values()) if isinstance(o, dict)
        for p in o.get("parameters", []) if "$ref" in p}
inline = {p["name"] for item in document["paths"].values() for o in item.values() if isinstance(o, dict)
          for p in o.get("parameters", []) if "$ref" not in p and p["in"] == "query"}
differ("parameter", table, {n for n in used if parameters[n]["in"] == "query"} | inline)
for name, (type_, least, most, default) in table.items():
    schema = parameters.get(name, {}).get("schema", {})
    schema = schemas[schema["$ref"].rsplit("/", 1)[1]] if "$ref" in schema else schema
    if type_ in ("INT", "SECONDS"):
        equal(name + " minimum", least, schema.get("minimum"))
        equal(name + " maximum", most, schema.get("maximum"))
        equal(name + " default", default, str(schema.get("default", "")))
    member = schemas["NewJob"]["properties"].get(name, {})
    if type_ in ("INT", "SECONDS") and member:
        equal(name + " as a member", (least, most, default),
              (member.get("minimum"), member.get("maximum"), str(member.get("default", ""))))
    assert not member or type_ != "TEXT" or "maxLength" not in member or member["maxLength"] == most, name

# Codes, with the status and title that stand beside each.
differ("code", [r.split()[0] for r in rows["error"]], schemas["Code"]["enum"])
beside = dict(re.findall(r"^ +- (\w+) +# (\d{3} .*)$", text, re.M))
for row in rows["error"]:
    code, rest = row.split(" ", 1)
    equal("code " + code, rest, beside.get(code))

# Operations with their sentences, dtypes, states.
equal("operations", [r.split()[0] for r in rows["op"]], schemas["Op"]["enum"])
sentences = dict(re.findall(r"^ +- (\w+) +# (.*)$", text, re.M))
for row in rows["op"]:
    name, sentence = row.split(" ", 1)
    equal("operation " + name, sentence, sentences.get(name))
equal("dtypes", [r.split()[0] for r in rows["dtype"]], schemas["Dtype"]["enum"])
equal("job states", [r.split()[1] for r in rows["state"] if r.startswith("job")], schemas["JobState"]["enum"])
equal("worker states", [r.split()[1] for r in rows["state"] if r.startswith("worker")], schemas["WorkerState"]["enum"])

# Limits that the document has as numbers.
limits = {name: int(number) for name, number in (r.split() for r in rows["limit"])}
equal("ranks", limits["ranks"], schemas["Ranks"]["maxItems"])
equal("dimensions", limits["dimensions"], schemas["Shape"]["maxItems"])
equal("bytes of an Idempotency-Key", limits["idempotency_key_bytes"], parameters["Idempotency-Key"]["schema"]["maxLength"])
equal("bytes of a key", [limits["key_bytes"]] * len(re.findall("{key}", " ".join(document["paths"]))),
      [p["schema"]["maxLength"] for item in document["paths"].values() for p in item.get("parameters", []) if p.get("name") == "key"])
equal("bytes of an account's name", "{0,%d}" % (limits["account_bytes"] - 1), re.search(r"{0,\d+}", schemas["Owner"]["pattern"]).group())
for name in ("elements_shown", "elements_json"):
    if "{:,}".format(limits[name]) not in parameters["data"]["description"]:
        print("data: the description lacks %s" % "{:,}".format(limits[name]))
        bad = 1

# The client. What a row of ops.def says of who gives and gets, and of shapes; each row a method of groups and of ranks.
rank_words = {"ROOT": "root", "EACH": "each", "NOBODY": "nobody", "SRC": "src", "DST": "dst"}
ops = {}
for row in re.findall(r"^OP\((.*?)\)$", open("schema/ops.def").read(), re.M):
    name, _, _, gives, gets, dim, _, adjoint, sentence = (cell.strip() for cell in row.split(",", 8))
    ops[name] = (name, rank_words[gives], rank_words[gets], dim.lower(), adjoint != "none", sentence.strip('"'))
differ("operation of the client", ops, tutti.OPS)
for name in set(ops) & set(tutti.OPS):
    equal("operation " + name + " of the client", ops[name], tuple(tutti.OPS[name]))
    for owner in (tutti.Group, tutti.Rank, tutti.Batch):
        differ(owner.__name__, {name}, {name} & set(dir(owner)))
dtypes = {name: (descr, other) for name, descr, other in
          re.findall(r'^DTYPE\((\w+),.*?"(\w*)",\s*"(\w+)"', open("schema/dtypes.def").read(), re.M)}
differ("dtype of the client", dtypes, tutti.DTYPES)
for name, (descr, other) in dtypes.items():
    equal("dtype " + name + " of the client", (descr or "u2", other), (tutti._WIRE_TYPES[name].str[1:], tutti.DTYPES[name][1]))
differ("code of the client", {code for code in tutti.ERRORS if code in schemas["Code"]["enum"]}, tutti.ERRORS)
# What the client sends of a job's parameters; the rest it says with headers and bodies.
told = {"dtype", "shape", "wait", "data", "outputs", "op", "group", "format", "view", "inputs", "results"}
differ("parameter of the client", set(schemas["NewJob"]["properties"]) - told,
       set(inspect.signature(tutti.Group.all_to_all).parameters) - {"self", "inputs", "group", "keep", "async_", "dtype"} | {"src", "dst", "axis"})
equal("version", version, tutti.__version__)

# Links inside the document lead somewhere.
for ref in set(re.findall(r'\$ref: "?#/([\w/.-]+)"?', text)):
    place = document
    for part in ref.split("/"):
        place = place.get(part) if isinstance(place, dict) else None
    if place is None:
        print("the document names %s, which is not there" % ref)
        bad = 1
sys.exit(bad)
PY
/usr/bin/python3 tests/planted/planted.py --look
