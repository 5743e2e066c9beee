"""bad_input_cases.py - the bad-input matrix, one row a case: its number there, what is sent, the status and the code
that must come back, and `why` where the answer is another than the matrix says.

status "closed" means that the connection ends without an answer. `html` marks what libmicrohttpd answers by
itself: its body is its own. `says` is a regular expression that the detail must match.
"""
import json
import struct

MIB = 1 << 20
CASES = []
# Rows that another test covers, and where.
ELSEWHERE = {39: "tests/http/63-drain.sh", 56: "tests/http/49-delete-input.sh", 106: "tests/http/65-calls.sh",
             107: "tests/http/66-calls-apart.sh", 108: "tests/http/66-calls-apart.sh", 57: "tests/http/68-backward.sh",
             58: "tests/http/68-backward.sh", 109: "tests/http/events_test.py", 110: "tests/http/71-kv.sh", 111: "tests/http/70-bcast.sh",
             123: "tests/http/81-kv-at-once.sh", 124: "tests/http/85-quotas.sh",
             33: "tests/http/83-tokens.sh", 34: "tests/http/83-tokens.sh", 35: "tests/http/84-accounts.sh",
             36: "tests/http/83-tokens.sh", 37: "tests/http/85-quotas.sh"}

JSON = "application/json"
NPY = "application/x-npy"
ST = "application/vnd.safetensors"
RAW = "application/octet-stream"


class Case:
    def __init__(self, row, name, status, code, send, why="", says="", html=False, close=False, setup=None,
                 end="", slow=False, header=""):
        self.row, self.name, self.status, self.code, self.send = row, name, status, code, send
        self.why, self.says, self.html, self.close, self.setup = why, says, html, close, setup
        self.end = end        # "half": no more bytes will come; "gone": closes at once
        self.slow = slow      # takes as long as a deadline; runs beside the others
        self.header = header  # a header that the answer must have


def case(row, name, status, code, send, **more):
    CASES.append(Case(row, name, status, code, send, **more))


def head(method, target, *headers, host="HOST", version="1.1"):
    """The bytes of a request's head; HOST stands for the server's."""
    lines = ["%s %s HTTP/%s" % (method, target, version)] + (["Host: " + host] if host else []) + list(headers)
    return "\r\n".join(lines + ["", ""]).encode("latin-1")


def ask(method, target, body=None, kind=None, *headers):
    """A well-framed request. body: bytes, text, or something for JSON."""
    if body is None:
        return head(method, target, "Connection: close", *headers)
    if not isinstance(body, (bytes, str)):
        body, kind = json.dumps(body), kind or JSON
    if isinstance(body, str):
        body = body.encode()
    kinds = ["Content-Type: " + kind] if kind else []
    return head(method, target, "Connection: close", "Content-Length: %d" % len(body), *kinds, *headers) + body


def get(target, *headers):
    return ask("GET", target, None, None, *headers)


def post(target, body, kind=JSON, *headers):
    return ask("POST", target, body, kind, *headers)


def tensor(text, query=""):
    return post("/v1/tensors" + query, text)


def job(body, query="?wait=10", *headers):
    return post("/v1/jobs" + query, body, JSON, *headers)


def npy(header, data=b"", version=(1, 0), magic=b"\x93NUMPY", length=None, query="/v1/tensors"):
    if isinstance(header, str):
        header = header.encode("latin-1")
    size = "<H" if version[0] == 1 else "<I"
    size_bytes = struct.pack(size, len(header) if length is None else length)
    return post(query, magic + bytes(version) + size_bytes + header + data, NPY)


def dictionary(descr="'<f4'", order="False", shape="(2,)", more=""):
    text = "{'descr': %s, 'fortran_order': %s, 'shape': %s, %s}" % (descr, order, shape, more)
    return text + " " * (63 - (10 + len(text)) % 64) + "\n"


def safetensors(header, data=b"", size=None, target="/v1/tensors"):
    if isinstance(header, dict):
        header = json.dumps(header)
    if isinstance(header, str):
        header = header.encode()
    return post(target, struct.pack("<Q", len(header) if size is None else size) + header + data, ST)


def row_of(dtype="F32", shape=(2,), offsets=(0, 8)):
    return {"dtype": dtype, "shape": list(shape), "data_offsets": list(offsets)}


def raw(query, data, target="/v1/tensors"):
    return post(target + query, data, RAW)


def chunked(target, pieces, kind=JSON, end=b"0\r\n\r\n"):
    body = b"".join(b"%x\r\n%s\r\n" % (len(p), p) for p in pieces)
    return head("POST", target, "Connection: close", "Content-Type: " + kind, "Transfer-Encoding: chunked") + body + end


SUM = {"op": "all_reduce_sum", "inputs": [[1], [2], [3], [4]]}
J = "Content-Type: application/json"

# ---- HTTP ----
GROUP = b'{"name":"g","ranks":[0]}'
case(1, "two different lengths", 400, "bad_framing", close=True,
     send=head("POST", "/v1/groups", J, "Content-Length: 24", "Content-Length: 3") + GROUP)
case(2, "two equal lengths", 400, "bad_framing", close=True,
     send=head("POST", "/v1/groups", J, "Content-Length: 24", "Content-Length: 24") + GROUP)
case(3, "length and chunked", 400, "bad_framing", close=True,
     send=head("POST", "/v1/groups", J, "Content-Length: 24", "Transfer-Encoding: chunked") + b"0\r\n\r\n")
for coding in ("gzip, chunked", "xchunked", "identity, chunked", "identity"):
    case(4, "coding " + coding, 400, "bad_framing", close=True,
         send=head("POST", "/v1/groups", J, "Transfer-Encoding: " + coding) + b"0\r\n\r\n")
case(5, "space before the colon", 400, "bad_framing", close=True,
     send=head("POST", "/v1/groups", J, "Transfer-Encoding : chunked") + b"0\r\n\r\n")
