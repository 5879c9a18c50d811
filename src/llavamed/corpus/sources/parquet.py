"""Parquet of image and caption: a file, or a folder of them as Hugging Face's hub has it; and our own corpora."""

from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path

import pyarrow as pa
import pyarrow.parquet as pq

from llavamed.corpus.entry import Candidate, Entry, Graphic, Json
from llavamed.corpus.jats import file_name
from llavamed.corpus.problem import Problem, printable
from llavamed.corpus.schema import FIGURES, KINDS, SPLITS, TEXT
from llavamed.corpus.sources import columns
from llavamed.corpus.sources.files import PART, below, day, outside
from llavamed.errors import InputError

SUFFIX = ".parquet"
_OURS = {"pair_id", "fig_caption", "image", "width", "modality", "panels", "single_plot", "flags", "split", "source",
         "collected"}  # fmt: skip
_LISTS = [field.name for field in FIGURES if pa.types.is_list(field.type)]
_BROKEN = (pa.ArrowException, OSError, ValueError, OverflowError, NotImplementedError)  # a text or a date may be none
_BATCH = 16  # rows in memory at a time


@dataclass(frozen=True)
class Item:
    """Some rows: `figures` of them from the row `first` of some row groups. `row`: the first one's number."""

    name: str
    collected: str
    figures: int
    path: Path
    groups: range = range(0)
    first: int = 0
    row: int = 0
    broken: str = ""  # why the file cannot be read


def reads(source: Path) -> bool:
    """Whether `source` is a Parquet file."""
    return source.name.lower().endswith(SUFFIX)


def _names(folder: Path) -> Iterator[str]:
    return (name for name in below(folder, lambda name: name.lower().endswith(SUFFIX)) if "excluded/" not in name)


def list_items(source: Path) -> tuple[list[Item], list[tuple[str, Path]]]:
    """(rows in parts, every file by its name).

    Raises:
        InputError: a table has no column of images or of captions.
    """
    root = source if source.is_dir() else source.parent
    names = [*_names(source)] if source.is_dir() else [source.name]
    items = [item for name in names for item in _parts(root / name, printable(name))]
    return items, [(printable(name), root / name) for name in names]


def _parts(path: Path, name: str) -> Iterator[Item]:
    date = day(path)
    try:
        with pq.ParquetFile(path) as file:
            _check(path, file.schema_arrow)
            sizes = [file.metadata.row_group(index).num_rows for index in range(file.num_row_groups)]
    except _BROKEN as error:
        yield Item(name, date, 1, path, broken=_said(error))
        return
    row = begin = 0
    while begin < len(sizes):
        end, size = begin + 1, sizes[begin]
        while end < len(sizes) and size + sizes[end] <= PART:  # small groups together: each opening costs
            end, size = end + 1, size + sizes[end]
        for first in range(0, size, PART):
            yield Item(name, date, min(PART, size - first), path, range(begin, end), first, row + first)
        begin, row = end, row + size


def _check(path: Path, schema: pa.Schema) -> None:
    nested = "json" in schema.names or "jsonl" in schema.names
    if not _images(schema) or not (nested or columns.find(schema.names, "fig_caption")):
        raise InputError(
            f"{path}: no column of images with a column of captions among {', '.join(schema.names)}; understood are "
            + columns.understood("image", "fig_caption")
        )


def _images(schema: pa.Schema) -> list[str]:
    """The columns that may hold pictures, those with bytes first."""
    named = [field for field in schema if columns.find([field.name], "image")]
    return [field.name for field in sorted(named, key=lambda field: not _holds_bytes(field.type))]


def _holds_bytes(kind: pa.DataType) -> bool:
    if pa.types.is_struct(kind):
        return any(field.name == "bytes" for field in kind)
    return bool(pa.types.is_binary(kind) or pa.types.is_large_binary(kind))


