"""A model asked: the same bytes however often it was killed, and scores that can be recounted from the table."""

import signal
import subprocess
import sys
import time
from io import StringIO
from itertools import chain

import pytest
from rich.console import Console

from llavamed import artifact
from llavamed.errors import InputError
from llavamed.evaluate import generate as generating
from llavamed.evaluate.generate import Prompt, generate
from llavamed.evaluate.questions import questions_of
from llavamed.evaluate.vqa import evaluate, scores, table


@pytest.fixture(scope="module")
def scored(tiny, conversations, tmp_path_factory):
    folder = tmp_path_factory.mktemp("scored") / "scores"
    return folder, evaluate(tiny, conversations, folder, max_new_tokens=4, device="cpu")


def test_the_artifact_is_whole_and_its_scores_follow_from_its_table(scored, conversations, tiny):
    folder, result = scored
    manifest = artifact.read_manifest(folder)
    assert artifact.verify(folder) == []
    assert [entry["manifest"]["kind"] for entry in manifest["parents"]] == ["model", "conversations"]
    assert manifest["counts"] == {"questions": {"in": 14, "kept": 14, "excluded": {}}}
    rows = list(artifact.read_rows(folder))
    assert (result["n_open"], result["n_closed"], result["n_images"]) == (4, 10, 4)
    for prefix, part in (("", result), ("blank_", result["blank"]), ("majority_", result["majority"])):
        right = [row[f"{prefix}right"] for row in rows if row["kind"] == "closed"]
        assert part["strict"]["closed_accuracy"][0] == pytest.approx(100 * sum(right) / 10)
    kinds = [row["neighbour_right"] for row in rows if row["question_type"] == "kind of image"]
    assert result["by_question_type"]["kind of image"]["neighbour"][0] == 100 * sum(kinds) / len(kinds) == 100
    assert result["hash"] == manifest["hash"]
    assert result["data"] == artifact.read_manifest(conversations)["hash"]


def test_again_nothing_is_asked(scored, tiny, conversations, monkeypatch):
    folder, result = scored
    monkeypatch.setattr(generating, "ask", None)
    assert evaluate(tiny, conversations, folder, max_new_tokens=4) == result


def test_it_opens_as_a_dataset(scored):
    from datasets import load_dataset

    row = load_dataset(str(scored[0]), split="train")[0]
    assert row["image"].size == (40, 40)


def test_a_table_for_the_terminal(scored):
    console = Console(width=200, file=StringIO())
    console.print(table(scored[1]))
    text = console.file.getvalue()
    assert "4 open and 10 closed questions on 4 images" in text
    assert "kind of image" in text


def test_figures(conversations):
    questions = questions_of(conversations)
    right = [question.reference for question in questions]
    none: list[str | None] = [None] * len(questions)
    said = {"answer": right, "blank_answer": ["?"] * len(right), "majority_answer": none, "neighbour_answer": none}
    found = scores(questions, said)
    assert found["strict"]["closed_accuracy"] == found["difference"]["open_recall"] == [100, 100, 100]
    assert found["blank"]["strict"]["closed_accuracy"] == [0, 0, 0]
    assert found["majority"] is None
    assert found["by_question_type"]["choice"] == {
        "n": 2, "figure": "closed_accuracy", "strict": [100, 100, 100], "blank": [0, 0, 0],
        "difference": [100, 100, 100], "majority": None, "neighbour": None,
    }  # fmt: skip


def test_bad_records_are_excluded_with_a_reason(tiny, make_row, make_conversations, tmp_path):
    whole = make_row("test", 0)
    cut = {"bytes": whole["image"]["bytes"][:60], "path": None}
    rows = [whole, make_row("test", 2, image=cut), make_row("test", 4, image=None)]
    rows.append(make_row("test", 6, conversations=[{"from": "human", "value": "What is it?"}]))
    data = make_conversations(tmp_path / "set", rows)
    evaluate(tiny, data, tmp_path / "scores", max_new_tokens=1, limit=3, device="cpu")
    counts = artifact.read_manifest(tmp_path / "scores")["counts"]["questions"]
    assert counts == {
        "in": 13, "kept": 3, "excluded": {"no_image": 4, "no_reference": 1, "over_limit": 1, "unreadable_image": 4},
    }  # fmt: skip
    excluded = list(artifact.read_rows(tmp_path / "scores", "excluded"))
    assert len(excluded) == 10
    assert all(row["reason"] and row["question"] for row in excluded)


