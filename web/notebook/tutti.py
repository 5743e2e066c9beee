"""tutti - collective communication from a notebook.

One file; needs NumPy and the standard library. PyTorch, ml_dtypes (for bfloat16) and tqdm (for progress) are used
where they are. ::

    import tutti
    world = tutti.connect("http://127.0.0.1:8080").world
    world.all_reduce_sum([1, 2, 3, 4])                   # all ranks at once: [10, 10, 10, 10]
    world.rank(2).all_reduce_sum(x)                      # one rank; waits until the others have called, too

`Group` has every operation for all ranks at once: it takes one input per rank and gives one output per rank, None where
a rank gets nothing. `Rank` has them as MegEngine's `functional.distributed` has them: one rank's own call. NumPy arrays
come back as NumPy arrays, torch tensors as torch tensors on the device that they came from, numbers as numbers.
What the service refuses is raised as an `Error`, which says what to change.
"""
from __future__ import annotations

import collections
import collections.abc
import concurrent.futures
import ctypes
import difflib
import enum
import functools
import hashlib
import html
import http.client
import inspect
import json
import math
import mmap
import operator
import os
import queue
import random
import re
import select
import socket
import ssl
import struct
import sys
import threading
import time
import urllib.parse
import urllib.request
import weakref
from typing import (TYPE_CHECKING, AbstractSet, Any, Callable, Deque, Dict, Generic, Iterable, Iterator, List, Mapping, MutableMapping,
                    NamedTuple, Optional, Sequence, Set, Tuple, Type, TypeVar, Union, cast, overload)

import numpy as np

if TYPE_CHECKING:
    from typing import Generator, Literal, Protocol
else:
    Protocol = object

__version__ = "0.1.0"
__all__ = ["connect", "Service", "Group", "Rank", "Job", "Promise", "Tensor", "Outputs", "Future", "Batch", "BatchJob", "KV",
           "Worker", "Workers", "Jobs", "JobList", "OPS", "Op", "Error", "ConnectionFailed", "BadRequest", "Unauthorized", "Forbidden",
           "NotFound", "KeyUnknown", "Conflict", "Mismatch", "Gone", "Invalid", "Busy", "Full", "ServerError", "JobFailed",
           "RanksMissing", "RunTimeout", "WorkerFailed", "InputFailed", "Cancelled"]

T = TypeVar("T")
R = TypeVar("R")  # of an operation on all ranks: Outputs, or in a batch a BatchJob
Array = Any  # numpy.ndarray, numpy scalar or torch.Tensor: as what went in
Bytes = "np.ndarray[Any, np.dtype[np.uint8]]"  # flat

# ---- what the service knows, as schema/ has it; tests/check_tables.sh compares ----


class Op(NamedTuple):
    """One collective. Whom it takes from and gives to: `each`, `root`, `src` or `dst`, `nobody`."""

    name: str
    gives: str
    gets: str
    dim: str  # of the output: same; grow: the axis times N; shrink: the axis by N; shuffle: one of each
    gradient: bool
    sentence: str


OPS: Dict[str, Op] = {op.name: op for op in (
    Op("reduce_sum", "each", "root", "same", True, "The root gets the sum."),
    Op("reduce_max", "each", "root", "same", True, "The root gets the maximum."),
    Op("reduce_min", "each", "root", "same", True, "The root gets the minimum."),
    Op("broadcast", "root", "each", "same", True, "Every rank gets the root's tensor."),
    Op("all_gather", "each", "each", "grow", True, "Every rank gets all inputs joined along axis."),
    Op("reduce_scatter_sum", "each", "each", "shrink", True, "Rank r gets the r-th part of the sum along axis."),
    Op("reduce_scatter_max", "each", "each", "shrink", True, "Rank r gets the r-th part of the maximum along axis."),
    Op("reduce_scatter_min", "each", "each", "shrink", True, "Rank r gets the r-th part of the minimum along axis."),
    Op("all_reduce_sum", "each", "each", "same", True, "Every rank gets the sum."),
    Op("all_reduce_max", "each", "each", "same", True, "Every rank gets the maximum."),
    Op("all_reduce_min", "each", "each", "same", True, "Every rank gets the minimum."),
    Op("all_reduce_prod", "each", "each", "same", False, "Every rank gets the product."),
    Op("all_reduce_avg", "each", "each", "same", True, "Every rank gets the mean."),
    Op("all_reduce_and", "each", "each", "same", False, "Every rank gets the bitwise and."),
    Op("all_reduce_or", "each", "each", "same", False, "Every rank gets the bitwise or."),
    Op("all_reduce_xor", "each", "each", "same", False, "Every rank gets the bitwise exclusive or."),
    Op("gather", "each", "root", "grow", True, "The root gets all inputs joined along axis."),
    Op("scatter", "root", "each", "shrink", True, "Rank r gets the r-th part of the root's tensor."),
    Op("all_to_all", "each", "each", "shuffle", True, "Rank r gets the r-th part of every input, joined."),
    Op("remote_send", "src", "dst", "same", True, "dst gets the tensor of src."),
    Op("remote_recv", "src", "dst", "same", True, "dst gets the tensor of src."),
    Op("barrier", "nobody", "nobody", "same", True, "No rank goes on before all have come."),
)}

# Name, the array type, safetensors' name. bfloat16 has no type of NumPy's own: its bits.
DTYPES: Dict[str, Tuple[Any, str]] = {
    "float16": (np.float16, "F16"), "bfloat16": (np.uint16, "BF16"), "float32": (np.float32, "F32"),
    "float64": (np.float64, "F64"), "int8": (np.int8, "I8"), "uint8": (np.uint8, "U8"), "int16": (np.int16, "I16"),
    "uint16": (np.uint16, "U16"), "int32": (np.int32, "I32"), "uint32": (np.uint32, "U32"), "int64": (np.int64, "I64"),
    "uint64": (np.uint64, "U64"), "bool": (np.bool_, "BOOL"),
}
_WIRE_TYPES = {name: np.dtype(row[0]).newbyteorder("<") for name, row in DTYPES.items()}
_FROM_SAFETENSORS = {row[1]: name for name, row in DTYPES.items()}
_OVER = ("succeeded", "failed", "cancelled")

# Bodies below are sent with their head, and answered with the outputs at once; beyond, a job has its id before the wait.
_SMALL_BYTES = 64 << 10
_PIECE_BYTES = 4 << 20  # between two looks at the progress
_METERED_BYTES = 16 << 20  # transfers that get a bar
_INLINE_ELEMENTS = 1024  # arrays that a batch carries as JSON
_SLICE_S = 50.0  # of one wait: below the patience of usual proxies
_WATCHED_S = 1.0  # the same, where somebody is told who is missing
_NEAR_S = 5.0  # until a Unix socket counts as one that nobody serves
_NEAR_BYTES = 1 << 20  # that wait in it to be taken; the system may give less
_SLACK_S = 30.0  # beyond a wait, until the connection counts as dead
_GLANCE_S = 0.25  # the same, for what is only to be told


# ---- errors ----


class Error(Exception):
    """What the service refused, or why a job failed. The message is for people.

    code     the stable word for it, e.g. "not_divisible"; `/openapi.yaml` lists them
    status   HTTP status; 0 where there was no answer
    detail   what is wrong and what to change
    pointer  JSON Pointer to the field that it is about, or None
    ranks    group ranks that it is about, e.g. those that are missing
    job      id of the job, or None
    problem  the whole document (RFC 9457)
    """

    def __init__(self, problem: Mapping[str, Any], retry_after: Optional[float] = None) -> None:
        self.problem = dict(problem)
        self.code = str(problem.get("code") or "unknown")
        self.status = int(problem.get("status") or 0)
        self.title = str(problem.get("title") or "")
        self.detail = str(problem.get("detail") or self.title or self.code)
        self.pointer: Optional[str] = problem.get("pointer")
        self.ranks: List[int] = list(problem.get("ranks") or [])
        self.job: Optional[str] = problem.get("job")
        self.retry_after = retry_after  # seconds, of a Busy
        super().__init__(self.problem)

    def __str__(self) -> str:
        where = f" at {self.pointer}" if self.pointer else ""
        about = f", {self.job}" if self.job else ""
        return f"{self.detail} [{self.code}{where}{about}]"

    def __reduce__(self) -> Tuple[Any, ...]:
        return type(self), (self.problem, self.retry_after)


class ConnectionFailed(Error, ConnectionError):
    """No answer came, also after trying again."""


class BadRequest(Error, ValueError):
    """400, 406, 411 to 417: the request cannot be read; of this client, a newer or older service."""


class Unauthorized(Error, PermissionError):
    """401: the token is missing or unknown."""


class Forbidden(Error, PermissionError):
    """403: the token may not do this."""


class NotFound(Error, LookupError):
    """404: no such job, tensor, group or rank."""


class KeyUnknown(NotFound, KeyError):
    """404: nobody has put a value under the key, or not in time."""

    __str__ = Error.__str__


class Conflict(Error):
    """409, 412: not in the present state, or not on the present value."""


class Gone(Error):
    """410: the bytes did not survive."""


class Invalid(Error, ValueError):
    """422: understood and impossible: a shape, an axis, a dtype, a group, a value."""


class Busy(Error):
    """429, 503: later. `retry_after` says when, in seconds."""


class Full(Error):
    """507: the arena, a device or the disk is full."""


class ServerError(Error):
    """500 and its kin."""


class JobFailed(Error):
    """The job was accepted, and did not succeed."""


class RanksMissing(JobFailed, TimeoutError):
    """`ranks` never called within the timeout. One that was started again has made fewer calls than the others: its
    `group.rank(r, rejoin=True)` goes on where they are."""

    def __str__(self) -> str:
        return f"{super().__str__()}; a notebook that was started again joins in with group.rank(r, rejoin=True)"


class Mismatch(JobFailed, ValueError):
    """The ranks' calls disagree; `detail` says what each of them called."""


class RunTimeout(JobFailed, TimeoutError):
    """It ran for longer than its timeout."""


class WorkerFailed(JobFailed):
    """A worker died each time that it was run, or reported a failure."""


class InputFailed(JobFailed):
    """A job that an input comes from has failed."""


class Cancelled(JobFailed):
    """Somebody stopped it."""


# By code where a code has a class of its own, else by status.
ERRORS: Dict[str, Type[Error]] = {
    "ranks_missing": RanksMissing, "mismatch": Mismatch, "run_timeout": RunTimeout, "worker_crashed": WorkerFailed,
    "worker_failed": WorkerFailed, "input_failed": InputFailed, "cancelled": Cancelled, "key_unknown": KeyUnknown,
    "inputs_lost": JobFailed,
}
_STATUSES: Dict[int, Type[Error]] = {
    400: BadRequest, 401: Unauthorized, 403: Forbidden, 404: NotFound, 409: Conflict, 410: Gone, 412: Conflict, 422: Invalid,
    429: Busy, 503: Busy, 507: Full,
}
# A wrong token stays wrong.
_NOT_AGAIN = ("too_many_failures",)


def _error(problem: Mapping[str, Any], retry_after: Optional[float] = None) -> Error:
    status = int(problem.get("status") or 0)
    kind = ERRORS.get(str(problem.get("code"))) or _STATUSES.get(status) or (BadRequest if status < 500 else ServerError)
    return kind(problem, retry_after)


def _problem(status: int, content_type: str, body: bytes) -> Dict[str, Any]:
    """The problem document of an answer; where a proxy answered, one of ours."""
    if "json" in content_type:
        try:
            found = json.loads(body)
            if isinstance(found, dict) and "code" in found:
                return {"status": status, **found}
        except ValueError:
            pass
    reason = http.client.responses.get(status, "")
    return {"status": status, "code": f"http_{status}", "title": reason,
            "detail": f"something on the way to the service answered {status} {reason}: "
                      + " ".join(body[:200].decode("utf-8", "replace").split())}


# ---- arrays in, arrays out ----


class _Like(NamedTuple):
    """What an input was, so that the output is the same."""

    kind: str  # array, number, torch
    device: Any = None

    def wrap(self, flat: Any, dtype: str, shape: Tuple[int, ...]) -> Array:
        """flat: the bytes, an array of uint8 that nobody else has."""
        if self.kind == "torch":
            return _wrap_torch(flat, dtype, shape, self.device)
        if dtype == "bfloat16":
            array = _bfloat16_array(flat.view(np.uint16)).reshape(shape)
        else:
            array = flat.view(DTYPES[dtype][0]).reshape(shape)
        return array[()] if self.kind == "number" else array


_ARRAY = _Like("array")
_NUMBER = _Like("number")


class _Packed(NamedTuple):
    """A tensor ready to be sent."""

    dtype: str
    shape: Tuple[int, ...]
    data: memoryview  # of bytes
    like: _Like


def _ml_bfloat16() -> Any:
    """ml_dtypes' bfloat16, or None."""
    try:
        import ml_dtypes
    except ImportError:
        return None
    return ml_dtypes.bfloat16


def _bfloat16_array(bits: Any) -> Any:
    """bfloat16's bits as ml_dtypes has them; without it widened to float32, which loses nothing."""
    own = _ml_bfloat16()
    return bits.view(own) if own is not None else (bits.astype(np.uint32) << 16).view(np.float32)


def _bfloat16_bits(array: Any) -> Any:
    """The bits of the nearest bfloat16, ties to even."""
    bits = np.asarray(array, np.float32, "C").reshape(-1).view(np.uint32)
    rounded = ((bits.astype(np.uint64) + 0x7FFF + ((bits >> 16) & 1)) >> 16).astype(np.uint16)
    return np.where(np.isnan(array).reshape(-1), np.uint16(0x7FC0), rounded).astype(np.uint16)


def _wrap_torch(flat: Any, dtype: str, shape: Tuple[int, ...], device: Any) -> Array:
    import torch

    if dtype == "bfloat16":
        tensor = torch.from_numpy(flat.view(np.int16)).view(torch.bfloat16)
    else:
        try:
            tensor = torch.from_numpy(flat.view(DTYPES[dtype][0]))
        except TypeError:
            raise TypeError(f"this torch has no {dtype}: ask for it as NumPy arrays") from None
    tensor = tensor.reshape(shape)
    return tensor if device is None or device.type == "cpu" else tensor.to(device)


_NAMES: Dict[Any, str] = {np.dtype(row[0]): name for name, row in DTYPES.items() if name != "bfloat16"}


def dtype_name(dtype: Any) -> str:
    """The service's name of a dtype: of NumPy's, torch's, ml_dtypes', or a name. TypeError where there is none."""
    if isinstance(dtype, np.dtype) and dtype in _NAMES:
        return _NAMES[dtype]
    name = str(dtype) if isinstance(dtype, str) or type(dtype).__module__ == "torch" else None
    if name is not None:
        name = name.rpartition("torch.")[2]
        if name in DTYPES:
            return name
    try:
        name = np.dtype(dtype if name is None else name).name
    except TypeError:
        pass
    if name not in DTYPES:
        raise TypeError(f"tutti has no dtype {dtype!r}; it has " + " ".join(DTYPES))
    return name


def _is_torch(x: Any) -> bool:
    torch = sys.modules.get("torch")
    return torch is not None and isinstance(x, torch.Tensor)


def _pack_torch(x: Any, dtype: Optional[str]) -> _Packed:
    import torch

    like = _Like("torch", x.device)
    x = x.detach()
    if dtype is not None:
        wanted = getattr(torch, dtype, None)
        if wanted is None:
            raise TypeError(f"this torch has no {dtype}: give NumPy arrays")
        x = x.to(wanted)
    x = x.cpu().contiguous()
    name, shape = dtype_name(x.dtype), tuple(x.shape)
    flat = (x.reshape(-1).view(torch.int16) if name == "bfloat16" else x.reshape(-1)).numpy().view(np.uint8)
    return _Packed(name, shape, flat.data, like)


def _pack(x: Any, dtype: Optional[str] = None) -> _Packed:
    """An array, torch tensor, list or number; cast to dtype where one is given. Copies nothing that is in C order."""
    if _is_torch(x):
        return _pack_torch(x, dtype)
    _no_masks(x)
    if isinstance(x, np.ndarray):
        array, like = x, _ARRAY
    else:
        array = np.asarray(x)
        like = _NUMBER if array.ndim == 0 and isinstance(x, (int, float, np.generic)) else _ARRAY
    name = dtype or _array_dtype(array, x)
    if name == "bfloat16":
        own = array.dtype.name == "bfloat16"
        flat = np.ascontiguousarray(array).reshape(-1).view(np.uint16) if own else _bfloat16_bits(array)
    else:
        flat = np.asarray(array, _WIRE_TYPES[name], "C").reshape(-1)
    return _Packed(name, array.shape, flat.view(np.uint8).data, like)


def _no_masks(x: Any) -> None:
    """No operation knows a mask: what it hides would be taken for a value."""
    masked = np.ma.MaskedArray
    if isinstance(x, masked) or (isinstance(x, (list, tuple)) and any(issubclass(kind, masked) for kind in set(map(type, x)))):
        raise TypeError("a masked array is no tensor, since its masked values would be taken for others: fill them first, x.filled(0)")


def _array_dtype(array: Any, x: Any) -> str:
    if array.dtype in _NAMES:
        return _NAMES[array.dtype]
    if array.dtype.kind in "OUSMmV" and array.dtype.name != "bfloat16":
        raise TypeError(f"{type(x).__name__} is no tensor: give numbers of one type, in a list that is not ragged")
    return dtype_name(array.dtype)


def _common(inputs: Sequence[Any], dtype: Optional[str]) -> Optional[str]:
    """The dtype that lists and numbers take: of the arrays beside them, or one that holds all of them."""
    if dtype is not None:
        return dtype
    loose = [x for x in inputs if x is not None and not isinstance(x, (np.ndarray, _Reference)) and not _is_torch(x)]
    for x in inputs:
        if loose and (isinstance(x, np.ndarray) or _is_torch(x)):
            return dtype_name(x.dtype)
    if len(loose) < 2:
        return None
    arrays = [np.asarray(x) for x in loose]
    for array, x in zip(arrays, loose):
        _array_dtype(array, x)
    return dtype_name(np.result_type(*[a.dtype for a in arrays]))


def _json_number(v: Any) -> Any:
    if isinstance(v, list):
        return [_json_number(x) for x in v]
    if isinstance(v, float) and not math.isfinite(v):
        return "NaN" if v != v else "Infinity" if v > 0 else "-Infinity"
    return str(v) if isinstance(v, int) and v > 2 ** 63 - 1 else v


def _to_json(p: _Packed) -> Dict[str, Any]:
    array = _ARRAY.wrap(np.frombuffer(p.data, np.uint8), p.dtype, (-1,))
    return {"dtype": p.dtype, "shape": list(p.shape),
            "data": _json_number((array.astype(np.float32) if p.dtype == "bfloat16" else array).tolist())}


def _from_json(data: Any, dtype: str, shape: Tuple[int, ...]) -> Any:
    """The bytes of a document's `data`."""
    def number(v: Any) -> Any:
        if isinstance(v, list):
            return [number(x) for x in v]
        return v if not isinstance(v, str) else int(v) if dtype == "uint64" else float(v)  # "NaN", "-Infinity" too

    wide = np.float32 if dtype == "bfloat16" else DTYPES[dtype][0]
    array = np.array(number(data), wide).reshape(-1)
    return (_bfloat16_bits(array) if dtype == "bfloat16" else array).view(np.uint8)


def _safetensors_head(tensors: Mapping[int, _Packed]) -> bytes:
    """What goes before the bytes of the tensors, which are named by their ranks."""
    at, rows = 0, []
    for rank, p in tensors.items():
        end = at + p.data.nbytes
        shape = ",".join(map(str, p.shape))
        rows.append(f'"{rank}":{{"dtype":"{DTYPES[p.dtype][1]}","shape":[{shape}],"data_offsets":[{at},{end}]}}')
        at = end
    text = ("{" + ",".join(rows) + "}").encode()
    text += b" " * (-len(text) % 8)
    return struct.pack("<Q", len(text)) + text


