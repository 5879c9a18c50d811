"""Parquet of image and caption: a file, or a folder of them as Hugging Face's hub has it; and our own corpora."""

from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path

import pyarrow as pa
import pyarrow.parquet as pq

from llavamed.corpus.entry import Candidate, Entry, Graphic, Json
from llavamed.corpus.jats import file_name
from llavamed.corpus.problem import Problem, printable
from llavamed.corpus.schema import TEXT
from llavamed.corpus.sources import columns
from llavamed.corpus.sources.files import PART, below, day
from llavamed.errors import InputError

SUFFIX = ".parquet"
_OURS = {"pair_id", "fig_caption", "image", "width", "modality", "panels", "single_plot", "flags", "split", "source",
         "collected"}  # fmt: skip
_BATCH = 16  # rows in memory at a time


@dataclass(frozen=True)
class Item:
    """Some rows of a row group: `figures` from the row `first` of the `group`. `row`: the first one's number."""

    name: str
    collected: str
    figures: int
    path: Path
    group: int = 0
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
    except (pa.ArrowException, OSError) as error:
        yield Item(name, date, 1, path, broken=str(error).splitlines()[0])
        return
    row = 0
    for group, size in enumerate(sizes):
        for first in range(0, size, PART):
            yield Item(name, date, min(PART, size - first), path, group, first, row + first)
        row += size


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
    number = item.row
    try:
        for number, record in enumerate(_rows(item), start=item.row):
            where = f"{item.name}#{number}"
            try:
                yield _ours(record) if record.keys() >= _OURS else _entry(record, where)
            except Problem as problem:
                yield _lost(where, problem)
    except (pa.ArrowException, OSError) as error:
        for lost in range(number, item.row + item.figures):
            yield _lost(f"{item.name}#{lost}", Problem("parquet_broken", str(error).splitlines()[0]))


def _lost(where: str, problem: Problem) -> Entry:
    text = {"pair_id": file_name(where), "fig_caption": ""}
    return Entry(text, where, [], Problem(problem.reason, f"{where}: {problem.detail}"), source=where)


def _rows(item: Item) -> Iterator[Json]:
    """The rows, each with its picture as `image`."""
    with pq.ParquetFile(item.path, pre_buffer=False, buffer_size=1 << 20) as file:
        image, *others = _images(file.schema_arrow)
        wanted = [name for name in file.schema_arrow.names if name not in others]
        seen = 0
        for batch in file.iter_batches(batch_size=_BATCH, row_groups=[item.group], columns=wanted):
            begin, end = max(item.first - seen, 0), min(item.first + item.figures - seen, batch.num_rows)
            seen += batch.num_rows
            if begin < end:
                for record in batch.slice(begin, end - begin).to_pylist():
                    yield {"image": record.pop(image)} | record
            if seen >= item.first + item.figures:
                return


def _entry(record: Json, where: str) -> Entry:
    """Raises Problem: its text cannot be read."""
    image = record["image"]
    path = image.get("path") if isinstance(image, dict) else image if isinstance(image, str) else None
    data = image.get("bytes") if isinstance(image, dict) else image if isinstance(image, bytes) else None
    name = columns.clean(path)
    text, group, kinds = columns.read(columns.unnest(record), name.rpartition("/")[2].rpartition(".")[0] or where)
    problem = None if data else Problem("image_missing", f"{where}: no bytes" + (f", only {name}" if name else ""))
    graphics = [Graphic(name or where, [Candidate(name or where, lambda: data or b"")])]
    return Entry(text, group or where, graphics, problem, modality=kinds, source=where)


def _ours(record: Json) -> Entry:
    """A figure of a corpus, with all that was known of it. Raises Problem: its picture is gone."""
    data = (record["image"] or {}).get("bytes")
    if not data:
        raise Problem("image_missing", "no bytes")
    return Entry(
        {key: record.get(key) for key in TEXT},
        graphics=[Graphic(record["pair_id"], [Candidate(record["pair_id"], lambda: data)])],
        flags=record["flags"] or [],
        source=record["source"],
        earlier=record,
    )
