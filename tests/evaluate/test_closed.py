"""Which option an answer asserts, against answers labelled by hand."""

import csv
import json
from pathlib import Path

import pytest
from hypothesis import given
from hypothesis import strategies as st

from llavamed.corpus.schema import KINDS
from llavamed.evaluate.closed import YES_NO, alternatives, asserted, options_of

LABELLED = list(csv.DictReader((Path(__file__).parent / "strict_answers.tsv").open(encoding="utf-8"), delimiter="\t"))


@pytest.mark.parametrize("row", LABELLED, ids=lambda row: f"{row['question']} {row['answer']}")
def test_labelled_by_hand(row):
    question, reference = row["question"], row["reference"]
    options = tuple(KINDS.values()) if question.startswith("What kind") else options_of(question, reference)
    expected = asserted(reference, options, question)
    assert expected is not None
    assert (asserted(row["answer"], options, question) == expected) == (row["label"] == "right")


@pytest.mark.parametrize(
    ("question", "named"),
    [
        ("Is this an axial or coronal image?", ("axial", "coronal")),
        ("Is this patient male or female?", ("male", "female")),
        ("Is the lesion on the left or right side of the brain?", ("left", "right")),
        ("Are opacities on the left, right, or both sides of the lung?", ("left", "right", "both")),
        ("Is this a T1 weighted, T2 weighted, or FLAIR image?", ("t1 weighted", "t2 weighted", "flair")),
        ("Which is bigger in this image, kidney or liver?", ("kidney", "liver")),
        ("Is the cyst in the left or right kidney?", ("left", "right")),
        ("Is this a contrast or non-contrast CT?", ("contrast", "non-contrast")),
        ("Was this taken with or without contrast?", ("with contrast", "without contrast")),
        ("What organ is this?", ()),
        ("", ()),
    ],
)
def test_alternatives(question, named):
    assert alternatives(question) == named


def test_options():
    assert options_of("Is there a mass?", "No.") == YES_NO
    assert options_of("Is there a mass?", "Yes, on the left") == YES_NO
    assert options_of("Contrast or no contrast?", "No contrast") == ("contrast", "no contrast")
    assert options_of("How does it look?", "Cystic") == ("Cystic",)
    assert options_of("Are there multiple or just 1 metastatic focus?", "one") == ("multiple", "1")


@pytest.mark.parametrize("name", KINDS.values())
def test_every_kind_of_image_is_told_from_the_others(name):
    for said in (name, f"This is a {name}.", name.upper()):
        assert asserted(said, tuple(KINDS.values())) == name


def test_every_closed_answer_of_the_benchmarks_asserts_itself(data):
    rows = [row for part in ("testset", "trainset") for row in json.loads((data / f"vqa_rad/{part}.json").read_text())]
    slake = json.loads((data / "slake/test.json").read_text())
    rows += [row for row in slake if row["q_lang"] == "en"]
    closed = [(r["question"], str(r["answer"])) for r in rows if r["answer_type"].strip() == "CLOSED"]
    assert len(closed) > 2400
    lost = {pair[1] for pair in closed if asserted(pair[1], options_of(*pair), pair[0]) is None}
    assert lost == {"Maybe", "Not sure"}  # scored by equality


@given(st.text(max_size=60), st.text(max_size=40), st.text(max_size=20))
def test_any_text_is_read(answer, question, reference):
    options = options_of(question, reference)
    assert asserted(answer, options, question) in (*options, None)
