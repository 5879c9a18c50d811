"""safetensors files written from tensors of one checkpoint or two, piece by piece, and everything hashed on the way."""

import hashlib
import json
from collections.abc import Callable, Iterator, Mapping, Sequence
from concurrent.futures import ThreadPoolExecutor
from contextlib import ExitStack
from dataclasses import dataclass
from functools import cache
from pathlib import Path
from typing import Any, BinaryIO, NamedTuple

import numpy as np

from llavamed.artifact import Job
from llavamed.console import progress
from llavamed.model.tensors import INDEX, SIZES, SUFFIX, Tensor
from llavamed.model.words import FLOATS, Bytes
from llavamed.storage import PART, Json, settle, write_json

PIECE = 2**20  # numbers of a tensor in memory at once
MB = 10**6
SHARD = 5 * 10**9  # bytes of a file at most; a tensor that is larger has one of its own
Done = Callable[[int], None]
Combine = Callable[[Bytes, Bytes, str, str, Bytes], Bytes]  # words of both, their types, room -> what is written


@dataclass(frozen=True)
class Pair:
    """A tensor and that of the base with which its first numbers are combined; the rest of it is taken as it is."""

    tensor: Tensor
    base: Tensor | None

    @property
    def shared(self) -> int:
        """So many numbers have one of the base."""
        return min(self.tensor.count, self.base.count) if self.base else 0


class Written(NamedTuple):
    """A file that was written: its SHA-256, its bytes, and the SHA-256 of the file that its tensors are from."""

    sha256: str
    size: int
    source: str

    def named(self, name: str) -> Json:
        """What a job notes of it."""
        return {"name": name, "sha256": self.sha256, "bytes": self.size}


def fits(tensor: Tensor, base: Tensor) -> bool:
    """Whether they can be combined: rows of the same shape, and of the same type or floats of two."""
    same_rows = len(tensor.shape) == len(base.shape) > 0 and tensor.shape[1:] == base.shape[1:]
    floats = tensor.dtype in FLOATS and base.dtype in FLOATS
    return (same_rows or tensor.shape == base.shape) and (floats or tensor.dtype == base.dtype)


def header(tensors: Sequence[tuple[str, str, tuple[int, ...]]]) -> bytes:
    """The header of a safetensors file of tensors (name, type, shape), one behind the other."""
    entries: dict[str, Any] = {"__metadata__": {"format": "pt"}}
    at = 0
    for name, dtype, shape in tensors:
        end = at + SIZES[dtype] * int(np.prod(shape, dtype=np.int64))
        entries[name] = {"dtype": dtype, "shape": list(shape), "data_offsets": [at, end]}
        at = end
    text = json.dumps(entries, separators=(",", ":")).encode()
    return text + b" " * (-len(text) % 8)


def write(
    path: Path,
    text: bytes,
    pairs: Sequence[Pair],
    combine: Combine,
    *,
    done: Callable[[int], None],
    read: Callable[[Pair, str], None] = lambda pair, digest: None,
    source: bytes = b"",
) -> Written:
    """Write the file `path`: the header `text`, then of each pair what `combine` makes of it.

    `done` is told of bytes, `read` of each pair that has a base with the SHA-256 of what was read of that. `source`:
    the header of the file whose tensors these are, so that it is hashed whole.

    Raises:
        InputError: a file that is read ends too early; what `read` raises.
    """
    part = path.with_name(f".{path.name}{PART}")
    part.parent.mkdir(parents=True, exist_ok=True)
    of_out = hashlib.sha256(len(text).to_bytes(8, "little") + text)
    of_source = hashlib.sha256(len(source).to_bytes(8, "little") + source)
    with ExitStack() as stack:
        out = stack.enter_context(part.open("wb"))
        hashing = stack.enter_context(ThreadPoolExecutor(3))
        # The same memory for every piece: new pages take longer to get than all that is done with them.
        room = [np.empty(8 * PIECE, np.uint8) for _ in range(3)]
        opened = cache(lambda path: stack.enter_context(path.open("rb", buffering=0)))
        out.write(len(text).to_bytes(8, "little") + text)
        for pair in pairs:
            of_base = hashlib.sha256()
            for given, base in _pieces(pair, opened, room):
                waiting = [hashing.submit(of_source.update, given.data)]
                made = given
                if base is not None and pair.base:
                    waiting.append(hashing.submit(of_base.update, base.data))
                    made = combine(given, base, pair.tensor.dtype, pair.base.dtype, room[2])
                waiting.append(hashing.submit(of_out.update, made.data))
                out.write(made.data)
                for one in waiting:
                    one.result()
                done(len(made))
            if pair.base:
                read(pair, of_base.hexdigest())
    size = part.stat().st_size
    settle(part, path)
    return Written(of_out.hexdigest(), size, of_source.hexdigest())


