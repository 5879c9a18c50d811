"""Figures that several sources hold: the largest stays. Pictures that several articles hold: the first stays."""

import io
import json
from collections import Counter
from collections.abc import Collection, Container, Iterator
from itertools import count
from pathlib import Path
from typing import NamedTuple

import numpy as np
import pyarrow.parquet as pq
from PIL import Image

from llavamed import artifact, storage
from llavamed.corpus.near import BITS, COPY, Sketch, sketch, unit
from llavamed.corpus.schema import EXCLUDED, FIGURES
from llavamed.storage import Json

MODES = ("keep", "exact", "near")
_COLUMNS = ["pair_id", "panel", "pmcid", "doi", "source", "fig_caption", "width", "height", "sha256", "phash"]
_PARTS = BITS + 1  # hashes that differ in BITS places are equal in at least one of so many parts


class _Row(NamedTuple):
    file: str
    row: int
    pair_id: str
    panel: str
    article: str  # or, where that is not `known`, its file
    known: bool
    caption: int  # a hash of it
    pixels: int
    sha256: str
    phash: int

    def is_copy_of(self, other: "_Row") -> bool:
        """Whether two rows of one `pair_id` are one figure, not two of one name (`001.png` of two hospitals)."""
        if self.panel != other.panel:  # panel B of figure F1, figure F1_B
            return False
        if self.sha256 == other.sha256 or (self.known and self.article == other.article):
            return True
        return self.caption == other.caption and (self.phash ^ other.phash).bit_count() <= BITS


def leave_out(job: artifact.Job, mode: str) -> dict[str, int]:
    """Move the rows of `job.out` that are copies to `excluded/`. Killed, it can be called again.

    A figure that two sources hold is always one; two figures of one `pair_id` both stay, the later under a new one.
    `mode`, of pictures that an earlier article has: keep (move none), exact (move those of the same bytes), near (also
    those recompressed, scaled or toned otherwise). Returns reason -> rows moved.
    """
    file = job.work / "copies.json"
    if not file.exists():
        storage.write_json(file, _plan(job.out, mode))
    plan = json.loads(file.read_text(encoding="utf-8"))
    for name, part in plan["files"].items():
        _change(job, name, **part)
    return dict(plan["moved"])


def _plan(out: Path, mode: str) -> Json:
    """`{files: {name: {size, copies: {row: (reason, detail)}, ids: {row: pair_id}}}, moved: {reason: n}}`."""
    rows = [*_list(out)]
    copies, ids = _of_one_id(rows)
    if mode != "keep":
        copies |= _exact(rows, copies)
    if mode == "near":
        copies |= _near(out, rows, copies)
    sizes = Counter(row.file for row in rows)
    files: Json = {}
    for what, found in (("copies", copies), ("ids", ids)):
        for index, value in sorted(found.items()):
            name, row = rows[index].file, str(rows[index].row)
            files.setdefault(name, {"size": sizes[name], "copies": {}, "ids": {}})[what][row] = value
    return {"files": files, "moved": Counter(reason for reason, _ in copies.values())}


def _list(out: Path) -> Iterator[_Row]:
    for path in storage.tables(out):
        name = path.relative_to(out).as_posix()
        for index, row in enumerate(pq.read_table(path, columns=_COLUMNS).to_pylist()):
            article = row["pmcid"] or row["doi"]
            yield _Row(
                name, index, row["pair_id"], row["panel"] or "", article or row["source"], bool(article),
                hash(row["fig_caption"]), row["width"] * row["height"], row["sha256"], int(row["phash"], 16),
            )  # fmt: skip


def _of_one_id(rows: list[_Row]) -> tuple[dict[int, tuple[str, str]], dict[int, str]]:
    """(index -> reason and detail of what is there in a better copy, index -> new `pair_id` of what has another's)."""
    by_id: dict[str, list[int]] = {}
    for index, row in enumerate(rows):
        by_id.setdefault(row.pair_id, []).append(index)
    taken = set(by_id)
    copies: dict[int, tuple[str, str]] = {}
    ids: dict[int, str] = {}
    for group in by_id.values():
        figures: list[list[int]] = []
        for index in group if len(group) > 1 else ():
            same = next((f for f in figures if rows[index].is_copy_of(rows[f[0]])), None)
            if same is None:
                figures.append([index])
            else:
                same.append(index)
        for later, figure in enumerate(figures):
            best = max(figure, key=lambda index: rows[index].pixels)  # the first of equals
            for index in figure:
                if index != best:
                    which = "larger" if rows[index].pixels < rows[best].pixels else "first"
                    copies[index] = "duplicate_figure", f"two sources hold it: the {which} is kept"
            if later:
                ids[best] = _new_id(rows[best], taken)
                taken.add(ids[best])
    return copies, ids


