"""Pictures that several articles hold: the first in order stays, its copies are left out."""

import io
import json
from collections import Counter
from collections.abc import Collection, Iterator
from pathlib import Path
from typing import NamedTuple

import numpy as np
import pyarrow.parquet as pq
from PIL import Image

from llavamed import artifact
from llavamed.artifact import Json
from llavamed.corpus.near import BITS, COPY, Sketch, sketch, unit
from llavamed.corpus.schema import EXCLUDED, FIGURES

MODES = ("keep", "exact", "near")
_COLUMNS = ["pair_id", "pmcid", "doi", "source", "fig_id", "sha256", "phash"]
_PARTS = BITS + 1  # hashes that differ in BITS places are equal in at least one of so many parts


class _Row(NamedTuple):
    file: str
    row: int
    pair_id: str
    article: str
    figure: tuple[str, str, str, int]
    sha256: str
    phash: int


def leave_out(job: artifact.Job, mode: str) -> Json:
    """Move the rows of `job.out` whose picture an earlier article has to `excluded/`. Killed, it can be called again.

    `mode`: keep (move nothing), exact (the same bytes), near (also recompressed, scaled or toned otherwise). Returns
    `{rows: {reason: n}, figures: {reason: n}}`: rows moved, and figures none of whose rows is left.
    """
    if mode == "keep":
        return {"rows": {}, "figures": {}}
    file = job.work / "copies.json"
    if not file.exists():
        artifact.write_json(file, _plan(job.out, near=mode == "near"))
    plan = json.loads(file.read_text(encoding="utf-8"))
    for name, part in plan["files"].items():
        _move(job, name, part["rows"], part["copies"])
    return {"rows": plan["rows"], "figures": plan["figures"]}


def _plan(out: Path, near: bool) -> Json:
    rows = [*_list(out)]
    copies = _exact(rows)
    if near:
        copies |= _near(out, rows, copies.keys())
    kept = {row.figure for index, row in enumerate(rows) if index not in copies}
    lost = {rows[index].figure: reason for index, (reason, _) in copies.items() if rows[index].figure not in kept}
    files: Json = {}
    for index, copy in sorted(copies.items()):
        files.setdefault(rows[index].file, {"copies": {}})["copies"][str(rows[index].row)] = copy
    sizes = Counter(row.file for row in rows)
    for name, part in files.items():
        part["rows"] = sizes[name]
    moved = Counter(reason for reason, _ in copies.values())
    return {"files": files, "rows": moved, "figures": Counter(lost.values())}


def _list(out: Path) -> Iterator[_Row]:
    seen: Counter[str] = Counter()  # figures that two sources hold are two
    for path in artifact.tables(out):
        name = path.relative_to(out).as_posix()
        for index, row in enumerate(pq.read_table(path, columns=_COLUMNS).to_pylist()):
            article = row["pmcid"] or row["doi"] or row["source"]
            figure = (row["source"], article, row["fig_id"] or row["pair_id"], seen[row["pair_id"]])
            seen[row["pair_id"]] += 1
            yield _Row(name, index, row["pair_id"], article, figure, row["sha256"], int(row["phash"], 16))


def _exact(rows: list[_Row]) -> dict[int, tuple[str, str]]:
    """Index -> (reason, detail) of rows whose bytes an earlier article has, or that stand there twice."""
    first: dict[str, _Row] = {}
    found = {}
    for index, row in enumerate(rows):
        original = first.setdefault(row.sha256, row)
        if original.article != row.article:
            found[index] = ("duplicate_image", f"the same as {original.pair_id}")
        elif original is not row and original.pair_id == row.pair_id:
            found[index] = ("duplicate_figure", "two sources hold it")
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


def _move(job: artifact.Job, name: str, rows: int, copies: dict[str, tuple[str, str]]) -> None:
    """Take the copies out of one of the `job`'s files, which had `rows` rows, after they are written elsewhere."""
    path = job.out / name
    job.shard_files.pop(name, None)
    if not path.exists() or pq.read_metadata(path).num_rows != rows:  # done by a run that was killed since
        return
    table = pq.read_table(path).to_pylist()
    moved = [table[int(row)] | {"reason": reason, "detail": detail} for row, (reason, detail) in copies.items()]
    text = [{column: row[column] for column in EXCLUDED.names} for row in moved]
    artifact.write_table(job.out / "excluded" / f"copies-{path.stem}.parquet", text, EXCLUDED)
    kept = [row for index, row in enumerate(table) if str(index) not in copies]
    if kept:
        artifact.write_table(path, kept, FIGURES)
    else:
        path.unlink()
