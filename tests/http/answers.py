#!/usr/bin/python3
"""answers.py - every answer that the tests before it got, held against schema/openapi.yaml: its status and media type are listed,
its headers and its JSON are what the document says, and no member is there that the document does not have. What was asked
and taken is held against it as well: parameters, media types, JSON. Run last (run.sh -l); or by hand, on a directory that
TUTTI_TEST_RECORD named.

answers.py [DIRECTORY]"""
import collections
import json
import os
import re
import sys
import urllib.parse
import warnings

import yaml

with warnings.catch_warnings():
    warnings.simplefilter("ignore")
    import jsonschema

ROOT = os.path.dirname(os.path.dirname(os.path.dirname(os.path.abspath(__file__))))
LONGEST = 4 << 20  # what the records have of a body
# Of every answer, or of HTTP itself; the document's introduction has them.
COMMON = set("date content-type content-length content-disposition connection accept-ranges vary transfer-encoding cache-control "
             "x-content-type-options cross-origin-resource-policy x-frame-options referrer-policy content-security-policy".split())

# What every answer of a status has.
NEEDED = {401: "www-authenticate", 405: "allow", 416: "content-range", 429: "retry-after", 503: "retry-after"}


class Exchange:
    """One file: what was asked, and what was answered."""

    def __init__(self, path):
        with open(path, "rb") as f:
            data = f.read()
        method, target, n, data = data.split(b"\0", 3)
        options = data.split(b"\0", int(n))
        self.options = [text.decode("utf-8", "replace") for text in options[:-1]]
        self.method, self.target = method.decode("latin-1"), target.decode("latin-1")
        head, _, self.body = options[-1].partition(b"\r\n\r\n")
        while self.body.startswith(b"HTTP/1."):  # behind 100 Continue; curl -I says a head twice
            head, _, self.body = self.body.partition(b"\r\n\r\n")
        lines = head.decode("latin-1").split("\r\n")
        self.status = int(lines[0].split()[1])
        self.headers = {name.lower(): value.strip() for name, _, value in (line.partition(":") for line in lines[1:])}
        self.media = self.headers.get("content-type", "").partition(";")[0]
        self.path, _, self.query = self.target.partition("?")

    def asked_header(self, name):
        found = [text.partition(":")[2].strip() for flag, text in zip(self.options, self.options[1:])
                 if flag == "-H" and text.lower().startswith(name + ":")]
        return found[-1] if found else ""

    def asked_body(self):
        """What was sent, when it stands in the command and not in a file."""
        for flag, text in zip(self.options, self.options[1:]):
            if flag in ("-d", "--data", "--data-binary") and not text.startswith("@"):
                return text
        return None


class Document:
    def __init__(self, path):
        with open(path) as f:
            self.whole = yaml.load(f, getattr(yaml, "CSafeLoader", yaml.SafeLoader))
        self.close(self.whole["components"])
        self.close(self.whole["paths"])
        self.resolver = jsonschema.RefResolver("", self.whole)
        self.validators = {}
        self.routes = []
        for template, item in self.whole["paths"].items():
            pattern = "".join("[^/]+" if part.startswith("{") else re.escape(part) for part in re.split(r"(\{\w+\})", template))
            self.routes.append((template.count("{"), re.compile(pattern + r"\Z"), template, item))
        self.routes.sort(key=lambda route: route[0])

    def close(self, node):
        """Clients are told that members may be added; here one that the document lacks is a mistake."""
        if isinstance(node, dict):
            if isinstance(node.get("properties"), dict) and not {"additionalProperties", "unevaluatedProperties"} & set(node):
                node["additionalProperties"] = False
            for name, value in node.items():
                if name not in ("example", "examples"):
                    self.close(value)
        elif isinstance(node, list):
            for value in node:
                self.close(value)

    def get(self, node):
        while isinstance(node, dict) and "$ref" in node:
            place = self.whole
            for part in node["$ref"].lstrip("#/").split("/"):
                place = place[part]
            node = place
        return node

    def find(self, path):
        for _, pattern, template, item in self.routes:
            if pattern.match(path):
                return template, item
        return None, None

    def operation(self, item, method):
        """(name, operation, parameters) of a path's method; HEAD is GET without a body where it has no words of its own."""
        name = method.lower()
        if name == "head" and "head" not in item:
            name = "get"
        if name not in item or name not in ("get", "head", "post", "put", "delete"):
            return None
        operation = item[name]
        return operation, [self.get(p) for p in item.get("parameters", []) + operation.get("parameters", [])]

    def complaint(self, schema, value):
        """What is wrong with a value, or None."""
        found = self.validators.get(id(schema))
        if found is None:
            found = self.validators[id(schema)] = jsonschema.Draft202012Validator(schema, resolver=self.resolver)
        worst = jsonschema.exceptions.best_match(found.iter_errors(value))
        return worst and "%s: %s" % ("/".join(map(str, worst.absolute_path)) or "it", worst.message[:300])


def text_fits(document, schema, text):
    """A parameter or header is a text; it may stand for a number or a boolean."""
    wrong = document.complaint(schema, text)
    if wrong:
        try:
            value = json.loads(text)
        except ValueError:
            return wrong
        wrong = wrong if isinstance(value, (dict, list)) else document.complaint(schema, value)
    return wrong