def _new_id(row: _Row, taken: Collection[str]) -> str:
    """`001.png_A` -> `001.png-2_A`."""
    end = f"_{row.panel}" if row.panel else ""
    names = (f"{row.pair_id.removesuffix(end)}-{number}{end}" for number in count(2))
    return next(name for name in names if name not in taken)


def _exact(rows: list[_Row], passed: Container[int]) -> dict[int, tuple[str, str]]:
    """Index -> (reason, detail) of rows whose bytes an earlier article has; those in `passed` are passed over."""
    first: dict[str, _Row] = {}
    found = {}
    for index, row in enumerate(rows):
        if index not in passed:
            original = first.setdefault(row.sha256, row)
            if original.article != row.article:
                found[index] = ("duplicate_image", f"the same as {original.pair_id}")
    return found


def _near(out: Path, rows: list[_Row], copies: Collection[int]) -> dict[int, tuple[str, str]]:
    """Index -> (reason, detail) of rows that look like one of an earlier article; those in `copies` are passed over."""
    pairs = _candidates(rows, [index for index in range(len(rows)) if index not in copies])
    drawn = _sketches(out, rows, {index for pair in pairs for index in pair})
    found: dict[int, tuple[str, str]] = {}
    for later, earlier in sorted(pairs):
        if later not in found and earlier not in found:
            likeness = float(drawn[later] @ drawn[earlier])
            if likeness >= COPY:
                found[later] = ("near_duplicate_image", f"like {rows[earlier].pair_id}: {likeness:.3f}")
    return found


def _candidates(rows: list[_Row], among: list[int]) -> set[tuple[int, int]]:
    """(later, earlier) of different articles whose perceptual hashes differ in at most BITS places."""
    hashes = np.array([rows[index].phash for index in among], np.uint64)
    pairs: set[tuple[int, int]] = set()
    for part in range(_PARTS):
        low, high = 64 * part // _PARTS, 64 * (part + 1) // _PARTS
        keys = (hashes >> np.uint64(low)) & np.uint64((1 << (high - low)) - 1)
        order = np.argsort(keys, kind="stable")
        for group in np.split(order, np.flatnonzero(np.diff(keys[order])) + 1):
            for place, later in enumerate(group[1:], start=1):
                near = group[:place][np.bitwise_count(hashes[group[:place]] ^ hashes[later]) <= BITS]
                pairs.update((among[later], among[earlier]) for earlier in near)
    return {(later, earlier) for later, earlier in pairs if rows[later].article != rows[earlier].article}


def _sketches(out: Path, rows: list[_Row], wanted: set[int]) -> dict[int, Sketch]:
    places: dict[str, dict[int, int]] = {}
    for index in wanted:
        places.setdefault(rows[index].file, {})[rows[index].row] = index
    found = {}
    for name, indexes in places.items():
        images = pq.read_table(out / name, columns=["image"])["image"].to_pylist()
        for row, index in indexes.items():
            with Image.open(io.BytesIO(images[row]["bytes"])) as image:
                found[index] = unit([sketch(image)])[0]
    return found


def _change(job: artifact.Job, name: str, size: int, copies: dict[str, tuple[str, str]], ids: dict[str, str]) -> None:
    """Give rows of one of the `job`'s files, which had `size`, new ids; take its copies out, once written elsewhere."""
    path = job.out / name
    job.shard_files.pop(name, None)
    if not path.exists() or pq.read_metadata(path).num_rows != size:  # done by a run that was killed since
        return
    table = pq.read_table(path).to_pylist()
    for row, pair_id in ids.items():
        table[int(row)]["pair_id"] = pair_id
    if copies:
        moved = [table[int(row)] | {"reason": reason, "detail": detail} for row, (reason, detail) in copies.items()]
        text = [{column: row[column] for column in EXCLUDED.names} for row in moved]
        storage.write_table(job.out / "excluded" / f"copies-{path.stem}.parquet", text, EXCLUDED)
    kept = [row for index, row in enumerate(table) if str(index) not in copies]
    if kept:
        storage.write_table(path, kept, FIGURES)
    else:
        path.unlink()