case(5, "length with space before the colon", 400, "bad_framing", close=True,
     send=head("POST", "/v1/groups", J, "Content-Length : 24") + GROUP)
for length in ("-5", "+5", "0x5", "5,5", ""):
    case(6, "length %r" % length, 400, None, html=True, close=True,
         send=head("POST", "/v1/groups", J, "Content-Length: " + length) + b"12345")
case(7, "length 2^64-1", 413, "body_too_large", close=True,
     send=head("POST", "/v1/jobs", J, "Content-Length: 18446744073709551615"))
case(7, "JSON over its limit", 413, "body_too_large", close=True,
     send=head("POST", "/v1/jobs", J, "Content-Length: %d" % (64 * MIB + 1)))
case(7, "parameters over their limit", 413, "body_too_large", close=True,
     send=head("POST", "/v1/groups", J, "Content-Length: %d" % (64 * 1024 + 1)))
case(7, "npy larger than the arena", 507, "arena_full", close=True, why="what limits it is the arena",
     send=head("POST", "/v1/tensors", "Content-Type: " + NPY, "Content-Length: 10000000000"))
case(8, "body ends early, half closed", "closed", None, end="half",
     send=head("POST", "/v1/tensors", J, "Content-Length: 100") + b"[1,2")
case(8, "body ends early, gone", "closed", None, end="gone",
     send=head("POST", "/v1/tensors?dtype=uint8&shape=1000000", "Content-Type: " + RAW,
               "Content-Length: 1000000") + b"x" * 5000)
case(9, "body stops", "closed", None, slow=True, why="libmicrohttpd cannot answer while a body is arriving",
     send=head("POST", "/v1/tensors", J, "Content-Length: 100") + b"[1,2")
case(9, "head stops", "closed", None, slow=True, send=b"GET /v1 HTTP/1.1\r\nHost: HOST\r\nX-")
case(10, "more than the length", 201, None, end="rest",
     send=head("POST", "/v1/tensors", J, "Content-Length: 3") + b"[1]not a request\r\n\r\n")
for name, chunk in (("negative", b"-3\r\nabc\r\n"), ("overflow", b"fffffffffffffffff\r\nabc\r\n"),
                    ("bad end", b"3\r\nabcxx0\r\n\r\n")):
    case(11, "chunk size " + name, 413 if name == "overflow" else 400, None, html=True, close=True,
         send=head("POST", "/v1/tensors", J, "Transfer-Encoding: chunked") + chunk)
case(12, "no length", 400, "empty_body", send=head("POST", "/v1/jobs", J, "Connection: close"))
case(12, "no length, raw bytes", 400, "empty_body",
     send=head("POST", "/v1/tensors?dtype=int8&shape=4", "Content-Type: " + RAW, "Connection: close"))
case(13, "chunked over the limit", 413, "body_too_large",
     send=lambda: chunked("/v1/tensors", [b" " * MIB] * 65))
case(13, "chunked far over the limit", "closed", None,
     send=lambda: chunked("/v1/tensors", [b" " * MIB] * 140))
case(13, "chunked npy over the arena", 507, "arena_full",
     send=lambda: chunked("/v1/tensors", [b"\x93NUMPY\1\0\x76\0" + dictionary("'|u1'", shape="(70000000,)").encode()] +
                          [b"x" * 1000] * 50, NPY))
case(14, "no Host", 400, None, html=True, close=True, send=head("GET", "/v1", host=""))
case(14, "two Hosts", 400, "bad_header", send=head("GET", "/v1", "Host: HOST", "Connection: close"))
case(15, "foreign Host", 403, "host_not_allowed", send=head("GET", "/v1", "Connection: close", host="evil.example"))
case(15, "Host with user", 403, "host_not_allowed", send=head("GET", "/v1", "Connection: close", host="localhost@evil.example"))
case(16, "foreign Origin", 403, "origin_not_allowed", send=get("/v1", "Origin: https://evil.example"))
case(17, "preflight", 403, "origin_not_allowed",
     send=ask("OPTIONS", "/v1/jobs", None, None, "Origin: https://evil.example", "Access-Control-Request-Method: POST"))
case(18, "absolute target", 400, "bad_target", send=get("http://evil.example/v1"))
case(18, "absolute target of this host", 400, "bad_target", send=get("http://HOST/v1"))
case(19, "%00 in the path", 400, "bad_target", send=get("/v1/tensors/t_x%00y"))
case(19, "%00 in the query", 400, "bad_target", send=get("/v1/jobs?label=a%00b"))
for target in ("/v1/jobs?label=%zz", "/v1/jobs?label=%c0%af", "/v1/jobs?label=%ff", "/v1/jobs?label=\xff", "/v1/%4",
               "/v1/jobs?label=%ed%a0%80"):
    case(20, target.encode("unicode_escape").decode(), 400, "bad_target", send=get(target))
for target in ("/v1/../v1/jobs", "//v1", "/v1/", "/v1/jobs/", "/v1//jobs", "/./v1"):
    case(21, target, 404, "not_found", send=get(target))
case(22, "40 kB of target", 414, None, html=True, close=True, send=get("/v1?" + "x" * 40000))
case(22, "10 kB of target", 414, "target_too_long", send=get("/v1/jobs?label=" + "x" * 10000),
     why="over our own limit of 8 KiB, under the library's")