def _pieces(pair: Pair, opened: Callable[[Path], BinaryIO], room: list[Bytes]) -> Iterator[tuple[Bytes, Bytes | None]]:
    """Words of the tensor and, as far as it has them, of the base. What was given before is overwritten."""
    at = 0
    while at < pair.tensor.count:
        end = min(at + PIECE, pair.shared if at < pair.shared else pair.tensor.count)
        given = pair.tensor.read(at, end, opened, room[0])
        yield given, (pair.base.read(at, end, opened, room[1]) if pair.base and at < pair.shared else None)
        at = end


def each_file(
    job: Job, files: Sequence[Path], pairs: Mapping[str, Pair], one: Callable[[Path, Done], Json]
) -> dict[str, Json]:
    """What `one` tells of each file; one that an earlier run finished is not made again."""
    found: dict[str, Json] = {}
    size = sum(pair.tensor.size for pair in pairs.values())
    with progress(job.kind, size // MB, "MB") as advance:
        at = 0

        def done(n: int) -> None:
            nonlocal at
            if whole := (at + n) // MB - at // MB:
                advance(whole)
            at += n

        for path in files:
            record = job.work / "files" / f"{path.name}.json"
            if record.exists():
                found[path.name] = json.loads(record.read_text())
                done(found[path.name]["bytes"])
            else:
                found[path.name] = one(path, done)
                write_json(record, found[path.name])
            part = found[path.name]
            job.shard_files[part["name"]] = {"sha256": part["sha256"], "bytes": part["bytes"]}
    return found


def save(job: Job, tensors: Sequence[Tensor], limit: int = SHARD) -> int:
    """Write a checkpoint's weights, in files of `limit` bytes at most, as transformers names them; how many files."""
    files = _files(tensors, limit)
    pairs = {tensor.name: Pair(tensor, None) for tensor in tensors}

    def one(path: Path, done: Done) -> Json:
        own = files[path.name]
        text = header([(tensor.name, tensor.dtype, tensor.shape) for tensor in own])
        parts = [pairs[tensor.name] for tensor in own]
        return write(job.out / path.name, text, parts, lambda given, *_: given, done=done).named(path.name)

    each_file(job, [Path(name) for name in files], pairs, one)
    if len(files) > 1:
        total = {"total_size": sum(tensor.size for tensor in tensors)}
        weights = {tensor.name: name for name, part in files.items() for tensor in part}
        write_json(job.out / INDEX, {"metadata": total, "weight_map": weights})
    return len(files)


def _files(tensors: Sequence[Tensor], limit: int) -> dict[str, list[Tensor]]:
    found: list[list[Tensor]] = [[]]
    for tensor in tensors:
        if found[-1] and sum(one.size for one in found[-1]) + tensor.size > limit:
            found.append([])
        found[-1].append(tensor)
    if len(found) == 1:
        return {f"model{SUFFIX}": found[0]}
    return {f"model-{n:05d}-of-{len(found):05d}{SUFFIX}": part for n, part in enumerate(found, 1)}
