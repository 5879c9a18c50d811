"""Picked records: spread, unique, the same every time, whatever the row groups."""

from pathlib import Path

import pyarrow as pa
import pyarrow.parquet as pq
from hypothesis import given, settings
from hypothesis import strategies as st

from llavamed.pick import pick


def write(folder: Path, rows: list[dict], group: int, parts: int) -> list[Path]:
    schema = pa.schema([("pair_id", pa.string()), ("kind", pa.string()), ("image", pa.binary())])
    files = []
    for n in range(parts):
        files.append(folder / f"{n}.parquet")
        pq.write_table(pa.Table.from_pylist(rows[n::parts], schema), files[-1], row_group_size=group)
    return files


def rows_of(kinds: list[int]) -> list[dict]:
    return [{"pair_id": f"p{n}", "kind": f"k{kind}", "image": b"%d" % n} for n, kind in enumerate(kinds)]


@settings(deadline=None)
@given(st.lists(st.integers(0, 4), max_size=40), st.integers(1, 12), st.integers(1, 7), st.integers(1, 3))
def test_spread_and_independent_of_the_layout(tmp_path_factory, kinds, n, group, parts):
    rows = rows_of(kinds)
    folder = tmp_path_factory.mktemp("a")
    found = pick(write(folder, rows, group, parts), n, lambda row: row["kind"], ["kind"])
    assert found == pick(write(folder, rows, 100, 1), n, lambda row: row["kind"], ["kind"])
    assert all(row in rows for row in found)
    assert len(found) == min(n, len(rows)) == len({row["pair_id"] for row in found})
    counts = {kind: sum(row["kind"] == kind for row in found) for kind in {row["kind"] for row in rows}}
    left = {kind for kind, count in counts.items() if count < sum(row["kind"] == kind for row in rows)}
    assert all(counts[kind] >= max(counts.values()) - 1 for kind in left)


def test_a_key_only_once(tmp_path):
    rows = [row | {"pair_id": f"p{n // 3}"} for n, row in enumerate(rows_of([0, 1, 2] * 5))]
    found = pick(write(tmp_path, rows, 4, 2), 9, lambda row: row["kind"], ["kind"])
    assert sorted(row["pair_id"] for row in found) == ["p0", "p1", "p2", "p3", "p4"]
    assert {row["kind"] for row in found} == {"k0", "k1", "k2"}


def test_nothing_to_pick(tmp_path):
    assert pick([], 5, str, ["kind"]) == []
    assert pick(write(tmp_path, [], 5, 2), 5, str, ["kind"]) == []
