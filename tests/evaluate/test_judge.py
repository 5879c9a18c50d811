"""What a judge is asked, and how its verdicts are read."""

import pytest

from llavamed.evaluate.judge import MODEL_FIRST, REFERENCE_FIRST, Case, Verdict, problem, read_verdict, request

CASE = Case(
    "q1", "f1", "conversation", "mri", "A cyst in the $liver {x}.", ("See Fig 1.",), "What is it?", "A cyst.", "Fat."
)


def test_both_orders_hold_all_that_is_known():
    texts = [request(CASE, order, 20).messages[1]["content"] for order in (REFERENCE_FIRST, MODEL_FIRST)]
    for text in texts:
        for part in (CASE.caption, CASE.mentions[0], CASE.question, CASE.reference, CASE.answer):
            assert part in text
    assert texts[0].index(CASE.reference) < texts[0].index(CASE.answer)
    assert texts[1].index(CASE.reference) > texts[1].index(CASE.answer)
    assert len({request(CASE, order, 20).id for order in (REFERENCE_FIRST, MODEL_FIRST)}) == 2


def test_an_empty_answer_is_said_to_be_none():
    empty = Case("q1", "f1", "conversation", "mri", "A cyst.", (), "What is it?", "A cyst.", " ")
    assert request(empty, MODEL_FIRST, 20).messages[1]["content"].count("(none)") == 2  # mentions, answer


@pytest.mark.parametrize(
    ("reply", "verdict"),
    [
        ('{"first": 7, "second": 3, "why": "It names the cyst."}', Verdict(7, 3, "It names the cyst.")),
        ('Here:\n```json\n{"first": 7, "second": 3, "why": ""}\n```', Verdict(7, 3, "")),
        ('{"second": 3, "first": 7}', Verdict(7, 3, "")),
        ('{"first": "7", "second": 3.5}', Verdict(7, 3.5, "")),
        ('{"first": 7, "second": 3, "why": "It names the', Verdict(7, 3, "")),
        ("{'first': 7, 'second': 3}", Verdict(7, 3, "")),
        ("first: 7\nSecond: 3", Verdict(7, 3, "")),
        ("7 3\nThe first is better.", Verdict(7, 3, "")),
        ("10, 1", Verdict(10, 1, "")),
        ('<think>maybe {"first": 1, "second": 1}</think>{"first": 7, "second": 3}', Verdict(7, 3, "")),
        ('{"first": 7, "second": 3, "why": "a {brace} and\na line"}', Verdict(7, 3, "a {brace} and\na line")),
    ],
)  # fmt: skip
def test_verdicts(reply, verdict):
    assert read_verdict(reply) == verdict
    assert problem(reply) == ""


@pytest.mark.parametrize(
    "reply",
    [
        "", "I cannot mark these.", "7", "7 3 5", "first: 7", '{"first": 7}', '{"first": 0, "second": 3}',
        '{"first": 11, "second": 3}', '{"first": NaN, "second": 3}', '{"first": true, "second": 3}',
        '{"first": null, "second": 3}', '{"first": [7], "second": 3}', "first: 7, second: 3, or first: 5, second: 3",
        "first: 7.5.2, second: 3", '{"first": 1e999, "second": 3}', "<think>first: 7, second: 3", "{" * 5000, "70 30",
        "first: 7/100 second: 999999999999999999999999999", "[7, 3]x",
    ],
)  # fmt: skip
def test_what_is_no_verdict(reply):
    assert read_verdict(reply) is None
    assert "first and second" in problem(reply)