case(22, "40 kB of header", 431, None, html=True, close=True, send=get("/v1", "X-Long: " + "x" * 40000))
case(22, "2,000 headers", 431, None, html=True, close=True, send=get("/v1", *["X-%d: xxxxxxxxxxxxxxx" % i for i in range(2000)]))
case(23, "BREW", 501, "method_unknown", send=ask("BREW", "/v1"))
case(23, "lower case", 501, "method_unknown", send=ask("get", "/v1"))
case(23, "TRACE", 501, "method_unknown", send=ask("TRACE", "/v1"))
case(24, "PUT /v1/jobs", 405, "method_not_allowed", header="Allow", send=ask("PUT", "/v1/jobs", "{}", JSON))
case(24, "PATCH /v1/groups/world", 405, "method_not_allowed", header="Allow", send=ask("PATCH", "/v1/groups/world", "{}", JSON))
case(25, "no such path", 404, "not_found", send=get("/v1/nope"))
case(26, "image", 406, "not_acceptable", says="npy", send=get("/v1/tensors/TENSOR", "Accept: image/png"))
case(26, "format=png", 406, "not_acceptable", says="npy", send=get("/v1/tensors/TENSOR?format=png"))
case(27, "no Content-Type", 415, "unsupported_media", says="npy", send=post("/v1/jobs", "{}", None))
for kind in ("text/plain", "multipart/form-data; boundary=x", "application/x-www-form-urlencoded", "application/json; charset=latin1"):
    case(27, kind, 415, "unsupported_media", send=post("/v1/jobs", "{}", kind))
case(28, "gzip", 415, "unsupported_media", send=post("/v1/jobs", b"\x1f\x8b", JSON, "Content-Encoding: gzip"))
case(29, "Expect: 200-ok", 417, "expectation_failed", send=post("/v1/jobs", "{}", JSON, "Expect: 200-ok"))
case(30, "Expect and too large", 413, "body_too_large", close=True,
     send=head("POST", "/v1/jobs", J, "Expect: 100-continue", "Content-Length: 99999999999"))
for what in ("5-1", "9999999999-", "99-", "-0"):
    case(31, what, 416, "range_not_satisfiable", send=get("/v1/tensors/TENSOR?format=raw", "Range: bytes=" + what))
case(31, "many ranges", 200, None, send=get("/v1/tensors/TENSOR?format=raw", "Range: bytes=0-0,2-3,4-4"))
case(31, "99999999999999999999-", 416, "range_not_satisfiable",
     send=get("/v1/tensors/TENSOR?format=raw", "Range: bytes=99999999999999999999-"))
case(32, "HTTP/2 preface", 505, None, html=True, close=True, send=b"PRI * HTTP/2.0\r\n\r\nSM\r\n\r\n")

# ---- limits ----
case(38, "upload over the arena", 507, "arena_full", says=r"\d", send=raw("?dtype=uint8&shape=70000000", b"")[:-2].replace(
    b"Content-Length: 0", b"Content-Length: 70000000") + b"\r\n", close=True)
case(38, "outputs over the arena", 507, "arena_full",
     send=lambda: raw("?op=all_gather&dtype=uint8&shape=4,10485760&wait=20", bytes(40 * MIB), "/v1/jobs"))

# ---- query and parameters ----
case(40, "unknown in the query", 400, "unknown_parameter", says=r"\bop\b", send=job(SUM, "?opp=x"))
case(40, "unknown member", 400, "unknown_parameter", says=r"\binputs\b", send=job({**SUM, "input": 1}))
case(40, "of another route", 400, "unknown_parameter", send=get("/v1/jobs?wait=1"))
case(40, "unknown in a group", 400, "unknown_parameter", send=post("/v1/groups", {"name": "a", "ranks": [0], "x": 1}))
case(41, "twice in the query", 400, "conflicting_parameter", send=job(SUM, "?wait=1&wait=1"))
case(41, "query and body", 400, "conflicting_parameter", send=job({**SUM, "axis": 1}, "?axis=0"))
case(41, "op in query and body", 400, "conflicting_parameter", send=job(SUM, "?op=gather"))
case(42, "wait=-1", 422, "parameter_range", send=job(SUM, "?wait=-1"), why="a number, and so parseable: out of range")
case(42, "wait=abc", 400, "bad_parameter", send=job(SUM, "?wait=abc"))
case(42, "wait=1e9", 422, "parameter_range", says="300", send=job(SUM, "?wait=1e9"))
case(42, "wait=301", 422, "parameter_range", says="300", send=job(SUM, "?wait=301"))
case(42, "wait=NaN", 400, "bad_parameter", send=job(SUM, "?wait=NaN"))
case(42, "wait empty", 400, "bad_parameter", send=job(SUM, "?wait="))
case(42, "wait a list", 400, "bad_parameter", send=job({**SUM, "wait": [1]}, ""))
for limit in ("0", "501", "-1"):
    case(43, "limit=" + limit, 422, "parameter_range", says="500", send=get("/v1/jobs?limit=" + limit))
case(43, "limit=x", 400, "bad_parameter", send=get("/v1/jobs?limit=x"))
case(43, "after=junk", 422, "bad_cursor", send=get("/v1/jobs?after=junk"))
case(43, "after=junk of groups", 422, "bad_cursor", send=get("/v1/groups?after=%21%21"))
case(44, "no op", 422, "missing_parameter", says="all_to_all", send=job({"inputs": [1, 2, 3, 4]}))
case(44, "unknown op", 422, "op_unknown", says="did you mean all_reduce_sum?", send=job({**SUM, "op": "all_reduce"}))
case(44, "op not a string", 400, "bad_parameter", send=job({**SUM, "op": 3}))
case(45, "no such group", 404, "group_unknown", send=job({**SUM, "group": "nobody"}))
for group in ([0, 0], [0, 4], [], [1.5], ["0"], [-1], [0, 99999999999]):
    case(45, "group %s" % json.dumps(group), 422, "group_invalid", send=job({**SUM, "group": group, "inputs": [[1], [2]]}))
for group in ("0,0", "0,4", "%5B%5D"):
    case(45, "group=" + group, 422, "group_invalid", send=job({"op": "broadcast", "inputs": [[1], None]}, "?group=" + group))
for name in ("../x", "", "x" * 10000, "9a", "a b"):
    case(46, "name %.9r" % name, 422, "group_invalid", send=post("/v1/groups", {"name": name, "ranks": [0]}))
