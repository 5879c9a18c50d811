"""Scores of answers in files: the right ones, of as many as there are, beside their controls."""

import json
import shutil
from io import StringIO

import pytest
from rich.console import Console
from typer.testing import CliRunner

from llavamed import artifact, storage
from llavamed.cli import app
from llavamed.errors import InputError
from llavamed.evaluate.questions import questions_of
from llavamed.evaluate.score import SIDE, hash_of, score, scores
from llavamed.evaluate.tables import compared, table
from llavamed.verify import rehash

HEAD = "id,image,question,answer,answer_type,question_type,organ"
ROWS = [
    "1,a.png,Is there a mass?,yes,CLOSED,presence,chest",
    "2,a.png,Where is it?,left lung,OPEN,position,chest",
    "3,b.png,Is there a mass?,no,CLOSED,presence,head",
    "4,b.png,Is it axial or coronal?,axial,CLOSED,plane,head",
    "5,c.png,What organ is it?,the brain,OPEN,organ,head",
]
SAID = {"1": "Yes, a mass.", "2": "In the left lung", "3": "There is no mass.", "4": "coronal", "5": "brain"}


@pytest.fixture
def benchmark(tmp_path):
    folder = tmp_path / "own"
    folder.mkdir()
    (folder / "test.csv").write_text("\n".join([HEAD, *ROWS]) + "\n")
    return folder


def answers(path, said=SAID, **changes):
    rows = [{"question_id": name, "text": text} for name, text in (said | changes).items() if text is not None]
    path.write_text("".join(json.dumps(row) + "\n" for row in rows))
    return path


def test_figures(benchmark, tmp_path):
    result = score(answers(tmp_path / "a.jsonl"), benchmark)
    assert (result["n_open"], result["n_closed"], result["n_images"], result["n_questions"]) == (2, 3, 3, 5)
    assert result["strict"]["closed_accuracy"][0] == pytest.approx(200 / 3)
    assert result["strict"]["open_recall"] == [100, 100, 100]
    assert result["paper"]["open_recall"] == 100
    assert result["paper"]["closed_accuracy"] == pytest.approx(200 / 3)
    assert (result["blank"], result["shuffled"], result["against"]) == (None, None, None)
    assert result["by_organ"]["chest, closed"]["strict"][0] == 100
    assert result["by_organ"]["head, closed"]["strict"][0] == 50
    assert result["by_question_type"]["plane"]["n"] == 1
    assert result["by_modality"] == {}
    assert (result["baselines_from"], result["benchmark"]) == ("test", "own")


def test_baselines_learn_from_the_train_split(benchmark, tmp_path):
    rows = [f"{n},x.png,Is there a mass?,no,CLOSED,presence,chest" for n in range(9)]
    (benchmark / "train.csv").write_text("\n".join([HEAD, *rows, "9,x.png,Where is it?,left lung,OPEN,position,head"]))
    result = score(answers(tmp_path / "a.jsonl"), benchmark)
    assert result["baselines_from"] == "train"
    # "no" is right once in two; nothing is known of axial or coronal: the first by the alphabet
    assert result["majority"]["strict"]["closed_accuracy"][0] == pytest.approx(200 / 3)
    assert result["majority"]["strict"]["open_recall"][0] == 50
    assert result["majority"]["n"] == 5
    again = score(answers(tmp_path / "a.jsonl"), benchmark)
    assert again["random"] == result["random"]


def test_controls_are_compared_in_pairs(benchmark, tmp_path):
    grey = answers(tmp_path / "blank.jsonl", **{"1": "no", "3": "no"})
    other = answers(tmp_path / "other.jsonl", **{"3": "yes", "4": "axial", "2": "heart"})
    result = score(answers(tmp_path / "a.jsonl"), benchmark, blank=grey, shuffled=grey, against=other)
    assert result["blank"]["strict"]["closed_accuracy"][0] == pytest.approx(100 / 3)
    assert result["blank"]["difference"]["closed_accuracy"][0] == pytest.approx(100 / 3)
    assert result["shuffled"] == result["blank"]
    assert result["against"]["mcnemar"] == {"only_this": 1, "only_other": 1, "p": 1}
    assert result["against"]["difference"]["open_recall"][0] == 50
    assert result["by_question_type"]["presence"]["difference"]["blank"][0] == 50