def entries(item: Item) -> Iterator[Entry]:
    """A figure for each row."""
    if item.broken:
        yield Entry({}, problem=Problem("parquet_broken", item.broken))
        return
    done = 0
    try:
        for record in _rows(item):
            where, done = f"{item.name}#{item.row + done}", done + 1
            try:
                yield _entry(record, where)
            except Problem as problem:
                yield _lost(where, problem)
    except _BROKEN as error:
        for number in range(item.row + done, item.row + item.figures):
            yield _lost(f"{item.name}#{number}", Problem("parquet_broken", _said(error)))


def _said(error: Exception) -> str:
    return (str(error).splitlines() or [type(error).__name__])[0]


def _lost(where: str, problem: Problem) -> Entry:
    text = {"pair_id": file_name(where), "fig_caption": ""}
    return Entry(text, where, [], Problem(problem.reason, f"{where}: {problem.detail}"), source=where)


def _rows(item: Item) -> Iterator[pa.RecordBatch]:
    """The rows, one at a time."""
    with pq.ParquetFile(item.path, pre_buffer=False, buffer_size=1 << 20) as file:
        image, *others = _images(file.schema_arrow)
        known = (name for name in file.schema_arrow.names if name.lower().strip() in columns.KNOWN | {*FIGURES.names})
        wanted = [image, *(name for name in known if name not in (image, *others))]
        seen = 0
        for batch in file.iter_batches(batch_size=_BATCH, row_groups=[*item.groups], columns=wanted):
            begin, end = max(item.first - seen, 0), min(item.first + item.figures - seen, batch.num_rows)
            seen += batch.num_rows
            yield from (batch.slice(row, 1) for row in range(begin, end))
            if seen >= item.first + item.figures:
                return


def _entry(row: pa.RecordBatch, where: str) -> Entry:
    """Raises Problem: it cannot be read, or its text or picture cannot."""
    try:
        if {*row.schema.names} >= _OURS:
            return _ours(row.select(FIGURES.names).cast(FIGURES).to_pylist()[0])
        record: Json = row.to_pylist()[0]
    except (*_BROKEN, KeyError) as error:
        raise Problem("record_broken", _said(error)) from None
    image = record.pop(_images(row.schema)[0])
    path = image.get("path") if isinstance(image, dict) else image if isinstance(image, str) else None
    data = image.get("bytes") if isinstance(image, dict) else image
    data = data if isinstance(data, bytes) else None
    name = columns.clean(path)
    text, group, kinds = columns.read(columns.unnest(record), name.rpartition("/")[2].rpartition(".")[0] or where)
    problem = None if data else Problem("image_missing", f"{where}: no bytes" + (f", only {name}" if name else ""))
    graphics = [Graphic(name or where, [Candidate(name or where, lambda: data or b"")])]
    return Entry(text, group or where, graphics, problem, modality=kinds, source=where)


def _ours(record: Json) -> Entry:
    """A figure of a corpus, with all that was known of it. Raises Problem: no picture, or no such row."""
    data = (record["image"] or {}).get("bytes")
    if not data:
        raise Problem("image_missing", "no bytes")
    holes = [name for name in _LISTS if None in (record[name] or ())]
    boxes = [panel["box"] or () for panel in record["panels"] or () if panel]
    if holes or record["split"] not in SPLITS or not record["pair_id"] or outside(record["pair_id"]):
        raise Problem("record_broken", f"no row of a corpus: {', '.join(holes) or 'split or pair_id'}")
    if any(len(box) != 4 or None in box for box in boxes) or not all(
        k["name"] in KINDS for k in record["modality"] or ()
    ):
        raise Problem("record_broken", "no row of a corpus: panels or modality")
    return Entry(
        {key: record[key] for key in TEXT},
        graphics=[Graphic(record["pair_id"], [Candidate(record["pair_id"], lambda: data)])],
        flags=record["flags"] or [],
        source=record["source"],
        earlier=record,
    )