case(46, "name with NUL", 400, "bad_json", send=post("/v1/groups", '{"name":"a\\u0000b","ranks":[0]}'),
     why="no string of a body may hold NUL: row 64")
case(46, "world", 409, "group_exists", send=post("/v1/groups", {"name": "world", "ranks": [1]}))
case(46, "job on ../x", 422, "group_invalid", send=job({**SUM, "group": "../x"}))
case(47, "3 of 2-d", 422, "axis_out_of_range", says=r"-2.*2", send=job({"op": "all_gather", "axis": 3, "inputs": [[[1]]] * 4}))
case(47, "-4 of 3-d", 422, "axis_out_of_range", says=r"-3.*3", send=job({"op": "all_gather", "axis": -4, "inputs": [[[[1]]]] * 4}))
case(47, "on a scalar", 422, "axis_out_of_range", send=job({"op": "gather", "inputs": [1] * 4}))
case(47, "axis=40", 422, "parameter_range", send=job({"op": "gather", "axis": 40, "inputs": [[1]] * 4}))
case(47, "axis=x", 400, "bad_parameter", send=job({"op": "gather", "inputs": [[1]] * 4}, "?axis=x"))
case(47, "axis=1.5", 400, "bad_parameter", send=job({"op": "gather", "axis": 1.5, "inputs": [[1]] * 4}))
case(48, "axis of all_reduce_sum", 422, "axis_not_taken", send=job({**SUM, "axis": 0}))
case(48, "split_axis of gather", 422, "axis_not_taken", send=job({"op": "gather", "split_axis": 0, "inputs": [[1]] * 4}))
case(48, "axis of all_to_all", 422, "axis_not_taken", send=job({"op": "all_to_all", "axis": 0, "inputs": [[1, 2, 3, 4]] * 4}))
case(48, "src of gather", 422, "axis_not_taken", send=job({"op": "gather", "src": 0, "inputs": [[1]] * 4}))
case(49, "5 over 4", 422, "not_divisible", says="5.*4", send=job({"op": "scatter", "inputs": [[1, 2, 3, 4, 5], None, None, None]}))
case(50, "src = dst", 422, "rank_invalid", send=job({"op": "remote_send", "src": 1, "dst": 1, "inputs": [None, [1], None, None]}))
case(50, "src outside", 422, "rank_invalid", send=job({"op": "remote_send", "src": 4, "inputs": [[1], None, None, None]}))
case(50, "a group of one", 422, "rank_invalid", send=job({"op": "remote_send", "group": [1], "inputs": [[1]]}))
case(50, "src=-1", 422, "parameter_range", send=job({"op": "remote_send", "src": -1, "inputs": [[1], None, None, None]}))
for timeout in (0, -1, 10**12):
    case(51, "timeout %d" % timeout, 422, "parameter_range", send=job({**SUM, "timeout": timeout}))
case(51, "priority 2^40", 422, "parameter_range", send=job({**SUM, "priority": 2**40}))
case(51, "priority 2^80", 422, "parameter_range", send=job({**SUM, "priority": 2**80}))
case(51, "label of 257 bytes", 422, "parameter_range", send=job({**SUM, "label": "x" * 257}))
case(51, "label of 1 MiB", 422, "parameter_range", send=lambda: job({**SUM, "label": "x" * MIB}))
case(52, "key with another body", 422, "idempotency_key_reused", send=job(SUM, "?wait=10", "Idempotency-Key: k52"),
     setup=job({**SUM, "op": "all_reduce_max"}, "?wait=10", "Idempotency-Key: k52"))
for name, key in (("empty", ""), ("10 kB", "k" * 10000), ("control", "a\x01b"), ("Latin", "a\xe9"), ("256 bytes", "k" * 256)):
    case(53, "key " + name, 400, "bad_header", send=job(SUM, "?wait=10", "Idempotency-Key: " + key))
for id_ in ("x", "j_", "j_01JDDB5T0Z6R3V8QX1M4KCNE7", "j_01JDDB5T0Z6R3V8QX1M4KCNE7H", "j_ZZZZZZZZZZZZZZZZZZZZZZZZZZ", "j_01jddb5t0z6r3v8qx1m4kcne7i", "t_01JDDB5T0Z6R3V8QX1M4KCNE7H"):
    case(54, "job " + id_, 404, "job_unknown", send=get("/v1/jobs/" + id_))
for id_ in ("x", "t_01JDDB5T0Z6R3V8QX1M4KCNE7H", "t_%2e%2e%2f", "j_01JDDB5T0Z6R3V8QX1M4KCNE7H"):
    case(54, "tensor " + id_, 404, "tensor_unknown", send=get("/v1/tensors/" + id_))
case(54, "id of 1,000 bytes", 404, "job_unknown", send=get("/v1/jobs/j_" + "0" * 1000))
case(55, "cancel a finished job", 409, "job_finished", send=ask("POST", "/v1/jobs/JOB/cancel", ""))

# ---- JSON ----
case(59, "empty", 400, "empty_body", send=tensor(""))
case(59, "only space", 400, "empty_body", send=tensor(" \n"))
for name, text in (("{", "{"), ("trailing comma", "[1,2,]"), ("trailing comma in object", '{"data":[1],}'), ("comment", "[1 /* one */]"),
                   ("line comment", "[1] // one"), ("single quotes", "{'data':[1]}"), ("text after", "[1] x"), ("leading zero", "[01]"),
                   ("plus", "[+1]"), ("dot", "[.5]"), ("hex", "[0x10]"), ("word", "[nul]"), ("open string", '"abc'), ("bad escape", '["\\x41"]'),
                   ("tab in string", '["a\tb"]'), ("two values", "1 2"), ("minus", "[-]"), ("exponent", "[1e]")):
    case(59, name, 400, "bad_json", says=r"line \d+.*column \d+", send=tensor(text))