@pytest.mark.parametrize(
    ("change", "message"),
    [
        ({"2": None}, r"1 questions without an answer \(2\)"),
        ({"99": "yes"}, r"1 answers to no question \(99\)"),
        ({"2": " "}, r"1 empty answers \(2\)"),
    ],
)
def test_what_does_not_fit_is_an_error_unless_allowed(benchmark, tmp_path, change, message):
    path = answers(tmp_path / "a.jsonl", **change)
    with pytest.raises(InputError, match=message + ".*--allow-missing"):
        score(path, benchmark)
    result = score(path, benchmark, tmp_path / "out", allow_missing=True)
    assert result["n_open"] + result["n_closed"] == 5 - (change == {"2": None})
    assert result["n_questions"] == 5
    assert sum(result["problems"].values()) == 1
    listed = json.loads((tmp_path / "out/data/problems.json").read_text())
    assert [row["about"] for row in listed] == list(change)
    if change == {"2": " "}:  # said nothing: wrong, not left out
        assert result["strict"]["open_recall"][0] == 50


def test_the_first_of_two_answers_counts_if_allowed(benchmark, tmp_path):
    path = answers(tmp_path / "a.jsonl")
    path.write_text(path.read_text() + json.dumps({"question_id": 4, "text": "axial"}) + "\n")
    with pytest.raises(InputError, match=r"1 further answers to one question \(4\)"):
        score(path, benchmark)
    result = score(path, benchmark, allow_missing=True)
    assert result["strict"]["closed_accuracy"][0] == pytest.approx(200 / 3)


def test_references_without_type_or_answer(benchmark, tmp_path):
    text = (benchmark / "test.csv").read_text()
    (benchmark / "test.csv").write_text(text.replace("axial,CLOSED", "axial,").replace("the brain", ""))
    path = answers(tmp_path / "a.jsonl")
    with pytest.raises(InputError, match=r"1 questions without a reference answer \(5\); 1 references without a type"):
        score(path, benchmark)
    result = score(path, benchmark, tmp_path / "out", allow_missing=True)
    assert (result["n_open"], result["n_closed"], result["n_questions"]) == (2, 2, 5)  # without a type: open
    assert artifact.read_manifest(tmp_path / "out")["counts"]["questions"] == {
        "in": 5, "kept": 4, "excluded": {"no_reference": 1},
    }  # fmt: skip
    (benchmark / "test.csv").write_text(text.replace("CLOSED", "").replace("OPEN", ""))  # a benchmark that has no types
    assert score(path, benchmark)["n_closed"] == 2  # yes and no


def test_no_answer_fits(benchmark, tmp_path):
    path = answers(tmp_path / "a.jsonl", {"x1": "yes"})
    with pytest.raises(InputError, match="is --match right"):
        score(path, benchmark, allow_missing=True)
    with pytest.raises(InputError, match="no validation questions"):
        score(path, benchmark, split="validation")


def test_the_artifact_is_whole_and_is_itself_a_file_of_answers(benchmark, tmp_path, make_row):
    (benchmark / "images").mkdir()
    for name in "abc":
        (benchmark / f"images/{name}.png").write_bytes(make_row("test", 2000)["image"]["bytes"])  # wide
    path, folder = answers(tmp_path / "a.jsonl"), tmp_path / "out"
    result = score(path, benchmark, folder)
    assert rehash(folder) == []
    assert score(path, benchmark, folder) == result
    rows = list(storage.read_rows(folder))
    assert [row["answer"] for row in rows] == list(SAID.values())
    assert all(len(row["image"]["bytes"]) < 20_000 for row in rows)
    other = answers(tmp_path / "other.jsonl", **{"4": "axial"})
    with pytest.raises(InputError, match="made otherwise"):
        score(other, benchmark, folder)
    assert score(other, benchmark, against=folder)["against"]["mcnemar"]["only_this"] == 1
    plain = score(path, benchmark)
    assert all(result[name] == plain[name] for name in plain)


def test_the_model_that_answered_is_a_parent(benchmark, tmp_path, tiny):
    result = score(answers(tmp_path / "a.jsonl"), benchmark, tmp_path / "out", model=tiny)
    assert result["contamination"]["sentence"].startswith("Contamination: ")
    parents = artifact.read_manifest(tmp_path / "out")["parents"]
    assert [one["manifest"]["kind"] for one in parents] == ["model"]


def test_a_model_that_said_nothing_was_asked(benchmark, tmp_path):
    path, folder = answers(tmp_path / "a.jsonl", **{"5": ""}), tmp_path / "out"
    with pytest.raises(InputError, match="1 empty answers"):
        score(path, benchmark, folder)
    score(path, benchmark, folder, allow_missing=True)
    assert score(folder, benchmark)["strict"]["open_recall"][0] == 50


