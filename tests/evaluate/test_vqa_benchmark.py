"""The difference over open and closed questions together, and what stands in a score."""

import importlib
from pathlib import Path

import pytest

BENCHMARKS = Path(__file__).parents[2] / "benchmarks"


@pytest.fixture
def bench(monkeypatch):
    monkeypatch.syspath_prepend(str(BENCHMARKS))
    return importlib.import_module("vqa")


def closed(picture: str, right: bool, blank: bool) -> dict:
    return {"pair_id": picture, "kind": "closed", "right": right, "blank_right": blank}


def opened(picture: str, recall: float, blank: float) -> dict:
    return {"pair_id": picture, "kind": "open", "recall": recall, "blank_recall": blank}


def test_gap_counts_open_and_closed(bench):
    rows = [closed("a", True, False), closed("b", True, True), opened("a", 0.5, 0.0), opened("b", 0.25, 0.25)]
    value, low, high = bench.gap(rows, "blank")
    assert value == pytest.approx(37.5)
    assert (low, high) == pytest.approx((0, 75))  # both pictures are b, or both are a


def test_no_gap_where_the_picture_does_not_matter(bench):
    rows = [closed("a", True, True), opened("b", 0.5, 0.5)]
    assert bench.gap(rows, "blank") == [0, 0, 0]