case(60, "byte order mark", 400, "bad_json", says="byte order mark", send=tensor(b"\xef\xbb\xbf[1]"))
for depth in (65, 2048, 100000):
    case(61, "depth %d" % depth, 400, "too_deep", send=tensor("[" * depth + "]" * depth))
case(61, "depth 65 of objects", 400, "too_deep", send=tensor('{"a":' * 65 + "1" + "}" * 65))
case(62, "33 dimensions", 422, "shape_invalid", says="32", send=tensor("[" * 33 + "1" + "]" * 33))
case(62, "64 dimensions", 422, "shape_invalid", says="32", send=tensor("[" * 64 + "1" + "]" * 64))
case(63, "twice", 400, "duplicate_member", send=job('{"op":"gather","op":"gather","inputs":[[1],[1],[1],[1]]}'))
case(63, "twice by escape", 400, "duplicate_member", send=job('{"op":"gather","\\u006fp":"gather","inputs":[[1],[1],[1],[1]]}'))
case(63, "twice in a tensor", 400, "duplicate_member", send=tensor('{"data":[1],"data":[1]}'))
for name, text in (("escaped NUL", b'["\\u0000"]'), ("raw NUL", b'["a\0b"]'), ("NUL outside", b"[1,\0 2]"), ("lone surrogate", b'["\\ud800"]'),
                   ("surrogates reversed", b'["\\udc00\\ud800"]'), ("overlong", b'["\xc0\xaf"]'), ("surrogate in UTF-8", b'["\xed\xa0\x80"]'),
                   ("beyond 10FFFF", b'["\xf4\x90\x80\x80"]'), ("cut", b'["\xe2\x82"]'), ("lone continuation", b'["\x80"]')):
    case(64, name, 400, "bad_json", send=tensor(text))
for text in ("NaN", "Infinity", "-Infinity", "nan"):
    case(65, "bare " + text, 400, "bad_json", says='"NaN"|"Infinity"|"-Infinity"' if text != "nan" else "", send=tensor("[%s]" % text))
for text in ("nan", "inf", "1.0", "", "NAN"):
    case(66, '"%s"' % text, 422, "value_invalid", send=tensor('["%s"]' % text))
case(67, "1e400 in float64", 422, "number_out_of_range", send=tensor("[1e400]", "?dtype=float64"))
case(67, "1e39 in float32", 422, "number_out_of_range", send=tensor("[1e39]"))
case(68, "2^63 as a number in uint64", 201, None, send=tensor("[9223372036854775808]", "?dtype=uint64"),
     why="our own number reader takes every uint64 without a loss, so nothing needs to be refused")
case(68, "2^64 as a number in uint64", 422, "number_out_of_range", send=tensor("[18446744073709551616]", "?dtype=uint64"))
for text in ("18446744073709551616", "-1"):
    case(69, '"%s" in uint64' % text, 422, "number_out_of_range", send=tensor('["%s"]' % text, "?dtype=uint64"))
case(69, '"1x" in uint64', 422, "value_invalid", send=tensor('["1x"]', "?dtype=uint64"))
for text, dtype in (("300", "uint8"), ("-1", "uint8"), ("70000", "float16"), ("-2147483649", "int32"), ("1e10", "int32"), ("3.4e38", "bfloat16")):
    case(70, "%s in %s" % (text, dtype), 422, "number_out_of_range", send=tensor("[%s]" % text, "?dtype=" + dtype))
case(70, "1.5 in int32", 422, "value_invalid", send=tensor("[1.5]", "?dtype=int32"))
case(71, "true in float32", 422, "value_invalid", send=tensor("[true]"))
case(71, "1 in bool", 422, "value_invalid", send=tensor("[1]", "?dtype=bool"))
case(71, "null in a list", 422, "value_invalid", send=tensor("[1,null]"))
for text in ("[[1,2],[3]]", "[[1],2]", "[1,[2]]", "[[],[1]]"):
    case(72, text, 422, "ragged", send=tensor(text))
case(72, "object inside", 422, "ragged", send=tensor('[1,{"a":1}]'))
case(73, "5 data for [2,3]", 422, "size_mismatch", says="6", send=tensor({"shape": [2, 3], "data": [1, 2, 3, 4, 5]}))
case(73, "nested otherwise", 422, "size_mismatch", send=tensor({"shape": [2, 3], "data": [[1, 2], [3, 4], [5, 6]]}))
for shape in ([-1], [1.5], "2", ["2"], [1] * 33, {"a": 1}, [None]):
    case(74, "shape %.20s" % json.dumps(shape), 422, "shape_invalid", send=tensor({"shape": shape, "data": [1]}))
for shape in ([2**40, 2**40], [2**63], [2**64, 1], [0, 2**62, 2**62]):
    case(74, "shape %.50s" % json.dumps(shape), 422, "shape_invalid" if shape[0] == 2**64 else "shape_too_large",
         send=tensor({"shape": shape, "data": [1]}))
for dtype in ("float8", "f4", "", "complex64"):
    case(75, "dtype %r" % dtype, 422, "dtype_unsupported", says="bfloat16", send=tensor({"dtype": dtype, "data": [1]}))
for dtype in (7, None):
    case(75, "dtype %r" % dtype, 422, "dtype_unsupported", says="bfloat16", send=tensor({"dtype": dtype, "data": [1]}))
case(75, "dtype= in the query", 422, "dtype_unsupported", says="bfloat16", send=tensor("[1]", "?dtype=float8"))
case(76, "missing", 422, "inputs_invalid", send=job({"op": "gather"}))
for inputs in (3, "x", {}, [[1]], [[1]] * 5, [None] * 4, []):
    case(76, "inputs %.30s" % json.dumps(inputs), 422, "inputs_invalid", send=job({"op": "gather", "inputs": inputs}))
