"""Two processes train as one does, whatever is killed, and an error of one ends both."""

import json
import math
import multiprocessing
import os
import re
import shutil
import signal
import socket
import time
import types
from itertools import islice

import pytest
from small_talk import publish, row

from llavamed import storage
from llavamed.errors import InputError
from llavamed.train import loop, parallel, state
from llavamed.train.stage import Stage
from llavamed.verify import rehash

STAGE = Stage(name="instruct", batch_size=4, epochs=2, learning_rate=1e-2, precision="fp32", row_tokens=220)
ROWS = {1: 512, 2: 220, 4: 112}  # rows of a step of four: their tokens
LATE = 60.0  # seconds after which a rank hangs


def start(ranks, work, *args):
    """`ranks` processes at `work(*args)`, as torchrun would start them."""
    import torch

    if torch.cuda.is_available():
        pytest.skip("CUDA does not go with forks: run with CUDA_VISIBLE_DEVICES= (empty)")
    fork = multiprocessing.get_context("fork")  # torch is read already
    with socket.create_server(("localhost", 0)) as free:
        port = free.getsockname()[1]
    processes = [fork.Process(target=_rank, args=(one, ranks, port, work, args)) for one in range(ranks)]
    for process in processes:
        process.start()
    return processes


def end(processes):
    """How each ended: its exit code, -9 where it was killed."""
    until = time.monotonic() + LATE
    for process in processes:
        process.join(until - time.monotonic())
    codes = [process.exitcode for process in processes]
    for process in processes:
        process.kill()
    return codes


def _rank(rank, ranks, port, work, args):
    import torch

    torch.set_num_threads(1)
    os.environ |= {"RANK": str(rank), "LOCAL_RANK": str(rank), "WORLD_SIZE": str(ranks), "MASTER_PORT": str(port)}
    os.environ["MASTER_ADDR"] = "localhost"
    try:
        work(*args)
    except InputError as error:
        print(f"error: {error}")
        raise SystemExit(2) from None


def train(model, data, folder, stage=STAGE, device="auto"):
    loop.train(model, data, folder, stage, device=device)


def losses(folder):
    log = [json.loads(line) for line in (folder / "loss.jsonl").read_text().splitlines()]
    return [entry["loss"] for entry in log], [entry["grad_norm"] for entry in log]


def weights(folder):
    from safetensors.torch import load_file

    return load_file(folder / "model.safetensors")


@pytest.fixture(scope="module")
def alone(tiny, talk, tmp_path_factory):
    folder = tmp_path_factory.mktemp("alone") / "model"
    train(tiny, talk, folder)
    return folder


@pytest.fixture(scope="module")
def pair(tiny, talk, tmp_path_factory):
    folder = tmp_path_factory.mktemp("pair") / "model"
    assert end(start(2, train, tiny, talk, folder)) == [0, 0]
    return folder


def same_training(left, right, within=1e-5):
    import torch

    assert [*map(len, losses(left))] == [6, 6]
    for ours, theirs in zip(losses(left), losses(right), strict=True):
        assert ours == pytest.approx(theirs, rel=within)
    one, other = weights(left), weights(right)
    for name in one:
        torch.testing.assert_close(one[name], other[name], atol=10 * within, rtol=100 * within)


def test_two_train_as_one(alone, pair):
    same_training(pair, alone)
    assert rehash(pair) == []


@pytest.mark.parametrize("rows", [1, 4])
def test_however_a_step_is_cut_into_rows(rows, tiny, talk, alone, tmp_path):
    cut = STAGE.model_copy(update={"row_tokens": ROWS[rows]})
    train(tiny, talk, tmp_path / "one", cut)
    assert end(start(2, train, tiny, talk, tmp_path / "two", cut)) == [0, 0]
    same_training(tmp_path / "one", alone)
    same_training(tmp_path / "two", alone)


@pytest.mark.parametrize(
    ("precision", "within"), [("fp32", 1e-5), ("bf16", 0.1)]
)  # bf16 rounds otherwise in another order, and it grows
def test_adapters_and_a_trained_vision_tower(precision, within, tiny, talk, tmp_path):
    parts = {"vision": "full", "language": {"train": "lora", "learning_rate": 1e-3}, "checkpointing": True}
    stage = Stage.model_validate(STAGE.model_dump() | parts | {"precision": precision})
    train(tiny, talk, tmp_path / "one", stage)
    assert end(start(2, train, tiny, talk, tmp_path / "two", stage)) == [0, 0]
    same_training(tmp_path / "two", tmp_path / "one", within)


