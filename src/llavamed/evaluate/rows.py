"""The rows of a table of questions, whatever it is in: JSON, JSON lines, CSV, Parquet, or a pickle of plain values.

A row is a dictionary, or a Problem where the file holds something else in its place.
"""

import csv
import json
import pickletools
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import pyarrow as pa
import pyarrow.parquet as pq

from llavamed.corpus.problem import Problem
from llavamed.corpus.sources.files import MAX_RECORD
from llavamed.errors import InputError
from llavamed.storage import Json

Row = Json | Problem
NO_TABLE = "no_table"  # the reason of what stands for a file that is no list
_BATCH = 64  # rows of Parquet in memory at a time
_MAX_FIELD = 1_000_000  # characters of a CSV's field
MAX_PICKLE = 256_000_000  # bytes


def read(path: Path) -> Iterator[Row]:
    """The rows of a file, by its suffix.

    Raises:
        InputError: it cannot be read to its end, or is no table.
    """
    try:
        yield from FORMATS[path.suffix.lower()](path)
    except (OSError, ValueError, RecursionError, csv.Error, pa.ArrowException) as error:
        said = " ".join(str(error).split())[:300] or type(error).__name__
        raise InputError(f"{path} cannot be read as {path.suffix[1:]} ({said}): mend it or fetch it again") from None


def _json(path: Path) -> Iterator[Row]:
    try:
        found = json.loads(path.read_bytes().decode("utf-8-sig"))
    except json.JSONDecodeError as error:
        if error.msg != "Extra data":
            raise
        yield from _lines(path)  # published answers are lines by the name of .json
        return
    yield from _listed(found)


def _lines(path: Path) -> Iterator[Row]:
    with path.open(encoding="utf-8-sig", errors="replace") as stream:
        while line := stream.readline(MAX_RECORD):
            if not line.strip():
                continue
            try:
                yield _checked(json.loads(line))
            except (ValueError, RecursionError) as error:
                yield Problem("record_broken", f"no JSON: {error}")


def _csv(path: Path) -> Iterator[Row]:
    data = path.read_bytes()
    try:
        text = data.decode("utf-8-sig")
    except UnicodeDecodeError:
        text = data.decode("cp1252", "replace")
    head = text.split("\n", 1)[0]
    delimiter = max("\t;,", key=head.count)
    before = csv.field_size_limit(_MAX_FIELD)
    try:
        for row in csv.DictReader(text.splitlines(keepends=True), delimiter=delimiter):
            extra = row.pop(None, None)
            short = [key for key, value in row.items() if value is None]
            if extra or short:
                what = f"{len(extra)} fields too many" if extra else f"no field for {', '.join(short)}"
                yield Problem("record_broken", f"{what}: is a quote missing?")
            else:
                yield row
    finally:
        csv.field_size_limit(before)


def _parquet(path: Path) -> Iterator[Row]:
    with pq.ParquetFile(path) as file:
        for batch in file.iter_batches(batch_size=_BATCH):
            yield from batch.to_pylist()


def _listed(found: object) -> Iterator[Row]:
    if isinstance(found, list):
        yield from map(_checked, found)
    else:
        yield Problem(NO_TABLE, "no list of records")


def _checked(value: object) -> Row:
    return value if isinstance(value, dict) else Problem("record_broken", "no object")


def _pickle(path: Path) -> Iterator[Row]:
    """PathVQA is published as pickles. Nothing is ever run: only texts, numbers, lists, tuples and dictionaries are
    read, and a file with anything else is refused."""
    if path.stat().st_size > MAX_PICKLE:
        raise ValueError(f"over {MAX_PICKLE:,} bytes")
    yield from _listed(plain(path.read_bytes()))


_VALUES = frozenset(  # opcodes whose argument is a value
    ("INT", "BININT", "BININT1", "BININT2", "LONG", "LONG1", "LONG4", "FLOAT", "BINFLOAT", "STRING", "BINSTRING",
     "SHORT_BINSTRING", "UNICODE", "SHORT_BINUNICODE", "BINUNICODE", "BINUNICODE8", "BINBYTES", "SHORT_BINBYTES",
     "BINBYTES8")
)  # fmt: skip
_EMPTY = {"EMPTY_LIST": list, "EMPTY_DICT": dict, "EMPTY_TUPLE": tuple}
_CONSTANTS = {"NONE": None, "NEWTRUE": True, "NEWFALSE": False}


def plain(data: bytes) -> Any:
    """What a pickle of plain values holds.

    Raises:
        ValueError: it is broken, or holds anything but texts, numbers, lists, tuples and dictionaries.
    """
    stack: list[Any] = []
    marks: list[int] = []
    memo: dict[Any, Any] = {}

    def cut() -> list[Any]:
        place = marks.pop()
        taken = stack[place:]
        del stack[place:]
        return taken

    try:
        for code, argument, _ in pickletools.genops(data):
            name = code.name
            if name == "STOP":
                return stack.pop()
            if name in ("PROTO", "FRAME"):
                continue
            if name == "MARK":
                marks.append(len(stack))
            elif name in _EMPTY:
                stack.append(_EMPTY[name]())
            elif name in _CONSTANTS:
                stack.append(_CONSTANTS[name])
            elif name in ("TUPLE1", "TUPLE2", "TUPLE3"):
                size = int(name[-1])
                stack[-size:] = [tuple(stack[-size:])]
            elif name in ("LIST", "TUPLE"):
                stack.append((list if name == "LIST" else tuple)(cut()))
            elif name == "DICT":
                stack.append(_pairs(cut()))
            elif name in ("APPEND", "APPENDS"):
                added = cut() if name == "APPENDS" else [stack.pop()]
                _a(stack[-1], list).extend(added)
            elif name in ("SETITEM", "SETITEMS"):
                added = cut() if name == "SETITEMS" else [stack.pop(-2), stack.pop()]
                _a(stack[-1], dict).update(_pairs(added))
            elif name == "MEMOIZE":
                memo[len(memo)] = stack[-1]
            elif name.endswith("PUT"):
                memo[argument] = stack[-1]
            elif name.endswith("GET"):
                stack.append(memo[argument])
            elif name in _VALUES:
                stack.append(argument)
            else:
                raise ValueError(f"a pickle with {name}, which may run code")
    except (IndexError, KeyError, TypeError) as error:
        raise ValueError(f"a broken pickle ({type(error).__name__})") from None
    raise ValueError("a broken pickle (no end)")


def _a(value: Any, kind: Callable[[], Any]) -> Any:
    if type(value) is not kind:
        raise ValueError("a broken pickle")
    return value


def _pairs(values: list[Any]) -> Json:
    return dict(zip(values[::2], values[1::2], strict=True))


FORMATS: dict[str, Callable[[Path], Iterator[Row]]] = {
    ".json": _json,
    ".jsonl": _lines,
    ".csv": _csv,
    ".tsv": _csv,
    ".parquet": _parquet,
    ".pkl": _pickle,
}
