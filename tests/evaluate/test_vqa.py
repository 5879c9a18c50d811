"""A model asked: the same bytes however often it was killed, and scores that can be recounted from the table."""

import signal
import subprocess
import sys
import time

import pytest

from llavamed import artifact, storage
from llavamed.errors import InputError
from llavamed.evaluate import models
from llavamed.evaluate.questions import questions_of
from llavamed.evaluate.score import column, hash_of
from llavamed.evaluate.vqa import derangement, evaluate
from llavamed.verify import rehash


@pytest.fixture(scope="module")
def scored(tiny, conversations, tmp_path_factory):
    folder = tmp_path_factory.mktemp("scored") / "scores"
    return folder, evaluate(tiny, conversations, folder, max_new_tokens=4, device="cpu")


def test_the_artifact_is_whole_and_its_scores_follow_from_its_table(scored, conversations, tiny):
    folder, result = scored
    manifest = artifact.read_manifest(folder)
    assert rehash(folder) == []
    assert [entry["manifest"]["kind"] for entry in manifest["parents"]] == ["model", "conversations"]
    assert manifest["counts"] == {"questions": {"in": 14, "kept": 14, "excluded": {}}}
    rows = list(storage.read_rows(folder))
    assert (result["n_open"], result["n_closed"], result["n_images"]) == (4, 10, 4)
    for who in ("model", "blank", "shuffled", "majority", "random"):
        part = result if who == "model" else result[who]
        right = [row[column(who, "right")] for row in rows if row["kind"] == "closed"]
        assert part["strict"]["closed_accuracy"][0] == pytest.approx(100 * sum(right) / 10)
        recall = [row[column(who, "recall")] for row in rows if row["kind"] == "open"]
        assert part["strict"]["open_recall"][0] == pytest.approx(100 * sum(recall) / 4)
    kinds = [row["neighbour_right"] for row in rows if row["question_type"] == "kind of image"]
    assert result["by_question_type"]["kind of image"]["neighbour"][0] == 100 * sum(kinds) / len(kinds) == 100
    assert result["hash"] == manifest["hash"]
    assert result["data"] == hash_of(questions_of(conversations))
    assert (result["benchmark"], result["n_questions"], result["problems"]) == ("conversations", 14, {})


def test_again_nothing_is_asked(scored, tiny, conversations, monkeypatch):
    folder, result = scored
    monkeypatch.setattr(models, "ask", None)
    assert evaluate(tiny, conversations, folder, max_new_tokens=4) == result


def test_it_opens_as_a_dataset(scored):
    from datasets import load_dataset

    row = load_dataset(str(scored[0]), split="train")[0]
    assert row["image"].size == (40, 40)


def test_only_the_controls_asked_for(tiny, conversations, tmp_path):
    asked = {"limit": 2, "max_new_tokens": 1, "device": "cpu"}
    result = evaluate(tiny, conversations, tmp_path / "none", controls="none", **asked)
    assert (result["blank"], result["shuffled"]) == (None, None)
    result = evaluate(tiny, conversations, tmp_path / "blank", controls="blank", **asked)
    assert result["blank"] and result["shuffled"] is None


def test_shuffled_pictures_are_all_others():
    names = [str(n) for n in range(50)]
    other = derangement(names)
    assert sorted(other.values()) == sorted(other) == sorted(names)
    assert all(other[name] != name for name in names)
    assert derangement(names) == other != derangement(names, seed=1)
    assert derangement(["one"]) == {}
    assert derangement(["one", "two"]) == {"one": "two", "two": "one"}


def test_a_benchmark_as_it_lies(tiny, tmp_path, make_row):
    folder = tmp_path / "own"
    (folder / "images").mkdir(parents=True)
    for n in range(2):
        (folder / f"images/{n}.png").write_bytes(make_row("test", n)["image"]["bytes"])
    lines = [f"{n}.png,Is this image {n}?,{answer}\n" for n, answer in enumerate(("yes", "no", "yes"))]
    (folder / "test.csv").write_text("image,question,answer\n" + "".join(lines))
    asked = {"max_new_tokens": 1, "device": "cpu"}
    with pytest.raises(InputError, match=r"1 questions cannot be asked .*no_image.*--allow-missing"):
        evaluate(tiny, folder, tmp_path / "scores", **asked)
    assert not (tmp_path / "scores").exists()
    result = evaluate(tiny, folder, tmp_path / "scores", allow_missing=True, **asked)
    assert (result["n_closed"], result["n_questions"], result["problems"]) == (2, 3, {"no_image": 1})
    (folder / "images/2.png").write_bytes(make_row("test", 2)["image"]["bytes"])
    with pytest.raises(InputError, match="--force"):  # other pictures are another request
        evaluate(tiny, folder, tmp_path / "scores", allow_missing=True, **asked)


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
    excluded = list(storage.read_rows(tmp_path / "scores", "excluded"))
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


SCRIPT = """
import sys, time
from pathlib import Path
from llavamed.evaluate import models
from llavamed.evaluate.vqa import evaluate
ask = models.ask
models.ask = lambda *args: (time.sleep(0.15), ask(*args))[1]
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