def test_pictures_are_kept_small(benchmark, tmp_path, make_row):
    from llavamed.evaluate.baselines import open_picture
    from llavamed.evaluate.score import small

    image = make_row("test", 2000)["image"]["bytes"]
    assert max(open_picture(small(image)).size) == SIDE
    own = make_row("test", 0)["image"]["bytes"]
    assert small(own) is own
    assert small(b"GIF8") == b""


def test_from_conversations(conversations, tmp_path):
    questions = questions_of(conversations)
    path = answers(tmp_path / "a.jsonl", {question.id: question.reference for question in questions})
    result = score(path, conversations, tmp_path / "out")
    assert result["strict"]["closed_accuracy"] == [100, 100, 100]
    assert result["by_question_type"]["kind of image"]["neighbour"][0] == 100
    assert result["data"] == hash_of(questions) == hash_of(reversed(questions))
    entry = artifact.read_manifest(tmp_path / "out")["parents"]
    assert [one["manifest"]["kind"] for one in entry] == ["conversations"]


def test_a_question_without_controls_is_none(conversations):
    questions = questions_of(conversations)
    found = scores(questions, {"answer": [question.reference for question in questions]})
    assert found["majority"] is None
    assert found["by_question_type"]["choice"] == {
        "n": 2, "kind": "closed", "figure": "closed_accuracy", "paper": 0, "strict": [100, 100, 100], "blank": None,
        "shuffled": None, "against": None, "majority": None, "random": None, "neighbour": None, "difference": {},
    }  # fmt: skip


def test_tables_for_the_terminal(benchmark, tmp_path):
    path = answers(tmp_path / "a.jsonl", **{"2": None})
    result = score(path, benchmark, against=path, allow_missing=True)
    console = Console(width=200, file=StringIO())
    console.print(table(result), compared(result))
    text = console.file.getvalue()
    assert "1 open and 3 closed questions (of 5 asked for) on 3 images" in text
    assert "chest" in text and "McNemar p = 1" in text
    assert "1 questions without an answer" in text


@pytest.mark.parametrize("width", [80, 50])
def test_no_word_of_a_table_is_cropped(conversations, tmp_path, width):
    path = answers(tmp_path / "a.jsonl", {question.id: question.reference for question in questions_of(conversations)})
    result = score(path, conversations, against=path, blank=path, shuffled=path)

    def lines(width):
        console = Console(width=width, file=StringIO())
        console.print(table(result), compared(result))
        return console.file.getvalue().splitlines()

    narrow, wide = lines(width), lines(300)
    assert max(map(len, narrow)) <= width
    assert sorted("".join(narrow).replace("─", "").replace(" ", "")) == sorted(
        "".join(wide).replace("─", "").replace(" ", "")
    )
    assert width < 80 or narrow[1].split()[-3:] == ["majority", "random", "neighbour"]


def test_command(benchmark, tmp_path):
    path = answers(tmp_path / "a.jsonl")
    run = CliRunner().invoke(app, ["evaluate", "score", str(path), str(benchmark), "--match", "id", "--json"])
    assert run.exit_code == 0, run.output
    result = json.loads(run.stdout)
    assert {"n_open", "n_closed", "paper", "strict", "majority"} <= result.keys()
    assert CliRunner().invoke(app, ["evaluate", "score", str(path), str(benchmark)]).exit_code == 0


def test_the_benchmark_itself(data, tmp_path):
    rows = json.loads((data / "vqa_rad/testset.json").read_text())
    said = [{"question_id": row["qid"], "prompt": row["question"], "text": str(row["answer"])} for row in rows]
    path = tmp_path / "a.jsonl"
    path.write_text("".join(json.dumps(row) + "\n" for row in reversed(said)))
    result = score(path, data / "vqa_rad")
    assert (result["n_open"], result["n_closed"]) == (179, 272)
    assert result["strict"]["closed_accuracy"][0] == result["strict"]["open_f1"][0] == 100
    assert result["baselines_from"] == "train"
    assert (result["benchmark"], result["published"]["version"][:5]) == ("VQA-RAD", "3,515")
    assert "all 203 test images are training images" in result["published"]["warning"]
    assert result["contamination"]["lineage"] == "unknown"
    with pytest.raises(InputError, match="prompt holds another question"):
        score(path, data / "vqa_rad", match="position")
    shutil.copy(path, tmp_path / "copy.json")  # JSON lines by another name, as published
    assert score(tmp_path / "copy.json", data / "vqa_rad")["paper"] == result["paper"]
