"""WebDataset: tar archives of samples, files that share a name: `{key}.jpg` with `{key}.txt`, `{key}.json`.

Archives are read where they stand: nothing is unpacked to disk, no link followed.
"""

import tarfile
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path, PurePosixPath
from typing import Literal

from llavamed.corpus.entry import Candidate, Entry, Graphic, Json
from llavamed.corpus.images import MAX_BYTES, RANKS
from llavamed.corpus.jats import file_name
from llavamed.corpus.problem import Problem, printable
from llavamed.corpus.sources import columns
from llavamed.corpus.sources.archives import BROKEN, is_archive, members
from llavamed.corpus.sources.files import MAX_RECORD, PART, below, day, listing, outside

_TEXTS = ("txt", "json", "jsonl", "caption", "text")
_IMAGES = tuple(suffix[1:] for suffix in RANKS)
_ARTICLE = ("xml", "nxml")
_PEEK = 200  # members that tell what an archive is


@dataclass(frozen=True)
class Item:
    """Some samples of an archive: those whose first header stands in the bytes from `begin` to `end`."""

    name: str
    collected: str
    figures: int
    path: Path
    begin: int = 0
    end: int = 0
    reason: str = ""  # with `detail`: what is wrong with the archive from here on
    detail: str = ""


def reads(source: Path) -> bool:
    """Whether `source` is an archive in which a picture stands beside its caption, and no article."""
    return is_archive(source.name) and peek(source) == "samples"


def peek(path: Path) -> Literal["articles", "samples", ""]:
    """What an archive holds, as its first members tell; "" if they do not."""
    kinds: dict[str, set[str]] = {}
    try:
        for _, (_, member) in zip(range(_PEEK), members(path), strict=False):
            key, kind = _split(member.name)
            if not _is_wanted(member):
                continue
            if kind in _ARTICLE:
                return "articles"
            kinds.setdefault(key, set()).add(kind)
    except (Problem, *BROKEN):
        pass
    return "samples" if any(found & set(_IMAGES) and found & set(_TEXTS) for found in kinds.values()) else ""


def _split(name: str) -> tuple[str, str]:
    """(key, suffix): a sample's key is all before the first dot of the file's name."""
    folder, slash, file = name.rpartition("/")
    stem, _, suffix = file.partition(".")
    return folder + slash + stem, suffix.rpartition(".")[2].lower()


def list_items(source: Path) -> tuple[list[Item], list[tuple[str, Path]]]:
    """(samples in parts, every archive by its name)."""
    root = source if source.is_dir() else source.parent
    names = [*below(source, is_archive)] if source.is_dir() else [source.name]
    items = [item for name in names for item in _parts(root / name, printable(name))]
    return items, [(printable(name), root / name) for name in names]


def _parts(path: Path, name: str) -> Iterator[Item]:
    date = day(path)
    begin, end, count, last = 0, 0, 0, None
    problem = None
    try:
        with listing(path) as reached:
            for _, member in members(path):
                if not _is_wanted(member):
                    continue
                key = _split(member.name)[0]
                if key != last:
                    if count == PART:
                        yield Item(name, date, count, path, begin, member.offset)
                        reached(member.offset)
                        begin, count = member.offset, 0
                    count, last = count + 1, key
                end = member.offset + 1
    except Problem as error:
        problem = error
    except BROKEN as error:
        problem = Problem("archive_broken", f"{type(error).__name__}: {error}")
    if count:
        yield Item(name, date, count, path, begin, end)
    elif not problem and not end:
        problem = Problem("archive_broken", "no sample in it")
    if problem:
        yield Item(name, date, 1, path, reason=problem.reason, detail=problem.detail)


def _is_wanted(member: tarfile.TarInfo) -> bool:
    kind = _split(member.name)[1]
    wanted = kind in (*_IMAGES, *_TEXTS, *_ARTICLE) and not PurePosixPath(member.name).name.startswith(".")
    return wanted and member.isreg() and not member.issparse()


def entries(item: Item) -> Iterator[Entry]:
    """A figure for each sample."""
    if item.reason:
        yield Entry({}, problem=Problem(item.reason, item.detail))
        return
    sample: Json = {}
    try:
        for tar, member in members(item.path, item.begin, item.end):
            if not _is_wanted(member):
                continue
            key, kind = _split(member.name)
            if key != sample.get("__key__"):
                if sample:
                    yield _entry(sample, item)
                sample = {"__key__": key}
            if kind not in sample:
                content = tar.extractfile(member)
                limit = MAX_BYTES if kind in _IMAGES else MAX_RECORD
                sample[kind] = content.read(limit + 1) if content else b""
    except (Problem, *BROKEN) as error:
        where = f"{item.name}/{printable(sample.get('__key__', ''))}"
        text = {"pair_id": file_name(where), "fig_caption": ""}
        yield Entry(text, where, [], Problem("archive_broken", f"{where}: {error}"), source=where)
        return
    if sample:
        yield _entry(sample, item)


def _entry(sample: Json, item: Item) -> Entry:
    key = printable(sample["__key__"])
    where = f"{item.name}/{key}"
    text: Json = {"pair_id": file_name(key), "fig_caption": ""}
    graphics: list[Graphic] = []
    kinds: list[Json] = []
    group = ""
    problem = Problem("unsafe_archive", f"{where} points outside") if outside(key) else None
    try:
        if any(len(sample.get(kind, b"")) > MAX_RECORD for kind in _TEXTS):
            raise Problem("record_too_large", f"{where}: over {MAX_RECORD:,} bytes")
        record = columns.unnest({kind: value for kind, value in sample.items() if kind not in _IMAGES})
        text, group, kinds = columns.read(record, key)
    except Problem as error:
        problem = problem or Problem(error.reason, f"{where}: {error.detail}")
    image = next((kind for kind in _IMAGES if kind in sample), None)
    if image:
        data = sample[image]
        graphics = [Graphic(key, [Candidate(f"{key}.{image}", lambda: data)])]
    else:
        problem = problem or Problem("image_missing", where)
    return Entry(text, group or where, graphics, problem, modality=kinds, source=where)
