"""Answers in files: read whatever they are in, paired as asked, and nothing that does not fit goes by in silence."""

import json

import pytest

from llavamed.errors import InputError
from llavamed.evaluate.predictions import PROBLEMS, Prediction, pair, read, refuse
from llavamed.evaluate.questions import Question


def question(name: str, text: str = "", picture: str = "") -> Question:
    return Question(name, picture or f"p{name}", b"", text or f"What is {name}?", "x", "open", "open")


def said(name: str, text: str | None = "yes", prompt: str = "", image: str = "") -> Prediction:
    return Prediction(name, text, prompt, image, "file#1")


REFERENCE = {"question_id": 11, "prompt": "What is 11?\n<image>", "text": " A mass. ", "answer_id": "x", "metadata": {}}
EXPECTED = [Prediction("11", "A mass.", "What is 11?\n<image>", "", "")]


@pytest.mark.parametrize(
    ("name", "content"),
    [
        ("a.jsonl", json.dumps(REFERENCE) + "\n"),
        ("a.json", json.dumps(REFERENCE) + "\n" + json.dumps(REFERENCE | {"question_id": 12}) + "\n"),  # as published
        ("a.json", json.dumps([REFERENCE])),
        ("a.json", json.dumps(REFERENCE)),
        ("a.csv", 'Question_ID,prompt,text\n11,"What is 11?\n<image>",A mass.\n'),
        ("a.tsv", "qid\tquestion\tprediction\tanswer\n11\tWhat is 11? <image>\tA mass.\tthe reference\n"),
    ],
)
def test_any_table_of_answers(tmp_path, name, content):
    (tmp_path / name).write_text(content)
    first = read(tmp_path / name)[0]
    assert (first.id, first.text) == ("11", "A mass.")
    assert first.question.startswith("What is 11?")
    assert first.where == f"{name}#1"


def test_an_object_of_answers(tmp_path):
    (tmp_path / "a.json").write_text('{"11": "A mass.", "12": true, "13": 2.0, "14": null}')
    assert [(one.id, one.text) for one in read(tmp_path / "a.json")] == [
        ("11", "A mass."), ("12", "yes"), ("13", "2"), ("14", None),
    ]  # fmt: skip


@pytest.mark.parametrize(
    ("name", "content", "message"),
    [
        ("a.txt", "yes", "none of"),
        ("a.jsonl", "", "holds no answers"),
        ("a.jsonl", "no json\n", "holds no answers"),
        ("a.csv", "id,score\n1,2\n", "holds no answers: it needs an id and an answer a row; understood are"),
    ],
)
def test_no_answers(tmp_path, name, content, message):
    (tmp_path / name).write_text(content)
    with pytest.raises(InputError, match=message):
        read(tmp_path / name)
    with pytest.raises(InputError, match="does not exist"):
        read(tmp_path / "nothing.csv")


def test_by_id_whatever_the_order_and_every_problem_is_found():
    questions = [question(name) for name in "abcd"]
    given = [
        said("c", "C"), said("a", "A"), said("a", "again"), said("z", "Z"), said("b", "  "), said("b2", None),
    ]  # fmt: skip
    paired = pair(given, questions, "id")
    assert paired.answers == {"c": "C", "a": "A", "b": "  "}
    assert paired.problems == [
        ("duplicate", "a", "again"), ("unknown", "z", "Z"), ("empty", "b", "  "), ("broken", "b2", ""),
        ("missing", "d", ""),
    ]  # fmt: skip


def test_the_prompt_tells_whether_a_pair_fits():
    questions = [question("1", "Is there a mass?"), question("2", "Where is it?")]
    fits = [said("1", "yes", "<image>\nIs there a mass? Answer yes or no."), said("2", "left", "where is it")]
    assert pair(fits, questions, "position").problems == []
    assert {name for name, *_ in pair(fits[::-1], questions, "position").problems} == {"other_question"}
    assert {name for name, *_ in pair([said("2", "yes", fits[0].question)], questions, "id").problems} == {
        "other_question", "missing",
    }  # fmt: skip


def test_by_position():
    questions = [question("1"), question("2")]
    assert pair([said("x", "A"), said("y", "B")], questions, "position").answers == {"1": "A", "2": "B"}
    assert [name for name, *_ in pair([said("x")], questions, "position").problems] == ["missing"]
    assert [name for name, *_ in pair([said(n) for n in "xyz"], questions, "position").problems] == ["unknown"]


def test_by_question_and_picture():
    questions = [
        question("1", "Is it normal?", "s/one"),
        question("2", "Is it normal?", "s/two"),
        question("3", "Why?"),
    ]
    by_picture = [
        said("", "B", "is it normal", "two.jpg"),
        said("", "A", "Is it normal?", "s/one.jpg"),
        said("", "C", "Why"),
    ]
    assert pair(by_picture, questions, "question").answers == {"1": "A", "2": "B", "3": "C"}
    in_order = [said("", "A", "Is it normal?"), said("", "C", "Why?"), said("", "B", "Is it normal?")]
    assert pair(in_order, questions, "question").answers == {"1": "A", "2": "B", "3": "C"}
    assert pair(in_order, questions, "question").problems == []
    once = pair(in_order[:2], questions, "question")
    assert once.answers == {"3": "C"}
    assert [name for name, *_ in once.problems] == ["ambiguous", "missing", "missing"]
    assert pair([said("", "A", "Who?")], questions, "question").problems[0][0] == "unknown"


def test_a_refusal_counts_all_and_lists_some():
    refuse([], "a.jsonl")
    with pytest.raises(InputError) as raised:
        refuse([("missing", str(n), "") for n in range(1234)] + [("empty", "7", "")], "a.jsonl")
    assert str(raised.value) == (
        "a.jsonl: 1 empty answers (7); 1,234 questions without an answer (0, 1, 2, 3, 4, ...): mend them, or "
        "--allow-missing to score the rest"
    )
    for name in PROBLEMS:
        with pytest.raises(InputError):
            refuse([(name, "1", "")], "a.jsonl")