# ---- progress ----


def _shell() -> Any:
    """The notebook's kernel, or None."""
    module = sys.modules.get("IPython")
    shell = module.get_ipython() if module is not None else None
    return shell if getattr(shell, "kernel", None) is not None else None


def _watched() -> bool:
    """Does somebody look at what a cell or a command does?"""
    return _shell() is not None or (hasattr(sys, "ps1") and sys.stderr is not None and sys.stderr.isatty())


class _Line:
    """A line that changes: in a notebook below the cell, on a terminal in place; elsewhere nothing."""

    def __init__(self) -> None:
        self.handle: Any = None
        self.terminal = _shell() is None and sys.stderr is not None and sys.stderr.isatty()

    def say(self, text: str) -> None:
        if self.terminal:
            sys.stderr.write("\r\x1b[K" + text)
            sys.stderr.flush()
        elif _shell() is not None:
            from IPython.display import display

            shown = {"text/plain": text}
            if self.handle is None:
                self.handle = display(shown, raw=True, display_id=True)
            else:
                self.handle.update(shown, raw=True)

    def close(self) -> None:
        if self.terminal:
            sys.stderr.write("\r\x1b[K")
            sys.stderr.flush()
        elif self.handle is not None:
            self.handle.update({"text/plain": ""}, raw=True)


class _Meter:
    """Bytes on their way: tqdm's bar where there is tqdm, else a line with percents. Nothing for what is quick."""

    def __init__(self, label: str, total: int) -> None:
        self.label, self.total, self.done = label, total, 0
        self.begun, self.line = time.monotonic(), None  # type: float, Optional[_Line]
        self.bar: Any = None
        try:
            from tqdm.auto import tqdm

            self.bar = tqdm(total=total, desc=label, unit="B", unit_scale=True, leave=False, delay=0.5)
        except Exception:  # no tqdm, or no widgets for it
            self.line = _Line()

    def add(self, count: int) -> None:
        self.done += count
        if self.bar is not None:
            self.bar.update(count)
        elif self.line is not None and time.monotonic() - self.begun > 0.5:
            self.line.say(f"{self.label}: {self.done / max(1, self.total):.0%} of {_size(self.total)}")

    def restart(self) -> None:
        self.add(-self.done)

    def close(self) -> None:
        for shown in (self.bar, self.line):
            if shown is not None:
                shown.close()


class _Waiting:
    """Says of a job that takes its time who is missing."""

    def __init__(self, shown: bool) -> None:
        self.line = _Line() if shown else None
        self.begun, self.said = time.monotonic(), False

    def tell(self, doc: Mapping[str, Any]) -> None:
        waited = time.monotonic() - self.begun
        if self.line is not None and waited > 2 and doc:
            self.line.say(f"{doc.get('op')} on {doc.get('group') or doc.get('ranks')}: {_state(doc)} ({waited:.0f} s)")
            self.said = True

    def close(self) -> None:
        if self.line is not None and self.said:
            self.line.close()


class _Retrying:
    """Says of a request that is sent again and again that it is, and for how long."""

    def __init__(self) -> None:
        self.begun = time.monotonic()
        self.line: Optional[_Line] = None

    def tell(self, what: str, end: float) -> None:
        now = time.monotonic()
        if now - self.begun > 1:
            self.line = self.line or _Line()
            self.line.say(f"{what}: trying again for {max(0.0, end - now):.0f} s more")

    def close(self) -> None:
        if self.line is not None:
            self.line.close()


def _state(doc: Mapping[str, Any]) -> str:
    """What a job does, and who keeps it."""
    if doc.get("missing"):
        return "waits for " + _ranks(doc["missing"])
    if doc.get("waits_for"):
        return "waits for " + ", ".join(doc["waits_for"])
    return str(doc.get("state"))


def _ranks(ranks: Sequence[int]) -> str:
    return ("rank " if len(ranks) == 1 else "ranks ") + ", ".join(map(str, ranks))


def _size(count: float) -> str:
    for unit in ("B", "KiB", "MiB", "GiB"):
        if count < 1024 or unit == "GiB":
            return f"{count:.0f} {unit}" if unit == "B" else f"{count:.1f} {unit}"
        count /= 1024
    raise AssertionError


# ---- the wire ----


class _Unsent(Exception):
    """Not a byte has reached the service."""


class _Request:
    """What goes over the wire, again if need be."""

    __slots__ = ("method", "path", "headers", "body", "total", "sent", "again", "meter", "tries", "tick", "meanwhile", "retrying")

    def __init__(self, method: str, path: str, headers: Optional[Dict[str, str]] = None,
                 body: Sequence[Union[bytes, memoryview]] = (), key: bool = False, again: bool = True) -> None:
        self.method, self.path, self.headers, self.body = method, path, headers or {}, body
        self.total = sum(memoryview(b).nbytes for b in body) if body else 0
        self.sent = False  # may the service have all of it?
        self.tries = 0  # that failed
        self.again = again  # may it be heard twice?
        self.meter: Optional[_Meter] = None
        self.tick: Optional[Callable[[], None]] = None  # called each second until the answer begins
        self.retrying: Optional[_Retrying] = None
        self.meanwhile: Optional[Callable[[], None]] = None  # called once it is sent, while the service works
        if key:
            self.headers["Idempotency-Key"] = os.urandom(16).hex()


class _Held:
    """A thread's connection."""

    __slots__ = ("connection", "sock", "generation", "used", "timeout")

    def __init__(self, connection: http.client.HTTPConnection, generation: int) -> None:
        self.connection, self.sock, self.generation = connection, cast(socket.socket, connection.sock), generation
        self.used, self.timeout = 0.0, connection.timeout


def _in_child(method: Callable[[], None]) -> None:
    """Calls it in every process that is forked off, while its object lives."""
    own = weakref.WeakMethod(method)
    if hasattr(os, "register_at_fork"):
        os.register_at_fork(after_in_child=lambda: (own() or (lambda: None))())


def _header(value: str) -> str:
    """As a header has it; refused where it would be two."""
    if not value.isascii() or not value.isprintable():
        raise ValueError("a token has printable ASCII characters only")
    return value


class _Near(NamedTuple):
    """A Unix socket of this machine, by which requests go faster."""

    path: str
    uid: int = -1  # who listens there, by its own word over TCP
    instance: str = ""  # and which process that is; "": it is what the URL names, whoever it is


class _NearConnection(http.client.HTTPConnection):
    def __init__(self, path: str) -> None:
        super().__init__("localhost")
        self.path = path

    def connect(self) -> None:
        self.sock = socket.socket(socket.AF_UNIX)
        try:
            # The sender's room is all that there is, and each wait for some is a turn of both ends.
            self.sock.setsockopt(socket.SOL_SOCKET, socket.SO_SNDBUF, _NEAR_BYTES)
            self.sock.settimeout(self.timeout)
            self.sock.connect(self.path)
        except BaseException:
            self.close()
            raise


def _listener(sock: socket.socket) -> int:
    """The user at the other end of a Unix socket, by the kernel's word."""
    return cast(int, struct.unpack("3i", sock.getsockopt(socket.SOL_SOCKET, socket.SO_PEERCRED, 12))[1])


def _instance(connection: http.client.HTTPConnection) -> Optional[str]:
    """Which process answers there; None where it is none that can be kept. Says no token."""
    connection.request("GET", "/healthz")
    response = connection.getresponse()
    response.read()
    return None if response.status != 200 or response.will_close else response.getheader("Tutti-Instance")


class _Wire:
    """Requests on a keep-alive connection for each thread, and again when one breaks. Any thread; also after a fork."""

    def __init__(self, url: str, token: Optional[str], verify: Union[bool, str], retry_for: float) -> None:
        parts = urllib.parse.urlsplit(url if "://" in url or url.startswith("unix:") else "http://" + url)
        self.near: Optional[_Near] = None
        if parts.scheme == "unix" and parts.path and not parts.netloc and hasattr(socket, "AF_UNIX"):
            self.near = _Near(os.path.abspath(parts.path))
            parts = urllib.parse.SplitResult("http", "localhost", "", "", parts.fragment)
        elif parts.scheme not in ("http", "https") or not parts.hostname:
            raise ValueError(f"{url!r} is no URL of a service: give http://HOST:PORT, or https, or unix:/PATH")
        fragment = urllib.parse.parse_qs(parts.fragment)
        token = token or next(iter(fragment.get("token", [])), None) or os.environ.get("TUTTI_TOKEN")
        self.scheme, self.host, self.retry_for = parts.scheme, parts.hostname or "", retry_for
        self.port = parts.port or (443 if parts.scheme == "https" else 80)
        self.prefix = parts.path.rstrip("/")
        self.url = urllib.parse.urlunsplit((parts.scheme, parts.netloc.rpartition("@")[2], self.prefix, "", ""))
        if self.near is not None:
            self.url = "unix:" + self.near.path
        self.head = f"Host: {parts.netloc.rpartition('@')[2]}\r\nUser-Agent: tutti-python/{__version__}\r\nAccept-Encoding: identity"
        self.token = token.strip() if token else None
        if token:
            self.head += f"\r\nAuthorization: Bearer {_header(token.strip())}"
        self.context = _tls(verify) if parts.scheme == "https" else None
        self.proxy = None if self.near or urllib.request.proxy_bypass(self.host) else urllib.request.getproxies().get(parts.scheme)
        self.target = (f"http://{parts.netloc}" if self.proxy and parts.scheme == "http" else "") + self.prefix
        self.local, self.generation = threading.local(), 0
        self.shown: Callable[[], bool] = lambda: False  # is there somebody who sees what it waits for?
        _in_child(self.forked)

    def forked(self) -> None:
        self.generation += 1

    def ready(self, timeout: float, again: bool) -> socket.socket:
        """This thread's, with the service at its other end. One that rested is looked at first: it may have been closed
        meanwhile; so is one for a request that must not be heard twice."""
        held: Optional[_Held] = getattr(self.local, "held", None)
        if held is not None and held.generation != self.generation:
            self.local.held = held = None  # a parent process's: not ours to close
        now = time.monotonic()
        if held is not None and (now - held.used > 1 or not again) and _readable(held.sock):
            self.drop()
            held = None
        if held is None:
            try:
                connection = self.connected(timeout)
            except (OSError, http.client.HTTPException) as error:
                raise _Unsent from error
            held = self.local.held = _Held(connection, self.generation)
        held.used = now
        if held.timeout != timeout:
            held.sock.settimeout(timeout)
            held.timeout = timeout
        return held.sock

    def connected(self, timeout: float) -> http.client.HTTPConnection:
        near = self.near
        connection = self.reach(near, timeout) if near is not None and near.instance else None
        if connection is None:
            connection = self.fresh() if near is None or near.instance else _NearConnection(near.path)
            connection.timeout = timeout
            connection.connect()
        return connection

    def approach(self, doc: Mapping[str, Any]) -> None:
        """Goes over the Unix socket from now on, where the service at the URL, which is on this machine, says that it has one,
        we may connect to it, and it is the same service's. Else, and whenever that ends, over TCP."""
        path, uid, instance = doc.get("unix_socket"), doc.get("uid"), doc.get("instance")
        here = self.host in ("localhost", "::1") or re.fullmatch(r"127(\.\d+){3}", self.host)
        if not (here and isinstance(path, str) and isinstance(uid, int) and isinstance(instance, str)):
            return
        if self.near or self.proxy or self.prefix or not hasattr(socket, "SO_PEERCRED"):
            return
        near = _Near(path, uid, instance)
        connection = self.reach(near, _SLACK_S)
        if connection is not None:
            self.drop()
            self.near, self.local.held = near, _Held(connection, self.generation)

    def reach(self, near: _Near, timeout: float) -> Optional[http.client.HTTPConnection]:
        """A connection over the socket, or None where it is not the service that the URL names. One that was started anew
        may be; then the port says so."""
        connection, port = _NearConnection(near.path), self.fresh()
        connection.timeout = port.timeout = _NEAR_S
        try:
            connection.connect()
            found = _instance(connection) if _listener(connection.sock) == near.uid else None
            if found is not None and found != near.instance and _instance(port) == found:
                self.near = near = near._replace(instance=found)
            if found == near.instance:
                connection.timeout = timeout
                connection.sock.settimeout(timeout)
                return connection
        except (OSError, http.client.HTTPException):
            pass
        finally:
            port.close()
        connection.close()
        return None

    def fresh(self) -> http.client.HTTPConnection:
        host, port = self.host, self.port
        if self.proxy:
            at = urllib.parse.urlsplit(self.proxy if "://" in self.proxy else "http://" + self.proxy)
            host, port = at.hostname or "", at.port or 8080
        if self.context is None:
            return http.client.HTTPConnection(host, port)
        connection = http.client.HTTPSConnection(host, port, context=self.context)
        if self.proxy:
            connection.set_tunnel(self.host, self.port)
        return connection

    def drop(self) -> None:
        held = getattr(self.local, "held", None)
        if held is not None:
            self.local.held = None
            held.connection.close()

    def ask(self, request: _Request, read: Callable[[http.client.HTTPResponse], T], wait: float = 0.0,
            retry_for: Optional[float] = None) -> T:
        """What `read` makes of the answer. Raises an Error for an error answer, and ConnectionFailed.

        wait       seconds that the service may take by intention
        retry_for  seconds to go on trying; None: the service's own
        """
        end = time.monotonic() + (self.retry_for if retry_for is None else retry_for)
        try:
            return self.ask_until(end, request, read, wait)
        finally:
            if request.retrying is not None:
                request.retrying.close()
                request.retrying = None

    def ask_until(self, end: float, request: _Request, read: Callable[[http.client.HTTPResponse], T], wait: float) -> T:
        while True:
            why = "does not answer"
            pause = min(2.0, 0.05 * 2 ** request.tries) * random.uniform(0.5, 1.0)
            try:
                return self.once(request, read, wait)
            except Busy as error:
                pause, why = max(pause, error.retry_after or 0), f"says later ({error.code})"
                known = error.code != "outcome_unknown" or request.again
                if error.code in _NOT_AGAIN or not known or time.monotonic() + pause > end:
                    raise
            except ServerError as error:
                if error.code not in ("http_502", "http_504") or not request.again or time.monotonic() + pause > end:
                    raise  # else a proxy's, which could not reach it
            except Error:
                raise
            except (OSError, http.client.HTTPException, _Unsent) as error:
                self.drop()
                cause = error.__cause__ if isinstance(error, _Unsent) else error
                hopeless = isinstance(cause, ssl.SSLCertVerificationError)
                if hopeless or time.monotonic() + pause > end or not (request.again or isinstance(error, _Unsent)):
                    raise self.failed(request, cause) from cause
            except BaseException:  # a KeyboardInterrupt, in the middle of something
                self.drop()
                raise
            request.tries += 1
            if request.meter is not None:
                request.meter.restart()
            if self.shown():
                request.retrying = request.retrying or _Retrying()
                request.retrying.tell(f"{self.url} {why}", end)
            time.sleep(pause)

    def failed(self, request: _Request, cause: Optional[BaseException]) -> ConnectionFailed:
        about = "" if request.again or not request.sent else \
            "; it may have been done all the same, and cannot be asked for twice"
        return ConnectionFailed({"code": "connection_failed", "title": "No answer",
                                 "detail": f"{request.method} {self.url}{request.path.partition('?')[0]}: no answer "
                                           f"({type(cause).__name__}: {cause}){about}"})

    def once(self, request: _Request, read: Callable[[http.client.HTTPResponse], T], wait: float) -> T:
        sock = self.ready(wait + _SLACK_S, request.again)
        response = self.send(sock, request)
        if response.status < 300:
            value = read(response)
            if response.will_close or not response.isclosed():
                self.drop()
            return value
        body = response.read()
        if response.will_close:
            self.drop()
        if 300 <= response.status < 400:
            raise _error({"status": response.status, "code": "redirected", "detail":
                          f"the service is not at {self.url}: that place points to {response.getheader('Location')}"})
        after = response.getheader("Retry-After")
        raise _error(_problem(response.status, response.getheader("Content-Type") or "", body),
                     float(after) if after and after.isdigit() else None)

    def send(self, sock: socket.socket, request: _Request) -> http.client.HTTPResponse:
        lines = [f"{request.method} {self.target}{request.path} HTTP/1.1", self.head]
        lines += [f"{name}: {value}" for name, value in request.headers.items()]
        if request.body or request.method != "GET":
            lines.append(f"Content-Length: {request.total}")
        head = ("\r\n".join(lines) + "\r\n\r\n").encode("latin-1")
        whole = True
        if request.total <= _SMALL_BYTES:
            self.send_last(sock, request, b"".join((head, *request.body)))
        else:
            try:
                sock.sendall(head)
                whole = self.send_pieces(sock, request)
            except (BrokenPipeError, ConnectionResetError):
                whole = False  # refused before its body had gone out: the answer is there all the same
        if request.meanwhile is not None:
            request.meanwhile()
        while whole and request.tick is not None and not _readable(sock, _WATCHED_S):
            request.tick()
        response = http.client.HTTPResponse(sock, method=request.method)
        response.begin()
        if response.length is None and not response.chunked:
            raise http.client.IncompleteRead(b"")  # its head was cut off
        response.will_close = response.will_close or not whole
        return response

    @staticmethod
    def send_last(sock: socket.socket, request: _Request, data: Union[bytes, memoryview]) -> None:
        """Noted before, since a signal may come when all has gone out and sendall has not returned."""
        sent, request.sent = request.sent, True
        try:
            sock.sendall(data)
        except OSError:
            request.sent = sent
            raise

    @staticmethod
    def send_pieces(sock: socket.socket, request: _Request) -> bool:
        """Whether all was sent: an answer that comes before the end is not a good one."""
        left = request.total
        for part in request.body:
            view = memoryview(part)
            for at in range(0, view.nbytes, _PIECE_BYTES):
                if _readable(sock):
                    return False
                piece = view[at:at + _PIECE_BYTES]
                left -= piece.nbytes
                if left > 0:
                    sock.sendall(piece)
                else:
                    _Wire.send_last(sock, request, piece)
                if request.meter is not None:
                    request.meter.add(piece.nbytes)
        return True


def _readable(sock: Any, within_s: float = 0.0) -> bool:
    if not hasattr(select, "poll"):  # Windows
        return bool(select.select([sock], [], [], within_s)[0])
    poll = select.poll()
    poll.register(sock, select.POLLIN | select.POLLHUP | select.POLLERR)
    return bool(poll.poll(within_s * 1000))


def _tls(verify: Union[bool, str]) -> ssl.SSLContext:
    """verify: True, a file or folder of certificates that are trusted, or False: whoever answers is believed."""
    trusted = verify if isinstance(verify, str) else os.environ.get("REQUESTS_CA_BUNDLE") or None
    folder = trusted is not None and os.path.isdir(trusted)
    context = ssl.create_default_context(cafile=None if folder else trusted, capath=trusted if folder else None)
    if verify is False:
        context.check_hostname, context.verify_mode = False, ssl.CERT_NONE
    return context


def _query(path: str, **values: Any) -> str:
    """The path with its query; None is left out."""
    items = []
    for name, value in values.items():
        if value is not None:
            text = value if isinstance(value, str) else str(int(value)) if isinstance(value, bool) else str(value)
            items.append(f"{name}={urllib.parse.quote(text, safe=',:') if not text.isalnum() else text}")
    return path + ("?" + "&".join(items) if items else "")


def _json_body(value: Any) -> List[Union[bytes, memoryview]]:
    return [json.dumps(value, separators=(",", ":"), allow_nan=False).encode()]


