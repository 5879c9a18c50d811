"""The same training however a step is cut into rows, wherever it was killed, and however pictures are read."""

import json
import math
import multiprocessing
import os
import signal

import pytest
from small_talk import picture, publish, row, turns

from llavamed.train import loop, state
from llavamed.train.loop import train
from llavamed.train.stage import Stage

STAGE = Stage(name="instruct", batch_size=5, epochs=2, learning_rate=1e-3, precision="fp32")


@pytest.fixture(scope="module")
def questions(tmp_path_factory):
    """Twelve conversations about four pictures."""
    rows = [
        row(n, image=picture(n // 3), conversations=turns("<image>\nWhat" + " is it" * (n % 5), "A scan." + " No." * n))
        for n in range(12)
    ]
    return publish(tmp_path_factory.mktemp("questions") / "data", rows)


@pytest.fixture(scope="module")
def undisturbed(tiny, questions, tmp_path_factory):
    folder = tmp_path_factory.mktemp("undisturbed") / "model"
    train(tiny, questions, folder, STAGE)
    return folder


def logged(folder):
    return [json.loads(line) for line in (folder / "loss.jsonl").read_text().splitlines()]


def same_losses(left, right):
    assert len(logged(left)) == len(logged(right)) == 6
    for ours, theirs in zip(logged(left), logged(right), strict=True):
        for key in ("loss", "grad_norm"):
            assert ours[key] == pytest.approx(theirs[key], rel=1e-5)
        for key in ("lr", "conversation_tokens", "labelled_tokens"):
            assert ours[key] == theirs[key]


@pytest.mark.parametrize(("row_tokens", "rows"), [(8, 24), (130, 20), (200, 11)])
def test_however_many_rows_a_step_has(row_tokens, rows, tiny, questions, undisturbed, tmp_path, monkeypatch):
    seen, compute = [], loop.row_loss
    monkeypatch.setattr(loop, "row_loss", lambda *args: (seen.append(args), compute(*args))[1])
    train(tiny, questions, tmp_path / "a", STAGE.model_copy(update={"row_tokens": row_tokens}))
    assert len(seen) == rows
    same_losses(tmp_path / "a", undisturbed)


def test_rows_add_up_in_bf16_too(tiny, questions, undisturbed, tmp_path):
    train(tiny, questions, tmp_path / "a", STAGE.model_copy(update={"precision": "bf16", "row_tokens": 8}))
    for ours, theirs in zip(logged(tmp_path / "a"), logged(undisturbed), strict=True):
        assert ours["loss"] == pytest.approx(theirs["loss"], rel=1e-2)
        assert ours["grad_norm"] == pytest.approx(theirs["grad_norm"], rel=0.1)


def killed(step, arguments):
    """Train until `step` is done and saved, then die."""
    import torch

    torch.set_num_threads(1)
    loop.SAVE_SECONDS, loop.SAVE_SHARE, save = 0, math.inf, state.save

    def save_and_die(*args):
        save(*args)
        if len(args[3]) == step:
            os.kill(os.getpid(), signal.SIGKILL)

    state.save = save_and_die
    train(*arguments)


@pytest.mark.parametrize("step", range(1, 6))
def test_killed_after_any_step_it_ends_with_the_same_bytes(step, tiny, questions, undisturbed, tmp_path):
    import torch

    arguments = (tiny, questions, tmp_path / "a", STAGE)
    how = "spawn" if torch.cuda.is_available() else "fork"  # CUDA does not outlive a fork
    process = multiprocessing.get_context(how).Process(target=killed, args=(step, arguments))
    process.start()
    process.join(100)
    assert process.exitcode == -signal.SIGKILL
    train(*arguments)
    for name in ("model.safetensors", "loss.jsonl", "seen.parquet"):
        assert (tmp_path / "a" / name).read_bytes() == (undisturbed / name).read_bytes()


def test_pictures_decoded_for_each_row_or_kept_as_features(tiny, questions, undisturbed, tmp_path):
    train(tiny, questions, tmp_path / "a", STAGE.model_copy(update={"cache_features": False}))
    same_losses(tmp_path / "a", undisturbed)


def test_layers_computed_again_for_the_gradient(tiny, questions, undisturbed, tmp_path):
    train(tiny, questions, tmp_path / "a", STAGE.model_copy(update={"checkpointing": True}))
    same_losses(tmp_path / "a", undisturbed)


def test_logits_a_few_at_a_time(tiny, questions, undisturbed, tmp_path, monkeypatch):
    monkeypatch.setattr(loop, "LOGITS", 7)
    train(tiny, questions, tmp_path / "a", STAGE)
    same_losses(tmp_path / "a", undisturbed)


def test_a_picture_is_computed_once_for_its_questions(undisturbed):
    for entry in logged(undisturbed):
        assert entry["tokens"] < entry["conversation_tokens"]
        assert 0 < entry["labelled_tokens"] < entry["tokens"]


def test_a_vision_tower_can_be_trained(tiny, questions, tmp_path):
    from safetensors.torch import load_file

    train(tiny, questions, tmp_path / "a", Stage(**STAGE.model_dump() | {"vision": "full"}))
    before, after = (load_file(folder / "model.safetensors") for folder in (tiny, tmp_path / "a"))
    moved = {name.split(".")[0] for name in before if not before[name].equal(after[name])}
    assert moved == {"vision_tower", "multi_modal_projector", "language_model"}
    assert logged(tmp_path / "a")[-1]["loss"] < logged(tmp_path / "a")[0]["loss"]
