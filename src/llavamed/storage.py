"""Files as every step writes and reads them: under their name only when whole, the same rows as the same bytes."""

import hashlib
import json
import os
from collections.abc import Iterable
from pathlib import Path
from typing import Any

import pyarrow as pa
import pyarrow.parquet as pq

Json = dict[str, Any]
PART = ".part"  # a file being written
ROWS_IN_GROUP = 256  # pictures are a few hundred kB each: a row group stays under 100 MB
ROWS_THAT_REPEAT, DICTIONARY = 1024, 512_000_000  # rows in a group, most bytes of distinct values in one


def write_table(path: Path, rows: list[Json] | pa.Table, schema: pa.Schema, *, repeats: bool = False) -> None:
    """Write `rows` as Parquet, atomically and with fixed options: the same rows are the same bytes.

    `repeats`: pictures stand in many rows; each is stored once for `ROWS_THAT_REPEAT` rows.
    """
    path.parent.mkdir(parents=True, exist_ok=True)
    part = path.with_name(f".{path.name}.{os.getpid()}{PART}")
    table = rows if isinstance(rows, pa.Table) else pa.Table.from_pylist(rows, schema=schema)
    options = {"row_group_size": ROWS_THAT_REPEAT, "dictionary_pagesize_limit": DICTIONARY} if repeats else {}
    pq.write_table(table, part, compression="zstd", **{"row_group_size": ROWS_IN_GROUP, **options})
    settle(part, path)


def write_json(path: Path, value: Any) -> None:
    """Write `value` as readable JSON, atomically."""
    write_text(path, json.dumps(value, indent=1, sort_keys=True, ensure_ascii=False) + "\n")


def write_text(path: Path, text: str) -> None:
    """Write `text`, atomically."""
    write_bytes(path, text.encode())


def write_bytes(path: Path, data: bytes) -> None:
    """Write `data`, atomically."""
    path.parent.mkdir(parents=True, exist_ok=True)
    part = path.with_name(f".{path.name}.{os.getpid()}{PART}")
    part.write_bytes(data)
    settle(part, path)


def fingerprint(files: Iterable[tuple[str, Path]]) -> str:
    """SHA-256 over (name, size, modification time) of files that are too many to hash whole at each call."""
    digest = hashlib.sha256()
    for name, path in sorted(files):
        stat = path.stat()
        digest.update(f"{name}\0{stat.st_size}\0{stat.st_mtime_ns}\n".encode())
    return digest.hexdigest()


def sha256_file(path: Path) -> str:
    """SHA-256 of a file, hex."""
    with path.open("rb") as stream:
        return hashlib.file_digest(stream, "sha256").hexdigest()


def tables(folder: Path, prefix: str = "data") -> list[Path]:
    """The Parquet files of one part of an artifact, in order."""
    return sorted((folder / prefix).glob("*.parquet"))


def has_rows(folder: Path, split: str) -> bool:
    """Whether an artifact has records of that split."""
    return any((folder / "data").glob(f"{split}-*.parquet"))


def read_rows(folder: Path, prefix: str = "data", columns: list[str] | None = None) -> Iterable[Json]:
    """All rows of one part of an artifact, in order, a row group in memory at a time."""
    for path in tables(folder, prefix):
        with pq.ParquetFile(path) as file:
            for batch in file.iter_batches(batch_size=ROWS_IN_GROUP, columns=columns):
                yield from batch.to_pylist()


def settle(part: Path, path: Path) -> None:
    """Rename a finished file into place, its bytes on disk first."""
    with part.open("rb+") as stream:
        os.fsync(stream.fileno())
    os.replace(part, path)
