"""WebDataset: tar archives of samples, files that share a name: `{key}.jpg` with `{key}.txt`, `{key}.json`.

Archives are read where they stand: nothing is unpacked to disk, no link followed.
"""

import gzip
import os
import tarfile
import zlib
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path, PurePosixPath
from typing import Any, BinaryIO

from llavamed.corpus.entry import Candidate, Entry, Graphic, Json
from llavamed.corpus.images import MAX_BYTES, RANKS
from llavamed.corpus.jats import file_name
from llavamed.corpus.problem import Problem, printable
from llavamed.corpus.sources import columns
from llavamed.corpus.sources.files import MAX_RECORD, PART, Header, below, day, listing, outside

PLAIN, PACKED = (".tar",), (".tar.gz", ".tgz")
MAX_UNPACKED = 2_000_000_000  # bytes of one packed archive
_SMALL, _RATIO = 100_000_000, 50  # one that grows more than _RATIO times, beyond _SMALL bytes, is a bomb
_TEXTS = ("txt", "json", "jsonl", "caption", "text")
_IMAGES = tuple(suffix[1:] for suffix in RANKS)
_PEEK = 64  # members that tell what an archive is
_BROKEN = (tarfile.TarError, EOFError, OSError, zlib.error, ValueError, OverflowError)


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
    if not source.name.lower().endswith(PLAIN + PACKED):
        return False
    kinds: dict[str, set[str]] = {}
    try:
        for count, member in enumerate(_members(source)):
            key, kind = _split(member.name)
            if kind in ("xml", "nxml"):
                return False
            kinds.setdefault(key, set()).add(kind)
            if count >= _PEEK:
                break
    except (Problem, *_BROKEN):
        pass
    return any(found & set(_IMAGES) and found & set(_TEXTS) for found in kinds.values())


def _split(name: str) -> tuple[str, str]:
    """(key, suffix): a sample's key is all before the first dot of the file's name."""
    folder, slash, file = name.rpartition("/")
    stem, _, suffix = file.partition(".")
    return folder + slash + stem, suffix.rpartition(".")[2].lower()


def list_items(source: Path) -> tuple[list[Item], list[tuple[str, Path]]]:
    """(samples in parts, every archive by its name)."""
    root = source if source.is_dir() else source.parent
    wanted = PLAIN + PACKED
    names = [*below(source, lambda name: name.lower().endswith(wanted))] if source.is_dir() else [source.name]
    items = [item for name in names for item in _parts(root / name, printable(name))]
    return items, [(printable(name), root / name) for name in names]


def _parts(path: Path, name: str) -> Iterator[Item]:
    date = day(path)
    begin, end, count, last = 0, 0, 0, None
    problem = None
    try:
        with listing(path) as reached:
            for member in _members(path):
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
    except _BROKEN as error:
        problem = Problem("archive_broken", f"{type(error).__name__}: {error}")
    if count:
        yield Item(name, date, count, path, begin, end)
    elif not problem and not end:
        problem = Problem("archive_broken", "no sample in it")
    if problem:
        yield Item(name, date, 1, path, reason=problem.reason, detail=problem.detail)


def _members(path: Path, begin: int = 0, end: int | None = None) -> Iterator[tarfile.TarInfo]:
    """The files of an archive whose headers stand from `begin` to `end`. Raises Problem, and what `_BROKEN` lists."""
    for _, member in _opened(path, begin, end):
        yield member


def _opened(path: Path, begin: int, end: int | None) -> Iterator[tuple[tarfile.TarFile, tarfile.TarInfo]]:
    with path.open("rb") as file:
        stream: Any = _Unpacked(file) if path.name.lower().endswith(PACKED) else file
        stream.seek(begin)
        offset = -1
        with tarfile.open(fileobj=stream, mode="r:", tarinfo=Header) as tar:
            while (member := tar.next()) is not None:
                tar.members = []  # type: ignore[attr-defined]  # it would keep them all
                if end is not None and member.offset >= end:
                    return
                if member.size < 0 or member.offset <= offset:
                    raise Problem("archive_broken", f"{member.name}: a header that leads back")
                offset = member.offset
                if member.isreg() and not member.issparse() and _wanted(member.name):
                    yield tar, member
                if end is not None and offset + 1 >= end:
                    return
            stream.seek(tar.offset)
        if stream.read(tarfile.BLOCKSIZE).strip(b"\0"):
            raise Problem("archive_broken", f"no header at byte {tar.offset:,}")
        while stream.read(1 << 20):  # to the end, where the checksum is
            pass


def _wanted(name: str) -> bool:
    kind = _split(name)[1]
    return kind in (*_IMAGES, *_TEXTS, "xml", "nxml") and not PurePosixPath(name).name.startswith(".")


class _Unpacked:
    """What gzip packed, for `tarfile`: it seeks forward, and a header's length back. Raises Problem: it never ends."""

    def __init__(self, file: BinaryIO) -> None:
        self.file = gzip.GzipFile(fileobj=file)
        self.limit = min(MAX_UNPACKED, max(_SMALL, _RATIO * os.fstat(file.fileno()).st_size))
        self.place = self.end = 0
        self.tail = b""

    def tell(self) -> int:
        """The byte that is read next."""
        return self.place

    def seek(self, place: int) -> int:
        """Go to a byte."""
        while self.end < place and self._more(min(1 << 20, place - self.end)):
            pass
        self.place = place
        return place

    def read(self, size: int) -> bytes:
        """The next bytes."""
        behind = self.end - self.place
        if behind < 0:
            return b""
        if behind > len(self.tail):
            raise OSError("seek too far back")
        data = self.tail[len(self.tail) - behind :][:size]
        data += self._more(size - len(data)) if size > len(data) else b""
        self.place += len(data)
        return data

    def _more(self, size: int) -> bytes:
        data = self.file.read(size)
        self.end += len(data)
        if self.end > self.limit:
            raise Problem("archive_too_large", f"over {self.limit:,} bytes unpacked: unpack it to a .tar first")
        self.tail = (self.tail + data[-2 * tarfile.BLOCKSIZE :])[-2 * tarfile.BLOCKSIZE :]
        return data


def entries(item: Item) -> Iterator[Entry]:
    """A figure for each sample."""
    if item.reason:
        yield Entry({}, problem=Problem(item.reason, item.detail))
        return
    sample: Json = {}
    try:
        for tar, member in _opened(item.path, item.begin, item.end):
            key, kind = _split(member.name)
            if key != sample.get("__key__"):
                if sample:
                    yield _entry(sample, item)
                sample = {"__key__": key}
            if kind not in sample:
                content = tar.extractfile(member)
                limit = MAX_BYTES if kind in _IMAGES else MAX_RECORD
                sample[kind] = content.read(limit + 1) if content else b""
    except (Problem, *_BROKEN) as error:
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
