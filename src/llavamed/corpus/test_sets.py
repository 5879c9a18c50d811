"""Test sets that a corpus must not contain: their pictures, by SHA-256 and by look."""

import hashlib
from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from functools import lru_cache, partial
from pathlib import Path

import numpy as np
import pyarrow as pa
import pyarrow.parquet as pq
from numpy.typing import NDArray
from PIL import Image

from llavamed import storage
from llavamed.console import progress
from llavamed.corpus.entry import Json
from llavamed.corpus.images import MAX_BYTES, RANKS, Picture, decode, store
from llavamed.corpus.near import BITS, Sketch, sketch, unit
from llavamed.corpus.problem import Problem, printable
from llavamed.engine import map_shards
from llavamed.errors import InputError

ALIKE = 0.95  # likeness from which a picture is too close: copies that were cropped, and neighbours in a test scan
_FILES = 64  # a part
_PICTURES = pa.schema(
    [
        *((name, pa.string()) for name in ("name", "file", "stored")),  # SHA-256 of the file and of what we store
        ("phash", pa.uint64()),
        ("sketch", pa.binary()),
    ]
)


@dataclass(frozen=True)
class TestSet:
    """The n pictures of a test set."""

    names: list[str]
    digests: dict[str, int]
    hashes: NDArray[np.uint64]
    sketches: Sketch

    def holds(self, picture: Picture, image: Image.Image, digests: list[str]) -> str:
        """Which of its pictures one is, or is too close to: "NAME: the same"; "" for none. `digests`: of its files."""
        same = next((self.digests[d] for d in (picture.sha256, *digests) if d in self.digests), None)
        if same is not None:
            return f"{self.names[same]}: the same"
        near = np.flatnonzero(np.bitwise_count(self.hashes ^ np.uint64(int(picture.phash, 16))) <= BITS)
        if len(near):
            likeness = self.sketches[near] @ unit([sketch(image)])[0]
            best = int(likeness.argmax())
            if likeness[best] >= ALIKE:
                return f"{self.names[near[best]]}: likeness {likeness[best]:.3f}"
        return ""


def files_of(sources: Sequence[Path]) -> list[tuple[str, Path]]:
    """The images and Parquet files of test sets, by name.

    Raises:
        InputError: one is missing or holds neither.
    """
    files = []
    for source in sources:
        if not source.exists():
            raise InputError(f"{source} does not exist: name a test set with --against: images or Parquet")
        found = [source] if source.is_file() else sorted(p for p in source.rglob("*") if p.is_file())
        wanted = [p for p in found if p.suffix.lower() in (*RANKS, ".parquet") and "excluded" not in p.parts]
        if not wanted:
            raise InputError(f"{source}: no test set: name a folder of images, a Parquet file, or a folder of such")
        files += [(printable(p.relative_to(source.parent).as_posix()), p) for p in wanted]
    return files


def write(path: Path, files: list[tuple[str, Path]], max_side: int, workers: int) -> None:
    """Write the pictures of `files` as one small table to `path`, if it is not there.

    Raises:
        InputError: a Parquet file cannot be read, or no picture of all.
    """
    if path.exists():
        return
    rows: list[Json] = []
    parts = [files[i : i + _FILES] for i in range(0, len(files), _FILES)]
    with progress("test sets", len(parts), "parts") as advance:
        for found in map_shards(partial(_rows, max_side=max_side), parts, workers):
            rows += found
            advance()
    if not rows:
        raise InputError(f"{files[0][1]} and the other {len(files) - 1} files: no picture of a test set can be read")
    storage.write_table(path, sorted(rows, key=lambda row: (row["name"], row["stored"])), _PICTURES)


@lru_cache(maxsize=1)
def read(path: Path) -> TestSet:
    """What `write` wrote."""
    table = pq.read_table(path).to_pydict()
    digests = {digest: i for key in ("file", "stored") for i, digest in reversed([*enumerate(table[key])])}
    hashes = np.array(table["phash"], np.uint64)
    return TestSet(table["name"], digests, hashes, unit(table["sketch"]))


def _rows(files: list[tuple[str, Path]], max_side: int) -> list[Json]:
    rows = []
    for name, path in files:
        for label, data in _pictures(name, path):
            try:
                image, lossless = decode(data, max_side)
            except Problem:
                continue
            kept = store(image, "", lossless)
            digest = hashlib.sha256(data).hexdigest()
            rows.append({"name": label, "file": digest, "stored": kept.sha256, "phash": int(kept.phash, 16),
                         "sketch": sketch(image)})  # fmt: skip
    return rows


def _pictures(name: str, path: Path) -> Iterator[tuple[str, bytes]]:
    """(name, bytes) of an image file, or of every picture in a Parquet file: structs with `bytes`, or bytes alone."""
    if path.suffix.lower() != ".parquet":
        if path.stat().st_size <= MAX_BYTES:
            yield name, path.read_bytes()
        return
    try:
        with pq.ParquetFile(path) as file:
            columns = [field.name for field in file.schema_arrow if holds_bytes(field.type)]
            row = 0
            for batch in file.iter_batches(batch_size=storage.ROWS_IN_GROUP, columns=columns):
                for record in batch.to_pylist():
                    for value in record.values():
                        data = value.get("bytes") if isinstance(value, dict) else value
                        if data:
                            yield f"{name}, row {row}", data
                    row += 1
    except (pa.ArrowInvalid, OSError) as error:
        raise InputError(f"{path} is no Parquet file ({str(error).splitlines()[0]})") from None


def holds_bytes(kind: pa.DataType) -> bool:
    """Whether a column of that type may hold pictures: structs with `bytes`, or bytes alone."""
    if pa.types.is_struct(kind):
        return any(field.name == "bytes" and holds_bytes(field.type) for field in kind)
    return bool(pa.types.is_binary(kind) or pa.types.is_large_binary(kind))
