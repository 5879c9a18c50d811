"""What can be counted in a data set of others: Parquet as Hugging Face's hub has it, or JSON with conversations."""

import hashlib
from collections import Counter
from collections.abc import Iterator
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import pyarrow as pa
import pyarrow.parquet as pq

from llavamed import storage
from llavamed.corpus.problem import Problem, printable
from llavamed.corpus.sources import columns, spans
from llavamed.errors import InputError
from llavamed.instruct.formats.importing import LAYOUTS
from llavamed.instruct.formats.layout import without_mark
from llavamed.storage import Json
from llavamed.summary.facts import Fact, Facts

PARQUET, JSON = (".parquet",), (".json", ".jsonl")
# name of the fact -> our column of it (corpus/sources/columns.py)
_OF_TEXT = {"licences": "licence", "years": "year", "languages": "language", "journals": "journal",
            "publishers": "publisher", "article_types": "article_type"}  # fmt: skip
_ASKED = ("question", "answer")  # of a set of visual questions
_NOTHING = {"unknown", "none-stated"}  # no record states it
_BATCH = 64


@dataclass
class _Count:
    records: int = 0
    unread: int = 0
    conversations: int = 0
    turns: int = 0
    words: int = 0
    size: int = 0
    images: set[str] = field(default_factory=set)
    by: dict[str, Counter[str]] = field(default_factory=lambda: {key: Counter() for key in (*_OF_TEXT, "kinds")})


def is_dataset(path: Path) -> bool:
    """Whether `path` is a file of a data set, or a folder with some and no manifest."""
    if path.is_dir():
        return not (path / "manifest.json").exists() and not (path / "config.json").exists() and bool(_files(path))
    return path.is_file() and path.suffix.lower() in PARQUET + JSON


def count(path: Path) -> Facts:
    """Records, distinct pictures, words, and what the records say of themselves, under `data.`.

    A picture is known by the SHA-256 of its bytes, where there are none by its name. Words stand between white space.

    Raises:
        InputError: nothing in it could be read.
    """
    files = _files(path) if path.is_dir() else [path]
    found = _Count()
    for file in files:
        for record in _rows(file) if file.suffix.lower() in PARQUET else _records(file):
            _add(found, record)
    if not found.records:
        raise InputError(f"{path} holds no record of an image and its words: name a data set of Parquet or JSON")
    return _facts(found, _named(path, files))


def _files(folder: Path) -> list[Path]:
    """Parquet; where there is none, JSON at the top."""
    found = [file for file in sorted(folder.rglob("*.parquet")) if "excluded" not in file.relative_to(folder).parts]
    return found or [file for file in sorted(folder.iterdir()) if file.suffix.lower() in JSON]


def _named(path: Path, files: list[Path]) -> str:
    """How notes name the data set: with the SHA-256 of its file, or of the `sha256sum` lines of its files."""
    if path.is_file():
        return f"data set {path.name} (SHA-256 {storage.sha256_file(path)})"
    lines = [f"{storage.sha256_file(file)}  {file.relative_to(path).as_posix()}\n" for file in files]
    whole = hashlib.sha256("".join(lines).encode()).hexdigest()
    return f"data set {path.resolve().name} (SHA-256 {whole} of the sha256sum lines of {len(files):,} files)"


def _rows(file: Path) -> Iterator[Json | None]:
    try:
        with pq.ParquetFile(file) as table:
            for batch in table.iter_batches(batch_size=_BATCH):
                yield from batch.to_pylist()
    except (pa.ArrowException, OSError) as error:
        raise InputError(f"{file} cannot be read ({error}): mend it, or leave it out") from None


def _records(file: Path) -> Iterator[Json | None]:
    if not file.stat().st_size:
        return
    with file.open("rb") as stream:
        for _, _, places in spans.parts(file):
            for begin, end in zip(places[::2], places[1::2], strict=True):
                try:
                    record = spans.record(stream, begin, end)
                except Problem:
                    record = None
                yield record if isinstance(record, dict) else None


def _add(found: _Count, record: Json | None) -> None:
    try:
        texts, image, about, kinds, turns = _told(record)
    except Problem:
        found.unread += 1
        return
    found.records += 1
    found.conversations += turns > 0
    found.turns += turns
    found.words += sum(len(text.split()) for text in texts)
    found.size += sum(len(text.encode()) for text in texts)
    if image:
        found.images.add(image)
    for name, key in _OF_TEXT.items():
        found.by[name][str(about.get(key) or "unknown")] += 1
    found.by["kinds"][kinds[0]["name"] if kinds else "unknown"] += 1


def _told(record: Json | None) -> tuple[list[str], str, Json, list[Json], int]:
    """(texts, what the picture is known by, columns, kinds of image, turns). Raises Problem: it tells nothing."""
    if record is None:
        raise Problem("record_broken", "no object")
    layout = next((layout for layout in LAYOUTS.values() if layout.knows(record)), None)
    key = columns.find(record, "image")
    if layout:
        told = layout.read(record)
        texts = [printable(without_mark(turn["value"])) for turn in told.said]
        return texts, _picture(record[key] if key else None) or told.image, {}, columns.kinds(told.domain), len(texts)
    plain = {name: value for name, value in columns.unnest(record).items() if name != key}
    about, _, kinds = columns.read(plain, "record")
    texts = [text for text in (about["fig_caption"], *about["in_text_mention"]) if text]
    asked = [columns.clean(plain.get(name)) for name in _ASKED]
    picture = _picture(record[key]) if key else ""
    if not texts and not any(asked) and not picture:
        raise Problem("record_broken", "neither words nor a picture")
    return [*texts, *filter(None, asked)], picture, about, kinds, len(asked) if all(asked) else 0


def _picture(image: Any) -> str:
    data, name = (image.get("bytes"), image.get("path")) if isinstance(image, dict) else (image, image)
    if isinstance(data, bytes):
        return hashlib.sha256(data).hexdigest()
    return columns.clean(name)


def _facts(found: _Count, where: str) -> Facts:
    numbers = {
        "records": (found.records, "records that could be read"),
        "unread": (found.unread, "records that could not be read"),
        "conversations": (found.conversations, "records with turns"),
        "turns": (found.turns, "their turns"),
        "images": (len(found.images), "distinct pictures by SHA-256, without bytes by name"),
        "words": (found.words, "words of captions, mentions and turns"),
        "bytes": (found.size, "bytes of these in UTF-8"),
    }
    facts = {f"data.{name}": Fact(value, f"{where}: {query}") for name, (value, query) in numbers.items()}
    for name, counts in found.by.items():
        if not set(counts) <= _NOTHING:
            ordered = dict(sorted(counts.items(), key=lambda item: (-item[1], item[0])))
            facts[f"data.{name}"] = Fact(ordered, f"{where}: records by {_OF_TEXT.get(name, 'kind of image stated')}")
    return facts
