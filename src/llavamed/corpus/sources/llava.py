"""LLaVA's and LLaVA-Med's JSON, and JSON lines of image and caption (PMC-OA), with a folder of images.

Three layouts, as a list, as lines, or as lists by domain (`{"ct_scan": [...]}`):

- figures: `{pair_id, pmid, fig_id, fig_label, fig_caption, in_text_mention, domain}`, LLaVA-Med's `..._fig_captions`;
- pairs: `{id, image, conversations: [{from, value}, {from, value}]}`, one question and its answer, which is the caption
  (LLaVA-Med's alignment data). A record of several turns holds no caption: what a model wrote about one;
- captions: `{image, caption}`, PMC-OA.

The picture is `image`, else `{pair_id}.jpg`, beside the file, in `images/` there, or in the folder that is named.
"""

import mmap
import re
from array import array
from collections.abc import Iterator
from dataclasses import dataclass, field
from functools import partial
from pathlib import Path

from llavamed.corpus.entry import Candidate, Entry, Graphic
from llavamed.corpus.images import RANKS, load
from llavamed.corpus.jats import file_name
from llavamed.corpus.problem import Problem, printable
from llavamed.corpus.sources import columns
from llavamed.corpus.sources.files import MAX_RECORD, PART, below, day, inside, listing
from llavamed.errors import InputError

SUFFIXES = (".json", ".jsonl")
_TURNS = ("conversations", "conversatons")  # the second is what some published files have
_HEAD = 200_000
_NAMED = re.compile(rb'"(?:image|pair_id)"\s*:')
_TOLD = re.compile(rb'"(?:fig_caption|caption|conversations|conversatons)"\s*:')
# A string (the group is empty where it does not end), or what structures JSON. Possessive: one pass, no stack.
_TOKENS = re.compile(rb'"(?:[^"\\]++|\\.)*+("?)|[{}\[\],]', re.DOTALL)


@dataclass(frozen=True)
class Item:
    """Some records of a file. `spans`: where each begins and ends, in bytes. `domain`: the list they stand in."""

    name: str
    collected: str
    path: Path
    folders: tuple[Path, ...]
    domain: str = ""
    first: int = 1
    spans: "array[int]" = field(default_factory=lambda: array("Q"), repr=False)

    @property
    def figures(self) -> int:
        """How many records."""
        return len(self.spans) // 2


def reads(source: Path) -> bool:
    """Whether `source` is JSON, or a folder with JSON of one of the layouts."""
    if source.is_dir():
        return bool(_files(source))
    return source.suffix.lower() in SUFFIXES


def _files(source: Path) -> list[Path]:
    if source.is_file():
        return [source]
    return [path for path in sorted(source.iterdir()) if path.suffix.lower() in SUFFIXES and is_layout(path)]


def is_layout(path: Path) -> bool:
    """Whether a file is JSON of one of the layouts, as its head tells."""
    if not path.is_file():
        return False
    with path.open("rb") as stream:
        head = stream.read(_HEAD)
    return bool(_NAMED.search(head) and _TOLD.search(head))


def list_items(source: Path, images: Path | None = None) -> tuple[list[Item], list[tuple[str, Path]]]:
    """(records in parts; the files, and the images in the folders where they are looked for).

    Raises:
        InputError: a file is none of the layouts.
    """
    items: list[Item] = []
    paths = _files(source)
    files = [(printable(path.name), path) for path in paths]
    beside = source if source.is_dir() else source.parent
    folders = (images,) if images else (beside, beside / "images")
    for path in paths:
        if not is_layout(path):
            raise InputError(
                f"{path} is no JSON with records of an image (image, pair_id) and a caption (fig_caption, caption, "
                "conversations): name such a file"
            )
        items += _parts(path, folders)
    pictures = below(folders[0], lambda name: Path(name).suffix.lower() in RANKS)
    return items, files + [(f"pictures/{printable(name)}", folders[0] / name) for name in pictures]


def _parts(path: Path, folders: tuple[Path, ...]) -> Iterator[Item]:
    about = (printable(path.name), day(path), path, folders)
    spans, domain, first = array("Q"), "", 1
    with (
        listing(path) as reached,
        path.open("rb") as stream,
        mmap.mmap(stream.fileno(), 0, access=mmap.ACCESS_READ) as data,
    ):
        for name, begin, end in _lines(data) if path.suffix.lower() == ".jsonl" else _elements(data):
            full = len(spans) == 2 * PART or (spans and end - spans[0] > MAX_RECORD)
            if spans and (full or name != domain):
                yield Item(*about, domain, first, spans)
                reached(begin)
                first += len(spans) // 2
                spans = array("Q")
            domain = name
            spans.extend((begin, end))
    if spans:
        yield Item(*about, domain, first, spans)


