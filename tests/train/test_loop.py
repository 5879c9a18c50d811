"""Training with the tiny model: what changes, what does not, and that no kill changes the result."""

import hashlib
import json
import os
import signal
import subprocess
import sys
from collections import Counter
from io import BytesIO

import pyarrow.parquet as pq
import pytest
from edited import edited
from PIL import Image
from small_talk import picture, publish, row, turns

from llavamed import artifact, storage
from llavamed.corpus.images import phash
from llavamed.errors import InputError
from llavamed.model import checkpoint
from llavamed.train.loop import train
from llavamed.train.seen import question_key
from llavamed.train.stage import Stage
from llavamed.train.tokens import messages
from llavamed.verify import rehash

ALIGN = Stage(name="align", batch_size=4, learning_rate=1e-2)
INSTRUCT = Stage(name="instruct", batch_size=4, epochs=2, learning_rate=1e-2, precision="fp32")


@pytest.fixture(scope="module")
def aligned(tiny, talk, tmp_path_factory):
    folder = tmp_path_factory.mktemp("aligned") / "model"
    return folder, train(tiny, talk, folder, ALIGN)


@pytest.fixture(scope="module")
def assistant(aligned, talk, tmp_path_factory):
    folder = tmp_path_factory.mktemp("assistant") / "model"
    return folder, train(aligned[0], talk, folder, INSTRUCT)


def changed(before, after) -> set[str]:
    """The parts of the model in which a weight differs."""
    from safetensors.torch import load_file

    old, new = (load_file(folder / "model.safetensors") for folder in (before, after))
    assert old.keys() == new.keys()
    return {name.split(".")[0] for name in old if not old[name].equal(new[name])}


def test_align_changes_the_projector_and_instruct_the_language_model_too(tiny, aligned, assistant):
    assert changed(tiny, aligned[0]) == {"multi_modal_projector"}
    assert changed(aligned[0], assistant[0]) == {"multi_modal_projector", "language_model"}


def test_the_loss_falls_and_is_written(assistant):
    folder, result = assistant
    log = [json.loads(line) for line in (folder / "loss.jsonl").read_text().splitlines()]
    assert [entry["step"] for entry in log] == list(range(1, result["steps"] + 1)) == [1, 2, 3, 4, 5, 6]
    assert result["loss_first"] == log[0]["loss"] > log[-1]["loss"] == result["loss_last"]
    assert result["useful_tokens"] == sum(entry["tokens"] for entry in log) == result["tokens"], "no picture twice"
    assert rehash(folder) == []


def test_seen_counts_every_conversation_of_both_stages(aligned, assistant, loaded):
    processor = loaded[1]
    seen = pq.read_table(assistant[0] / "seen.parquet").to_pylist()
    assert Counter((r["stage"], r["times_seen"]) for r in seen) == {("align", 1): 10, ("instruct", 2): 10}
    assert {r["id"] for r in seen} == {f"c{n}" for n in range(10)}
    assert {r["image_sha256"] for r in seen} == {hashlib.sha256(picture(n)["bytes"]).hexdigest() for n in range(10)}
    with Image.open(BytesIO(picture(0)["bytes"])) as image:
        assert {r["image_phash"] for r in seen if r["id"] == "c0"} == {phash(image)}
    asked = (question_key("What is it"), question_key("is it red?"))
    assert {tuple(r["questions"]) for r in seen if r["id"] == "c0"} == {asked}
    for one in seen:
        chat = messages(row(int(one["id"][1:]))["conversations"])
        whole = processor(images=Image.new("RGB", (9, 9)), text=processor.apply_chat_template(chat))["input_ids"][0]
        assert one["image_tokens"] == whole.count(processor.image_token_id) == 8
        assert one["text_tokens"] == len(whole) - 8
    assert sum(r["times_seen"] * (r["text_tokens"] + r["image_tokens"]) for r in seen) == (
        aligned[1]["useful_tokens"] + assistant[1]["useful_tokens"]
    )


def test_bf16_trains_and_keeps_the_stored_type(tiny, talk, tmp_path, aligned):
    train(tiny, talk, tmp_path / "a", ALIGN.model_copy(update={"precision": "bf16"}))
    assert changed(tiny, tmp_path / "a") == {"multi_modal_projector"}
    assert checkpoint.load(tmp_path / "a")[0].dtype == checkpoint.load(tiny)[0].dtype


WITHOUT_TORCH = """
import sys
from pathlib import Path
sys.modules["torch"] = None
from llavamed.train import loop
model, data, folder, stage = sys.argv[1:]
loop.train(Path(model), Path(data), Path(folder), loop.Stage.model_validate_json(stage))
"""


def test_it_says_what_it_loads_before_pytorch_is_there(tiny, talk, tmp_path):
    arguments = [str(tiny), str(talk), str(tmp_path / "model"), ALIGN.model_dump_json()]
    ended = subprocess.run([sys.executable, "-c", WITHOUT_TORCH, *arguments], capture_output=True, text=True)
    assert ended.stderr.startswith(f"loading PyTorch and {tiny}\n"), ended.stderr
    assert "import of torch halted" in ended.stderr


