"""A few records of a large table to look at: spread over its groups, the same ones every time."""

import hashlib
from collections import defaultdict
from collections.abc import Callable, Sequence
from pathlib import Path

import pyarrow.parquet as pq

from llavamed.storage import ROWS_IN_GROUP, Json

Place = tuple[bytes, int, int]  # hash of the key, file, row


def pick(
    files: Sequence[Path],
    n: int,
    group: Callable[[Json], str],
    columns: Sequence[str],
    key: Sequence[str] = ("pair_id",),
    salt: str = "",
) -> list[Json]:
    """`n` whole rows of Parquet `files`, taken from the groups in turn, in each by hash of `key`; a key only once.

    Another `salt`, other rows. `group` sees the `columns` and the `key` alone; whole rows are read only from the row
    groups of those chosen.
    Returned group by group.
    """
    best: dict[str, dict[str, Place]] = defaultdict(dict)
    for number, path in enumerate(files):
        with pq.ParquetFile(path) as file:
            position = 0
            for batch in file.iter_batches(batch_size=ROWS_IN_GROUP, columns=[*key, *columns]):
                for row in batch.to_pylist():
                    name = repr([row[column] for column in key])
                    best[group(row)].setdefault(name, (_digest(salt + name), number, position))
                    position += 1
                for name, found in best.items():
                    best[name] = dict(sorted(found.items(), key=lambda item: item[1])[:n])
    chosen = _in_turn({name: list(found.items()) for name, found in sorted(best.items())}, n)
    rows = _read(files, [place for _, place in chosen])
    return [rows[file, row] for _, (_, file, row) in chosen]


def _digest(text: str) -> bytes:
    return hashlib.sha256(text.encode()).digest()


def _in_turn(groups: dict[str, list[tuple[str, Place]]], n: int) -> list[tuple[str, Place]]:
    """Up to `n` entries, one of each group in turn, no key twice; group by group."""
    taken: dict[str, list[tuple[str, Place]]] = {name: [] for name in groups}
    seen: set[str] = set()
    while len(seen) < n and any(groups.values()):
        for name, waiting in groups.items():
            while waiting and waiting[0][0] in seen:
                waiting.pop(0)
            if waiting and len(seen) < n:
                seen.add(waiting[0][0])
                taken[name].append(waiting.pop(0))
    return [entry for entries in taken.values() for entry in entries]


def _read(files: Sequence[Path], places: Sequence[Place]) -> dict[tuple[int, int], Json]:
    """(file, row) -> the whole row, a row group in memory at a time."""
    rows: dict[tuple[int, int], Json] = {}
    wanted: dict[int, list[int]] = defaultdict(list)
    for _, number, position in places:
        wanted[number].append(position)
    for number, positions in wanted.items():
        with pq.ParquetFile(files[number]) as file:
            start = 0
            for index in range(file.num_row_groups):
                end = start + file.metadata.row_group(index).num_rows
                here = [position for position in positions if start <= position < end]
                if here:
                    part = file.read_row_group(index).take([position - start for position in here])
                    rows.update(zip(((number, position) for position in here), part.to_pylist(), strict=True))
                start = end
    return rows
