"""What training refuses before its first step: models and states that do not fit."""

import json
import math
import shutil

import pytest
from edited import edited
from small_talk import publish, row, turns

from llavamed import storage
from llavamed.errors import InputError
from llavamed.train import loop, state
from llavamed.train.stage import Stage, check_window

ALIGN = Stage(name="align", batch_size=4, learning_rate=1e-2)


def rename_model(folder):
    config = json.loads((folder / "config.json").read_text())
    storage.write_json(folder / "config.json", config | {"model_type": "bert"})


def add_words(folder):
    """A tokenizer with more words than the embedding has rows, the last of them CTCTCT."""
    rows = json.loads((folder / "config.json").read_text())["text_config"]["vocab_size"]
    path = folder / "tokenizer.json"
    words = json.loads(path.read_text())
    like = {**words["added_tokens"][-1], "special": False}
    for number in range(like["id"] + 1, rows + 1):
        words["added_tokens"].append({**like, "id": number, "content": "CT" * 3 if number == rows else f"[{number}]"})
    storage.write_json(path, words)


def test_a_model_that_is_no_llava(tiny, talk, tmp_path):
    other = edited(tiny, tmp_path / "other", rename_model)
    with pytest.raises(InputError, match="not of a LLaVA model"):
        loop.train(other, talk, tmp_path / "a", ALIGN)
    assert not (tmp_path / "a").exists()


def move_the_picture(folder):
    config = json.loads((folder / "config.json").read_text())
    name = "image_token_index" if "image_token_index" in config else "image_token_id"
    storage.write_json(folder / "config.json", config | {name: 7})


def test_a_model_that_takes_another_token_for_the_picture(tiny, talk, tmp_path):
    other = edited(tiny, tmp_path / "other", move_the_picture)
    with pytest.raises(InputError, match=r"token \d+ stands for the picture .+ and 7 in its config\.json"):
        loop.train(other, talk, tmp_path / "a", ALIGN)
    assert not (tmp_path / "a").exists()


def test_a_token_that_the_embedding_does_not_hold(tiny, tmp_path):
    larger = edited(tiny, tmp_path / "larger", add_words)
    rows = [row(n) for n in range(4)] + [row(4, conversations=turns("<image>\nWhat?", "A CTCTCT."))]
    data = publish(tmp_path / "data", rows)
    with pytest.raises(InputError, match=r"conversation c4: token \d+ \(CTCTCT\), and the embedding has \d+ rows"):
        loop.train(larger, data, tmp_path / "a", ALIGN)
    assert not (tmp_path / "a").exists()
    assert loop.train(larger, publish(tmp_path / "short", rows[:4]), tmp_path / "a", ALIGN)["steps"] == 1


def slide(layers, window=64):
    """A window in the language model's configuration, as Qwen writes it, or (without `layers`) Mistral."""

    def edit(folder):
        config = json.loads((folder / "config.json").read_text())
        config["text_config"] |= {"sliding_window": window} | ({"layer_types": layers} if layers else {})
        storage.write_json(folder / "config.json", config)

    return edit


@pytest.mark.parametrize("layers", [None, ["full_attention", "sliding_attention"]])
def test_a_window_that_is_smaller_than_a_conversation(layers, tiny, talk, tmp_path):
    other = edited(tiny, tmp_path / "other", slide(layers))
    with pytest.raises(InputError, match=r"sees 64 tokens .* max_length is 2048: set max_length: 64 or less"):
        loop.train(other, talk, tmp_path / "a", ALIGN)
    assert not (tmp_path / "a").exists()


def test_a_window_that_no_conversation_fills(tiny, tmp_path):
    check_window(edited(tiny, tmp_path / "wide", slide(None)), 64)
    check_window(edited(tiny, tmp_path / "unused", slide(["full_attention"] * 2)), 2048)
    check_window(tiny, 2048)


@pytest.fixture(scope="module")
def begun(tiny, talk, tmp_path_factory):
    """A run that stopped after its second step, with its state."""
    folder = tmp_path_factory.mktemp("begun") / "model"
    stop_after(2, lambda: loop.train(tiny, talk, folder, ALIGN))
    return folder


def stop_after(steps, work):
    save, saved = state.save, []

    def save_then_stop(*arguments):
        save(*arguments)
        saved.append(arguments)
        if len(saved) == steps:
            raise KeyboardInterrupt

    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(loop, "SAVE_SECONDS", 0)
        patch.setattr(loop, "SAVE_SHARE", math.inf)
        patch.setattr(state, "save", save_then_stop)
        with pytest.raises(KeyboardInterrupt):
            work()


def test_a_state_of_another_run_is_refused(tiny, talk, tmp_path, begun):
    other = ALIGN.model_copy(update={"seed": 1})
    stop_after(1, lambda: loop.train(tiny, talk, tmp_path / "a", other))
    shutil.rmtree(tmp_path / "a/.job/state")
    shutil.copytree(begun / ".job/state", tmp_path / "a/.job/state")
    with pytest.raises(InputError, match=r"state cannot be gone on with \(it is of another run.*remove it"):
        loop.train(tiny, talk, tmp_path / "a", other)
    shutil.rmtree(tmp_path / "a/.job/state")
    assert loop.train(tiny, talk, tmp_path / "a", other)["steps"] == 3


@pytest.mark.parametrize("damage", ["state.json", "*.distcp"])
def test_a_damaged_state_is_refused(tiny, talk, tmp_path, begun, damage):
    shutil.copytree(begun, tmp_path / "a")
    for path in (tmp_path / "a/.job/state").rglob(damage):
        path.write_bytes(path.read_bytes()[:50])
    with pytest.raises(InputError, match=r"state cannot be gone on with \(.+\): remove it"):
        loop.train(tiny, talk, tmp_path / "a", ALIGN)


def test_conversations_without_pictures(tiny, tmp_path):
    data = publish(tmp_path / "set", [row(n, image=None) for n in range(3)])
    with pytest.raises(InputError, match=r"the first: no_image\): import it with its pictures"):
        loop.train(tiny, data, tmp_path / "a", ALIGN)
    assert not (tmp_path / "a").exists()
