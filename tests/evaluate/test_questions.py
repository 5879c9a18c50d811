"""Conversations become single questions, each sorted by what its answer may be."""

import pytest

from llavamed.evaluate.questions import questions_of


def test_every_turn_is_a_question_of_its_own(conversations):
    found = questions_of(conversations)
    assert len(found) == 2 * 4 + 2 * 3
    assert len({question.id for question in found}) == len(found)
    assert all("<image>" not in question.question and question.image for question in found)
    first = found[:4]
    assert [(q.kind, q.question_type, q.options) for q in first] == [
        ("closed", "kind of image", ("CT scan", "histology image")),
        ("closed", "yes or no", ("yes", "no")),
        ("closed", "choice", ("axial", "coronal")),
        ("open", "open", ()),
    ]
    assert {question.pair_id for question in first} == {"test0_F1"}


def test_only_the_split_asked_for(conversations):
    assert {q.pair_id[:5] for q in questions_of(conversations, "train")} == {"train"}
    assert questions_of(conversations, "validation") == []


@pytest.mark.parametrize(
    ("question", "answer", "expected"),
    [
        ("Is it a cyst or an abscess, or neither of them?", "An oval shadow.", "open"),
        ("What is shown?", "No fracture lines at all.", "open"),
        ("Is there a mass?", "Yes. It is large.", "yes or no"),
        ("Which side is it, left or right?", "The left side.", "choice"),
        ("What is it?", "chest x-ray", "kind of image"),
    ],
)
def test_sorts(make_row, make_conversations, tmp_path, question, answer, expected):
    turns = [{"from": "human", "value": question + "\n<image>"}, {"from": "gpt", "value": answer}]
    folder = make_conversations(tmp_path / "set", [make_row("test", 0, conversations=turns)])
    (found,) = questions_of(folder)
    assert (found.question, found.reference, found.question_type) == (question, answer, expected)


def test_odd_conversations_are_not_lost(make_row, make_conversations, tmp_path):
    lonely = make_row("test", 0, conversations=[{"from": "human", "value": "What is it?"}])
    blind = make_row("test", 1, image=None)
    found = questions_of(make_conversations(tmp_path / "set", [lonely, blind]))
    assert [(q.reference, q.image != b"") for q in found[:2]] == [("", True), ("Histology image.", False)]
