"""What a training leaves to be seen, and how it stops at a loss that is no number."""

import json
import math
import subprocess
import sys

import pytest
from edited import edited

from llavamed import artifact
from llavamed.errors import Failed
from llavamed.train import loop
from llavamed.train.stage import Stage
from page_checks import check_safe

STAGE = Stage(name="align", batch_size=4, learning_rate=1e-2)


def lines(path) -> list[dict]:
    return [json.loads(line) for line in path.read_text().splitlines()]


@pytest.fixture(scope="module")
def trained(tiny, talk, tmp_path_factory):
    folder = tmp_path_factory.mktemp("trained") / "model"
    return folder, loop.train(tiny, talk, folder, STAGE)


def test_curves_and_times_are_in_the_artifact_and_not_in_its_hash(trained):
    folder, result = trained
    check_safe((folder / "training.html").read_text())
    loss, speed = lines(folder / "loss.jsonl"), lines(folder / "speed.jsonl")
    assert [one["step"] for one in loss] == [one["step"] for one in speed] == [1, 2, 3]
    assert [one["tokens"] for one in loss] == [one["tokens"] for one in speed]
    assert [one["conversation_tokens"] for one in loss] == [one["tokens_alone"] for one in speed]
    assert {"seconds", "tokens_per_second", "mfu", "memory_bytes"}.isdisjoint(loss[0])
    files = artifact.read_manifest(folder)["files"]
    assert {"training.html", "speed.jsonl", "loss.jsonl"} <= files.keys()
    content = {name: what for name, what in files.items() if name not in ("training.html", "speed.jsonl")}
    assert artifact.content_hash("model", content) == result["hash"]


@pytest.fixture
def breaks(monkeypatch):
    """The loss of the third row is no number."""
    rows, row_loss = [], loop.row_loss

    def broken(net, row, pictures):
        rows.append(row)
        return row_loss(net, row, pictures) * (math.nan if len(rows) == 3 else 1)

    monkeypatch.setattr(loop, "row_loss", broken)
    monkeypatch.setattr(loop, "SAVE_SECONDS", 0)
    monkeypatch.setattr(loop, "SAVE_SHARE", math.inf)


def test_it_stops_keeps_the_batch_and_goes_on(tiny, talk, trained, tmp_path, breaks, monkeypatch):
    folder = tmp_path / "model"
    with pytest.raises(Failed, match="step 3: the loss is nan, of conversations c"):
        loop.train(tiny, talk, folder, STAGE)
    batch = json.loads((folder / ".job/nan-step-3/batch.json").read_text())
    assert len(batch["records"]) == 2 and all(len(one["image_sha256"]) == 64 for one in batch["records"])
    assert "Step 2 of 3: stopped." in (folder / ".job/training.html").read_text()
    assert [one["step"] for one in json.loads((folder / ".job/state/state.json").read_text())["log"]] == [1, 2]
    assert loop.train(tiny, talk, folder, STAGE)["hash"] == trained[1]["hash"]  # the fault is gone
    assert (folder / "loss.jsonl").read_bytes() == (trained[0] / "loss.jsonl").read_bytes()
    assert [one["step"] for one in lines(folder / "speed.jsonl")] == [1, 2, 3]
    assert not list(folder.glob("**/nan-*"))


def infinite(folder):
    from safetensors.torch import load_file, save_file

    weights = load_file(folder / "model.safetensors")
    weights["multi_modal_projector.linear_2.bias"][0] = math.inf
    save_file(weights, folder / "model.safetensors", metadata={"format": "pt"})


def test_one_line_says_it_and_the_exit_code_is_1(trained, talk, tmp_path):
    broken = edited(trained[0], tmp_path / "broken", infinite)
    recipe = tmp_path / "recipe.yaml"
    recipe.write_text(
        "name: a\nmodel: {backbone: tiny}\ntrain:\n  align: {learning_rate: 0.01}\n  instruct: {learning_rate: 0.01}\n"
    )
    call = ["train", str(recipe), "--stage", "align", "--model", str(broken), "--data", str(talk), "-o", "a", "--quiet"]
    ended = subprocess.run(
        [sys.executable, "-c", "from llavamed.cli import main; main()", *call],
        cwd=tmp_path, capture_output=True, text=True,
    )  # fmt: skip
    assert ended.returncode == 1
    assert ended.stderr.startswith("error: step 1: the loss is nan, of conversations c")
    assert ended.stderr.count("\n") == 1


def test_tensorboard_has_its_events(tiny, talk, tmp_path):
    pytest.importorskip("tensorboard")
    from tensorboard.backend.event_processing.event_accumulator import EventAccumulator

    loop.train(tiny, talk, tmp_path / "model", STAGE, board=tmp_path / "board")
    events = EventAccumulator(str(tmp_path / "board"))
    events.Reload()
    shown = [event.value for event in events.Scalars("loss")]
    assert shown == pytest.approx([one["loss"] for one in lines(tmp_path / "model/loss.jsonl")])