def _lines(data: mmap.mmap) -> Iterator[tuple[str, int, int]]:
    begin = 0
    while begin < len(data):
        end = data.find(b"\n", begin)
        end = len(data) if end < 0 else end
        if data[begin : min(end, begin + 1000)].strip():
            yield "", begin, end
        begin = end + 1


def _elements(data: mmap.mmap) -> Iterator[tuple[str, int, int]]:
    """(domain, begin, end) of what stands in the list, or in the lists by domain, that a file is. Nothing is parsed.

    Where the file breaks off, the rest is one element.
    """
    start = 3 if data[:3] == b"\xef\xbb\xbf" else 0
    level = 1 if data[start : start + 1000].lstrip()[:1] == b"[" else 2
    depth, begin, domain, last = 0, -1, "", ""
    for token in _TOKENS.finditer(data, start):
        mark = token[0]
        if mark[:1] == b'"':
            if not token[1]:
                break  # a string without an end
            if depth == 1 and level == 2 and len(mark) < 100:
                last = mark[1:-1].decode("utf-8", "replace")
            continue
        if mark in b"{[":
            depth += 1
            if depth == level and mark == b"[":
                begin, domain = token.end(), last
            continue
        if depth == level and begin >= 0:
            if mark == b"," or data[begin : token.start()].strip():
                yield domain, begin, token.start()
            begin = token.end() if mark == b"," else -1
        if mark != b",":
            depth -= 1
    if begin >= 0 and data[begin : begin + 1000].strip():
        yield domain, begin, len(data)


def entries(item: Item) -> Iterator[Entry]:
    """A figure for each record."""
    with item.path.open("rb") as stream:
        for index in range(item.figures):
            begin, end = item.spans[2 * index : 2 * index + 2]
            where = f"{item.name}#{item.first + index}"
            try:
                if end - begin > MAX_RECORD:
                    raise Problem("record_too_large", f"{end - begin:,} bytes; at most {MAX_RECORD:,}")
                stream.seek(begin)
                yield _entry(columns.parse(stream.read(end - begin)), item, where)
            except Problem as problem:
                text = {"pair_id": file_name(where), "fig_caption": ""}
                yield Entry(text, where, [], Problem(problem.reason, f"{where}: {problem.detail}"), source=where)


def _entry(record: object, item: Item, where: str) -> Entry:
    """Raises Problem: there is nothing to tell of a figure."""
    if not isinstance(record, dict):
        raise Problem("record_broken", "no object")
    record = ({"domain": {item.domain: True}} if item.domain else {}) | record
    turns = next((record[key] for key in _TURNS if record.get(key)), None)
    problem = None
    if turns is not None:
        answer = _answer(turns)
        record = record | {"caption": answer}
        problem = None if answer else Problem("no_caption", f"{where}: a conversation of several turns")
    image = columns.clean(record.get("image")).removeprefix("./")
    text, group, kinds = columns.read(record, image.rpartition(".")[0] or image or where)
    name = image or f"{text['pair_id']}.jpg"
    try:
        path = _picture(item.folders, name)
    except Problem as error:
        path, problem = None, problem or error
    candidates = [Candidate(printable(path.name), partial(load, path))] if path else []
    return Entry(text, group or where, [Graphic(name, candidates)], problem, modality=kinds, source=where)


def _answer(turns: object) -> str:
    """The answer of a conversation of one question; empty for any other."""
    if not (isinstance(turns, list) and len(turns) == 2 and all(isinstance(turn, dict) for turn in turns)):
        return ""
    return columns.clean(turns[1].get("value")) if turns[1].get("from") in ("gpt", "assistant") else ""


def _picture(folders: tuple[Path, ...], name: str) -> Path | None:
    """The file of that name, or of its name without suffix with another. Raises what `inside` raises."""
    stem = name.removesuffix(Path(name).suffix)
    names = dict.fromkeys((name, *(stem + suffix for suffix in RANKS)))
    return next(filter(None, (inside(folder, name) for folder in folders for name in names)), None)