case(77, "shapes", 422, "inputs_differ", send=job({"op": "gather", "inputs": [[1], [1], [1, 2], [1]]}))
case(77, "dtypes", 422, "inputs_differ", send=job({"op": "gather", "inputs": [[1], [1], {"dtype": "int8", "data": [1]}, [1]]}))
for id_ in ("t_none", "t_01JDDB5T0Z6R3V8QX1M4KCNE7H"):
    case(78, "tensor " + id_, 422, "input_unknown", send=job({"op": "gather", "inputs": [{"tensor": id_}] * 4}),
         why="tensor_unknown is the 404 of a path; this is an input of a job")
case(78, "tensor and data", 422, "inputs_invalid", send=job({"op": "gather", "inputs": [{"tensor": "TENSOR", "data": [1]}] * 4}))
case(78, "unknown member of a tensor", 400, "unknown_parameter", send=job({"op": "gather", "inputs": [{"tensors": "x"}] * 4}))
for text in ("[]", "1", '"x"', "null", "true"):
    case(79, "a job of " + text, 422, "inputs_invalid", send=job(text))
case(79, "a group of []", 422, "group_invalid", send=post("/v1/groups", "[]"))
case(80, "65 MiB", 413, "body_too_large", says="npy", close=True,
     send=head("POST", "/v1/jobs", J, "Content-Length: %d" % (65 * MIB)) + b"[" * 1000)

# ---- npy ----
case(81, "empty", 400, "empty_body", send=post("/v1/tensors", b"", NPY))
case(81, "5 bytes", 400, "npy_bad_magic", send=post("/v1/tensors", b"\x93NUMP", NPY))
case(81, "wrong magic", 400, "npy_bad_magic", send=npy(dictionary(), bytes(8), magic=b"\x93NUMPX"))
case(82, "npz", 400, "npy_bad_magic", says="npz|zip", send=post("/v1/tensors", b"PK\3\4" + bytes(100), NPY))
case(82, "pickle", 400, "npy_bad_magic", says="pickle", send=post("/v1/tensors", b"\x80\4\x95" + bytes(100), NPY))
for version in ((0, 0), (4, 0), (255, 255)):
    case(83, "%d.%d" % version, 400, "npy_version", send=npy(dictionary(), bytes(8), version=version))
case(84, "header beyond the body", 400, "npy_header", send=npy(dictionary(), length=60000))
case(84, "header of 4 GiB", 400, "npy_header", send=npy(dictionary(), bytes(8), (2, 0), length=2**32 - 1))
case(84, "header over 64 KiB", 400, "npy_header", send=npy(dictionary() + " " * 70000, bytes(8), (2, 0)))
for name, text in (("a list", "['descr', '<f4']"), ("missing key", "{'descr': '<f4', 'fortran_order': False}"),
                   ("extra key", dictionary(more="'x': 1")), ("duplicate key", dictionary(more="'descr': '<f4'")),
                   ("open string", "{'descr': '<f4"), ("parentheses", "(" * 60000), ("empty", ""), ("a call", "{'descr': __import__('os'), 'fortran_order': False, 'shape': (2,)}"),
                   ("text after", dictionary().strip() + " x"), ("not ASCII", dictionary("'<f\xe94'"))):
    case(85, name, 400, "npy_header", send=npy(text, bytes(8)))
for descr in ("'|O'", "'<U4'", "'<c8'", "'<f16'", "'<M8[s]'", "'|V2'", "'|S3'", "[('a', '<f4')]", "'<f3'"):
    case(86, descr, 422, "dtype_unsupported", send=npy(dictionary(descr), bytes(8)))
for shape in ("(2.0,)", "(1<<62, 8)", "('2',)", "2", "[2]"):
    case(87, "shape " + shape, 400, "npy_header", send=npy(dictionary(shape=shape), bytes(8)))
for shape in ("(-1,)", "(" + "1, " * 33 + ")"):
    case(87, "shape %.24s" % shape, 422, "shape_invalid", send=npy(dictionary(shape=shape), bytes(8)))
for shape in ("(%d,)" % 2**63, "(%d, %d)" % (2**40, 2**40)):
    case(87, "shape " + shape, 422, "shape_too_large", send=npy(dictionary(shape=shape), bytes(8)))
case(88, "(0, 2^62)", 422, "shape_too_large", send=npy(dictionary("'<f8'", shape="(0, %d)" % 2**62)))
case(88, "(0, 2^62, 2^62)", 422, "shape_too_large", send=npy(dictionary("'<f8'", shape="(0, %d, %d)" % (2**62, 2**62))))
case(89, "shorter", 400, "truncated", send=npy(dictionary(), bytes(7)))
case(89, "longer", 400, "trailing_bytes", send=npy(dictionary(), bytes(9)))
case(89, "shorter, chunked", 400, "truncated",
     send=chunked("/v1/tensors", [b"\x93NUMPY\1\0\x76\0" + dictionary().encode()[:118].ljust(118), b"1234567"], NPY))
case(89, "longer, chunked", 400, "trailing_bytes",
     send=chunked("/v1/tensors", [b"\x93NUMPY\1\0\x76\0" + dictionary().encode()[:118].ljust(118), b"123456789"], NPY))
case(90, "fortran_order Maybe", 400, "npy_header", send=npy(dictionary(order="Maybe"), bytes(8)))
case(90, "fortran_order 1", 400, "npy_header", send=npy(dictionary(order="1"), bytes(8)))
case(90, "Fortran order, big endian", 201, None, send=npy(dictionary("'>i2'", "True", "(2, 2)"), bytes(8)))
case(91, "stack of 2 for 4", 422, "stack_mismatch", says="2.*4|4.*2", send=npy(dictionary(), bytes(8), query="/v1/jobs?op=gather"))
case(91, "a scalar", 422, "stack_mismatch", send=npy(dictionary(shape="()"), bytes(4), query="/v1/jobs?op=gather"))
case(92, "bfloat16 as npy", 406, "not_acceptable", says="safetensors.*raw|raw.*safetensors", send=get("/v1/tensors/BF16", "Accept: " + NPY))

