"""Evaluation sets that a training set must not hold: their pictures, and the figures that they name."""

import hashlib
import json
from collections.abc import Iterable, Iterator, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path

import numpy as np
import pyarrow as pa
import pyarrow.parquet as pq

from llavamed import artifact, storage
from llavamed.corpus import test_sets
from llavamed.corpus.images import RANKS, decode, keep, store
from llavamed.corpus.near import BITS
from llavamed.corpus.problem import Problem, printable
from llavamed.corpus.test_sets import TestSet
from llavamed.errors import InputError
from llavamed.storage import Json

REASON = "in_test_set"
COLUMNS = ["pmcid", "pmid", "fig_id", "panel", "sha256", "phash"]  # of a corpus, besides pair_id
_TABLES = (".jsonl", ".json", ".parquet")
_NAMED = ("pair_id", "pmcid", "pmid", "fig_id", "panel")
_OURS = ("manifest.json", "croissant.json", artifact.ANSWERS)  # in an artifact's folder, and no questions


@dataclass(frozen=True)
class Against:
    """What must not come in. `names`: of a figure or an article (see `names_of`) -> where it stands.

    `pictures`: None where a set has none. `max_side`: of the corpus that is compared.
    """

    names: Mapping[str, str]
    pictures: TestSet | None
    max_side: int

    def holds(self, figure: Json) -> str:
        """Where a row of a corpus stands by name or by SHA-256: no picture is decoded. "" for nowhere."""
        name = next((name for name in names_of(figure) if name in self.names), None)
        if name:
            return f"{self.names[name]}: {name}"
        same = self.pictures.digests.get(figure["sha256"] or "") if self.pictures else None
        return f"{self.pictures.names[same]}: the same" if self.pictures and same is not None else ""

    def may_hold(self, phash: int) -> bool:
        """Whether a picture must be looked at, by its perceptual hash."""
        return self.pictures is not None and bool(
            (np.bitwise_count(self.pictures.hashes ^ np.uint64(phash)) <= BITS).any()
        )

    def looks_like(self, data: bytes) -> str:
        """Which of the pictures a corpus's one is, or is too close to; "" for none."""
        if not self.pictures or not data:
            return ""
        try:
            image, lossless = decode(data, self.max_side)
        except Problem:
            return ""
        picture = keep(data, "", self.max_side) or store(image, "", lossless)
        return self.pictures.holds(picture, image, [hashlib.sha256(data).hexdigest()])


def names_of(figure: Json) -> list[str]:
    """What a figure is known by: itself, whole where it is a panel, then its article."""
    panel = f"_{figure['panel']}" if figure.get("panel") else ""
    whole = str(figure.get("pair_id") or "").removesuffix(panel)
    articles = [figure[key] for key in ("pmid", "pmcid") if figure.get(key)]
    there = [f"{article}_{figure['fig_id']}" for article in articles if figure.get("fig_id")]
    return [name for name in dict.fromkeys((whole, *there, *articles)) if name]


def fingerprint(sources: Sequence[Path]) -> str:
    """SHA-256 that tells evaluation sets apart, in whatever order: of an artifact its content, else its files.

    Raises:
        InputError: one is missing, or holds neither pictures nor figures by name.
    """
    told = []
    for source in sources:
        made = (source / "manifest.json").is_file() and artifact.read_manifest(source)
        pictures, tables = _files(source)
        told.append(f"{source.name} {made['hash'] if made else storage.fingerprint(pictures + tables)}")
    return hashlib.sha256("\n".join(sorted(told)).encode()).hexdigest()


def read_against(sources: Sequence[Path], table: Path, max_side: int, workers: int) -> Against:
    """The evaluation sets in `sources`; their pictures are kept, as a small table, in `table`.

    Raises:
        InputError: a file cannot be read, or nothing can be compared.
    """
    files = [_files(source) for source in sources]
    names: dict[str, str] = {}
    for source, (_, tables) in zip(sources, files, strict=True):
        made = (source / "manifest.json").is_file() and artifact.read_manifest(source)
        if not (made and "benchmark" in made):  # whose pictures have names of their own, such as 1
            for where, path in tables:
                names |= dict.fromkeys(_names(path), where)
    pictures = [file for found, _ in files for file in found if not _without_pictures(file[1])]
    if pictures:
        test_sets.write(table, pictures, max_side, workers)
    if not (pictures or names):
        raise InputError(f"{sources[0]}: no picture and no pair_id, pmcid or pmid: name an evaluation set")
    return Against(names, test_sets.read(table) if pictures else None, max_side)


Files = list[tuple[str, Path]]  # by name


def _files(source: Path) -> tuple[Files, Files]:
    """The files with pictures and those with records of an evaluation set."""
    if not source.exists():
        raise InputError(f"{source} does not exist: name an evaluation set with --against")
    found = [source] if source.is_file() else sorted(p for p in source.rglob("*") if p.is_file())
    wanted = [p for p in found if "excluded" not in p.parts and ".job" not in p.parts]
    named = [(printable(p.relative_to(source.parent).as_posix()), p) for p in wanted]
    pictures = [file for file in named if file[1].suffix.lower() in (*RANKS, ".parquet")]
    tables = [file for file in named if file[1].suffix.lower() in _TABLES and file[1].name not in _OURS]
    if not pictures and not tables:
        raise InputError(
            f"{source}: no evaluation set: name a folder of images, a Parquet file, JSON or JSON lines with pair_id, "
            "or a folder of such"
        )
    return pictures, tables


def _without_pictures(path: Path) -> bool:
    if path.suffix.lower() != ".parquet":
        return False
    return not any(test_sets.holds_bytes(field.type) for field in _schema(path))


def _schema(path: Path) -> pa.Schema:
    try:
        return pq.read_schema(path)
    except (pa.ArrowInvalid, OSError) as error:
        raise InputError(f"{path} is no Parquet file ({str(error).splitlines()[0]})") from None


def _names(path: Path) -> Iterator[str]:
    """Of each record the figure's names; the article's where it tells no figure."""
    for record in _parquet(path) if path.suffix.lower() == ".parquet" else _json(path):
        told = {key: str(record[key]).strip() for key in _NAMED if record.get(key) not in (None, "", [], {})}
        figure = told.get("pair_id") or told.get("fig_id")
        articles = {told.get("pmid"), told.get("pmcid")}
        yield from (name for name in names_of(told) if not figure or name not in articles)


def _parquet(path: Path) -> Iterable[Json]:
    columns = [name for name in _NAMED if name in _schema(path).names]
    return pq.read_table(path, columns=columns).to_pylist() if columns else []


def _json(path: Path) -> Iterator[Json]:
    """The records of a list, of lists by domain, or of lines."""
    try:
        text = path.read_text(encoding="utf-8-sig")
        if not any(f'"{key}"' in text for key in _NAMED):
            return
        try:
            found = json.loads(text)
        except ValueError:
            found = [json.loads(line) for line in text.splitlines() if line.strip()]
    except (OSError, ValueError, RecursionError) as error:
        raise InputError(f"{path} cannot be read as JSON ({error}): mend it, or name another --against") from None
    parts = found.values() if isinstance(found, dict) and not found.keys() & set(_NAMED) else [found]
    for part in parts:
        for record in part if isinstance(part, list) else [part]:
            if isinstance(record, dict):
                yield record