def dies_at_the_third_state(*args):
    loop.SAVE_SECONDS, loop.SAVE_SHARE = 0, math.inf  # at every step
    save, saved = state.save, []

    def save_or_die(*args):
        saved.append(args)
        if len(saved) == 3 and parallel.rank() == parallel.world() - 1:
            os.kill(os.getpid(), signal.SIGKILL)
        save(*args)

    state.save = save_or_die
    train(*args)


def test_killed_it_goes_on_with_any_number_of_ranks(tiny, talk, alone, pair, tmp_path):
    codes = end(start(2, dies_at_the_third_state, tiny, talk, tmp_path / "two"))
    assert codes[1] == -signal.SIGKILL and codes[0] not in (0, None)
    left = tmp_path / "two" / ".job" / "state"
    assert len(json.loads((left / "state.json").read_text())["log"]) == 2
    shutil.copytree(tmp_path / "two", tmp_path / "one")
    assert end(start(2, train, tiny, talk, tmp_path / "two")) == [0, 0]
    train(tiny, talk, tmp_path / "one")
    same_training(tmp_path / "one", pair)
    for name in ("model.safetensors", "loss.jsonl", "seen.parquet", "README.md"):
        assert (tmp_path / "two" / name).read_bytes() == (pair / name).read_bytes()


def test_what_one_process_left_two_go_on_with(tiny, talk, pair, tmp_path):
    (process,) = start(1, dies_at_the_third_state, tiny, talk, tmp_path / "a")
    assert end([process]) == [-signal.SIGKILL]
    assert end(start(2, train, tiny, talk, tmp_path / "a")) == [0, 0]
    same_training(tmp_path / "a", pair)


def test_fewer_conversations_than_ranks(tiny, tmp_path, capfd):
    data = publish(tmp_path / "data", [row(0)])
    assert end(start(2, train, tiny, data, tmp_path / "a")) == [2, 2]
    assert capfd.readouterr().out.count("1 conversations and 2 processes") == 1
    assert not (tmp_path / "a").exists()


def unreadable_for_the_second(*args):
    from llavamed.train import data

    def read(*_):
        raise InputError("its disk is gone")

    if parallel.rank() == 1:
        data.read = read
    train(*args)


def skips_one_on_the_second(*args):
    from llavamed.train import data

    if parallel.rank() == 1:
        rows = storage.read_rows
        data.storage = types.SimpleNamespace(read_rows=lambda *a, **k: islice(rows(*a, **k), 9))
    train(*args)


def test_ranks_that_read_something_else_do_not_begin(tiny, talk, tmp_path, capfd):
    assert end(start(2, skips_one_on_the_second, tiny, talk, tmp_path / "a")) == [2, 2]
    assert capfd.readouterr().out.count("the processes read it differently") == 1


def test_an_error_of_one_is_told_once_and_ends_both(tiny, talk, tmp_path, capfd):
    begun = time.monotonic()
    assert end(start(2, unreadable_for_the_second, tiny, talk, tmp_path / "a")) == [2, 2]
    assert capfd.readouterr().out.count("its disk is gone (on ") == 1
    assert time.monotonic() - begun < 20


def test_a_loss_that_is_no_number_ends_both(tiny, talk, tmp_path, capfd):
    wild = STAGE.model_copy(update={"learning_rate": 1e30})
    assert end(start(2, train, tiny, talk, tmp_path / "a", wild)) == [1, 1]
    said = capfd.readouterr().err
    assert len(re.findall(r"Failed: step \d: the (?:loss|norm of the gradient) is (?:nan|inf), of", said)) == 1, said


def test_ranks_on_cpus_ask_for_no_gpu(tiny, talk, tmp_path, monkeypatch):
    import torch

    monkeypatch.setattr(torch.cuda, "device_count", lambda: 1)
    assert end(start(2, train, tiny, talk, tmp_path / "a", STAGE, "cpu")) == [0, 0]