# ---- safetensors ----
case(93, "7 bytes", 400, "bad_safetensors", send=post("/v1/tensors", bytes(7), ST))
case(93, "empty", 400, "empty_body", send=post("/v1/tensors", b"", ST))
for name, size in (("0", 0), ("beyond", 5000), ("2^64-1", 2**64 - 1), ("over the cap", 2 * MIB)):
    case(93, "header of " + name, 400, "bad_safetensors", send=safetensors({"a": row_of()}, bytes(8), size))
for name, text in (("not {", '["a"]'), ("space first", ' {"a":{}}'), ("bad UTF-8", b'{"\xff":{"dtype":"F32","shape":[2],"data_offsets":[0,8]}}'),
                   ("deep", '{"a":' * 100000 + "1" + "}" * 100000), ("cut", '{"a":{"dtype":"F32"'), ("a number", '{"a":1}'),
                   ("missing member", '{"a":{"dtype":"F32","shape":[2]}}'), ("extra member", '{"a":{"dtype":"F32","shape":[2],"data_offsets":[0,8],"x":1}}')):
    case(94, name, 400, "bad_safetensors", send=safetensors(text, bytes(8)))
case(94, "duplicate name", 400, "duplicate_member",
     send=safetensors('{"a":{"dtype":"F32","shape":[1],"data_offsets":[0,4]},"a":{"dtype":"F32","shape":[1],"data_offsets":[4,8]}}', bytes(8)))
for name, rows in (("reversed", {"0": row_of(offsets=(8, 0))}), ("negative", {"0": row_of(offsets=(-8, 0))}), ("beyond", {"0": row_of(offsets=(8, 16))}),
                   ("overlapping", {"0": row_of(), "1": row_of(offsets=(4, 12))}), ("a hole", {"0": row_of(), "1": row_of(offsets=(12, 20))}),
                   ("a gap before", {"0": row_of(offsets=(4, 12))}), ("three", {"0": row_of(offsets=(0, 8, 8))}), ("fractions", {"0": row_of(offsets=(0.5, 8.5))}),
                   ("huge", {"0": row_of(offsets=(2**63, 2**63 + 8))}), ("2^64", {"0": row_of(offsets=(2**64, 2**64 + 8))})):
    case(95, name, 400, "bad_offsets",
         send=safetensors(rows, bytes(20), target="/v1/jobs?op=broadcast"))
case(96, "9 bytes for 8", 400, "body_mismatch", send=safetensors({"a": row_of(offsets=(0, 9))}, bytes(9)))
case(96, "product wraps", 422, "shape_too_large", why="the shape cannot be, whatever the offsets say",
     send=safetensors({"a": row_of(shape=(4194305, 4194305, 211106198978564), offsets=(0, 16))}, bytes(16)))
case(97, "two on one range", 400, "bad_offsets", send=safetensors({"0": row_of(), "1": row_of()}, bytes(8), target="/v1/jobs?op=broadcast"))
case(97, "two empty on one", 200, None,
     send=safetensors({str(r): row_of(shape=(0,), offsets=(0, 0)) for r in range(4)}, target="/v1/jobs?op=all_reduce_sum&wait=10"))
case(98, "bytes after", 400, "trailing_bytes", send=safetensors({"a": row_of()}, bytes(9)))
for dtype in ("F8_E4M3", "C64", "nope", "f32"):
    case(99, dtype, 422, "dtype_unsupported", send=safetensors({"a": row_of(dtype)}, bytes(8)))
for name in ("01", "-1", "x", "4", "", "1 "):
    case(100, "name %r" % name, 422, "bad_rank_name", send=safetensors({name: row_of()}, bytes(8), target="/v1/jobs?op=gather"))
case(100, "two tensors as an upload", 422, "inputs_invalid", send=safetensors({"a": row_of(), "b": row_of(offsets=(8, 16))}, bytes(16)))
for metadata in ({"a": 1}, [], "x", {"a": {"b": "c"}}):
    case(101, "metadata %s" % json.dumps(metadata), 400, "bad_safetensors", send=safetensors({"__metadata__": metadata, "a": row_of()}, bytes(8)))

# ---- raw ----
case(102, "no dtype", 422, "missing_parameter", says="dtype", send=raw("?shape=2", bytes(8)))
case(102, "no shape", 422, "missing_parameter", says="shape", send=raw("?dtype=int8", bytes(8)))
for shape, status, code in (("2,,3", 400, "bad_parameter"), ("2,x", 400, "bad_parameter"), ("2,-1", 422, "shape_invalid"),
                            ("99999999999999999999", 422, "shape_too_large"), ("2,3,", 400, "bad_parameter"), ("1.0", 400, "bad_parameter"),
                            (",".join("1" * 33), 422, "shape_invalid"), ("4294967296,4294967296", 422, "shape_too_large")):
    case(103, "shape %.24s" % shape, status, code, send=raw("?dtype=int8&shape=" + shape, bytes(8)))
case(104, "one short", 422, "size_mismatch", says="8.*7|7.*8", send=raw("?dtype=int16&shape=4", bytes(7)))
case(104, "one long", 422, "size_mismatch", says="8.*9|9.*8", send=raw("?dtype=int16&shape=4", bytes(9)))
case(104, "short, chunked", 422, "size_mismatch", send=chunked("/v1/tensors?dtype=int16&shape=4", [bytes(7)], RAW))
case(104, "long, chunked", 422, "size_mismatch", send=chunked("/v1/tensors?dtype=int16&shape=4", [bytes(9)], RAW))
case(105, "bool bytes 2 and 255", 200, None, says=r'"data":\[true,true,false\]',
     send=raw("?op=all_reduce_max&dtype=bool&shape=4,3&wait=10", bytes([2, 0, 0, 0, 255, 0, 0, 0, 0, 0, 0, 0]), "/v1/jobs"))

