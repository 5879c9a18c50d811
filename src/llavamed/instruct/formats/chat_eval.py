"""The files of the published chat evaluation.

- questions: lines of `{question_id, image, pair_id, text, gpt4_answer, fig_caption, in_text_mention, domain, type,
  fig_label}`, the question with the mark of the picture behind it, and the reference answer;
- answers: lines of `{question_id, prompt, text, answer_id, model_id, metadata}`, what one model answered;
- captions: `{domain: [{pair_id, pmid, fig_id, fig_label, fig_caption, in_text_mention, domain}]}`, the figures.

A mention is `{tokens, entities}`, or a text in other files of the kind.
"""

from functools import cache

import yaml

from llavamed.instruct.align import QUESTIONS as ASKED
from llavamed.instruct.align import question_of
from llavamed.instruct.clean.again import MARK
from llavamed.instruct.formats.layout import Layout, Told, stem, text_of, without_mark, words
from llavamed.storage import Json


def question_record(name: str | int, figure: Json, image: str, question: str, answer: str, kind: str) -> Json:
    """A question about a figure, in the layout of the published ones.

    `figure`: `pair_id, fig_caption, in_text_mention, domain, fig_label` as in the table of figures; `image`: its
    picture's file; `kind`: conversation or detailed_description.
    """
    mentions = [{"tokens": text, "entities": []} for text in figure["in_text_mention"] or []]
    return {
        "question_id": name,
        "image": image,
        "pair_id": figure["pair_id"],
        "text": f"{without_mark(question)}\n{MARK}",
        "gpt4_answer": answer,
        "fig_caption": figure["fig_caption"],
        "in_text_mention": mentions or None,
        "domain": figure["domain"],
        "type": kind,
        "fig_label": figure["fig_label"],
    }


def _read_question(record: Json) -> Told:
    name, image = text_of(record.get("question_id")), text_of(record.get("image"))
    asked, answer = words(record.get("text"), "text"), words(record.get("gpt4_answer"), "gpt4_answer")
    pair_id = text_of(record.get("pair_id")) or stem(image) or name
    return Told(name or pair_id, pair_id, image, _turn(asked, answer), record.get("domain"))


def _write_question(row: Json, image: str, notes: Json) -> Json:
    found = {"question_id": row["id"], "image": image, "pair_id": row["pair_id"], "domain": row["domain"]}
    return found | {"text": row["conversations"][0]["value"], "gpt4_answer": row["conversations"][1]["value"]}


def _read_answer(record: Json) -> Told:
    name = text_of(record.get("question_id"))
    said = _turn(words(record.get("prompt"), "prompt"), words(record.get("text"), "text"))
    return Told(name, name, "", said, teacher=text_of(record.get("model_id")))


def _write_answer(row: Json, image: str, notes: Json) -> Json:
    prompt, text = (part["value"] for part in row["conversations"][:2])
    return {"question_id": row["id"], "prompt": prompt, "text": text, "model_id": row["teacher"]}


def _read_caption(record: Json) -> Told:
    """The caption answers a question that asks to describe the picture, as in an alignment set."""
    image = text_of(record.get("image"))
    pair_id = text_of(record.get("pair_id")) or stem(image)
    caption = " ".join(words(record.get("fig_caption") or "", "fig_caption").split())
    question = question_of(caption, pair_id, _asked(), 0)
    said = _turn(f"{MARK}\n{question}", caption)
    return Told(pair_id, pair_id, image or f"{pair_id}.jpg", said, record.get("domain"), "caption")


def _write_caption(row: Json, image: str, notes: Json) -> Json:
    return {"pair_id": row["pair_id"], "fig_caption": row["conversations"][1]["value"], "domain": row["domain"]}


@cache
def _asked() -> dict[str, list[str]]:
    found: dict[str, list[str]] = yaml.safe_load(ASKED.read_text(encoding="utf-8"))
    return found


def _turn(question: str, answer: str) -> list[dict[str, str]]:
    return [{"from": "human", "value": question}, {"from": "gpt", "value": answer}]


QUESTIONS = Layout(
    "questions", ("text", "gpt4_answer"), lambda r: {"text", "gpt4_answer"} <= r.keys(), _read_question,
    _write_question, "test",
)  # fmt: skip
ANSWERS = Layout(
    "answers", ("prompt", "text"), lambda r: {"question_id", "prompt", "text"} <= r.keys(), _read_answer,
    _write_answer, "test",
)  # fmt: skip
CAPTIONS = Layout(
    "captions", ("fig_caption",), lambda r: "fig_caption" in r and bool({"pair_id", "image"} & r.keys()), _read_caption,
    _write_caption,
)  # fmt: skip