def items_of(media, body):
    """The documents of a body that has many."""
    if media == "text/event-stream":
        for block in body.decode().split("\n\n"):
            event = dict(line.split(": ", 1) for line in block.split("\n") if ": " in line and not line.startswith(":"))
            if "event" in event:
                yield {"event": event["event"], "data": json.loads(event["data"])}
    else:
        yield from map(json.loads, body.decode().splitlines())


def check_body(document, exchange, content):
    """Complaints about the body, for the content that a response lists."""
    if exchange.media not in content:
        yield "the media type %s is not listed (%s are)" % (exchange.media or "of no name", ", ".join(content))
        return
    media = content[exchange.media]
    if exchange.method == "HEAD" or len(exchange.body) >= LONGEST:
        return
    try:
        if "x-itemSchema" in media:
            for item in items_of(exchange.media, exchange.body):
                wrong = document.complaint(media["x-itemSchema"], item)
                if wrong:
                    yield wrong
        elif exchange.media.endswith("json"):
            wrong = document.complaint(media["schema"], json.loads(exchange.body))
            if wrong:
                yield wrong
            if not exchange.body.endswith(b"\n"):
                yield "its body does not end as a line does"
    except ValueError as e:
        yield "its body is no %s: %s" % (exchange.media, e)


def check_response(document, exchange, response):
    headers = {name.lower(): document.get(header) for name, header in response.get("headers", {}).items()}
    for name, header in headers.items():
        if name in exchange.headers:
            wrong = text_fits(document, header["schema"], exchange.headers[name])
            if wrong:
                yield "header %s: %s" % (name, wrong)
        elif header.get("required"):
            yield "header %s is not there" % name
    if NEEDED.get(exchange.status, "content-type") not in exchange.headers and (response.get("content") or exchange.status in NEEDED):
        yield "header %s is not there" % NEEDED.get(exchange.status, "content-type")
    for name in set(exchange.headers) - set(headers) - COMMON:
        yield "header %s is not listed" % name
    if response.get("content"):
        yield from check_body(document, exchange, response["content"])
    elif exchange.body and exchange.method != "HEAD":
        yield "there should be no body"


def check_request(document, exchange, operation, parameters):
    """Of a request that was taken: what it had is in the document."""
    known = {p["name"]: p for p in parameters if p["in"] == "query"}
    for name, text in urllib.parse.parse_qsl(exchange.query, keep_blank_values=True):
        if name not in known:
            yield "parameter %s is not listed" % name
            continue
        wrong = text_fits(document, known[name]["schema"], text)
        if wrong:
            yield "parameter %s: %s" % (name, wrong)
    sent, kind = exchange.asked_body(), exchange.asked_header("content-type").partition(";")[0]
    if sent is None or not kind:
        return
    content = document.get(operation.get("requestBody", {})).get("content", {})
    if kind not in content:
        yield "the body's media type %s is not listed" % kind
    elif kind == "application/json":
        wrong = document.complaint(content[kind]["schema"], json.loads(sent))
        if wrong:
            yield "the body that was sent: " + wrong


def check(document, exchange):
    """(operation, complaints) of an exchange; the operation is None where the document has none."""
    problem = document.whole["components"]["responses"]["Problem"]
    template, item = document.find(exchange.path)
    found = document.operation(item, exchange.method) if item else None
    if not found:
        if exchange.status < 400 and not exchange.path.startswith("/ui/"):
            return None, ["it is answered, and not in the document"]
        return None, [] if exchange.status < 400 else list(check_response(document, exchange, problem))
    operation, parameters = found
    response = operation["responses"].get(str(exchange.status)) or operation["responses"].get("default" if exchange.status >= 400 else "")
    if not response:
        return (exchange.method, template), ["the status %d is not listed" % exchange.status]
    complaints = list(check_response(document, exchange, document.get(response)))
    if exchange.status < 300:
        complaints += check_request(document, exchange, operation, parameters)
    return (exchange.method, template), complaints


def exchanges(place):
    for room in sorted(os.listdir(place)):
        with open(os.path.join(place, room, "test")) as f:
            test = f.read().strip()
        for name in os.listdir(os.path.join(place, room)):
            if name != "test":
                yield test, Exchange(os.path.join(place, room, name))


def main():
    place = sys.argv[1] if len(sys.argv) > 1 else os.environ["TUTTI_TEST_RECORD"]
    document = Document(os.path.join(ROOT, "schema", "openapi.yaml"))
    wanted = {(method.upper(), template) for _, _, template, item in document.routes for method in item
              if method in ("get", "post", "put", "delete")}
    seen, wrong, n = set(), collections.Counter(), 0
    for test, exchange in exchanges(place):
        operation, complaints = check(document, exchange)
        n += 1
        if operation and exchange.status < 400:
            seen.add(("GET" if exchange.method == "HEAD" else exchange.method, operation[1]))
        for complaint in complaints:
            kind = (operation or (exchange.method, "?"), exchange.status, re.sub(r"[jt]_[0-9A-Z]{26}|\d+", "_", complaint))
            wrong[kind] += 1
            if wrong[kind] == 1:
                print("%s: %s %s, %d: %s" % (test, exchange.method, exchange.target[:200], exchange.status, complaint))
    for method, template in sorted(wanted - seen):
        print("no test got an answer of %s %s" % (method, template))
    failed = len({operation for operation, _, _ in wrong} | (wanted - seen))
    print("NOTE %d answers of %d operations" % (n, len(seen)))
    print("CASES %d %d" % (max(len(wanted) - failed, 0), failed))
    return 1 if failed or not n else 0


if __name__ == "__main__":
    sys.exit(main())
