"""What a teacher is asked, and how its replies are read."""

import json
import re

import pytest
import yaml

from llavamed.instruct.clean import judge
from llavamed.instruct.prompts import (
    FEWEST,
    FEWEST_WORDS,
    LONGEST,
    MOST,
    NO_ANSWER,
    PROBLEM,
    Description,
    Prompt,
    answer_problem,
    problem,
    read_answer,
    read_turns,
    shorten,
)

FIGURE = {
    "pair_id": "1_F1",
    "fig_caption": "CT of the $liver\n{kind}.",
    "in_text_mention": ["A cyst (Fig 1).", "See Fig 1."],
    "modality": [{"name": "ct", "confidence": 1.0, "source": ""}],
    "single_plot": True,
}
TWO = [("What is it?", "A scan."), ("Of what?", "The liver.")]
JSON = json.dumps({"turns": [{"question": q, "answer": a} for q, a in TWO]})


@pytest.mark.parametrize("mentions", [False, True])
def test_a_prompt_is_the_file_and_the_figure(mentions):
    prompt = Prompt(mentions)
    system, *examples, last = prompt.request(FIGURE, 100).messages
    assert system["role"] == "system"
    assert [m["role"] for m in examples] == ["user", "assistant"] * (len(examples) // 2)
    assert last["content"].startswith("Kind of image: CT scan\n\n[Caption]\nCT of the $liver\n{kind}.")
    assert ("See Fig 1." in last["content"]) == mentions
    bare = prompt.request(FIGURE | {"modality": []}, 100).messages[-1]["content"]
    assert bare.startswith("Kind of image: not known")


@pytest.mark.parametrize("mentions", [False, True])
def test_the_examples_do_what_the_prompt_asks(mentions):
    prompt = yaml.safe_load(Prompt(mentions).path.read_text())
    assert 3 <= len(prompt["examples"]) <= 4
    assert len({example["kind"] for example in prompt["examples"]}) == len(prompt["examples"]), "varied"
    lengths = set()
    for example in prompt["examples"]:
        said = " ".join(text for turn in example["turns"] for text in turn.values())
        told = " ".join([example["caption"], *example.get("mentions", [])])
        assert mentions == ("mentions" in example)
        assert FEWEST <= len(example["turns"]) <= MOST
        assert not set(re.findall(r"\d+", told)) & set(re.findall(r"\d+", re.sub("T[12]", "", said))), "numbers leak"
        assert not re.search(r"(?i)caption|figure|article|authors|described|text\b", said)
        lengths.add(len(example["turns"]))
    assert len(lengths) > 1
    replies = [m["content"] for m in Prompt(mentions).request(FIGURE, 9).messages if m["role"] == "assistant"]
    assert all(not problem(reply) for reply in replies)


def test_the_hash_is_the_files_own():
    assert Prompt(True).hash != Prompt(False).hash
    assert Prompt(True).hash == Prompt(True).hash


def test_long_words_are_cut_between_words():
    cut = shorten("word " * 2000)
    assert len(cut) <= LONGEST + 4
    assert cut.endswith("word ...")
    assert shorten(" a  b\n\n c ") == "a b\nc"


@pytest.mark.parametrize(
    "reply",
    [
        JSON,
        json.dumps({"turns": [{"question": q, "answer": a} for q, a in TWO]}, indent=1),
        f"Here you are:\n```json\n{JSON}\n```",
        f'<think>{{"question": "x", "answer": "y"}}</think>{JSON}',
        JSON[:-2] + ', {"question": "And th',
        "Question: What is it?\nAnswer: A scan.\n\nQuestion: Of what?\nAnswer: The liver.",
        "1. **Question:** What is it?\n**Answer:** A scan.\n2. **Question:** Of what?\n**Answer:** The liver.",
        "Q1: What is it?\nA1: A scan.\nQ2: Of what?\nA2: The liver.\nQ3: And where?",
        "Question: What is it?\nAnswer: A scan.\nQuestion: lost\nQuestion: Of what?\nAnswer: The liver.",
        JSON.replace("A scan.", "A scan.\\n  "),
    ],
)
def test_conversations(reply):
    assert read_turns(reply) == TWO
    assert problem(reply) == ""


@pytest.mark.parametrize(
    "reply",
    [
        "", "I cannot see the image.", '{"turns": []}', json.dumps({"turns": [{"question": "One?", "answer": "Yes."}]}),
        JSON.replace("A scan.", " "), "Question: What?\nAnswer:\nQuestion: Where?\nAnswer: Here.", "{" * 5000,
        '"question": "' * 5000, "Question: " * 5000, f"<think>{JSON}", '{"turns": [["What?", "A."], ["B?", "C."]]}',
    ],
)  # fmt: skip
def test_what_is_no_conversation(reply):
    assert read_turns(reply) == []
    assert problem(reply) == PROBLEM


def test_more_than_five_are_cut_and_no_second_picture_comes_in():
    turns = [{"question": f"<image>\nAsk {i}?", "answer": "A \ud83d."} for i in range(9)]
    found = read_turns(json.dumps({"turns": turns}))
    assert found == [(f"image\nAsk {i}?", "A ?.") for i in range(5)]


@pytest.mark.parametrize("nothing", [None, [], [" ", ""]])
def test_a_figure_that_no_sentence_cites_is_asked_about_from_its_caption(nothing):
    prompt, figure = Prompt(True), FIGURE | {"in_text_mention": nothing}
    assert prompt.request(figure, 100) == Prompt(False).request(figure, 100)
    assert prompt.of(figure).hash == Prompt(False).hash != prompt.of(FIGURE).hash == prompt.hash


def test_a_description_is_asked_for_in_drawn_words():
    prompt = Description()
    asked = {prompt.question({"pair_id": str(n)}) for n in range(200)}
    assert len(asked) >= 8
    assert prompt.question(FIGURE) == Description().question(FIGURE)
    assert {Description(n).question(FIGURE) for n in range(50)} > {prompt.question(FIGURE)}
    request = prompt.request(FIGURE, 100)
    last = request.messages[-1]["content"]
    assert "See Fig 1." in last
    assert last.endswith(prompt.question(FIGURE))
    assert request.id != Prompt(True).request(FIGURE, 100).id
    assert "(none)" in prompt.request(FIGURE | {"in_text_mention": None}, 100).messages[-1]["content"]


def test_its_own_examples_and_questions_break_no_rule():
    text = yaml.safe_load(Description().path.read_text())
    for example in text["examples"]:
        source = "\n".join([example["caption"], *example["mentions"]])
        assert judge(example["question"], example["answer"], source) == {}
        assert read_answer(json.dumps({"answer": example["answer"]})) == " ".join(example["answer"].split())
    answer = text["examples"][0]["answer"]
    assert [question for question in text["questions"] if judge(question, answer)] == []


LONG = " ".join(["word"] * FEWEST_WORDS)


@pytest.mark.parametrize(
    ("reply", "answer"),
    [
        (json.dumps({"answer": f"**{LONG}**\n\nmore"}), f"{LONG}** more"),
        ("<think>So.</think>" + json.dumps({"answer": LONG}), LONG),
        (f"```json\n{json.dumps({'answer': LONG})}\n```", LONG),
        (f"Answer: {LONG}", LONG),
        (f"{LONG}\nAnswer: it ends.", f"{LONG} Answer: it ends."),
        (LONG, LONG),
        (LONG.removesuffix(" word"), ""),
        (json.dumps({"answer": LONG})[:-5], ""),
        (json.dumps({"text": LONG}), ""),
        ("", ""),
    ],
)
def test_a_description_is_read_whole_or_not_at_all(reply, answer):
    assert read_answer(reply) == answer
    assert answer_problem(reply) == ("" if answer else NO_ANSWER)