def test_wrong_calls(tiny, conversations, tmp_path):
    with pytest.raises(InputError, match="validation"):
        evaluate(tiny, conversations, tmp_path / "a", split="validation")
    with pytest.raises(InputError, match="is of kind conversations"):
        evaluate(conversations, conversations, tmp_path / "a")
    with pytest.raises(InputError, match="is of kind model"):
        evaluate(tiny, tiny, tmp_path / "a")
    with pytest.raises(InputError, match="gpu9"):
        evaluate(tiny, conversations, tmp_path / "b", device="gpu9")
    assert not (tmp_path / "a").exists()


def test_batches_change_no_answer(tiny, conversations, tmp_path):
    from llavamed.evaluate.baselines import open_picture
    from llavamed.model.checkpoint import load

    model, processor = load(tiny)
    for parameter in model.model.language_model.layers.parameters():  # so that answers differ
        parameter.data = parameter.data * 8
    questions = questions_of(conversations)[:6]
    prompts = [Prompt(q.id, q.question, lambda q=q: open_picture(q.image)) for q in questions]
    said = [
        generate(model, processor, prompts, tmp_path / f"{size}.jsonl", max_new_tokens=6, batch_size=size)
        for size in (1, 4)
    ]
    assert said[0] == said[1]
    assert list(said[0]) == [q.id for q in questions]


def test_what_is_noted_is_not_asked_again(tmp_path, monkeypatch):
    asked = []

    def ask(model, processor, batch, max_new_tokens):
        asked.append([prompt.id for prompt in batch])
        return {prompt.id: f"said to {prompt.id}" for prompt in batch}

    monkeypatch.setattr(generating, "ask", ask)
    prompts = [Prompt(str(n), "?" * (n % 3), lambda: None) for n in range(7)]
    journal = tmp_path / "journal.jsonl"
    whole = generate(None, None, prompts, journal, max_new_tokens=1, batch_size=2)
    assert list(chain(*asked)) == sorted(whole, key=lambda name: (int(name) % 3, name))
    text = journal.read_bytes()
    for cut in range(0, len(text), 7):
        asked.clear()
        journal.write_bytes(text[:cut])
        assert generate(None, None, prompts, journal, max_new_tokens=1, batch_size=2) == whole
        assert len(asked) == 4 - text[:cut].count(b"\n")
        assert journal.read_bytes() == text


SCRIPT = """
import sys, time
from pathlib import Path
from llavamed.evaluate import generate
from llavamed.evaluate.vqa import evaluate
ask = generate.ask
generate.ask = lambda *args: (time.sleep(0.15), ask(*args))[1]
evaluate(*map(Path, sys.argv[1:]), max_new_tokens=4, device="cpu")
"""


def test_killed_and_started_again_it_gives_the_same_bytes(scored, tiny, conversations, tmp_path):
    folder = tmp_path / "scores"
    run = subprocess.Popen([sys.executable, "-c", SCRIPT, str(tiny), str(conversations), str(folder)])
    journal = folder / ".job" / "answers.jsonl"
    while not (journal.exists() and journal.stat().st_size) and run.poll() is None:
        time.sleep(0.02)
    run.send_signal(signal.SIGKILL)
    run.wait()
    assert not (folder / "manifest.json").exists()
    assert journal.read_bytes()
    assert evaluate(tiny, conversations, folder, max_new_tokens=4, device="cpu")["hash"] == scored[1]["hash"]
    for name in ("data/scores.json", "data/answers-00000.parquet"):
        assert (folder / name).read_bytes() == (scored[0] / name).read_bytes()
