"""Where the records of a JSON file begin and end, so that a file of any size is read a part at a time.

A file is a list, lines, or lists by name (`{"ct_scan": [...]}`). Nothing is parsed.
"""

import mmap
import re
from array import array
from collections.abc import Iterator
from pathlib import Path
from typing import BinaryIO

from llavamed.corpus.problem import Problem
from llavamed.corpus.sources import columns
from llavamed.corpus.sources.files import MAX_RECORD, PART, listing

_HEAD = 1000
# A string (the group is empty where it does not end), or what structures JSON. Possessive: one pass, no stack.
_TOKENS = re.compile(rb'"(?:[^"\\]++|\\.)*+("?)|[{}\[\],]', re.DOTALL)

Span = tuple[str, int, int]  # the name of the list, where the record begins and ends, in bytes
Part = tuple[str, int, "array[int]"]  # the name of the list, the number of the first record, begin and end of each


def parts(path: Path) -> Iterator[Part]:
    """The records of a file in order, at most `PART` of one list at a time. They are numbered from 1."""
    spans, name, first = array("Q"), "", 1
    with (
        listing(path) as reached,
        path.open("rb") as stream,
        mmap.mmap(stream.fileno(), 0, access=mmap.ACCESS_READ) as data,
    ):
        for own, begin, end in _lines(data) if _is_lines(path.suffix, data) else _elements(data):
            full = len(spans) == 2 * PART or (spans and end - spans[0] > MAX_RECORD)
            if spans and (full or own != name):
                yield name, first, spans
                reached(begin)
                first += len(spans) // 2
                spans = array("Q")
            name = own
            spans.extend((begin, end))
    if spans:
        yield name, first, spans


def record(stream: BinaryIO, begin: int, end: int) -> object:
    """The JSON value that stands between two places of a file.

    Raises:
        Problem: record_too_large, record_broken.
    """
    if end - begin > MAX_RECORD:
        raise Problem("record_too_large", f"{end - begin:,} bytes; at most {MAX_RECORD:,}")
    stream.seek(begin)
    return columns.parse(stream.read(end - begin))


def is_lines(path: Path) -> bool:
    """Whether each record has a line of its own, as some files by the name of .json have it."""
    with path.open("rb") as stream, mmap.mmap(stream.fileno(), 0, access=mmap.ACCESS_READ) as data:
        return _is_lines(path.suffix, data)


def names(path: Path) -> list[str]:
    """The lists that a file holds by name, the empty ones too."""
    with path.open("rb") as stream, mmap.mmap(stream.fileno(), 0, access=mmap.ACCESS_READ) as data:
        return [] if _is_lines(path.suffix, data) or _level(data) == 1 else list(_names(data))


def _is_lines(suffix: str, data: mmap.mmap) -> bool:
    """By the suffix; or the file's first value is an object that ends on the first line, and another follows."""
    if suffix.lower() == ".jsonl":
        return True
    start = _start(data)
    line = data.find(b"\n", start)
    depth = 0
    for token in _TOKENS.finditer(data, start, min(len(data) if line < 0 else line, start + MAX_RECORD)):
        depth += {b"{": 1, b"[": 1, b"}": -1, b"]": -1}.get(token[0], 0)
        if depth == 0:
            return data[token.end() : token.end() + _HEAD].lstrip()[:1] == b"{"
    return False


def _lines(data: mmap.mmap) -> Iterator[Span]:
    begin = 0
    while begin < len(data):
        end = data.find(b"\n", begin)
        end = len(data) if end < 0 else end
        if data[begin : min(end, begin + _HEAD)].strip():
            yield "", begin, end
        begin = end + 1


def _names(data: mmap.mmap) -> Iterator[str]:
    depth, last = 0, ""
    for token in _TOKENS.finditer(data, _start(data)):
        mark = token[0]
        if mark[:1] == b'"':
            last = _key(mark) if depth == 1 else last
        elif mark in b"{[":
            depth += 1
            if depth == 2 and mark == b"[":
                yield last
        elif mark != b",":
            depth -= 1


def _key(mark: bytes) -> str:
    """The name of a list; empty for what is none."""
    try:
        return str(columns.parse(mark)) if len(mark) < 100 else ""
    except Problem:
        return ""


def _start(data: mmap.mmap) -> int:
    return 3 if data[:3] == b"\xef\xbb\xbf" else 0


def _level(data: mmap.mmap) -> int:
    """How deep the lists of records stand."""
    return 1 if data[_start(data) : _start(data) + _HEAD].lstrip()[:1] == b"[" else 2


def _elements(data: mmap.mmap) -> Iterator[Span]:
    """What stands in the list, or in the lists by name, that a file is.

    Where the file breaks off, the rest is one element.
    """
    level = _level(data)
    depth, begin, name, last = 0, -1, "", ""
    for token in _TOKENS.finditer(data, _start(data)):
        mark = token[0]
        if mark[:1] == b'"':
            if not token[1]:
                break  # a string without an end
            if depth == 1 and level == 2:
                last = _key(mark)
            continue
        if mark in b"{[":
            depth += 1
            if depth == level and mark == b"[":
                begin, name = token.end(), last
            continue
        if depth == level and begin >= 0:
            if mark == b"," or data[begin : token.start()].strip():
                yield name, begin, token.start()
            begin = token.end() if mark == b"," else -1
        if mark != b",":
            depth -= 1
    if begin >= 0 and data[begin : begin + _HEAD].strip():
        yield name, begin, len(data)