KILLED = """
import os, signal, sys, torch
from pathlib import Path
from llavamed.train import loop, state
torch.set_num_threads(1)
loop.SAVE_SECONDS, loop.SAVE_SHARE = 0, 1e9
write, saved = state.write_json, []
def write_then_die(path, value):
    saved.append(path)
    if len(saved) == 3:  # the third state's tensors are written, it does not count yet
        os.kill(os.getpid(), signal.SIGKILL)
    write(path, value)
state.write_json = write_then_die
model, data, folder, stage = sys.argv[1:]
loop.train(Path(model), Path(data), Path(folder), loop.Stage.model_validate_json(stage))
"""


def test_killed_and_started_again_it_ends_with_the_same_weights(aligned, assistant, talk, tmp_path):
    folder = tmp_path / "again"
    arguments = [str(aligned[0]), str(talk), str(folder), INSTRUCT.model_dump_json()]
    killed = subprocess.run(
        [sys.executable, "-c", KILLED, *arguments], env={**os.environ, "OMP_NUM_THREADS": "1"}, capture_output=True
    )
    assert killed.returncode == -signal.SIGKILL, killed.stderr.decode()
    state = json.loads((folder / ".job" / "state" / "state.json").read_text())
    assert len(state["log"]) == 2
    assert not (folder / "manifest.json").exists()
    result = train(aligned[0], talk, folder, INSTRUCT)
    assert result["hash"] == assistant[1]["hash"]
    for name in ("loss.jsonl", "seen.parquet", "README.md"):
        assert (folder / name).read_bytes() == (assistant[0] / name).read_bytes()
    assert not (folder / ".job").exists()


def test_a_finished_stage_is_not_trained_again(aligned, talk, tiny):
    before = (aligned[0] / "manifest.json").stat().st_mtime_ns
    code = (
        "import sys; from pathlib import Path; from llavamed.train.loop import Stage, train;"
        "m, d, f, s = sys.argv[1:]; train(Path(m), Path(d), Path(f), Stage.model_validate_json(s));"
        "assert 'torch' not in sys.modules and 'transformers' not in sys.modules"
    )
    call = [sys.executable, "-c", code, str(tiny), str(talk), str(aligned[0]), ALIGN.model_dump_json()]
    subprocess.run(call, check=True)
    assert (aligned[0] / "manifest.json").stat().st_mtime_ns == before


def test_bad_conversations_are_excluded_and_counted(tiny, tmp_path):
    rows = [
        row(0),
        row(1, conversations=turns("<image>\nWhat?")),
        row(2, conversations=turns("<image><image>\nWhat?", "CT")),
        row(3, image={"bytes": b"no picture", "path": "x"}),
        row(4, conversations=turns("<image>\n" + "what? " * 200, "CT")),
        row(5),
        row(6, "validation", image={"bytes": b"never read", "path": "x"}),
    ]
    data = publish(tmp_path / "data", rows)
    train(tiny, data, tmp_path / "a", ALIGN.model_copy(update={"max_length": 300}))
    reasons = {"no_answer": 1, "not_one_image": 1, "unreadable_image": 1, "too_long": 1}
    counts = artifact.read_manifest(tmp_path / "a")["counts"]["conversations"]
    assert counts == {"in": 6, "kept": 2, "excluded": reasons}
    lost = list(storage.read_rows(tmp_path / "a", "excluded"))
    assert {r["id"]: r["reason"] for r in lost} == {
        "c1": "no_answer", "c2": "not_one_image", "c3": "unreadable_image", "c4": "too_long"
    }  # fmt: skip
    assert all(r["detail"] for r in lost)
    assert [r["id"] for r in pq.read_table(tmp_path / "a" / "seen.parquet").to_pylist()] == ["c0", "c5"]


def test_nothing_to_train_on_is_said_before_the_work(tiny, talk, tmp_path):
    held_out = publish(tmp_path / "held_out", [row(0, "test")])
    useless = publish(tmp_path / "useless", [row(0, conversations=turns("<image>\nWhat?"))])
    for data, message in (
        (held_out, "train split"),
        (useless, "no_answer"),
        (tiny, "kind model"),
        (tmp_path, "manifest"),
    ):
        with pytest.raises(InputError, match=message):
            train(tiny, data, tmp_path / "a", ALIGN)
    with pytest.raises(InputError, match="device tpu"):
        train(tiny, talk, tmp_path / "a", ALIGN, device="tpu")


def test_a_missing_tensor_stops_before_the_first_step_and_leaves_the_folder_free(tiny, talk, tmp_path):
    from safetensors.torch import load_file, save_file

    def lose_one(folder):
        weights = load_file(folder / "model.safetensors")
        del weights["multi_modal_projector.linear_2.weight"]
        save_file(weights, folder / "model.safetensors", metadata={"format": "pt"})

    broken = edited(tiny, tmp_path / "broken", lose_one)
    with pytest.raises(InputError, match=r"missing weight .*multi_modal_projector\.linear_2\.weight"):
        train(broken, talk, tmp_path / "a", ALIGN)
    assert train(tiny, talk, tmp_path / "a", ALIGN)["steps"] == 3
