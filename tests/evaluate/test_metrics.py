"""Paper mode repeats the reference's rules; strict mode means what it says."""

import json

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from llavamed.evaluate.closed import options_of
from llavamed.evaluate.metrics import (
    Item,
    bootstrap,
    difference,
    mcnemar,
    normalise,
    paper,
    paper_scores,
    strict,
    strict_scores,
)


def open_item(answer: str, reference: str, **more) -> Item:
    return Item("1", "What is seen?", reference, answer, "open", **more)


def closed_item(answer: str, reference: str, question: str = "Is there a fracture?") -> Item:
    return Item("1", question, reference, answer, "closed", options_of(question, reference))


@pytest.mark.parametrize(
    ("text", "expected"),
    [
        ("The Left Lung.", "left lung"),
        ("right-sided", "right sided"),  # a mark inside a word becomes a space
        ("right -sided", "right sided"),  # beside a space it goes
        ("x-ray and right- sided", "xray and right sided"),  # ... and takes every other of its kind with it
        ("1,000 x-rays", "1000 xrays"),  # digits with a comma: every mark goes
        ("2.5 cm.", "2.5 cm"),
        ("None of the two", "0 of 2"),
        ("it dont show couldnt've", "it don't show couldn't've"),
        ("somebody'd", "somebodyd"),
        ("...", ""),
        ("." * 40 + "a", "." * 8 + "a"),  # at most 32 full stops go
        ("", ""),
    ],
)
def test_normalise(text, expected):
    assert normalise(text) == expected


def test_paper_counts_a_shared_word_as_often_as_the_answer_says_it():
    scores = paper_scores(open_item("mass mass in liver", "liver mass left"))
    assert scores["open_recall"] == pytest.approx(3 / 4)  # mass twice, liver; left is missing
    assert scores["open_precision"] == pytest.approx(3 / 4)  # "in" is extra
    assert scores["exact_match"] == pytest.approx(2 / 4)


def test_strict_counts_a_shared_word_once_for_each_time_it_is_wanted():
    scores = strict_scores(open_item("mass mass in liver", "liver mass left"))
    assert scores["open_recall"] == pytest.approx(2 / 3)
    assert scores["open_precision"] == pytest.approx(2 / 4)
    assert scores["exact_match"] == 0
    assert strict_scores(open_item("The liver.", "liver"))["exact_match"] == 1


@pytest.mark.parametrize(
    ("answer", "reference", "in_paper", "in_strict"),
    [
        ("yes", "Yes", 1, 1),
        ("normal", "no", 1, 1),  # the paper's gate: "no" is inside "normal"
        ("nodule", "no", 1, 0),
        ("no evidence of fracture", "no", 1, 1),
        ("there is a fracture", "yes", 0, 1),
        ("", "no", 0, 0),
    ],
)
def test_closed(answer, reference, in_paper, in_strict):
    item = closed_item(answer, reference)
    assert paper_scores(item) == {"closed_accuracy": in_paper}
    assert strict_scores(item) == {"closed_accuracy": in_strict}


def test_paper_can_hardly_score_other_options_and_strict_can():
    item = closed_item("axial", "Axial", "Is this axial or coronal?")
    assert paper([item])["closed_accuracy"] == 0
    assert strict([item])["closed_accuracy"] == [100, 100, 100]


def test_no_items_no_score():
    assert set(paper([]).values()) == {None}
    assert strict([closed_item("yes", "yes")])["open_recall"] is None


def test_the_interval_covers_what_it_should():
    values = np.random.default_rng(1).random(400)
    mean, low, high = bootstrap(values, [str(n) for n in range(400)])
    half = 196 * values.std() / 20  # the normal approximation
    assert mean == pytest.approx(100 * values.mean(), abs=1e-5)
    assert (mean - low, high - mean) == (pytest.approx(half, rel=0.1), pytest.approx(half, rel=0.1))
    assert bootstrap(values, [str(n) for n in range(400)]) == [mean, low, high]


def test_questions_on_one_picture_are_drawn_together():
    values = [1.0] * 50 + [0.0] * 50
    alone, together = (bootstrap(values, groups) for groups in (list(map(str, range(100))), ["a"] * 50 + ["b"] * 50))
    assert alone[0] == together[0] == 50
    assert together[1:] == [0, 100]
    assert alone[1] > 35


def test_a_difference_is_paired():
    right = [Item(str(n), "Q?", "yes", "yes", "closed", ("yes", "no")) for n in range(20)]
    wrong = [Item(str(n), "Q?", "yes", "no", "closed", ("yes", "no")) for n in reversed(range(20))]
    assert difference(right, wrong)["closed_accuracy"] == [100, 100, 100]
    assert difference(right, right)["closed_accuracy"] == [0, 0, 0]


def test_mcnemar_looks_at_the_pairs_that_differ():
    def said(answers: str) -> list[Item]:
        return [
            Item(str(n), "Q?", "yes", {"y": "yes", "n": "no"}[a], "closed", ("yes", "no"))
            for n, a in enumerate(answers)
        ]

    found = mcnemar(said("yyyyyyyyynyn"), said("nnnnnnnnyyyn"))
    assert (found["only_this"], found["only_other"]) == (8, 1)
    assert found["p"] == pytest.approx(2 * (1 + 9) / 2**9)
    assert mcnemar(said("yn"), said("yn")) == {"only_this": 0, "only_other": 0, "p": 1}
    assert mcnemar(said("y" * 3000), said("n" * 3000))["p"] < 1e-300  # no overflow
    assert mcnemar([open_item("a", "a")], [open_item("a", "a")]) is None


def test_a_difference_is_over_what_both_hold():
    here, there = closed_item("yes", "yes"), Item("2", "Q?", "yes", "no", "closed", ("yes", "no"))
    assert difference([here, there], [here])["closed_accuracy"] == [0, 0, 0]
    assert difference([here], [there])["closed_accuracy"] is None


texts = st.text(alphabet="ab1 ,.;/-[]?'\nÀno", max_size=30)


@given(texts, texts)
def test_scores_are_shares(answer, reference):
    for item in (open_item(answer, reference), closed_item(answer, reference or "yes")):
        for score in (*paper_scores(item).values(), *strict_scores(item).values()):
            assert 0 <= score <= 1


@given(texts)
def test_an_answer_that_is_the_reference_is_all_recall(text):
    scores = strict_scores(open_item(text, text))
    assert scores["exact_match"] == 1
    assert scores["open_recall"] == float(bool(normalise(normalise(text)).split()))


def test_vqa_rad_against_itself(data):
    rows = json.loads((data / "vqa_rad" / "testset.json").read_text())
    items = []
    for row in rows:
        kind, answer = row["answer_type"].strip().lower(), str(row["answer"])
        options = options_of(row["question"], answer) if kind == "closed" else ()
        items.append(Item(str(row["qid"]), row["question"], answer, answer, kind, options, row["image_name"]))
    assert [sum(item.kind == kind for item in items) for kind in ("open", "closed")] == [179, 272]
    scores = strict(items)
    assert all(interval == [100, 100, 100] for interval in scores.values())
    in_paper = paper(items)
    assert in_paper["open_recall"] == in_paper["open_f1"] == 100
    # 21 closed answers are not yes or no; the rules of the paper give a point to those that hold "no" ("Abnormal").
    assert in_paper["closed_accuracy"] == pytest.approx(100 * 254 / 272)
