"""Rules of cleaning: on labelled turns, on single sentences, and what holds for any turns."""

import re
from collections import Counter

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from labelled_turns import judged, read, scores
from llavamed.instruct.clean import MEANING, clean_turns, judge, phrases, turn_key
from llavamed.instruct.clean.many import judge_all

SOURCE = (
    "A 54-year-old man, born in 1960, with a cyst of 3.5 cm (vimentin, original magnification 200). Twelve of 30 mice. "
    "Mayo Clinic. 15 mitoses, grade 2, 38.5 °C. Mean age 54."
)


@pytest.fixture(scope="module")
def turns():
    return judged()


def test_there_are_enough_labelled_turns(turns):
    assert len(turns) >= 300
    labels = Counter(rule for turn in turns for rule in turn["true"] or {"good"})
    assert labels.keys() == {"good", *MEANING}
    assert labels["good"] > 150
    assert {turn["half"] for turn in turns} == {"tune", "test"}


@pytest.mark.parametrize("half", ["tune", "test"])
def test_precision_and_recall(turns, half):
    found = scores([turn for turn in turns if turn["half"] == half])
    assert {rule: score for rule, score in found.items() if min(score["precision"], score["recall"]) < 0.95} == {}


def test_what_can_be_repaired_is(turns):
    wanted = [turn for turn in turns if turn["repaired"]]
    assert len(wanted) > 25
    assert [turn["left"] for turn in wanted] == [turn["repaired"] for turn in wanted]


@pytest.mark.parametrize("row", read("answers.tsv"), ids=lambda row: row["answer"][:50])
def test_single_answers(row):
    broken = judge("What is seen here?", row["answer"], SOURCE)
    assert row["label"] in broken if row["label"] != "good" else not broken


@pytest.mark.parametrize(
    ("answer", "leaks"),
    [
        ("It measures 3.5 cm.", True),
        ("By the ruler it measures 3.5 cm.", False),
        ("It has two parts.", False),
        ("There are 9 small cysts.", False),
        ("Fifteen of them are seen.", False),
        ("It is 54.", True),
        ("A tumour of 4.1 cm.", False),
    ],
)
def test_a_number_leaks_that_the_caption_has_and_the_picture_not(answer, leaks):
    assert ("leak" in judge("What is seen?", answer, SOURCE)) == leaks
    assert "leak" not in judge("What is seen?", answer)


def test_what_is_never_seen_leaks_without_a_caption():
    for answer in (
        "A 54-year-old man.",
        "p < 0.05 for it.",
        "It is taken at ×400.",
        "n = 12 mice.",
        "Given 5 mg of it.",
    ):
        assert judge("What is seen?", answer).keys() == {"leak"}


def test_a_turn_said_before_is_dropped_once_it_is_repaired():
    said = [
        ("What is it?", "A cyst."),
        ("What is it?", "According to the caption, a cyst."),
        ("What is it?", "A mass."),
    ]
    kept, [victim] = clean_turns(said)
    assert kept == [said[0], said[2]]
    assert (victim.turn, victim.answer, victim.reason) == (2, said[1][1], "duplicate")
    assert clean_turns(said[:1], said=[turn_key("what is it", "A CYST.")])[0] == said[:1]
    assert clean_turns(said[:1], said=[turn_key("What is it?", "a cyst.")])[0] == []


def test_a_turn_is_dropped_for_the_first_rule_it_breaks():
    [victim] = clean_turns([("What is it?", "As an AI I can't see the image, but see a doctor.")])[1]
    assert victim.reason == "self"
    assert victim.detail == "as an ai"


def test_every_phrase_is_found_by_the_words_it_is_filed_under():
    """The index must not hide a phrase: every labelled text is searched with all phrases too."""
    texts = [turn[name] for turn in read("turns.tsv") for name in ("question", "answer")]
    index = {phrase.pattern.pattern: phrase for found in phrases._index().values() for phrase in found}
    hits = 0
    for words in map(phrases.split, texts):
        text = f" {' '.join(words)} "
        for phrase in index.values():
            if phrase.pattern.search(text):
                hits += 1
                assert all(set(words) & need for need in phrase.needs)
    assert hits > 200


def test_a_phrase_needs_a_word():
    with pytest.raises(ValueError, match="no word that must be there"):
        phrases.compile_phrase("~ the? [any]")


WORDS = """the a image caption lesion shows cyst left right of in , . ; 54 3.5 cm and not see doctor yes no as text says
that according to based on provided description is are seen AI p < 0.05 n = 7 ( ) CD20 Lindqvist you should take"""
TEXT = st.lists(st.sampled_from(WORDS.split()), max_size=14).map(" ".join) | st.text(max_size=30)
LABELLED = st.sampled_from([(turn["question"], turn["answer"]) for turn in read("turns.tsv")])
TURNS = st.lists(st.tuples(TEXT, TEXT) | LABELLED, max_size=6)


@given(TURNS, TEXT)
def test_in_is_kept_and_dropped_in_order(turns, caption):
    kept, victims = clean_turns(turns, caption)
    assert len(kept) + len(victims) == len(turns)
    numbers = [victim.turn for victim in victims]
    assert numbers == sorted(set(numbers))
    assert [(victim.question, victim.answer) for victim in victims] == [turns[n - 1] for n in numbers]
    assert {victim.reason for victim in victims} <= MEANING.keys()
    left = [turn for n, turn in enumerate(turns, 1) if n not in numbers]
    assert [question for question, _ in kept] == [question for question, _ in left]
    assert clean_turns(turns, caption) == (kept, victims)


@settings(deadline=None)  # words are looked up at their first call
@given(TURNS, TURNS, TEXT)
def test_many_turns_are_judged_as_one_by_one(turns, others, caption):
    sources = [caption] * len(turns) + [SOURCE] * len(others)
    both = list(zip(turns + others, sources, strict=True))
    one_by_one = [(list(judge(*turn, source).items()), turn_key(*turn)) for turn, source in both]
    found = judge_all(turns + others, sources)
    assert [(list(broken.items()), key) for broken, key in found] == one_by_one


def test_labelled_turns_are_judged_together_as_one_by_one():
    said = [(row["question"], row["answer"]) for row in read("turns.tsv")]
    said += [("What is seen here?", row["answer"]) for row in read("answers.tsv")]
    for source in ("", SOURCE):
        found = judge_all(said, [source] * len(said))
        assert [broken for broken, _ in found] == [judge(*turn, source) for turn in said]
        assert sum(not broken for broken, _ in found) > 200


@given(TURNS, TEXT)
def test_cleaning_twice_changes_nothing(turns, caption):
    kept, _ = clean_turns(turns, caption)
    assert clean_turns(kept, caption) == (kept, [])


@given(TURNS, TEXT)
def test_no_word_is_added_and_none_moves(turns, caption):
    kept, victims = clean_turns(turns, caption)
    dropped = {victim.turn for victim in victims}
    left = [answer for n, (_, answer) in enumerate(turns, 1) if n not in dropped]
    for before, (_, after) in zip(left, kept, strict=True):
        words = iter(re.findall(r"\w+", before.casefold()))
        assert all(word in words for word in re.findall(r"\w+", after.casefold()))