# ---- second pass ----
case(112, "HTTP/1.0 and chunked", 400, "bad_framing", close=True,
     send=head("POST", "/v1/groups", J, "Transfer-Encoding: chunked", version="1.0") + b"0\r\n\r\n")
case(113, "length 2^63", 413, "body_too_large", close=True, send=head("POST", "/v1/tensors?dtype=int8&shape=4", "Content-Type: " + RAW, "Content-Length: 9223372036854775808"))
case(114, "no route, 1 GiB", 404, "not_found", close=True, send=head("POST", "/v1/nope", J, "Content-Length: 1073741824") + b"x" * 1000)
case(114, "wrong method, 1 GiB", 405, "method_not_allowed", close=True, send=head("PUT", "/v1/jobs", J, "Content-Length: 1073741824") + b"x" * 1000)
for piece in ("{}", "[[]]", "[]", '""', "[0]"):
    case(115, "6 MiB of " + piece, 422, "value_invalid" if piece == '""' else "inputs_invalid", send=lambda piece=piece: job('{"op":"gather","inputs":[' + ",".join([piece] * (6 * MIB // (len(piece) + 1))) + "]}"),
         why="no tree is built, so that text of this kind costs no more than its bytes")
case(115, "6 MiB of {} in a list", 422, "ragged", send=lambda: tensor("[" + ",".join(["{}"] * (2 * MIB)) + "]"))
case(115, "6 MiB of [[]] in a list", 201, None, send=lambda: tensor("[" + ",".join(["[[]]"] * MIB) + "]"),
     why="a legal tensor of shape [1048576, 1, 0]")
case(116, "a label of 6 MiB", 422, "parameter_range", send=lambda: job('{"op":"gather","inputs":[[1],[1],[1],[1]],"label":"' + "x" * (6 * MIB) + '"}'))
case(116, "a key of 6 MiB", 400, "unknown_parameter", send=lambda: job('{"' + "x" * (6 * MIB) + '":1}'))
case(116, "300,000 members", 400, "bad_json", send=lambda: job("{" + ",".join('"%d":1' % i for i in range(300000)) + "}"))
case(117, "an integer of 1,000,000 digits", 422, "number_out_of_range", send=lambda: tensor("[" + "1" * 1000000 + "]"),
     why="the text is JSON; what is wrong is the value")
case(117, "in int32", 422, "number_out_of_range", send=lambda: tensor("[" + "1" * 1000000 + "]", "?dtype=int32"))
case(117, "a fraction of 1,000,000 digits", 201, None, send=lambda: tensor("[0." + "1" * 1000000 + "]"))
case(117, "a priority of 1,000 digits", 422, "parameter_range", send=job('{"priority":' + "1" * 1000 + "}"))
for method in ("DELETE", "PATCH", "PUT", "HEAD", "POST", "GET"):
    for target in ("/v1", "/v1/jobs", "/v1/jobs/JOB", "/v1/groups/world", "/v1/tensors/TENSOR", "/healthz", "/", "/nope"):
        case(118, "%s %s, foreign Host" % (method, target), 403, "host_not_allowed",
             send=head(method, target, "Connection: close", host="evil.example"))
        case(118, "%s %s, foreign Origin" % (method, target), 403, "origin_not_allowed", send=ask(method, target, None, None, "Origin: http://evil.example"))
for id_ in ("../../x", "t_", "/dev/shm/tutti", "t_" + "x" * 500, "\x1b[31m", ""):
    case(119, "tensor %.20r" % id_, 422, "input_unknown", send=job({"op": "gather", "inputs": [{"tensor": id_}] * 4}),
         why="tensor_unknown is the 404 of a path; this is an input of a job")
case(119, "tensor 7", 422, "input_unknown", send=job({"op": "gather", "inputs": [{"tensor": 7}] * 4}))
for name, label in (("CR LF", "a\r\nb"), ("ESC", "a\x1bb"), ("DEL", "a\x7fb"), ("tab", "a\tb")):
    case(120, "label with " + name, 422, "parameter_range", send=job({**SUM, "label": label}))
    case(120, "group with " + name, 422, "group_invalid", send=post("/v1/groups", {"name": label, "ranks": [0]}))
case(120, "label=%0d%0a", 422, "parameter_range", send=job(SUM, "?label=a%0d%0ab"))
case(120, "label <script>", 200, None, says="<script>", send=job({**SUM, "label": "<script>\u202e"}))
case(121, "Prefer and wait", 400, "conflicting_parameter", send=job(SUM, "?wait=2", "Prefer: wait=1"))
case(121, "Prefer: wait=x", 400, "bad_parameter", send=job(SUM, "", "Prefer: wait=x"))
case(122, "Range on npy", 200, None, send=get("/v1/tensors/TENSOR?format=npy", "Range: bytes=0-3"))
case(122, "Range on JSON", 200, None, send=get("/v1/tensors/TENSOR", "Range: bytes=0-3"))
case(125, "100,000 tensors", 400, "bad_safetensors",
     send=lambda: safetensors("{" + ",".join('"%d":{"dtype":"I8","shape":[1],"data_offsets":[%d,%d]}' % (i, i, i + 1) for i in range(100000)) + "}", bytes(100000)))
case(125, "15,000 tensors, under the cap", 400, "bad_safetensors",
     send=lambda: safetensors("{" + ",".join('"%d":{"dtype":"I8","shape":[1],"data_offsets":[%d,%d]}' % (i, i, i + 1) for i in range(15000)) + "}", bytes(15000)))
for descr in ("'f4'", "'=f4'"):
    case(126, descr, 400, "npy_header", says="<f4", send=npy(dictionary(descr), bytes(8)))
for descr in ("'>f4'", "'<f4'"):
    case(126, descr, 201, None, send=npy(dictionary(descr), bytes(8)))
for descr in ("'|u1'", "'|b1'"):
    case(126, descr, 201, None, send=npy(dictionary(descr), bytes(2)))
