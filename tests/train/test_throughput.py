"""The training benchmark, small: both sides run, by turns, and compute the same loss."""

import importlib
import sys
from pathlib import Path

import pytest

from small_benchmarks import save, write

pytest.importorskip("torch")
BENCHMARKS = Path(__file__).parents[2] / "benchmarks"


@pytest.fixture
def bench(monkeypatch):
    monkeypatch.syspath_prepend(str(BENCHMARKS))
    yield importlib.import_module("train_throughput")
    for name in ("train_throughput", "instruct_7b", "hf_trainer", "turns"):
        sys.modules.pop(name, None)


def test_both_sides_train_the_same(bench, tiny, tmp_path):
    source = tmp_path / "vqa_rad"
    save(source / "images", *(f"{n}.jpg" for n in range(3)))
    rows = [
        {"qid": n, "image_name": f"{n % 3}.jpg", "image_organ": "HEAD", "answer": answer, "answer_type": "CLOSED",
         "question_type": "PRES", "question": f"Is there anything {'very ' * (n % 4)}{n}?", "phrase_type": "freeform"}
        for n, answer in enumerate(["Yes", "No"] * 6)
    ]  # fmt: skip
    write(source / "trainset.json", rows)
    options = ["--limit", "2", "--batch-size", "4", "--batches", "1", "2", "--few", "4", "--threads", "1"]
    result = bench.main([str(source), "--model", str(tiny), "--json", str(tmp_path / "out.json"), *options])
    assert (result["conversations"], result["pictures"]) == (8, 2)
    assert result["steps"] == {"ours": 2, "Trainer": 2}
    assert result["same_loss"]["difference"] < 1e-4
    assert result["useful_share"]["ours"] > result["useful_share"]["Trainer"]
    assert result["padding"]["ours"] == 0
    assert all(seconds > 0 for seconds in result["seconds"].values())
    assert (tmp_path / "out.json").exists()


def test_the_path_of_a_large_model(bench):
    import torch

    seven = importlib.import_module("instruct_7b")
    result = seven.main(["--small", "--steps", "4", "--batch-size", "4", "--batches", "2"])
    assert result["layers"] == 2
    assert all(rate > 0 for rate in result["tokens_a_second"].values())
    share = 0.0 if torch.cuda.is_available() else None  # of two layers of nothing; a CPU has none
    assert result["mfu"] == {"ours": share, "Trainer": share}