def _as_json(response: http.client.HTTPResponse) -> Any:
    return json.loads(response.read())


def _nothing(response: http.client.HTTPResponse) -> None:
    response.read()


def _fill(response: http.client.HTTPResponse, flat: Any, meter: Optional[_Meter] = None) -> None:
    """Reads the next bytes of the body into the array, past no buffer."""
    view, at = flat.data, 0
    while at < view.nbytes:
        got = response.readinto(view[at:at + _PIECE_BYTES])
        if not got:
            raise http.client.IncompleteRead(b"", view.nbytes - at)
        at += got
        if meter is not None:
            meter.add(got)


def _shape_of(text: Optional[str]) -> Tuple[int, ...]:
    return tuple(int(d) for d in text.split(",")) if text else ()


# ---- memory that is shared with a service on this machine ----

_LANE_BYTES = 64 << 20  # of a region, unless it is to hold more
_LANE_REST_S = 5.0  # after nobody was there, until it is asked for again
_COPY_BYTES = 1 << 20  # that a thread copies at a time
_PAGE_BYTES = 4096
_KEPT_VIEW_BYTES = 1 << 20  # of a result from which on its mapping is used again
_MOST_VIEWS = 32  # that are kept of a region
_TIDY_S = 0.2  # for what is tidied up while a job runs
_MOST_MADE_WAY = 4096  # results whose ids are remembered
_FAILED = ctypes.c_void_p(-1).value  # of mmap
_POPULATE_WRITE = 23  # of madvise, Linux 5.14: pages are mapped at once, and not one by one when they are touched


class _Copier:
    """Large copies, by as many threads as there are CPUs: NumPy lets others run while it copies. Any thread; also after a fork."""

    MOST = 4  # beyond, it is the memory that is waited for

    def __init__(self) -> None:
        self.reset()
        _in_child(self.reset)

    def reset(self) -> None:
        """A new process has none of the threads."""
        self.pool: Optional[concurrent.futures.ThreadPoolExecutor] = None

    def copy(self, pairs: Iterable[Tuple[Any, Any]]) -> None:
        """Each a flat array of bytes to be filled, and one that is copied there."""
        work = collections.deque((to[at:at + _COPY_BYTES], of[at:at + _COPY_BYTES])
                                 for to, of in pairs for at in range(0, of.nbytes, _COPY_BYTES))
        cpus = len(os.sched_getaffinity(0)) if hasattr(os, "sched_getaffinity") else os.cpu_count() or 1
        helpers = [self.helper(work) for _ in range(min(cpus, self.MOST, len(work) // 2) - 1)]
        try:
            self.take_part(work)
        finally:
            work.clear()  # after a KeyboardInterrupt: nobody writes there when this is over
            for helper in helpers:
                if not helper.cancel():  # it has begun
                    helper.result()

    def helper(self, work: Deque[Tuple[Any, Any]]) -> concurrent.futures.Future[None]:
        if self.pool is None:
            self.pool = concurrent.futures.ThreadPoolExecutor(self.MOST - 1, "tutti-copy")
        return self.pool.submit(self.take_part, work)

    @staticmethod
    def take_part(work: Deque[Tuple[Any, Any]]) -> None:
        while True:
            try:
                to, of = work.popleft()
            except IndexError:
                return  # others have the rest
            np.copyto(to, of)


_copier = _Copier()


class _View(NamedTuple):
    """A private mapping of a result's place in a region, of which no page was written. The best is the one with most pages."""

    touched: int
    at: int
    size: int
    base: int

    def unmap(self) -> None:
        _libc().munmap(self.base, self.at % _PAGE_BYTES + self.size)


def _unmap_all(views: Deque[_View]) -> None:
    while views:
        views.pop().unmap()


def _touched_pages(base: int, size: int) -> Optional[int]:
    """How many pages of a private mapping of a file are there; None where one was written, and so is the file's no more, or
    where nobody says."""
    try:
        with open("/proc/self/pagemap", "rb", buffering=0) as pages:
            found = os.pread(pages.fileno(), -(-size // mmap.PAGESIZE) * 8, base // mmap.PAGESIZE * 8)
    except OSError:
        return None
    kinds = (np.frombuffer(found, np.uint64) >> np.uint64(61)).astype(np.intp)  # 4: it is there, 2: swapped out, 1: the file's
    count = np.bincount(kinds, minlength=8)
    return None if count[2] or count[4] or count[6] else int(count[5] + count[7])


class _Region:
    """A piece of memory that the ranks map, too: of inputs, which are written here, or of results."""

    def __init__(self, id: str, size: int, fd: int, inputs: bool) -> None:
        self.id, self.size, self.fd = id, size, fd
        weakref.finalize(self, os.close, fd).atexit = False
        self.free = [(0, size)]  # of inputs: what nobody has, in order
        self.used = 0  # of results: by those that are known
        self.views: Deque[_View] = collections.deque()  # of results: that nobody has, newest last
        weakref.finalize(self, _unmap_all, self.views).atexit = False
        self.map = mmap.mmap(fd, size) if inputs else None
        if self.map is not None:
            self.base = int(np.frombuffer(self.map, np.uint8).__array_interface__["data"][0])
            try:
                self.map.madvise(_POPULATE_WRITE)
            except (OSError, ValueError):
                pass  # they come when they are touched

    def take(self, size: int) -> Optional[int]:
        for i, (at, room) in enumerate(self.free):
            if room >= size:
                self.free[i:i + 1] = [(at + size, room - size)] if room > size else []
                return at
        return None

    def give(self, at: int, size: int) -> None:
        merged: List[Tuple[int, int]] = []
        for piece in sorted([*self.free, (at, size)]):
            if merged and sum(merged[-1]) == piece[0]:
                merged[-1] = (merged[-1][0], merged[-1][1] + piece[1])
            else:
                merged.append(piece)
        self.free = merged

    def view(self, at: int, size: int) -> Any:
        """A buffer of its results for one array alone: pages that are written are copied then. None where there is no memory.
        One of before at the same place is better than a new one, whose pages come one by one when they are touched."""
        found = max((v for v in list(self.views) if v.at == at and v.size == size), default=None)
        skip = at % _PAGE_BYTES
        if found is not None:
            self.views.remove(found)
            base = found.base
        else:
            base = _libc().mmap(None, skip + size, mmap.PROT_READ | mmap.PROT_WRITE, mmap.MAP_PRIVATE, self.fd, at - skip)
        while len(self.views) > _MOST_VIEWS:
            self.views.popleft().unmap()
        return None if base == _FAILED else (ctypes.c_uint8 * size).from_address(base + skip)

    def view_over(self, at: int, size: int, base: int, shown: _Shown) -> None:
        """Nobody has it any more. shown: goes with the last that shows it."""
        touched = _touched_pages(base, at % _PAGE_BYTES + size) if size >= _KEPT_VIEW_BYTES else None
        view = _View(touched or 0, at, size, base)
        if touched:
            self.views.append(view)
        else:
            view.unmap()

    def bytes(self, at: int, size: int) -> Any:
        """A buffer of its inputs, which keeps them mapped."""
        return (ctypes.c_uint8 * size).from_buffer(cast(Any, self.map), at)


class _Piece(NamedTuple):
    """Of a region of inputs. size: what is given back, 0 where it is an array's of the caller's."""

    region: _Region
    at: int
    size: int


class _Result:
    """A tensor in a region of results, of so many bytes, that arrays show or have shown; its job until that is forgotten."""

    __slots__ = ("region", "size", "job", "shows")

    def __init__(self, region: _Region, size: int, job: str) -> None:
        self.region, self.size, self.job, self.shows = region, size, job, 0  # type: _Region, int, Optional[str], int
        region.used += size


class _Named:
    """A job or a tensor that some object here stands for, and so can be asked for; shared by all that do."""


class _Shown:
    """A result that arrays show: the service keeps its bytes until the last of them is gone."""


class _Lane:
    """Memory that this process shares with the ranks, by the socket that the service names: inputs are written there once,
    or live there (`Group.empty`), and results are read where the ranks left them.

    Whatever goes wrong here is no error: the tensor then goes by HTTP. Any thread; a forked process begins anew.
    """

    def __init__(self, path: Optional[str], token: Optional[str], uid: Optional[int] = None) -> None:
        self.path, self.token, self.uid = path, token, uid  # uid: whose the service is, and so the socket
        self.never = path is None or sys.platform != "linux"
        self.rests_until = 0.0  # nobody was there
        self.strikes = 0  # times that the service did not know a region, and never since knew one
        self.results: Dict[str, _Region] = {}  # the last one is where new ones go
        self.loose: Deque[_Piece] = collections.deque()  # given up by finalizers, which must not wait
        self.dead: Deque[str] = collections.deque()  # likewise: results whose arrays are gone
        self.named: weakref.WeakValueDictionary[str, _Named] = weakref.WeakValueDictionary()  # by id
        self.made_way: Deque[str] = collections.deque(maxlen=_MOST_MADE_WAY)  # results that were forgotten for others
        self.forked()
        _in_child(self.forked)

    @property
    def off(self) -> bool:
        return self.never or time.monotonic() < self.rests_until

    def forked(self) -> None:
        self.lock, self.names_lock = threading.RLock(), threading.Lock()
        self.reset()

    def name(self, id: str) -> Optional[_Named]:
        """To be kept by what stands for this job or tensor."""
        if self.never:
            return None
        with self.names_lock:
            return self.named.setdefault(id, _Named())

    def reset(self) -> None:
        """Regions end with their connection; arrays that live there stay, as arrays like others: no new result is written
        to such a region."""
        self.sock: Optional[socket.socket] = None
        self.inputs: List[_Region] = []
        for region in self.results.values():
            _unmap_all(region.views)
        self.loose.clear()  # finalizers of what is still there have it
        self.results, self.loose, self.dead = {}, collections.deque(), collections.deque()
        self.known: Dict[str, _Result] = {}  # what was shown and the service has still, oldest first

    def ask(self, **what: Any) -> Tuple[Dict[str, Any], Optional[int]]:
        """The answer, with its descriptor. Raises an Error where it is refused, OSError where nobody answers."""
        if self.off:
            raise OSError("there is no lane")
        try:
            if self.sock is None:
                sock = socket.socket(socket.AF_UNIX)
                sock.settimeout(10)
                sock.connect(cast(str, self.path))
                if self.uid not in (None, _listener(sock)):
                    raise OSError("another user's")  # who is not told the token
                self.sock = sock
            self.sock.sendall(json.dumps({"lane": 1, **what}).encode() + b"\n")
            text, fds, _, _ = socket.recv_fds(self.sock, 4096, 1)
            while text and not text.endswith(b"\n"):
                more = self.sock.recv(4096)
                text = text + more if more else b""
            doc = json.loads(text)
        except (OSError, ValueError) as error:
            if self.sock is None:  # nobody is there
                self.rests_until = time.monotonic() + _LANE_REST_S
            self.reset()
            raise OSError("the lane has ended") from error
        except BaseException:  # a KeyboardInterrupt: the next one would be told what this one asked
            self.reset()
            raise
        if "code" in doc:
            raise _error(doc)
        return doc, fds[0] if fds else None

    def open(self, kind: str, size: int) -> Optional[_Region]:
        """A region with room for so much, and for more where it can be had."""
        token = {"token": self.token} if self.token else {}
        for wanted in sorted({size, max(size, _LANE_BYTES)}, reverse=True):
            try:
                doc, fd = self.ask(open=kind, size_bytes=wanted, **token)
                return _Region(doc["region"], doc["size_bytes"], cast(int, fd), kind == "inputs")
            except Full:
                continue
            except (Error, OSError, ValueError):
                return None
            except (KeyError, TypeError):  # an answer, to something else
                self.reset()
                return None
        return None

    def collect(self) -> None:
        """Pieces that finalizers have given up come back."""
        while self.loose:
            piece = self.loose.popleft()
            piece.region.give(piece.at, piece.size)

    def release(self, end: float = math.inf) -> None:
        """The service is told what no array shows any more, until that time."""
        with self.lock:
            while self.dead and time.monotonic() < end:
                id = self.dead.popleft()
                try:
                    self.ask(release=id)
                except (Error, OSError):
                    pass
                result = self.known.get(id)
                if result is not None:
                    result.shows -= 1
                    if result.shows == 0 and result.job is None:
                        self.forget(id)

    def take(self, count: int) -> Optional[_Piece]:
        """Room for so many bytes of inputs, on a page."""
        size = max(1, -(-count // _PAGE_BYTES)) * _PAGE_BYTES
        with self.lock:
            self.collect()
            for region in self.inputs:
                at = region.take(size)
                if at is not None:
                    return _Piece(region, at, size)
            opened = self.open("inputs", size)
            if opened is None:
                return None
            self.inputs.append(opened)
            return _Piece(opened, cast(int, opened.take(size)), size)

    def empty(self, dtype: Any, shape: Tuple[int, ...]) -> Any:
        """An array that lives there, or None."""
        count = math.prod(shape)
        piece = None if self.off or count == 0 else self.take(count * dtype.itemsize)
        if piece is None:
            return None
        buffer = piece.region.bytes(piece.at, piece.size)
        weakref.finalize(buffer, self.loose.append, piece).atexit = False
        return np.frombuffer(buffer, dtype, count).reshape(shape)

    def place(self, flat: Any) -> Tuple[Optional[_Piece], Any]:
        """Where these bytes are or have room, and None or the bytes there, which are to be filled."""
        address = int(flat.__array_interface__["data"][0])
        for region in self.inputs:
            if region.base <= address and address + flat.nbytes <= region.base + region.size:
                return _Piece(region, address - region.base, 0), None
        piece = self.take(flat.nbytes)
        return piece, None if piece is None else np.frombuffer(piece.region.bytes(piece.at, flat.nbytes), np.uint8)

    def give(self, pieces: Iterable[_Piece]) -> None:
        """The job that took them has ended."""
        self.loose.extend(piece for piece in pieces if piece.size)

    def room(self, count: int, more: bool = False) -> Optional[str]:
        """The id of a region for results of so many bytes. more: what there is, is full."""
        with self.lock:
            last = next(reversed(self.results.values()), None)
            if last is None or more or last.size < count:
                last = self.open("results", count)
                if last is not None:
                    self.results[last.id] = last
            return None if last is None else last.id

    def forget(self, id: str) -> None:
        """The service has it no more, or will be told so."""
        result = self.known.pop(id)
        result.region.used -= result.size

    def job_deleted(self, job: str) -> None:
        """Its results are in their place for as long as they are shown."""
        with self.lock:
            for id, result in list(self.known.items()):
                if result.job == job:
                    result.job = None
                    if result.shows == 0:
                        self.forget(id)

    def surplus(self, count: Optional[int] = None, takes: AbstractSet[str] = frozenset(), named: bool = True,
                most: float = math.inf) -> List[str]:
        """Results that no array shows, to be forgotten for room for so many bytes where new ones go; None: all. First those
        that nothing here names, then, if `named`, others; each oldest first, and so many at most.
        takes: ids of tensors that are not, and of jobs whose results are not."""
        with self.lock:
            last = next(reversed(self.results.values()), None)

            def is_enough() -> bool:
                return count is not None and (last is None or last.size < count or last.used + count <= last.size)

            gone: List[str] = []
            if is_enough():
                return gone
            if named:
                self.release()
            names = {id: id in self.named or result.job in self.named for id, result in self.known.items()}
            for id, has_name in sorted(names.items(), key=operator.itemgetter(1)):
                result = self.known[id]
                if is_enough() or has_name > named or len(gone) >= most:
                    break
                if result.shows == 0 and id not in takes and result.job not in takes:
                    gone.append(id)
                    self.forget(id)
            return gone

    def show(self, row: Mapping[str, Any], count: int, shown: Dict[str, _Shown], job: str) -> Any:
        """An output's bytes, in an array that may be written to: pages that are written are copied then, for this array
        alone. None where they cannot be had so."""
        id, region = row["tensor"], self.results.get(row["region"])
        if region is None or count <= _SMALL_BYTES:
            return None
        with self.lock:
            if id not in shown:
                try:
                    self.ask(hold=id)
                except (Error, OSError):
                    return None
                shown[id] = _Shown()
                if id not in self.known:
                    self.known[id] = _Result(region, -(-count // _PAGE_BYTES) * _PAGE_BYTES, job)
                self.known[id].shows += 1
                weakref.finalize(shown[id], self.dead.append, id).atexit = False
            buffer = region.view(row["offset"], count)
        if buffer is None:
            return None
        base = ctypes.addressof(buffer) - row["offset"] % _PAGE_BYTES
        weakref.finalize(buffer, region.view_over, row["offset"], count, base, shown[id]).atexit = False
        return np.frombuffer(cast(Any, buffer), np.uint8)


@functools.lru_cache(None)
def _libc() -> Any:
    """Without NumPy's and Python's own mmap, which keep a descriptor open for every array."""
    libc = ctypes.CDLL(None)
    libc.mmap.restype = ctypes.c_void_p
    libc.mmap.argtypes = [ctypes.c_void_p, ctypes.c_size_t, ctypes.c_int, ctypes.c_int, ctypes.c_int, ctypes.c_long]
    libc.munmap.argtypes = [ctypes.c_void_p, ctypes.c_size_t]
    return libc


class _Way(enum.IntEnum):
    """How tensors travel, worst first: what the service refuses goes by the next one down."""

    HTTP = 0
    INPUTS = 1  # by the lane, and results by HTTP
    LANE = 2
    ANEW = 3  # by the lane, where room has not been made yet


class _Load:
    """What a request has in the lane, until its job has ended."""

    def __init__(self, service: Service, way: _Way, counts: bool = False) -> None:
        self.service, self.lane, self.way = service, service._lane, way
        self.counts = counts  # a call that was heard is not made again: the next one is the next of all ranks
        self.pieces: List[_Piece] = []
        self.kept: List[Any] = []  # their arrays
        self.rows: Optional[List[Any]] = None  # the inputs as members of a JSON body, once they are there
        self.used = False
        self.count = 0  # bytes of the outputs
        self.takes: Set[str] = set()  # ids of jobs and tensors whose bytes are inputs, and so are not forgotten for the outputs

    def put(self, packed: Mapping[int, _Packed]) -> Optional[Dict[int, Dict[str, Any]]]:
        """As inputs of a job, copied unless they are there already; None where there is not room for all, or no lane."""
        if self.way == _Way.HTTP or self.lane.off:
            return None
        rows: Dict[int, Dict[str, Any]] = {}
        pieces: List[_Piece] = []
        pairs: List[Tuple[Any, Any]] = []
        try:
            for rank, p in packed.items():
                flat = np.frombuffer(p.data, np.uint8)
                piece, there = self.lane.place(flat)
                if piece is None:
                    self.lane.give(pieces)
                    return None
                if there is not None:
                    pairs.append((there, flat))
                pieces.append(piece)
                rows[rank] = {"region": piece.region.id, "offset": piece.at, "dtype": p.dtype, "shape": list(p.shape)}
            _copier.copy(pairs)
        except BaseException:  # a KeyboardInterrupt
            self.lane.give(pieces)
            raise
        self.pieces += pieces
        self.kept += [p.data for p in packed.values()]
        self.used = True
        return rows

    def packed(self, row: Mapping[str, Any]) -> _Packed:
        """What was put there, as it is now."""
        piece = next(p for p in self.pieces if p.region.id == row["region"] and p.at == row["offset"])
        size = math.prod(row["shape"]) * _WIRE_TYPES[row["dtype"]].itemsize
        return _Packed(row["dtype"], tuple(row["shape"]), np.frombuffer(piece.region.bytes(piece.at, size), np.uint8).data, _ARRAY)

    def accepted(self) -> None:
        """The service knows what it was given there."""
        if self.used and self.way != _Way.HTTP:
            self.lane.strikes = 0

    def done(self, _: Any = None) -> None:
        self.lane.give(self.pieces)
        self.pieces.clear()
        self.kept.clear()
        self.rows = None

    def again(self, error: Error) -> bool:
        """Whether to try again after this, by another way; what was refused for want of room stays where it was put."""
        next_way = self.next_way(error) if self.way and self.used else None
        if not next_way:
            self.done()
        if next_way is not None:
            self.way = next_way
        return next_way is not None

    def next_way(self, error: Error) -> Optional[_Way]:
        """By which way to try again after this; None: it would be refused there, too."""
        lane = self.lane
        if self.counts and error.code != "region_unknown":
            return None
        if error.code == "arena_full" and error.pointer == "/results" and self.way > _Way.INPUTS:
            if self.way == _Way.ANEW and (self.forget(lane.surplus()) or lane.room(self.count, more=True)):
                return _Way.LANE
            return _Way.INPUTS
        if error.code in ("region_unknown", "inputs_lost"):  # the service, or the lane's connection, is another
            with lane.lock:
                lane.strikes += error.code == "region_unknown"
                lane.never = lane.never or lane.strikes > 3  # what is there belongs to another service
                lane.reset()
            return _Way.HTTP
        return _Way.HTTP if error.code in ("arena_full", "quota") else None

    def room(self) -> Optional[str]:
        """The id of a region for the outputs. Where it would be full, results that no array shows any more are forgotten first."""
        self.forget(self.lane.surplus(self.count, self.takes))
        return self.lane.room(self.count)

    def tidy(self) -> None:
        """While the ranks work: what the next one of its kind would have to wait for. There may be none: what can be asked for
        stays until its room is wanted. The answer does not wait long for it."""
        lane, end = self.lane, time.monotonic() + _TIDY_S
        lane.release(end)
        while time.monotonic() < end:
            if not self.forget(lane.surplus(2 * self.count, self.takes, named=False, most=1), _TIDY_S):
                break

    def forget(self, ids: Sequence[str], patience: float = _SLACK_S) -> bool:
        """Whether that made room. patience: seconds until the service counts as slow; the rest goes when it forgets the jobs."""
        self.lane.made_way.extend(ids)
        for id in ids:
            try:
                self.service._side.ask(_Request("DELETE", f"/v1/tensors/{id}"), _nothing, patience - _SLACK_S, retry_for=0)
            except ConnectionFailed:
                return False
            except Error:
                pass  # it has gone by itself
        return bool(ids)


def _by_ways(load: _Load, pending_by: Callable[[_Load], _Pending[T]], async_: bool) -> Any:
    """What comes of a request, which is made anew by another way where the lane has no room, or is not there any more."""
    while True:
        pending: Optional[_Pending[T]] = None
        try:
            pending = pending_by(load)
            value = pending.run(async_)
        except BaseException as error:
            if isinstance(error, Error) and not isinstance(error, ConnectionFailed):
                if load.again(error):
                    continue
            elif pending is None or pending.over:
                load.done()  # else nobody knows whether the job is over: what it takes stays where it is
            raise
        load.accepted()
        if isinstance(value, Future):
            value.add_done_callback(functools.partial(_after, pending, load))
        else:
            load.done()
        return value


def _after(pending: _Pending[T], load: _Load, future: Future[T]) -> None:
    """The same for a future that has ended: its job may go on, when the service does not answer."""
    error = None if future.cancelled() else concurrent.futures.Future.exception(future)
    if pending.over or not (future.cancelled() or isinstance(error, ConnectionFailed)):
        load.done()


def _output_bytes(op: Op, one: int, n: int) -> int:
    """Of all outputs together, where each input has `one`; the ranks share those that are alike."""
    alike = op.gets != "each" or op.dim in ("same", "grow")
    return one * (n if op.dim == "grow" else 1) * (1 if alike or op.dim == "shrink" else n)


# ---- what jobs take and give ----


class _Reference:
    """What stands for a tensor that the service has."""

    def _json(self) -> Dict[str, Any]:
        raise NotImplementedError


class Tensor(_Reference):
    """A tensor that the service keeps: an input for any number of jobs, sent once.

    id, dtype ("float32"), shape, nbytes. Kept for the service's `--retain` seconds after the last job that used it.
    """

    def __init__(self, service: Service, id: str, dtype: str, shape: Sequence[int], like: _Like = _ARRAY) -> None:
        self._service, self._like = service, like
        self.id, self.dtype, self.shape = id, dtype, tuple(shape)
        self._named = service._lane.name(id)

    def __repr__(self) -> str:
        return f"<tutti.Tensor {self.id} {self.dtype} {self.shape}>"

    @property
    def nbytes(self) -> int:
        """Bytes of its elements."""
        return math.prod(self.shape) * np.dtype(DTYPES[self.dtype][0]).itemsize

    def get(self) -> Array:
        """Its elements: NumPy or torch, as what it was made of. Gone (410) where the bytes did not survive."""
        return self._like.wrap(self._service._download(self.id, self.nbytes), self.dtype, self.shape)

    def numpy(self) -> "np.ndarray[Any, Any]":
        """Its elements; bfloat16 as ml_dtypes', or without ml_dtypes as float32."""
        return cast("np.ndarray[Any, Any]", _ARRAY.wrap(self._service._download(self.id, self.nbytes), self.dtype, self.shape))

    def torch(self) -> Any:
        """Its elements as a torch tensor on the CPU."""
        return _Like("torch").wrap(self._service._download(self.id, self.nbytes), self.dtype, self.shape)

    def __array__(self, dtype: Any = None, copy: Optional[bool] = None) -> "np.ndarray[Any, Any]":
        array = self.numpy()
        return array if dtype is None else array.astype(dtype)

    def delete(self) -> None:
        """The service forgets it. A job that uses it keeps the bytes until it ends."""
        self._service._delete(f"/v1/tensors/{self.id}")

    def _json(self) -> Dict[str, Any]:
        return {"tensor": self.id}


class Promise(_Reference):
    """The output that one group rank of a job will have: an input of other jobs before it is there."""

    def __init__(self, job: Union[Job, BatchJob], rank: int) -> None:
        self.job, self.rank = job, rank

    def __repr__(self) -> str:
        return f"<tutti.Promise of rank {self.rank} of {self.job!r}>"

    @property
    def _like(self) -> _Like:
        return self.job._like(self.rank)

    def get(self) -> Optional[Array]:
        """Waits for the job; then that rank's output, None where it gets nothing."""
        job = self.job if isinstance(self.job, Job) else self.job.job
        return job.wait().output(self.rank)

    def _json(self) -> Dict[str, Any]:
        return {"job": self.job._reference(), "rank": self.rank}


class Outputs(List[Any]):
    """One output per group rank, None where a rank gets nothing. `job` is the job that made them.

    An output that all ranks share crosses the wire once; each still has an array of its own, which may be written to.
    """

    def __init__(self, values: Iterable[Any], job: Job) -> None:
        super().__init__(values)
        self.job = job

    def backward(self, grads: Sequence[Any], **options: Any) -> Any:
        """The same as `job.backward`."""
        return self.job.backward(grads, **options)


class Future(concurrent.futures.Future[T]):
    """A job that was accepted, and whose result comes later. `job` is the job. Can be awaited.

    result(timeout), exception(timeout), done(), add_done_callback(f) as concurrent.futures has them; so
    concurrent.futures.wait and as_completed work. A Ctrl-C in result() cancels the job.
    """

    def __init__(self, pending: _Pending[T]) -> None:
        super().__init__()
        self._pending, self._asked, self._ending = pending, False, threading.Lock()
        self.job = Job(pending.service, pending.job_id or "", pending.likes)

    def __repr__(self) -> str:
        return f"<tutti.Future of {self.job.id or 'a job'}: {self._how()}>"

    def _repr_html_(self) -> str:
        return f"<div>Future: {_escape(self._how())}</div>{_html_job(self.job)}" if self.job.id else f"<code>{_escape(repr(self))}</code>"

    def _how(self) -> str:
        if not self.done():
            return "not done"
        if self.cancelled():
            return "cancelled"
        error = super().exception()
        return "done" if error is None else f"failed, {error}"

    def result(self, timeout: Optional[float] = None) -> T:
        """The result. TimeoutError after `timeout` seconds, when the job goes on; an Error where it failed."""
        try:
            return super().result(timeout)
        except KeyboardInterrupt:
            self.cancel()
            raise
        except concurrent.futures.TimeoutError:
            if self.done():  # it is the job's own
                raise
            raise self._late(timeout) from None

    def exception(self, timeout: Optional[float] = None) -> Optional[BaseException]:
        """What result() would raise, or None. TimeoutError after `timeout` seconds."""
        try:
            return super().exception(timeout)
        except concurrent.futures.TimeoutError:
            raise self._late(timeout) from None

    def _late(self, timeout: Optional[float]) -> concurrent.futures.TimeoutError:
        """Says whom it waits for, where the service says so at once; not to who only looks whether it is there."""
        says = ""
        try:
            if timeout:
                request = _Request("GET", f"/v1/jobs/{self.job.id}?data=0")
                says = ": " + _state(self._pending.service._wire.ask(request, _as_json, _GLANCE_S - _SLACK_S, retry_for=0))
        except Error:
            pass
        return concurrent.futures.TimeoutError(f"{self.job.id} has not ended within {timeout:g} s{says}")

    def cancel(self) -> bool:
        """Cancels the job on the service. False where it had ended already."""
        if self.done():
            return self.cancelled()
        self._asked = True
        return self._pending.cancel() and self._end_cancelled()

    def _end_cancelled(self) -> bool:
        with self._ending:  # whoever asked, or the thread that follows the job
            if self.done():
                return self.cancelled()
            super().cancel()
            self.set_running_or_notify_cancel()
            return True

    def __await__(self) -> Generator[Any, None, T]:
        import asyncio

        return asyncio.wrap_future(self).__await__()

    def _finish(self) -> None:
        try:
            value = self._pending.follow(shown=False)
        except Cancelled as error:
            if self._asked:
                self._end_cancelled()
            else:
                self._end(lambda: self.set_exception(error))
        except BaseException as error:
            self._end(lambda: self.set_exception(error))
        else:
            self._end(lambda: self.set_result(value))

    def _end(self, how: Callable[[], None]) -> None:
        with self._ending:
            if not self.done():
                how()


class _Followers:
    """Threads that wait for futures' jobs: daemons, so that nobody waits for them at the end; made when needed."""

    MOST = 32

    def __init__(self) -> None:
        self.reset()
        _in_child(self.reset)

    def reset(self) -> None:
        """A new process has none of the threads."""
        self.lock = threading.Lock()
        self.queue: queue.SimpleQueue[Future[Any]] = queue.SimpleQueue()
        self.idle = self.threads = 0

    def follow(self, future: Future[Any]) -> None:
        with self.lock:
            if self.idle > 0 or self.threads == self.MOST:
                self.idle -= 1
            else:
                self.threads += 1
                threading.Thread(target=self.main, args=(self.queue,), name="tutti", daemon=True).start()
            self.queue.put(future)

    def main(self, jobs: queue.SimpleQueue[Future[Any]]) -> None:
        while True:
            future = jobs.get()
            future._finish()
            del future
            with self.lock:
                self.idle += 1


# ---- one job on its way ----


class _Pending(Generic[T]):
    """A job from its request to its result."""

    def __init__(self, service: Service, request: _Request, likes: Sequence[_Like], keep: bool = True) -> None:
        self.service, self.request, self.likes, self.keep = service, request, likes, keep
        self.job_id: Optional[str] = None
        self.over = False  # does nobody read any more what it takes? As far as is known
        self.line: Optional[_Waiting] = None  # that says who is missing

    def run(self, async_: bool) -> Any:
        """The result, or a future of it. A Ctrl-C cancels the job, and is raised."""
        try:
            return self.begin() if async_ else self.complete()
        except KeyboardInterrupt:
            self.cancel()
            raise

    def begin(self) -> Future[T]:
        """A future, unless the service refuses the request; a job that has failed already is the future's matter."""
        try:
            done, value = self.post(0.0)
        except JobFailed as error:
            self.job_id = error.job
            failed: Future[T] = Future(self)
            failed.set_exception(error)
            return failed
        future: Future[T] = Future(self)
        if done:
            future.set_result(cast(T, value))
        else:
            self.service._followers.follow(future)
        return future

    def complete(self) -> T:
        shown = self.service._shown()
        if shown and self.request.total >= _METERED_BYTES:
            self.request.meter = _Meter("sending", self.request.total)
        try:
            done, value = self.post(self.first_wait(shown))
        finally:
            if self.request.meter is not None:
                self.request.meter.close()
        return cast(T, value) if done else self.follow(shown)

    def first_wait(self, shown: bool) -> float:
        """Seconds. A large job has its id before the wait, so that it can be cancelled without being sent again."""
        return 0.0 if self.request.total > _SMALL_BYTES else _WATCHED_S if shown else _SLICE_S

    def post(self, wait: float) -> Tuple[bool, Optional[T]]:
        """Whether the result is there, and it."""
        request = self.request
        base = request.path
        request.path = f"{base}{'&' if '?' in base else '?'}wait={wait:g}"
        try:
            answer = self.service._wire.ask(request, self.read, wait)
        finally:
            request.path = base
        if isinstance(answer, _Document):
            if answer.get("state") in _OVER:
                return True, self.end(answer)
            return False, None
        return True, self.forget(answer)

    def read(self, response: http.client.HTTPResponse) -> Union[T, "_Document"]:
        """The answer to the request: the job's document, or the result itself."""
        self.job_id = response.getheader("Tutti-Job") or self.job_id
        if response.status == 202:
            return _Document(_as_json(response))
        return self.read_result(response)

    def read_result(self, response: http.client.HTTPResponse) -> Union[T, "_Document"]:
        raise NotImplementedError

    def fetch(self, doc: Mapping[str, Any], shown: bool) -> T:
        """The result of a job that succeeded."""
        raise NotImplementedError

    def follow(self, shown: bool) -> T:
        """Waits for the end of the job, for as long as it takes, and gives the result."""
        line = self.line or _Waiting(shown)
        try:
            while True:
                doc = self.service._job_doc(self.job_id or "", _WATCHED_S if shown else _SLICE_S)
                if doc["state"] in _OVER:
                    break
                line.tell(doc)
        finally:
            line.close()
        return self.end(doc, shown)

    def end(self, doc: Mapping[str, Any], shown: bool = False) -> T:
        self.over = True
        if doc["state"] != "succeeded":
            raise _job_error(doc)
        return self.forget(self.fetch(doc, shown))

    def forget(self, value: T) -> T:
        if not self.keep:
            self.service._delete_job(self.job_id or "")
        return value

    def cancel(self) -> bool:
        """Stops the job, also when its id has not come yet: the same key again tells it. False where it had ended."""
        if self.job_id is None:
            if not self.request.sent:
                self.over = True
                return True  # the service never had all of it
            try:
                self.request.meter = self.request.tick = self.request.meanwhile = None
                self.find()
            except Error as error:
                self.over = isinstance(error, JobFailed)
                return False
        over, cancelled = self.cancel_job(self.job_id or "")
        self.over = self.over or over
        return cancelled

    def cancel_job(self, id: str) -> Tuple[bool, bool]:
        """Whether it is known to be over, and whether it was cancelled."""
        try:
            doc = self.service._wire.ask(_Request("POST", f"/v1/jobs/{id}/cancel"), _as_json, _SLACK_S, retry_for=5)
        except Error as error:
            return error.status in (404, 409), error.code == "cancelled"
        return doc["state"] in _OVER, True

    def find(self) -> None:
        """The same request again, which has the same key, says which job it was."""
        self.post(0.0)


class _Document(Dict[str, Any]):
    """A job's, where a result could be."""


def _job_error(doc: Mapping[str, Any]) -> Error:
    return _error({"code": "cancelled", "status": 409, "detail": f"the job was {doc['state']}", **(doc.get("error") or {}),
                   "job": doc["id"]})


class _PendingJob(_Pending[Outputs]):
    """All ranks at once."""

    handles = False  # Tensors instead of their elements

    def read_result(self, response: http.client.HTTPResponse) -> Union[Outputs, _Document]:
        if "json" in (response.getheader("Content-Type") or ""):
            return _Document(_as_json(response))
        body = response.read()  # small: what is large comes tensor by tensor
        data = 8 + int.from_bytes(body[:8], "little")
        head = json.loads(body[8:data])
        values: List[Any] = []
        for like, name in zip(self.likes, head["__metadata__"]["outputs"].split(",")):  # whose each tensor is
            if name == "-":
                values.append(None)
                continue
            begin, end = head[name]["data_offsets"]
            flat = np.frombuffer(body, np.uint8, end - begin, data + begin).copy()
            values.append(like.wrap(flat, _FROM_SAFETENSORS[head[name]["dtype"]], tuple(head[name]["shape"])))
        return Outputs(values, Job(self.service, self.job_id or "", self.likes))

    def fetch(self, doc: Mapping[str, Any], shown: bool) -> Outputs:
        job = Job(self.service, doc["id"], self.likes, doc)
        return job._handles() if self.handles else job._fetch(shown)


class _PendingCall(_Pending[Any]):
    """One rank's own."""

    group: Group
    rank = 0
    handles = False
    value = False  # a JSON value, of bcast

    def first_wait(self, shown: bool) -> float:
        """Seconds. As long as can be: a call that was answered with 202 stands, also when its process is gone."""
        return _SLICE_S

    def complete(self) -> Any:
        shown = self.service._shown()
        line = self.line = _Waiting(shown)

        def look() -> None:
            try:
                line.tell(self.waiting() or {})
            except Error:
                pass  # it is only to be shown

        if shown:
            self.request.tick = look
        try:
            return super().complete()
        finally:
            line.close()

    def waiting(self) -> Optional[Dict[str, Any]]:
        """The document of the job that waits, with this rank, for others."""
        path = _query("/v1/jobs", state="waiting", group=self.group.name, limit=20)
        page = self.service._side.ask(_Request("GET", path), _as_json, retry_for=0)
        mine = [doc for doc in page["jobs"] if any(row["rank"] == self.rank for row in doc.get("arrived") or [])]
        return mine[-1] if mine else None

    def find(self) -> None:
        doc = self.waiting() if self.request.total > _SMALL_BYTES else None
        if doc is None:
            super().find()
        else:
            self.job_id = doc["id"]

    def read_result(self, response: http.client.HTTPResponse) -> Any:
        if response.status == 204:
            response.read()
            return None
        if "json" in (response.getheader("Content-Type") or ""):
            answer = _as_json(response)
            if self.value:
                return answer["value"]
            return self.handle(answer["output"])
        dtype = response.getheader("Tutti-Dtype") or "uint8"
        flat = np.empty(int(response.getheader("Content-Length") or 0), np.uint8)
        _fill(response, flat)
        response.read()
        return self.likes[0].wrap(flat, dtype, _shape_of(response.getheader("Tutti-Shape")))

    def handle(self, row: Optional[Mapping[str, Any]]) -> Optional[Tensor]:
        if row is None or "tensor" not in row:
            return None
        return Tensor(self.service, row["tensor"], row["dtype"], row["shape"], self.likes[0])

    def fetch(self, doc: Mapping[str, Any], shown: bool) -> Any:
        tensor = self.handle((doc.get("outputs") or [None] * (self.rank + 1))[self.rank])
        if tensor is None or self.handles:
            return tensor
        if self.value:
            return json.loads(tensor.numpy().tobytes())
        return self.likes[0].wrap(self.service._download(tensor.id, tensor.nbytes, shown), tensor.dtype, tensor.shape)


class _PendingBatch(_Pending[List[Dict[str, Any]]]):
    """Many jobs in one request: the documents of all, in order."""

    def post(self, wait: float) -> Tuple[bool, Optional[List[Dict[str, Any]]]]:
        base = self.request.path
        self.request.path = f"{base}{'&' if '?' in base else '?'}wait={wait:g}"
        try:
            self.docs = self.service._wire.ask(self.request, self.read_lines, wait)
        finally:
            self.request.path = base
        return all(doc.get("state") in _OVER or "code" in doc for doc in self.docs), self.docs

    @staticmethod
    def read_lines(response: http.client.HTTPResponse) -> List[Dict[str, Any]]:
        return [json.loads(line) for line in response.read().splitlines() if line.strip()]

    def follow(self, shown: bool) -> List[Dict[str, Any]]:
        line = _Waiting(shown)
        try:
            for i, doc in enumerate(self.docs):
                while "code" not in doc and doc["state"] not in _OVER:
                    line.tell(doc)
                    doc = self.service._job_doc(doc["id"], _WATCHED_S if shown else _SLICE_S, data=None)
                self.docs[i] = doc
        finally:
            line.close()
        return self.docs

    def cancel(self) -> bool:
        """Stops all that have not ended."""
        if not hasattr(self, "docs"):
            if not self.request.sent:
                self.over = True
                return True
            try:
                self.request.meanwhile = None
                self.post(0.0)
            except Error:
                return False
        going = [doc["id"] for doc in self.docs if "id" in doc and doc["state"] not in _OVER]
        self.over = all([self.cancel_job(id)[0] for id in going])
        return True


# ---- a job that is there ----


class Job:
    """One collective that the service has accepted. What it is, is asked for when it is looked at.

    id, op, group, ranks (world ranks in group order), state (waiting, queued, running, succeeded, failed, cancelled),
    missing (group ranks that have not called), error (an Error or None), timeline (durations in microseconds), algbw and
    busbw (GB/s, as nccl-tests defines them), attempts, label, parent. `doc` is the whole document. `job[r]` stands for the
    output of group rank r as an input of another job, also before it is there.
    """

    def __init__(self, service: Service, id: str, likes: Optional[Sequence[_Like]] = None,
                 doc: Optional[Mapping[str, Any]] = None) -> None:
        self._service, self._likes = service, likes
        self._doc = dict(doc) if doc is not None else None
        self.id, self._named = id, service._lane.name(id)

    def __repr__(self) -> str:
        doc = self._doc
        return f"<tutti.Job {self.id}" + (f" {doc['op']} {_state(doc)}>" if doc is not None else ">")

    def _repr_html_(self) -> str:
        return _html_job(self)

    def __getitem__(self, rank: int) -> Promise:
        return Promise(self, rank)

    def _reference(self) -> str:
        return self.id

    @property
    def doc(self) -> Dict[str, Any]:
        """The job's document, as of the last look; asked for anew until the job has ended."""
        if self._doc is None or self._doc["state"] not in _OVER:
            self.refresh()
        assert self._doc is not None
        return self._doc

    def refresh(self) -> Job:
        """Asks how it is now."""
        self._doc = self._service._job_doc(self.id, 0)
        return self

    op = property(lambda self: cast(str, self.doc["op"]), doc="The operation's name, a key of OPS.")
    state = property(lambda self: cast(str, self.doc["state"]), doc="waiting, queued, running, succeeded, failed or cancelled.")
    group = property(lambda self: cast(Optional[str], self.doc["group"]), doc="The group's name; None where it was given as a list.")
    ranks = property(lambda self: cast(List[int], self.doc["ranks"]), doc="World ranks in group order: ranks[r] is that of group rank r.")
    missing = property(lambda self: cast(List[int], self.doc.get("missing") or []),
                       doc="Group ranks that have not called yet, ascending; [] where it waits for nobody.")
    timeline = property(lambda self: cast(Dict[str, Any], self.doc["timeline"]), doc="""Where its time went, None for what has not happened.

        Microseconds, each from the one before: validated_us, queued_us, dispatch_us, staging_us, collective_us; total_us from the
        request to the end. received_at and finished_at are times of day (ISO 8601, UTC). ranks: a dict for each that ran, with
        rank, world_rank, started_us (after received_at) and collective_us.""")
    algbw = property(lambda self: cast(Optional[float], self.doc["algbw_GBps"]),
                     doc="Bytes of one rank's tensor (the larger of input and output) by the time in the ranks, in 10^9 bytes/s; None before it succeeded.")
    busbw = property(lambda self: cast(Optional[float], self.doc["busbw_GBps"]),
                     doc="algbw times the operation's factor in nccl-tests, to be compared with what the links can, in 10^9 bytes/s; None before it succeeded.")
    attempts = property(lambda self: cast(int, self.doc["attempts"]), doc="Runs begun: 0 before the first, more than 1 when a worker died.")
    label = property(lambda self: cast(Optional[str], self.doc.get("label")), doc="The caller's word for it, at most 256 bytes; or None.")
    parent = property(lambda self: cast(Optional[str], self.doc.get("parent")), doc="Of a gradient: the id of the job that it is the backward of; else None.")

    @property
    def error(self) -> Optional[Error]:
        """Why it failed or was cancelled; None where it did not."""
        return _job_error(self.doc) if self.state in ("failed", "cancelled") else None

    def done(self) -> bool:
        """Has it ended?"""
        return self.state in _OVER

    def wait(self, timeout: Optional[float] = None) -> Job:
        """Waits for the end, and gives the job. Raises its Error where it failed, and TimeoutError after `timeout`
        seconds; the job then goes on. A Ctrl-C does not cancel it: it may be somebody else's."""
        end = None if timeout is None else time.monotonic() + timeout
        shown = self._service._shown()
        line = _Waiting(shown)
        try:
            while self._doc is None or self._doc["state"] not in _OVER:
                left = _SLICE_S if end is None else max(0.0, end - time.monotonic())
                self._doc = self._service._job_doc(self.id, min(left, _WATCHED_S if shown else _SLICE_S))
                line.tell(self._doc)
                if end is not None and self._doc["state"] not in _OVER and time.monotonic() >= end:
                    raise TimeoutError(f"{self.id} has not ended within {timeout:g} s: {_state(self._doc)}")
        finally:
            line.close()
        if self.error is not None:
            raise self.error
        return self

    def outputs(self) -> Outputs:
        """Waits for the end; one output per group rank, None where a rank gets nothing."""
        return self.wait()._fetch(self._service._shown())

    def output(self, rank: int) -> Optional[Array]:
        """Waits for the end; what that group rank got, or None."""
        handle = self.wait()._handles()[rank]
        return None if handle is None else cast(Tensor, handle).get()

    def tensors(self) -> Outputs:
        """Waits for the end; the outputs as `Tensor` handles, whose bytes stay where they are."""
        return self.wait()._handles()

    def _like(self, rank: int) -> _Like:
        return self._likes[rank] if self._likes is not None and rank < len(self._likes) else _ARRAY

    def _handles(self) -> Outputs:
        return Outputs([None if row is None else Tensor(self._service, row["tensor"], row["dtype"], row["shape"], self._like(r))
                        for r, row in enumerate(self.doc["outputs"])], self)

    def _fetch(self, shown: bool) -> Outputs:
        """Ranks that share one output have it sent once, and a copy each."""
        sent: Dict[str, Any] = {}
        shown_there: Dict[str, _Shown] = {}
        values: List[Any] = []
        for r, row in enumerate(self.doc["outputs"]):
            if row is None:
                values.append(None)
                continue
            tensor = Tensor(self._service, row["tensor"], row["dtype"], row["shape"])
            flat = self._service._lane.show(row, tensor.nbytes, shown_there, self.id) if "region" in row else None
            if flat is not None:
                pass  # where it is
            elif tensor.id in sent:
                flat = sent[tensor.id].copy()
            elif "data" in row:
                flat = sent[tensor.id] = _from_json(row["data"], tensor.dtype, tensor.shape)
            else:
                flat = sent[tensor.id] = self._service._download(tensor.id, tensor.nbytes, shown)
            values.append(self._like(r).wrap(flat, tensor.dtype, tensor.shape))
        return Outputs(values, self)

    def cancel(self) -> Job:
        """Stops it. Conflict where it has ended already."""
        self._doc = self._service._wire.ask(_Request("POST", f"/v1/jobs/{self.id}/cancel", again=False), _as_json, _SLACK_S)
        return self

    def delete(self) -> None:
        """The service forgets it and its outputs; Conflict before it has ended."""
        self._service._delete_job(self.id)

    @overload
    def backward(self, grads: Sequence[Any], *, async_: Literal[False] = False, stream: Optional[int] = None,
                 timeout: Optional[float] = None, priority: Optional[int] = None, label: Optional[str] = None,
                 resident: bool = False) -> Outputs: ...

    @overload
    def backward(self, grads: Sequence[Any], *, async_: Literal[True], stream: Optional[int] = None,
                 timeout: Optional[float] = None, priority: Optional[int] = None, label: Optional[str] = None,
                 resident: bool = False) -> Future[Outputs]: ...

    def backward(self, grads: Sequence[Any], *, async_: bool = False, stream: Optional[int] = None,
                 timeout: Optional[float] = None, priority: Optional[int] = None, label: Optional[str] = None,
                 resident: bool = False) -> Any:
        """The gradients of the inputs, one per group rank, None where an input has none.

        grads  one per group rank, of its output's shape and dtype; None counts as zeros. When none came, or the only rank
               that has an output brought none, all results are None.
        Gone (410) where a maximum's inputs are not kept any more; Invalid (422) where the operation has no gradient or a
        gradient does not fit. The result has `job`, whose backward can be asked for in turn.
        """
        service = self._service
        query = dict(stream=stream, timeout=timeout, priority=priority, label=label, resident=resident or None)

        def pending_by(load: _Load) -> _PendingJob:
            request, likes = service._inputs(f"/v1/jobs/{self.id}/backward", query, list(grads), None, "grads", resident, load)
            if self._likes is not None and len(self._likes) == len(likes):
                likes = [own if g is None else like for own, g, like in zip(self._likes, grads, likes)]
            pending = _PendingJob(service, request, likes)
            pending.handles = resident
            return pending

        return _by_ways(_Load(service, _Way.HTTP if resident else _Way.INPUTS), pending_by, async_)


# ---- the operations as methods ----

GroupLike = Union["Group", str, Sequence[int], None]

if TYPE_CHECKING:
    class _AllSame(Protocol[R]):
        @overload
        def __call__(self, inputs: Any, group: GroupLike = None, device: Optional[str] = None, *,
                     async_: Literal[False] = False, dtype: Any = None, stream: Optional[int] = None,
                     timeout: Optional[float] = None, priority: Optional[int] = None, label: Optional[str] = None,
                     resident: bool = False, keep: bool = True) -> R: ...

        @overload
        def __call__(self, inputs: Any, group: GroupLike = None, device: Optional[str] = None, *, async_: Literal[True],
                     dtype: Any = None, stream: Optional[int] = None, timeout: Optional[float] = None,
                     priority: Optional[int] = None, label: Optional[str] = None, resident: bool = False,
                     keep: bool = True) -> Future[R]: ...

    class _AllAxis(Protocol[R]):
        @overload
        def __call__(self, inputs: Any, group: GroupLike = None, device: Optional[str] = None, axis: int = 0, *,
                     async_: Literal[False] = False, dtype: Any = None, stream: Optional[int] = None,
                     timeout: Optional[float] = None, priority: Optional[int] = None, label: Optional[str] = None,
                     resident: bool = False, keep: bool = True) -> R: ...

        @overload
        def __call__(self, inputs: Any, group: GroupLike = None, device: Optional[str] = None, axis: int = 0, *,
                     async_: Literal[True], dtype: Any = None, stream: Optional[int] = None,
                     timeout: Optional[float] = None, priority: Optional[int] = None, label: Optional[str] = None,
                     resident: bool = False, keep: bool = True) -> Future[R]: ...

    class _AllShuffle(Protocol[R]):
        @overload
        def __call__(self, inputs: Any, group: GroupLike = None, device: Optional[str] = None, split_axis: int = 0,
                     concat_axis: int = 0, *, async_: Literal[False] = False, dtype: Any = None,
                     stream: Optional[int] = None, timeout: Optional[float] = None, priority: Optional[int] = None,
                     label: Optional[str] = None, resident: bool = False, keep: bool = True) -> R: ...

        @overload
        def __call__(self, inputs: Any, group: GroupLike = None, device: Optional[str] = None, split_axis: int = 0,
                     concat_axis: int = 0, *, async_: Literal[True], dtype: Any = None, stream: Optional[int] = None,
                     timeout: Optional[float] = None, priority: Optional[int] = None, label: Optional[str] = None,
                     resident: bool = False, keep: bool = True) -> Future[R]: ...

    class _AllPeer(Protocol[R]):
        @overload
        def __call__(self, inputs: Any, src: int = 0, dst: int = 1, group: GroupLike = None, device: Optional[str] = None, *,
                     async_: Literal[False] = False, dtype: Any = None, stream: Optional[int] = None,
                     timeout: Optional[float] = None, priority: Optional[int] = None, label: Optional[str] = None,
                     resident: bool = False, keep: bool = True) -> R: ...

        @overload
        def __call__(self, inputs: Any, src: int = 0, dst: int = 1, group: GroupLike = None, device: Optional[str] = None, *,
                     async_: Literal[True], dtype: Any = None, stream: Optional[int] = None,
                     timeout: Optional[float] = None, priority: Optional[int] = None, label: Optional[str] = None,
                     resident: bool = False, keep: bool = True) -> Future[R]: ...

    class _OneSame(Protocol):
        @overload
        def __call__(self, inp: Any = None, group: GroupLike = None, device: Optional[str] = None, *,
                     async_: Literal[False] = False, dtype: Any = None, stream: Optional[int] = None,
                     timeout: Optional[float] = None, priority: Optional[int] = None, label: Optional[str] = None,
                     resident: bool = False) -> Array: ...

        @overload
        def __call__(self, inp: Any = None, group: GroupLike = None, device: Optional[str] = None, *, async_: Literal[True],
                     dtype: Any = None, stream: Optional[int] = None, timeout: Optional[float] = None,
                     priority: Optional[int] = None, label: Optional[str] = None, resident: bool = False) -> Future[Array]: ...

    class _OneAxis(Protocol):
        @overload
        def __call__(self, inp: Any = None, group: GroupLike = None, device: Optional[str] = None, axis: int = 0, *,
                     async_: Literal[False] = False, dtype: Any = None, stream: Optional[int] = None,
                     timeout: Optional[float] = None, priority: Optional[int] = None, label: Optional[str] = None,
                     resident: bool = False) -> Array: ...

        @overload
        def __call__(self, inp: Any = None, group: GroupLike = None, device: Optional[str] = None, axis: int = 0, *,
                     async_: Literal[True], dtype: Any = None, stream: Optional[int] = None,
                     timeout: Optional[float] = None, priority: Optional[int] = None, label: Optional[str] = None,
                     resident: bool = False) -> Future[Array]: ...

    class _OneShuffle(Protocol):
        @overload
        def __call__(self, inp: Any, group: GroupLike = None, device: Optional[str] = None, split_axis: int = 0,
                     concat_axis: int = 0, *, async_: Literal[False] = False, dtype: Any = None,
                     stream: Optional[int] = None, timeout: Optional[float] = None, priority: Optional[int] = None,
                     label: Optional[str] = None, resident: bool = False) -> Array: ...

        @overload
        def __call__(self, inp: Any, group: GroupLike = None, device: Optional[str] = None, split_axis: int = 0,
                     concat_axis: int = 0, *, async_: Literal[True], dtype: Any = None, stream: Optional[int] = None,
                     timeout: Optional[float] = None, priority: Optional[int] = None, label: Optional[str] = None,
                     resident: bool = False) -> Future[Array]: ...

    class _OneSend(Protocol):
        @overload
        def __call__(self, inp: Any, dest_rank: int, group: GroupLike = None, device: Optional[str] = None, *,
                     async_: Literal[False] = False, dtype: Any = None, stream: Optional[int] = None,
                     timeout: Optional[float] = None, priority: Optional[int] = None, label: Optional[str] = None) -> None: ...

        @overload
        def __call__(self, inp: Any, dest_rank: int, group: GroupLike = None, device: Optional[str] = None, *,
                     async_: Literal[True], dtype: Any = None, stream: Optional[int] = None,
                     timeout: Optional[float] = None, priority: Optional[int] = None,
                     label: Optional[str] = None) -> Future[None]: ...

    class _OneRecv(Protocol):
        @overload
        def __call__(self, src_rank: int, device: Optional[str] = None, inp: Any = None, group: GroupLike = None, *,
                     async_: Literal[False] = False, stream: Optional[int] = None, timeout: Optional[float] = None,
                     priority: Optional[int] = None, label: Optional[str] = None, resident: bool = False) -> Array: ...

        @overload
        def __call__(self, src_rank: int, device: Optional[str] = None, inp: Any = None, group: GroupLike = None, *,
                     async_: Literal[True], stream: Optional[int] = None, timeout: Optional[float] = None,
                     priority: Optional[int] = None, label: Optional[str] = None,
                     resident: bool = False) -> Future[Array]: ...


_GIVES = {
    "each": ("one tensor per group rank, all of one shape and dtype: a list, or an array whose axis 0 is the rank",
             "this rank's tensor; all ranks agree in shape and dtype"),
    "root": ("the root's tensor; or a list with one element per rank, of which only the first is used",
             "the tensor, on group rank 0; on the others it says nothing but the type that is wanted back"),
    "src": ("the tensor of `src`; or a list with one element per rank, of which only that of `src` is used",
            "the tensor that is sent"),
}
_DIMS = {
    "same": "of the input's shape",
    "grow": "of the input's shape with `axis` N times as long",
    "shrink": "of the input's shape with `axis` N times shorter; N must divide it",
    "shuffle": "of the input's shape with `split_axis` N times shorter (N must divide it) and `concat_axis` N times as long",
}
_GETS = {"each": ("every rank's output", "the output"), "root": ("the output of group rank 0, None for the others",
                                                                 "the output on group rank 0, None elsewhere"),
         "dst": ("the output of `dst`, None for the others", "what came")}
_OPTIONS_DOC = """
group     a Group, a group's name, or a list of world ranks (the first is the root); default: this one
device    gpuN:k, as MegEngine writes it: k is the stream
dtype     the inputs are cast to it
stream    jobs of one stream keep their order (0)
timeout   seconds to wait for missing ranks, and separately of the run (60)
priority  -100..100; higher runs first
label     a word of yours, to find the job again
resident  outputs stay on their ranks' devices; gives Tensor handles
"""
_KEEP_DOC = "keep      False: the service forgets job and outputs when they have come\n"
_ASYNC_DOC = "async_    True: gives a Future when the service has accepted it\n"


def _doc(op: Op, one: bool) -> str:
    text = f"{op.sentence}\n\n"
    if op.gives in _GIVES:
        text += f"{'inp' if one else 'inputs'}: {_GIVES[op.gives][one]}.\nGives {_GETS[op.gets][one]}, {_DIMS[op.dim]}.\n"
    text += _OPTIONS_DOC + ("" if one else _KEEP_DOC) + _ASYNC_DOC
    text += "\nRaises Invalid for shapes, axes and dtypes that do not fit"
    text += "; Mismatch where the ranks' calls disagree, RanksMissing where\nsome never came." if one else "."
    return text + ("" if op.gradient else "\nIt has no gradient.")


def _signed(method: Any, op: Op, one: bool) -> Any:
    """The method with its name, its words and all of its parameters, as help() and a notebook show them."""
    P = inspect.Parameter
    own = list(inspect.signature(method).parameters.values())[:-1]
    options: List[Tuple[str, Any]] = [("dtype", None), ("stream", None), ("timeout", None), ("priority", None), ("label", None),
                                      ("resident", False), ("keep", True), ("async_", False)]
    more = [P(name, P.KEYWORD_ONLY, default=value) for name, value in options if not (one and name == "keep")]
    method.__signature__ = inspect.Signature(own + more)
    method.__name__, method.__doc__ = op.name, _doc(op, one)
    method.__qualname__ = ("Rank." if one else "Group.") + op.name
    return method


def _all(name: str) -> Any:
    """The method of all ranks at once."""
    op = OPS[name]

    def same(self: Any, inputs: Any, group: Any = None, device: Any = None, **options: Any) -> Any:
        return self._run(op, inputs, group, {"device": device}, **options)

    def axis(self: Any, inputs: Any, group: Any = None, device: Any = None, axis: int = 0, **options: Any) -> Any:
        return self._run(op, inputs, group, {"device": device, "axis": axis}, **options)

    def shuffle(self: Any, inputs: Any, group: Any = None, device: Any = None, split_axis: int = 0, concat_axis: int = 0,
                **options: Any) -> Any:
        return self._run(op, inputs, group, {"device": device, "split_axis": split_axis, "concat_axis": concat_axis}, **options)

    def peer(self: Any, inputs: Any, src: int = 0, dst: int = 1, group: Any = None, device: Any = None, **options: Any) -> Any:
        return self._run(op, inputs, group, {"device": device, "src": src, "dst": dst}, **options)

    kinds = {"same": same, "grow": axis, "shrink": axis, "shuffle": shuffle}
    return _signed(peer if op.gives == "src" else kinds[op.dim], op, False)


def _one(name: str) -> Any:
    """The method of one rank."""
    op = OPS[name]

    def same(self: Any, inp: Any = None, group: Any = None, device: Any = None, **options: Any) -> Any:
        return self._run(op, inp, group, {"device": device}, **options)

    def axis(self: Any, inp: Any = None, group: Any = None, device: Any = None, axis: int = 0, **options: Any) -> Any:
        return self._run(op, inp, group, {"device": device, "axis": axis}, **options)

    def shuffle(self: Any, inp: Any, group: Any = None, device: Any = None, split_axis: int = 0, concat_axis: int = 0,
                **options: Any) -> Any:
        return self._run(op, inp, group, {"device": device, "split_axis": split_axis, "concat_axis": concat_axis}, **options)

    def send(self: Any, inp: Any, dest_rank: int, group: Any = None, device: Any = None, **options: Any) -> Any:
        return self._run(op, inp, group, {"device": device, "dst": dest_rank}, **options)

    def recv(self: Any, src_rank: int, device: Any = None, inp: Any = None, group: Any = None, **options: Any) -> Any:
        return self._run(op, inp, group, {"device": device, "src": src_rank}, **options)

    kinds = {"same": same, "grow": axis, "shrink": axis, "shuffle": shuffle}
    return _signed(send if name == "remote_send" else recv if name == "remote_recv" else kinds[op.dim], op, True)


def _stranger(name: str) -> Op:
    """An operation that this file does not know, of a newer service."""
    return OPS.get(name) or Op(name, "each", "each", "same", True, f"{name}, as the service has it.")


class _Collectives(Generic[R]):
    """Every operation, for all ranks at once: `Group` runs it, `Batch` collects it."""

    reduce_sum: _AllSame[R] = _all("reduce_sum")
    reduce_max: _AllSame[R] = _all("reduce_max")
    reduce_min: _AllSame[R] = _all("reduce_min")
    broadcast: _AllSame[R] = _all("broadcast")
    all_gather: _AllAxis[R] = _all("all_gather")
    reduce_scatter_sum: _AllAxis[R] = _all("reduce_scatter_sum")
    reduce_scatter_max: _AllAxis[R] = _all("reduce_scatter_max")
    reduce_scatter_min: _AllAxis[R] = _all("reduce_scatter_min")
    all_reduce_sum: _AllSame[R] = _all("all_reduce_sum")
    all_reduce_max: _AllSame[R] = _all("all_reduce_max")
    all_reduce_min: _AllSame[R] = _all("all_reduce_min")
    all_reduce_prod: _AllSame[R] = _all("all_reduce_prod")
    all_reduce_avg: _AllSame[R] = _all("all_reduce_avg")
    all_reduce_and: _AllSame[R] = _all("all_reduce_and")
    all_reduce_or: _AllSame[R] = _all("all_reduce_or")
    all_reduce_xor: _AllSame[R] = _all("all_reduce_xor")
    gather: _AllAxis[R] = _all("gather")
    scatter: _AllAxis[R] = _all("scatter")
    all_to_all: _AllShuffle[R] = _all("all_to_all")
    remote_send: _AllPeer[R] = _all("remote_send")
    remote_recv: _AllPeer[R] = _all("remote_recv")


class Group(_Collectives[Outputs]):
    """An ordered list of world ranks; the first is the root. Its methods run a collective for all of its ranks at once.

    An operation takes one input per group rank: a list (None where a rank gives nothing), or an array whose axis 0 is the
    rank. Inputs are arrays, torch tensors, lists, numbers, `Tensor` handles, or what stands for the output of an earlier
    job (`job[r]`; a Job or Future as a whole: of each rank its own). It gives `Outputs`: a list with one element per group
    rank, None where a rank gets nothing, and the `job`. With torch tensors that require gradients, autograd goes through it.

    name is None for a group that was given as a list; ranks are world ranks; len() is N.
    """

    def __init__(self, service: Service, name: Optional[str], ranks: Sequence[int]) -> None:
        self.service, self.name, self.ranks = service, name, list(ranks)
        if not self.ranks:
            raise ValueError("a group has one rank or more: this list of world ranks is empty")

    def __repr__(self) -> str:
        return f"<tutti.Group {self.name or self.ranks} of {_ranks(self.ranks)}>"

    def _repr_html_(self) -> str:
        return _html_group(self)

    def __len__(self) -> int:
        return len(self.ranks)

    @property
    def size(self) -> int:
        """Number of its ranks."""
        return len(self.ranks)

    def empty(self, shape: Union[int, Sequence[int]], dtype: Any = "float32") -> "np.ndarray[Any, Any]":
        """An array like numpy.empty's, whose memory the ranks of a service on this machine share: as an input it is not
        copied. Nothing may be written to it, or to a slice of it, while a job that takes it runs, or once a batch has it.
        Elsewhere, or where no such memory is left, a plain array."""
        shape = (int(shape),) if isinstance(shape, (int, np.integer)) else tuple(map(int, shape))
        name = dtype_name(dtype)
        own = np.dtype(DTYPES[name][0]) if name != "bfloat16" else np.dtype(_ml_bfloat16() or dtype)
        array = self.service._lane.empty(own, shape)
        return cast("np.ndarray[Any, Any]", np.empty(shape, own) if array is None else array)

    def rank(self, rank: int, rejoin: bool = False) -> Rank:
        """One group rank, 0 .. N-1, that calls by itself.

        rejoin  this is a new process in the rank's place, such as a notebook that was started again: what it had called
                before ends with the first call, which goes on where the others wait
        """
        return Rank(self, rank, rejoin)

    def run(self, op: str, inputs: Any = None, *, group: GroupLike = None, **parameters: Any) -> Any:
        """Any operation by its name, also one of a newer service, with any of its parameters."""
        options = {name: parameters.pop(name) for name in _OPTIONS if name in parameters}
        return self._run(_stranger(op), inputs, group, parameters, **options)

    def barrier(self, group: GroupLike = None, **options: Any) -> Outputs:
        """A job that moves nothing, through all of the ranks: they are there and work."""
        return cast(Outputs, self._run(OPS["barrier"], None, group, {}, **options))

    def batch(self, *, check: bool = True) -> Batch:
        """Collects jobs, and sends them as one request. When the service refuses one of them, the with-block raises that at its
        end, and the others run all the same; with check=False it raises when its outputs are asked for::

            with world.batch() as b:
                total = b.all_reduce_sum([1, 2, 3, 4])
                most = b.all_reduce_max([total[0], 3, 0, 7])   # an output of a job that has not run yet
            most.outputs()                                     # [10, 10, 10, 10]
        """
        return Batch(self, check)

    @property
    def kv(self) -> KV:
        """JSON values that the ranks leave for each other."""
        return KV(self)

    def delete(self) -> None:
        """Forgets the name; jobs on it run on. Conflict for world."""
        self.service._wire.ask(_Request("DELETE", f"/v1/groups/{self._path()}"), _nothing)
        self.service._forget_group(self._path())

    def _run(self, op: Op, inputs: Any, group: GroupLike, parameters: Dict[str, Any], *, dtype: Any = None,
             stream: Optional[int] = None, timeout: Optional[float] = None, priority: Optional[int] = None,
             label: Optional[str] = None, resident: bool = False, keep: bool = True, async_: bool = False, **unknown: Any) -> Any:
        if unknown:
            raise _not_taken(op, parameters, unknown)
        if group is not None:
            return self.service._group(group, self)._run(
                op, inputs, None, parameters, dtype=dtype, stream=stream, timeout=timeout, priority=priority, label=label,
                resident=resident, keep=keep, async_=async_)
        query = dict(parameters, op=op.name, group=self.name or ",".join(map(str, self.ranks)), stream=stream, timeout=timeout,
                     priority=priority, label=label, resident=resident or None)
        given = self._spread(op, inputs, parameters)
        name = None if dtype is None else dtype_name(dtype)

        def run(given: Sequence[Any]) -> Any:
            def pending_by(load: _Load) -> _PendingJob:
                request, likes = self.service._inputs("/v1/jobs", query, given, name, "inputs", resident, load)
                pending = _PendingJob(self.service, request, likes, keep or resident)
                pending.handles = resident
                return pending

            return _by_ways(_Load(self.service, _Way.HTTP if resident else _Way.ANEW), pending_by, async_)

        if op.gradient and not (async_ or resident) and any(_wants_gradient(x) for x in given):
            return _autograd_all(run, given)
        return run(given)

    def _spread(self, op: Op, inputs: Any, parameters: Mapping[str, Any]) -> List[Any]:
        """One element per group rank."""
        n = len(self.ranks)
        if op.gives == "nobody":
            return [None] * n
        if isinstance(inputs, Future):
            inputs = inputs.job
        if isinstance(inputs, (Job, BatchJob)):
            return [inputs[r] for r in range(n)]
        _no_masks(inputs)
        lone = op.gives in ("root", "src")
        giver = int(parameters.get("src") or 0) if op.gives == "src" else 0
        if lone and not isinstance(inputs, (list, tuple)):
            return [inputs if r == giver else None for r in range(n)]
        if not isinstance(inputs, (list, tuple)) and getattr(inputs, "ndim", 0) == 0:
            raise TypeError(f"{op.name} takes a list with one input for each of the {n} ranks, not {type(inputs).__name__}")
        if len(inputs) != n:
            raise ValueError(f"{len(inputs)} inputs for {n} ranks ({self.name or self.ranks}): give one for each, and None for "
                             "a rank that gives nothing")
        return [x if not lone or r == giver else None for r, x in enumerate(inputs)]

    def _path(self) -> str:
        """The name as it stands in a path. A group that was given as a list gets a name of its own."""
        if self.name is None:
            name = "ranks-" + "-".join(map(str, self.ranks))
            if len(name) > 64:
                name = "ranks-" + hashlib.sha256(name.encode()).hexdigest()[:32]
            self.service.group(self.ranks, name)
            self.name = name
        return urllib.parse.quote(self.name, safe="")


_OPTIONS = ("dtype", "stream", "timeout", "priority", "label", "resident", "keep", "async_")


def _not_taken(op: Op, parameters: Iterable[str], unknown: Iterable[str]) -> TypeError:
    """As Python says it, of the function that was called."""
    name = next(iter(unknown))
    near = difflib.get_close_matches(name, [*parameters, "group", *_OPTIONS], 1)
    return TypeError(f"{op.name}() got an unexpected keyword argument {name!r}" + (f"; did you mean {near[0]}?" if near else ""))


_MADE_WAY = {"code": "tensor_lost", "status": 410, "title": "The tensor's bytes are gone",
             "detail": "this result made way for newer ones in the memory that is shared with the service: keep an array of it, which "
                       "holds it there, or a copy"}

_CALL_LOST = {"code": "inputs_lost", "status": 410, "title": "The inputs did not survive",
              "detail": "the service ended after it had heard this call, whose tensor was in memory that it shared with this process: "
                        "what became of it, the group's last job says; call again as the other ranks do"}


class Rank:
    """One rank of a group that calls by itself; each call waits until the other ranks have called, too.

    The n-th calls of a group's ranks belong together, and agree in operation, shape, dtype and parameters. Names and
    arguments are those of megengine.functional.distributed. `last_job` is the job of the last call, `rank` the group rank.
    Call from one thread at a time: the order of calls is their meaning.
    """

    def __init__(self, group: Group, rank: int, rejoin: bool = False) -> None:
        try:
            rank = operator.index(rank)
        except TypeError:
            raise TypeError(f"a rank is a whole number, 0 to {len(group) - 1} in {group.name or group.ranks}, not {type(rank).__name__}") \
                from None
        if not 0 <= rank < len(group):
            raise ValueError(f"rank {rank} is not in 0..{len(group) - 1}, the ranks of {group.name or group.ranks}")
        self.group, self.rank, self.last_job = group, rank, None  # type: Group, int, Optional[Job]
        self._rejoin = rejoin

    def __repr__(self) -> str:
        return f"<tutti.Rank {self.rank} of {self.group.name or self.group.ranks}>"

    def _repr_html_(self) -> str:
        return _html_rank(self)

    @property
    def size(self) -> int:
        """Number of the group's ranks."""
        return len(self.group)

    @property
    def world_rank(self) -> int:
        """Its rank in the world."""
        return self.group.ranks[self.rank]

    reduce_sum: _OneSame = _one("reduce_sum")
    reduce_max: _OneSame = _one("reduce_max")
    reduce_min: _OneSame = _one("reduce_min")
    broadcast: _OneSame = _one("broadcast")
    all_gather: _OneAxis = _one("all_gather")
    reduce_scatter_sum: _OneAxis = _one("reduce_scatter_sum")
    reduce_scatter_max: _OneAxis = _one("reduce_scatter_max")
    reduce_scatter_min: _OneAxis = _one("reduce_scatter_min")
    all_reduce_sum: _OneSame = _one("all_reduce_sum")
    all_reduce_max: _OneSame = _one("all_reduce_max")
    all_reduce_min: _OneSame = _one("all_reduce_min")
    all_reduce_prod: _OneSame = _one("all_reduce_prod")
    all_reduce_avg: _OneSame = _one("all_reduce_avg")
    all_reduce_and: _OneSame = _one("all_reduce_and")
    all_reduce_or: _OneSame = _one("all_reduce_or")
    all_reduce_xor: _OneSame = _one("all_reduce_xor")
    gather: _OneAxis = _one("gather")
    scatter: _OneAxis = _one("scatter")
    all_to_all: _OneShuffle = _one("all_to_all")
    remote_send: _OneSend = _one("remote_send")
    remote_recv: _OneRecv = _one("remote_recv")

    def run(self, op: str, inp: Any = None, *, group: GroupLike = None, **parameters: Any) -> Any:
        """Any operation by its name, also one of a newer service, with any of its parameters."""
        options = {name: parameters.pop(name) for name in _OPTIONS if name in parameters}
        return self._run(_stranger(op), inp, group, parameters, **options)

    def barrier(self, group: GroupLike = None, timeout: Optional[float] = None, *, stream: Optional[int] = None,
                label: Optional[str] = None, async_: bool = False) -> Any:
        """Goes on when every rank of the group has come. RanksMissing after `timeout` seconds (60)."""
        return self._run(OPS["barrier"], None, group, {}, timeout=timeout, stream=stream, label=label, async_=async_)

    def bcast(self, value: Any = None, *, timeout: Optional[float] = None, label: Optional[str] = None,
              async_: bool = False) -> Any:
        """Any JSON value (None, numbers, strings, lists, dicts; at most 1 MiB) of group rank 0, on every rank."""
        query = dict(rank=self.rank, timeout=timeout, label=label, rejoin=self._first())
        body = _json_body(value) if self.rank == 0 else []
        request = _Request("POST", _query(f"/v1/groups/{self.group._path()}/bcast", **query), {}, body, key=True)
        if body:
            request.headers["Content-Type"] = "application/json"
        pending = self._pending(request, _ARRAY)
        pending.value = True
        return self._done(pending, pending.run(async_))

    def backward(self, job: Union[Job, str], grad: Any = None, *, async_: bool = False, timeout: Optional[float] = None,
                 stream: Optional[int] = None, label: Optional[str] = None, resident: bool = False) -> Any:
        """This rank's part of the backward of a job of its group: takes the gradient of its output (None counts as zeros),
        gives that of its input, or None. All ranks call it; `rank.last_job` and `future.job` are jobs of theirs."""
        identity = job if isinstance(job, str) else job.id
        return self._run(_stranger("backward"), grad, None, {"job": identity}, async_=async_, timeout=timeout, stream=stream,
                         label=label, resident=resident)

    @property
    def kv(self) -> KV:
        """JSON values that the group's ranks leave for each other."""
        return KV(self.group)

    def _first(self) -> Optional[bool]:
        """True once, if it is to rejoin."""
        rejoin, self._rejoin = self._rejoin, False
        return rejoin or None

    def _pending(self, request: _Request, like: _Like, handles: bool = False) -> _PendingCall:
        pending = _PendingCall(self.group.service, request, [like])
        pending.group, pending.rank, pending.handles = self.group, self.rank, handles
        return pending

    def _done(self, pending: _PendingCall, result: Any) -> Any:
        if pending.job_id:
            self.last_job = Job(pending.service, pending.job_id)
        return result

    def _within(self, group: GroupLike) -> Rank:
        """The same worker, as a rank of another group."""
        other = self.group.service._group(group, self.group)
        if other.name == self.group.name and other.ranks == self.group.ranks:
            return self
        if self.world_rank not in other.ranks:
            raise ValueError(f"rank {self.world_rank} of the world is not in the group {other.name or other.ranks}")
        return Rank(other, other.ranks.index(self.world_rank), bool(self._first()))

    def _run(self, op: Op, inp: Any, group: GroupLike, parameters: Dict[str, Any], *, dtype: Any = None,
             stream: Optional[int] = None, timeout: Optional[float] = None, priority: Optional[int] = None,
             label: Optional[str] = None, resident: bool = False, keep: bool = True, async_: bool = False, **unknown: Any) -> Any:
        if unknown:
            raise _not_taken(op, parameters, unknown)
        own = self if group is None else self._within(group)
        name = None if dtype is None else dtype_name(dtype)

        def run(inp: Any) -> Any:
            query = dict(parameters, op=op.name, stream=stream, timeout=timeout, priority=priority, label=label,
                         resident=resident or None, rejoin=own._first())
            sent: List[_PendingCall] = []

            def pending_by(load: _Load) -> _PendingCall:
                request, like = own._request(op, inp, dict(query), name, load)
                if resident:
                    request.headers["Accept"] = "application/json"
                    request.path += "&data=0"
                if sent:  # under its first name, by which the service knows a call that it has heard
                    request.headers["Idempotency-Key"] = sent[-1].request.headers["Idempotency-Key"]
                sent.append(own._pending(request, like, resident))
                return sent[-1]

            load = _Load(own.group.service, _Way.HTTP if resident else _Way.INPUTS, counts=True)
            try:
                result = _by_ways(load, pending_by, async_)
            except Invalid as error:
                if error.code != "idempotency_key_reused":
                    raise
                raise _error(_CALL_LOST) from error
            own._done(sent[-1], result)
            self.last_job = own.last_job
            return result

        if op.gradient and op.gives == op.gets == "each" and op.name != "backward" and not (async_ or resident) \
                and _wants_gradient(inp):
            return _autograd_one(run, own, inp)
        return run(inp)

    def _request(self, op: Op, inp: Any, query: Dict[str, Any], dtype: Optional[str], load: _Load) -> Tuple[_Request, _Like]:
        path = f"/v1/groups/{self.group._path()}/ranks/{self.rank}/calls"
        headers = {"Accept": "application/octet-stream"}
        if isinstance(inp, Future):
            inp = inp.job
        if isinstance(inp, (Job, BatchJob)):
            inp = inp[self.rank]
        if isinstance(inp, _Reference):
            headers["Content-Type"] = "application/json"
            body = _json_body({"input": inp._json()})
            return _Request("POST", _query(path, **query), headers, body, key=True), getattr(inp, "_like", _ARRAY)
        packed = None if inp is None else _pack(inp, dtype)
        like = _ARRAY if packed is None else packed.like
        gives = op.gives == "each" or (op.gives == "root" and self.rank == 0) or (op.gives == "src" and "dst" in query)
        if packed is None or not gives:
            return _Request("POST", _query(path, **query), headers, [], key=True), like
        there = load.put({self.rank: packed}) if packed.data.nbytes > _SMALL_BYTES else None
        if there is not None:
            headers["Content-Type"] = "application/json"
            return _Request("POST", _query(path, **query), headers, _json_body({"input": there[self.rank]}), key=True), like
        headers["Content-Type"] = "application/octet-stream"
        query.update(dtype=packed.dtype, shape=",".join(map(str, packed.shape)))
        return _Request("POST", _query(path, **query), headers, [packed.data], key=True), like


# ---- torch's autograd ----


def _wants_gradient(x: Any) -> bool:
    return _is_torch(x) and bool(x.requires_grad) and bool(sys.modules["torch"].is_grad_enabled())


_function: Any = None


def _autograd() -> Any:
    """A torch Function whose backward is a callback's."""
    global _function
    if _function is None:
        import torch

        class Collective(torch.autograd.Function):  # type: ignore[misc]
            @staticmethod
            def forward(ctx: Any, forward: Any, backward: Any, *inputs: Any) -> Any:
                ctx.backward_of_job = backward
                ctx.set_materialize_grads(False)
                return tuple(forward(inputs))

            @staticmethod
            def backward(ctx: Any, *grads: Any) -> Any:
                return (None, None, *ctx.backward_of_job(grads))

        _function = Collective
    return _function


def _autograd_all(run: Callable[[Sequence[Any]], Any], given: Sequence[Any]) -> Outputs:
    jobs: List[Job] = []

    def forward(inputs: Sequence[Any]) -> Any:
        outputs = run(list(inputs))
        jobs.append(outputs.job)
        return outputs

    return Outputs(_autograd().apply(forward, lambda grads: jobs[0].backward(list(grads)), *given), jobs[0])


def _autograd_one(run: Callable[[Any], Any], rank: Rank, inp: Any) -> Any:
    jobs: List[Job] = []

    def forward(inputs: Sequence[Any]) -> Any:
        output = run(inputs[0])
        jobs.append(cast(Job, rank.last_job))
        return [output]

    return _autograd().apply(forward, lambda grads: [rank.backward(jobs[0], grads[0])], inp)[0]


# ---- many jobs in one request ----


class BatchJob:
    """A job of a batch. When the batch has been sent: `job`, `outputs()`, `error`."""

    def __init__(self, batch: Batch, index: int, likes: Sequence[_Like]) -> None:
        self._batch, self._index, self._likes = batch, index, likes
        self._job: Optional[Job] = None
        self._error: Optional[Error] = None
        self._bytes = 0  # of an output, about

    def __repr__(self) -> str:
        return f"<tutti.BatchJob {self._index}: {self._job or self._error or 'not sent yet'}>"

    def _repr_html_(self) -> str:
        return self._job._repr_html_() if self._job is not None else f"<code>{html.escape(repr(self))}</code>"

    def __getitem__(self, rank: int) -> Promise:
        return Promise(self, rank)

    def _like(self, rank: int) -> _Like:
        return self._likes[rank] if rank < len(self._likes) else _ARRAY

    def _reference(self) -> Union[int, str]:
        if self._job is not None or self._index < self._batch._first:
            return self.job.id
        return self._index - self._batch._first

    @property
    def job(self) -> Job:
        """The job. Raises the Error with which the service refused it."""
        if self._error is not None:
            raise self._error
        if self._job is None:
            raise RuntimeError("the batch has not been sent: leave its with-block first")
        return self._job

    @property
    def error(self) -> Optional[Error]:
        """Why it was refused or failed, or None."""
        return self._error if self._error is not None else self.job.error

    def outputs(self) -> Outputs:
        """One output per group rank. Raises its Error where it was refused or failed."""
        return self.job.outputs()

    def backward(self, grads: Sequence[Any], **options: Any) -> Any:
        """The same as `job.backward`."""
        return self.job.backward(grads, **options)


class Batch(_Collectives[BatchJob]):
    """Jobs that are sent as one request when the with-block ends, and recorded by the service in one transaction.

    Its methods are those of `Group`, and give a `BatchJob`; `job[r]`, or the BatchJob for all ranks, is an input of later
    ones. The block waits for all of them. A job that was refused or failed stops those that take its outputs, and no
    other. Its end raises the first refusal, unless check is False; `jobs` has all of them by then, each with its `error`. A
    job that failed in its run raises when its outputs are asked for. Nothing is sent when the block raises. At most 10,000 jobs.
    """

    def __init__(self, group: Group, check: bool = True) -> None:
        self._group, self._lines, self._check = group, [], check  # type: Group, List[Dict[str, Any]], bool
        self._named: List[_Reference] = []  # what its lines take, so that it stays until they are sent
        self._counts: List[int] = []  # of each, bytes of its outputs where they may go by the lane
        self._load = _Load(group.service, _Way.LANE)
        self._unsent = self._gives_back()
        self._sent: Optional[_PendingBatch] = None
        self._first = 0  # job that has not been sent
        self.jobs: List[BatchJob] = []

    def __enter__(self) -> Batch:
        return self

    def __exit__(self, kind: Any, error: Any, trace: Any) -> None:
        if kind is None:
            self.send()

    def __len__(self) -> int:
        return len(self.jobs)

    def _gives_back(self) -> Any:
        """What its jobs take leaves the lane with a batch that no service has. One that was sent and not answered keeps it."""
        finalizer = weakref.finalize(self, self._group.service._lane.give, self._load.pieces)
        finalizer.atexit = False
        return finalizer

    def run(self, op: str, inputs: Any = None, *, group: GroupLike = None, **parameters: Any) -> BatchJob:
        """Any operation by its name, with any of its parameters."""
        return self._run(_stranger(op), inputs, group, parameters)

    def barrier(self, group: GroupLike = None, **options: Any) -> BatchJob:
        """A job that moves nothing."""
        return self._run(OPS["barrier"], None, group, {}, **options)

    def _run(self, op: Op, inputs: Any, group: GroupLike, parameters: Dict[str, Any], *, dtype: Any = None,
             **options: Any) -> BatchJob:
        if options.pop("async_", False):
            raise TypeError("a batch is sent as a whole: async_ is not for its jobs")
        options.pop("keep", None)
        service = self._group.service
        target = service._group(group, self._group)
        given = target._spread(op, inputs, parameters)
        rows, likes = service._json_inputs(given, None if dtype is None else dtype_name(dtype), self._load)
        line = {"op": op.name, "group": target.name or target.ranks, **parameters, **options}
        if op.gives != "nobody":
            line["inputs"] = rows
        self._lines.append({name: value for name, value in line.items() if value is not None})
        job = BatchJob(self, len(self.jobs), likes)
        one = max(map(_bytes_about, given), default=0)
        self._named += [x for x in given if isinstance(x, _Reference)]
        self._counts.append(0 if options.get("resident") else _output_bytes(op, one, len(given)))
        job._bytes = one * len(given) if op.dim == "grow" else one // len(given) if op.dim == "shrink" else one
        self.jobs.append(job)
        return job

    def send(self) -> None:
        """Sends what was collected, and waits for all of it; leaving the with-block does that. Raises the first refusal, if
        it is to check. What is collected after that is sent the next time, and may take outputs of what was sent."""
        if not self._lines:
            return
        self._unsent.detach()
        self._sent = None
        try:
            found = self._documents()
        except BaseException as error:
            sent = cast(Optional[_PendingBatch], self._sent)
            heard = isinstance(error, Error) and not isinstance(error, ConnectionFailed) and not hasattr(sent, "docs")
            if sent is None or sent.over or heard:
                self._unsent = self._gives_back()
            raise  # else nobody knows whether the jobs are over: what they take stays where it is
        jobs, self._first = self.jobs[self._first:], len(self.jobs)
        for job, doc in zip(jobs, found):
            if "code" in doc:
                job._error = _error(doc)
            else:
                job._job = Job(self._group.service, doc["id"], job._likes, doc)
        self._lines, self._named, self._counts = [], [], []
        self._load.way = _Way.LANE
        self._load.accepted()
        self._load.done()
        self._unsent = self._gives_back()
        refused = [job for job in jobs if job._error is not None]
        if refused and self._check:
            raise self._refusal(refused)

    def _documents(self) -> List[Dict[str, Any]]:
        """Of all lines, also of those that had to be sent again."""
        found = self._post(self._lines)
        lost = self._lost(found) if self._load.used else []
        if lost:
            again = [self._line_again(self._lines[i], lost, found) for i in lost]
            for i, doc in zip(lost, self._post(again)):
                found[i] = doc
        return found

    @staticmethod
    def _refusal(refused: Sequence[BatchJob]) -> Error:
        first = cast(Error, refused[0]._error)
        more = f" ({len(refused) - 1} more of the batch refused)" if len(refused) > 1 else ""
        return _error({**first.problem, "detail": f"job {refused[0]._index} of the batch: {first.detail}{more}"})

    def _post(self, lines: Sequence[Dict[str, Any]]) -> List[Dict[str, Any]]:
        """The documents of all of these."""
        service, load = self._group.service, self._load
        large = [count > _SMALL_BYTES for count in self._counts]
        load.count = sum(count for count, is_large in zip(self._counts, large) if is_large)
        load.takes = {str(row.get("tensor", row.get("job"))) for line in lines for row in line.get("inputs", ()) if row}
        results = load.room() if load.way > _Way.INPUTS and any(large) else None
        if results is not None:
            load.used = True
            lines = [dict(line, results=results) if is_large else line for line, is_large in zip(lines, large)]
        body = [b"".join(part for line in lines for part in (*_json_body(line), b"\n"))]
        request = _Request("POST", "/v1/jobs:batch?outputs=unique", {"Content-Type": "application/x-ndjson"}, body, key=True)
        request.meanwhile = load.tidy if results is not None else None
        self._sent = _PendingBatch(service, request, [])
        found = cast(List[Dict[str, Any]], self._sent.run(False))
        self._sent.over = True
        return found

    def _lost(self, found: Sequence[Dict[str, Any]]) -> List[int]:
        """Lines that the lane had no room for, or does not know any more, and those that take outputs of theirs."""
        lost: Dict[int, Optional[_Way]] = {}
        for i, doc in enumerate(found):
            problem = doc if "code" in doc else doc.get("error") or {}
            code, takes = problem.get("code"), [row["job"] for row in self._lines[i].get("inputs", ()) if row and "job" in row]
            if code == "input_failed" and any(job in lost for job in takes):
                lost[i] = _Way.INPUTS
            elif code in ("region_unknown", "inputs_lost"):
                lost[i] = _Way.HTTP if _Way.HTTP in lost.values() else self._load.next_way(_error(problem))
            elif code == "arena_full" and problem.get("pointer") == "/results":
                lost[i] = _Way.INPUTS
        self._load.way = _Way.HTTP if _Way.HTTP in lost.values() else _Way.INPUTS
        return list(lost)

    def _line_again(self, line: Dict[str, Any], lost: Sequence[int], found: Sequence[Dict[str, Any]]) -> Dict[str, Any]:
        """As a line of those that are sent again: the others are jobs by now."""
        def row_again(row: Any) -> Any:
            if row and isinstance(row.get("job"), int):
                job = row["job"]
                return dict(row, job=lost.index(job) if job in lost else found[job].get("id", ""))
            if row and "region" in row and self._load.way == _Way.HTTP:
                return self._group.service._upload(self._load.packed(row))._json()
            return row

        return dict(line, inputs=[row_again(row) for row in line["inputs"]]) if "inputs" in line else line


def _bytes_about(x: Any) -> int:
    """Of an input, or of the output that it stands for, as far as that is known; before it is cast."""
    if isinstance(x, (Tensor, np.ndarray)):
        return int(x.nbytes)
    if isinstance(x, Promise) and isinstance(x.job, BatchJob):
        return x.job._bytes
    return int(x.numel() * x.element_size()) if _is_torch(x) else 0


# ---- keys and values ----


class KV(MutableMapping[str, Any]):
    """JSON values that ranks of a group leave for each other under keys: a mapping, and more.

    Keys have 1 to 127 printable ASCII characters, values at most 1 MiB as JSON. They survive a restart of the service.
    """

    def __init__(self, group: Group) -> None:
        self._wire, self._group = group.service._wire, group

    def __repr__(self) -> str:
        return f"<tutti.KV of {self._group.name or self._group.ranks}>"

    def _path(self, **query: Any) -> str:
        return _query(f"/v1/groups/{self._group._path()}/kv", **query)

    def _key_path(self, key: str, **query: Any) -> str:
        if not isinstance(key, str):
            raise TypeError(f"a key is a string of 1 to 127 printable ASCII characters, not {type(key).__name__}")
        if not key:
            raise ValueError("a key has 1 to 127 printable ASCII characters, and this one none")
        return _query(f"/v1/groups/{self._group._path()}/kv/{urllib.parse.quote(key, safe='')}", **query)

    def __getitem__(self, key: str) -> Any:
        return self.read(key)[0]

    def __setitem__(self, key: str, value: Any) -> None:
        self.set(key, value)

    def __delitem__(self, key: str) -> None:
        self._wire.ask(_Request("DELETE", self._key_path(key), again=False), _nothing)

    def __iter__(self) -> Iterator[str]:
        return self.keys_with()

    def __len__(self) -> int:
        return sum(1 for _ in self)

    def __contains__(self, key: object) -> bool:
        return isinstance(key, str) and key != "" and self.get(key, _ABSENT) is not _ABSENT

    def keys_with(self, prefix: str = "") -> Iterator[str]:
        """The keys that begin so, in order."""
        after: Optional[str] = None
        while True:
            page = self._wire.ask(_Request("GET", self._path(prefix=prefix or None, limit=500, after=after)), _as_json)
            yield from (row["key"] for row in page["keys"])
            after = page["next"]
            if after is None:
                return

    def read(self, key: str) -> Tuple[Any, str]:
        """The value and its version, which `set` takes as `version`. KeyUnknown (a KeyError) where there is none."""
        try:
            return self._wire.ask(_Request("GET", self._key_path(key)), _value_and_version)
        except KeyUnknown as error:
            raise _no_value(error, key, "wait") from None

    def set(self, key: str, value: Any, *, ttl: Optional[float] = None, version: Optional[str] = None,
            new: bool = False) -> str:
        """Gives the key a value, and gives the value's version.

        ttl      seconds after which it is gone
        version  only if the value is still this one: else Conflict (412)
        new      only if there is none: else Conflict (412)
        """
        headers = {"Content-Type": "application/json"}
        if version is not None:
            headers["If-Match"] = version
        if new:
            headers["If-None-Match"] = "*"
        again = version is None and not new  # the second time the condition would not hold any more
        request = _Request("PUT", self._key_path(key, ttl=ttl), headers, _json_body(value), again=again)
        return self._wire.ask(request, _version)

    def wait(self, key: str, timeout: float = 60.0) -> Any:
        """The value; waits until somebody has put it, up to `timeout` seconds: then KeyUnknown."""
        return self._waited("GET", key, timeout)

    def take(self, key: str, timeout: float = 0.0) -> Any:
        """Takes the value away and gives it; waits for one up to `timeout` seconds. Of several takers one gets it."""
        return self._waited("DELETE", key, timeout)

    def _waited(self, method: str, key: str, timeout: float) -> Any:
        end = time.monotonic() + timeout
        while True:
            wait = max(0.0, min(_SLICE_S, end - time.monotonic()))
            request = _Request(method, self._key_path(key, wait=f"{wait:g}"), again=method == "GET")
            try:
                return self._wire.ask(request, _as_json, wait)
            except KeyUnknown as error:
                if time.monotonic() >= end:
                    raise _no_value(error, key, "wait" if method == "GET" else "take", timeout) from None

    def pop(self, key: str, *default: Any) -> Any:
        """As dict.pop: takes the value away and gives it."""
        try:
            return self.take(key)
        except KeyUnknown:
            if default:
                return default[0]
            raise


_ABSENT = object()


def _no_value(error: KeyUnknown, key: str, waits: str, timeout: float = 0.0) -> Error:
    """As the caller of this client would wait for it; the service speaks of its query."""
    detail = f"the key {key} got no value within {timeout:g} s" if timeout > 0 else \
        f"the key {key} has no value; kv.{waits}({key!r}, timeout=60) waits for one"
    return _error({**error.problem, "detail": detail})


def _version(response: http.client.HTTPResponse) -> str:
    response.read()
    return response.getheader("ETag") or ""


def _value_and_version(response: http.client.HTTPResponse) -> Tuple[Any, str]:
    return json.loads(response.read()), response.getheader("ETag") or ""


# ---- the service ----


class Worker:
    """Who holds a rank: rank, state (absent, starting, ready, busy, stopping), device, host, backend; `doc` has the rest."""

    def __init__(self, doc: Mapping[str, Any]) -> None:
        self.doc = dict(doc)
        self.rank: int = doc["rank"]
        self.state: str = doc["state"]
        self.device: Optional[str] = doc.get("device")
        self.host: Optional[str] = doc.get("host")
        self.backend: Optional[str] = doc.get("backend")

    def __repr__(self) -> str:
        return f"<tutti.Worker {self.rank} {self.state} {self.device} on {self.host}>"

    def _repr_html_(self) -> str:
        return _html_workers([self])


class Workers(List[Worker]):
    """The workers of all ranks, in order."""

    def _repr_html_(self) -> str:
        return _html_workers(self)


class JobList(List[Job]):
    """Jobs that were asked for, as they were then."""

    def _repr_html_(self) -> str:
        return _html_jobs(self)


class Jobs:
    """The service's jobs, newest first: iterate, `jobs["j_..."]`, or filter with a call."""

    def __init__(self, service: Service) -> None:
        self._service = service

    def __repr__(self) -> str:
        return f"<tutti.Jobs of {self._service.url}>"

    def _repr_html_(self) -> str:
        return _html_jobs(self(limit=10))

    def __getitem__(self, id: str) -> Job:
        """The job of that id; NotFound where there is none."""
        return Job(self._service, id).refresh()

    def __iter__(self) -> Iterator[Job]:
        return self._pages({})

    def __call__(self, *, state: Optional[str] = None, op: Optional[str] = None, group: Optional[str] = None,
                 label: Optional[str] = None, limit: int = 50) -> JobList:
        """At most `limit` jobs, newest first, that are in a state, of an operation, on a group, with a label."""
        wanted = dict(state=state, op=op, group=group, label=label)
        return JobList(job for job, _ in zip(self._pages(wanted, min(limit, 500)), range(limit)))

    def _pages(self, wanted: Dict[str, Any], limit: int = 50) -> Iterator[Job]:
        after: Optional[str] = None
        while True:
            path = _query("/v1/jobs", limit=max(1, limit), after=after, **wanted)
            page = self._service._wire.ask(_Request("GET", path), _as_json)
            yield from (Job(self._service, doc["id"], None, doc) for doc in page["jobs"])
            after = page["next"]
            if after is None:
                return


class Service:
    """A tutti service; made by `connect`.

    url, version, backend, world (the group of all ranks), ops (names), dtypes, limits, doc (all that it says of itself).
    """

    def __init__(self, url: str, token: Optional[str], verify: Union[bool, str], retry_for: float,
                 progress: Optional[bool], unix: bool = True, lane: bool = True) -> None:
        self._shares = lane
        self._wire = _Wire(url, token, verify, retry_for)
        self._side = _Wire(url, token, verify, retry_for)  # a second connection, to look while the first one waits
        self._progress, self._followers = _watched() if progress is None else progress, _Followers()
        own = weakref.WeakMethod(self._shown)
        self._wire.shown = lambda: (own() or bool)()
        self._groups: Dict[str, Group] = {}
        self._unix = unix
        self._lane = _Lane(None, None)
        self.url = self._wire.url

    def _hello(self, retry_for: float) -> None:
        try:
            doc = self._wire.ask(_Request("GET", "/v1"), _as_json, retry_for=retry_for)
        except ValueError as error:
            if isinstance(error, Error):
                raise
            doc = {}
        if not isinstance(doc, dict) or doc.get("name") != "tutti":
            raise _error({"code": "not_tutti", "detail": f"what answers at {self.url} is no tutti service"})
        self.doc: Dict[str, Any] = doc
        self.version, self.backend = str(doc["version"]), str(doc["backend"])
        self.ops = [str(op["name"]) for op in doc["ops"]]
        self.dtypes: List[str] = doc["dtypes"]
        self.limits: Dict[str, Any] = doc["limits"]
        self._lane = _Lane(doc.get("lane") if self._shares else None, self._wire.token, doc.get("uid"))
        self.world = Group(self, "world", range(doc["world_size"]))
        if self._unix:
            self._wire.approach(doc)
            self._side.near = self._wire.near

    def __repr__(self) -> str:
        return f"<tutti.Service {self.url}: {_ranks(self.world.ranks)}, {self.backend}, version {self.version}>"

    def _repr_html_(self) -> str:
        return _html_service(self)

    def __enter__(self) -> Service:
        return self

    def __exit__(self, kind: Any, error: Any, trace: Any) -> None:
        self.close()

    def close(self) -> None:
        """Closes this thread's connection; it is opened again when it is needed."""
        self._wire.drop()

    @overload
    def group(self, ranks: Iterable[int], name: Optional[str] = None) -> Group: ...

    @overload
    def group(self, ranks: str) -> Group: ...

    def group(self, ranks: Union[str, Iterable[int]], name: Optional[str] = None) -> Group:
        """A group: of a list of world ranks in order (the first is the root), or the one of that name.

        With `name` the service keeps the name, for everybody; Conflict where it belongs to other ranks.
        """
        if not isinstance(ranks, str):
            ranks = list(ranks)
        if len(ranks) == 0:
            raise ValueError("a group has one rank or more, or is called by its name: this is empty")
        if isinstance(ranks, str):
            doc = self._wire.ask(_Request("GET", "/v1/groups/" + urllib.parse.quote(ranks, safe="")), _as_json)
        elif name is None:
            return Group(self, None, ranks)
        else:
            request = _Request("POST", "/v1/groups", {"Content-Type": "application/json"},
                               _json_body({"name": name, "ranks": ranks}))
            doc = self._wire.ask(request, _as_json)
        return Group(self, doc["name"], doc["ranks"])

    def _group(self, group: GroupLike, own: Group) -> Group:
        """What a `group=` means."""
        if group is None:
            return own
        if isinstance(group, Group):
            return group
        if group == "world":
            return self.world
        key = group if isinstance(group, str) else ",".join(map(str, group))
        if key not in self._groups:
            self._groups[key] = self.group(group) if isinstance(group, str) else Group(self, None, group)
        return self._groups[key]

    def _forget_group(self, name: str) -> None:
        self._groups = {key: g for key, g in self._groups.items() if g.name != name}

    @property
    def workers(self) -> Workers:
        """Who holds each rank, now."""
        return Workers(Worker(doc) for doc in self._wire.ask(_Request("GET", "/v1/workers"), _as_json)["workers"])

    @property
    def jobs(self) -> Jobs:
        """The jobs, newest first."""
        return Jobs(self)

    def job(self, id: str) -> Job:
        """The job of that id; NotFound where there is none."""
        return self.jobs[id]

    def metrics(self) -> Dict[str, Any]:
        """Counters since the start and gauges of now, as `GET /v1/metrics` has them."""
        return cast(Dict[str, Any], self._wire.ask(_Request("GET", "/v1/metrics"), _as_json))

    def tensor(self, data: Any, dtype: Any = None) -> Tensor:
        """Sends a tensor once, to be an input of any number of jobs.

        data   an array, a torch tensor, a list or a number; with the id of a tensor ("t_...") the handle of that one
        dtype  it is cast to it
        """
        if isinstance(data, str):
            doc = self._wire.ask(_Request("GET", f"/v1/tensors/{data}?meta=1"), _as_json)
            return Tensor(self, doc["tensor"], doc["dtype"], doc["shape"])
        return self._upload(_pack(data, None if dtype is None else dtype_name(dtype)))

    def _upload(self, packed: _Packed) -> Tensor:
        path = _query("/v1/tensors", dtype=packed.dtype, shape=",".join(map(str, packed.shape)))
        request = _Request("POST", path, {"Content-Type": "application/octet-stream"}, [packed.data])
        if self._shown() and request.total >= _METERED_BYTES:
            request.meter = _Meter("sending", request.total)
        try:
            doc = self._wire.ask(request, _as_json)
        finally:
            if request.meter is not None:
                request.meter.close()
        return Tensor(self, doc["tensor"], doc["dtype"], doc["shape"], packed.like)

    def _download(self, id: str, count: int, shown: Optional[bool] = None) -> Any:
        """The bytes of a tensor, in an array of their own."""
        flat = np.empty(count, np.uint8)
        shown = self._shown() if shown is None else shown
        meter = _Meter("receiving", count) if shown and count >= _METERED_BYTES else None
        request = _Request("GET", f"/v1/tensors/{id}?format=raw")
        request.meter = meter  # begins anew with the request

        def read(response: http.client.HTTPResponse) -> None:
            _fill(response, flat, meter)
            response.read()

        try:
            self._wire.ask(request, read)
        except NotFound as error:
            if id in self._lane.made_way:
                raise _error({**error.problem, **_MADE_WAY}) from error
            raise
        finally:
            if meter is not None:
                meter.close()
        return flat

    def _delete(self, path: str) -> None:
        """Gone is gone: whoever asks twice because an answer was lost is told so."""
        request = _Request("DELETE", path)
        try:
            self._wire.ask(request, _nothing)
        except NotFound:
            if request.tries == 0:
                raise

    def _delete_job(self, id: str) -> None:
        self._delete(f"/v1/jobs/{id}")
        self._lane.job_deleted(id)

    def _job_doc(self, id: str, wait: float, data: Optional[int] = 0) -> Dict[str, Any]:
        path = _query(f"/v1/jobs/{id}", wait=f"{wait:g}", data=data)
        return cast(Dict[str, Any], self._wire.ask(_Request("GET", path), _as_json, wait))

    def _shown(self) -> bool:
        """Is there somebody who sees progress?"""
        return self._progress and threading.current_thread() is threading.main_thread()

    def _json_inputs(self, given: Sequence[Any], dtype: Optional[str], load: _Load) -> Tuple[List[Any], List[_Like]]:
        """As members of a JSON body; what is large goes by the lane, or is sent ahead."""
        common = _common(given, dtype)
        packed = {i: _pack(x, dtype if isinstance(x, np.ndarray) or _is_torch(x) else common)
                  for i, x in enumerate(given) if x is not None and not isinstance(x, _Reference)}
        large = {i: p for i, p in packed.items() if math.prod(p.shape) > _INLINE_ELEMENTS}
        there = load.put(large) if large else None
        rows: List[Any] = []
        for i, x in enumerate(given):
            if i not in packed:
                rows.append(None if x is None else x._json())
            elif i not in large:
                rows.append(_to_json(packed[i]))
            else:
                rows.append(self._upload(packed[i])._json() if there is None else there[i])
        return rows, _likes([packed[i].like if i in packed else getattr(x, "_like", None) for i, x in enumerate(given)])

    def _by_lane(self, packed: Mapping[int, _Packed], query: Dict[str, Any], n: int, load: _Load) -> Optional[List[Any]]:
        """The inputs as members of a JSON body, when they are large and there is room for all."""
        if load.way == _Way.HTTP or sum(p.data.nbytes for p in packed.values()) <= _SMALL_BYTES:
            return None
        if load.rows is None:
            rows = load.put(packed)
            if rows is None:
                return None
            load.rows = [rows.get(r) for r in range(n)]
        if load.way > _Way.INPUTS:
            load.count = _output_bytes(_stranger(query["op"]), max(p.data.nbytes for p in packed.values()), n)
            room = load.room() if load.count > _SMALL_BYTES else None
            if room is not None:
                query["results"] = room
        return load.rows

    def _inputs(self, path: str, query: Dict[str, Any], given: Sequence[Any], dtype: Optional[str], member: str,
                handles: bool, load: _Load) -> Tuple[_Request, List[_Like]]:
        """The request that brings one tensor per rank."""
        query = dict(query)
        if all(x is None for x in given) or any(isinstance(x, _Reference) for x in given):
            rows, likes = self._json_inputs(given, dtype, load)
            known = sum(x.nbytes for x in given if isinstance(x, Tensor))
            small = known <= _SMALL_BYTES and not any(isinstance(x, Promise) for x in given)
            gives = member == "grads" or _stranger(query["op"]).gives != "nobody"
            body, kind = _json_body({member: rows} if gives else {}), "application/json"
        else:
            common = _common(given, dtype)
            packed = {r: _pack(x, dtype if isinstance(x, np.ndarray) or _is_torch(x) else common)
                      for r, x in enumerate(given) if x is not None}
            likes = _likes([packed[r].like if r in packed else None for r in range(len(given))])
            placed = self._by_lane(packed, query, len(given), load)
            if placed is not None:
                headers = {"Content-Type": "application/json", "Accept": "application/json"}
                request = _Request("POST", _query(path, **query, data=0), headers, _json_body({member: placed}), key=True)
                request.meanwhile = load.tidy if "results" in query else None
                return request, likes
            body = [_safetensors_head(packed), *(p.data for p in packed.values())]
            kind, small = "application/vnd.safetensors", sum(p.data.nbytes for p in packed.values()) <= _SMALL_BYTES
        small = small and not handles
        headers = {"Content-Type": kind, "Accept": "application/vnd.safetensors" if small else "application/json"}
        query = dict(query, outputs="unique") if small else dict(query, data=0)
        return _Request("POST", _query(path, **query), headers, body, key=True), likes


def _likes(likes: Sequence[Optional[_Like]]) -> List[_Like]:
    """Who gave nothing gets what the first gave."""
    first = next((like for like in likes if like is not None), _ARRAY)
    return [first if like is None else like for like in likes]


def connect(url: Optional[str] = None, token: Optional[str] = None, *, verify: Union[bool, str] = True, wait: float = 0.0,
            retry_for: float = 60.0, progress: Optional[bool] = None, unix: bool = True, lane: bool = True) -> Service:
    """Connects to a service.

    url        http://HOST:PORT or https, with a path where it stands behind a proxy; also the link with #token=... that the
               server prints; or unix:/PATH, its Unix socket. Default: $TUTTI_URL, or http://127.0.0.1:8080
    token      NAME.SECRET, where the service wants one. Default: the one in the URL, or $TUTTI_TOKEN
    verify     of https: True, a file of certificates that are trusted, or False
    wait       seconds to wait for a service that is not there yet
    retry_for  seconds to go on trying when a connection breaks or the service says later; nothing is run twice
    progress   bars for large bodies, who is missing in long waits, and that a service does not answer. None: in notebooks and interactive terminals
    unix       a service on the loopback that has a Unix socket is asked over that, which is faster; False: never
    lane       large tensors go through memory that a service on this machine shares with us, where it does. False: by HTTP

    Raises ConnectionFailed where nobody answers, Unauthorized where the token is wrong.
    """
    service = Service(url or os.environ.get("TUTTI_URL") or "http://127.0.0.1:8080", token, verify, retry_for, progress, unix, lane)
    service._hello(wait)
    return service


# ---- how things look in a notebook: colours that are read on light and on dark, and everything escaped ----

_CELL = "text-align:left;padding:2px 12px 2px 0;border:0;background:none"
_DIM = "opacity:.65"
_COLOURS = {"succeeded": "#2e9e5b", "ready": "#2e9e5b", "busy": "#3b82c4", "running": "#3b82c4", "queued": "#b7791f",
            "waiting": "#b7791f", "starting": "#b7791f", "failed": "#d9534f", "absent": "#d9534f", "stopping": "#d9534f",
            "cancelled": "#8a8a8a"}
_STEPS = (("validated_us", "checked", "#8a8a8a"), ("queued_us", "recorded and queued", "#b7791f"),
          ("dispatch_us", "sent to the ranks", "#8e6bbf"), ("collective_us", "in the ranks", "#2e9e5b"))


def _escape(x: Any) -> str:
    return html.escape(str(x), quote=True)


def _badge(state: str) -> str:
    return f'<b style="color:{_COLOURS.get(state, "inherit")}">{_escape(state)}</b>'


def _table(head: Sequence[str], rows: Iterable[Sequence[str]]) -> str:
    """Cells are HTML already."""
    top = "".join(f'<th style="{_CELL};{_DIM}">{_escape(name)}</th>' for name in head)
    body = "".join("<tr>" + "".join(f'<td style="{_CELL}">{cell}</td>' for cell in row) + "</tr>" for row in rows)
    return f'<table style="border-collapse:collapse;margin:4px 0;color:inherit;font-size:inherit">{f"<tr>{top}</tr>" if head else ""}{body}</table>'


def _time(us: Optional[float]) -> str:
    if us is None:
        return "-"
    return f"{us:.0f} µs" if us < 1000 else f"{us / 1000:.1f} ms" if us < 1e6 else f"{us / 1e6:.2f} s"


def _html_service(service: Service) -> str:
    try:
        workers: Any = service.workers
    except Error as error:
        return f"<b>tutti</b> at <code>{_escape(service.url)}</code>: {_escape(error)}"
    ready = sum(w.state in ("ready", "busy") for w in workers)
    return (f"<div><b>tutti</b> {_escape(service.version)} at <code>{_escape(service.url)}</code>, backend "
            f"{_escape(service.backend)}: {ready} of {len(workers)} ranks are there{_html_workers(workers)}</div>")


def _html_workers(workers: Sequence[Worker]) -> str:
    rows = []
    for w in workers:
        gpu = w.doc.get("gpu") or {}
        device = " ".join(filter(None, [w.device, gpu.get("name"), "(simulated)" if gpu.get("simulated") else ""]))
        counters = w.doc.get("counters") or {}
        rows.append([_escape(w.rank), _badge(w.state), _escape(device or "-"), _escape(w.host or "-"),
                     _escape(counters.get("jobs_done", "-")), _escape(counters.get("restarts", "-"))])
    return _table(["rank", "state", "device", "host", "jobs", "restarts"], rows)


def _html_group(group: Group) -> str:
    rows = [[_escape(r), _escape(w), "root" if r == 0 else ""] for r, w in enumerate(group.ranks[:64])]
    more = f'<div style="{_DIM}">and {len(group) - 64} more</div>' if len(group) > 64 else ""
    return f"<div>group <b>{_escape(group.name or 'without a name')}</b>{_table(['group rank', 'world rank', ''], rows)}{more}</div>"


def _html_rank(rank: Rank) -> str:
    last = f"<code>{_escape(rank.last_job.id)}</code>" if rank.last_job is not None else "none yet"
    return _table(["rank", "of group", "world rank", "last job"],
                  [[_escape(rank.rank), _escape(f"{rank.group.name or rank.group.ranks}, {len(rank.group)} ranks"), _escape(rank.world_rank), last]])


def _html_jobs(jobs: Sequence[Job]) -> str:
    rows = [[f"<code>{_escape(j.id)}</code>", _escape(j.op), _escape(j.group or j.ranks), _badge(j._doc["state"]),
             _time(j._doc["timeline"].get("total_us")), _escape(j._doc.get("label") or "")] for j in jobs if j._doc is not None]
    return _table(["job", "operation", "group", "state", "total", "label"], rows)


def _html_job(job: Job) -> str:
    try:
        doc = job.doc
    except Error as error:
        return f"<code>{_escape(job.id)}</code>: {_escape(error)}"
    rows = [["state", _badge(doc["state"]) + (f" after {doc['attempts']} runs" if doc["attempts"] > 1 else "")],
            ["group", f"{_escape(doc['group'] or 'a list')}: {_escape(_ranks(doc['ranks']))}"]]
    if doc.get("arrived") or doc.get("missing"):
        came = [row["rank"] for row in doc.get("arrived") or []]
        rows.append(["called", _escape(_ranks(came)) if came else "nobody"])
        rows.append(["missing", f'<b style="color:#d9534f">{_escape(_ranks(doc["missing"]))}</b>' if doc.get("missing") else "nobody"])
    for name in ("parent", "label"):
        if doc.get(name):
            rows.append([name, _escape(doc[name])])
    if doc.get("algbw_GBps") is not None:
        rows.append(["rates", f"{doc['algbw_GBps']:.3g} GB/s (algorithm), {doc['busbw_GBps']:.3g} GB/s (bus)"])
    if doc.get("error"):
        rows.append(["error", f"{_escape(doc['error'].get('detail'))} <code>{_escape(doc['error'].get('code'))}</code>"])
    rows = [[f'<span style="{_DIM}">{name}</span>', value] for name, value in rows]
    return (f"<div><b>{_escape(doc['op'])}</b> <code>{_escape(job.id)}</code>{_table([], rows)}"
            f"{_svg_timeline(doc.get('timeline') or {})}</div>")


def _svg_timeline(timeline: Mapping[str, Any]) -> str:
    """Where the time went, as a bar: each part as wide as it took, and named below."""
    steps = [(float(timeline[key]), name, colour) for key, name, colour in _STEPS if timeline.get(key) is not None]
    total = max(float(timeline.get("total_us") or 0), sum(us for us, _, _ in steps))
    if total <= 0:
        return ""
    rest = total - sum(us for us, _, _ in steps)
    if timeline.get("total_us") is not None and rest > 0:
        steps.append((rest, "told and recorded", "#3b82c4"))
    width, at, bars, names = 480.0, 0.0, [], []
    for i, (us, name, colour) in enumerate(steps):
        wide = us / total * width
        label = f"{name}: {_time(us)}"
        bars.append(f'<rect x="{at:.1f}" y="0" width="{max(wide, 1):.1f}" height="14" fill="{colour}"><title>{label}</title></rect>')
        x, y = i % 3 * 165, 32 + i // 3 * 18
        names.append(f'<rect x="{x}" y="{y - 9}" width="10" height="10" fill="{colour}"/>'
                     f'<text x="{x + 14}" y="{y}" font-size="11" fill="currentColor">{label}</text>')
        at += wide
    height = 38 + (len(steps) - 1) // 3 * 18
    return (f'<svg xmlns="http://www.w3.org/2000/svg" width="500" height="{height}" viewBox="0 0 500 {height}" role="img" '
            f'aria-label="timeline, {_time(total)} in all" style="max-width:100%;font-family:sans-serif">'
            f"{''.join(bars)}{''.join(names)}</svg>")
