"""A language model as judge of two answers: what it is asked (judge.yaml), and how its verdict is read."""

import json
import re
from dataclasses import dataclass
from functools import cache
from pathlib import Path
from string import Template

import yaml

from llavamed.request import Request
from llavamed.storage import Json

PROMPT = Path(__file__).with_name("judge.yaml")
REFERENCE_FIRST, MODEL_FIRST = ORDERS = ("reference_first", "model_first")
MARKS = range(1, 11)
SCHEMA: Json = {
    "type": "object",
    "properties": {
        "first": {"type": "integer", "enum": list(MARKS)},
        "second": {"type": "integer", "enum": list(MARKS)},
        "why": {"type": "string"},
    },
    "required": ["first", "second", "why"],
    "additionalProperties": False,
}
PROBLEM = "It must hold two marks, first and second, each a number from 1 to 10."
_THOUGHT = re.compile(r"<think>.*?(?:</think>|\Z)", re.DOTALL)  # what some models write before they answer
_FIELD = re.compile(r"""["']?\b(first|second)\b["']?\s*:\s*["']?(\d+(?:\.\d+)?)(?![\d.])""", re.IGNORECASE)
_PAIR = re.compile(r"(\d+(?:\.\d+)?)[\s,;]+(\d+(?:\.\d+)?)")


@dataclass(frozen=True)
class Case:
    """A question about a figure, what is known of the figure, the reference's answer and the model's."""

    id: str
    pair_id: str  # of the figure
    type: str  # conversation or detailed_description
    domain: str  # of the figure, one
    caption: str
    mentions: tuple[str, ...]  # sentences that cite the figure
    question: str
    reference: str
    answer: str = ""


@dataclass(frozen=True)
class Verdict:
    """The marks of the answer that came first and of the one that came second, 1 to 10, and why."""

    first: float
    second: float
    why: str


def request(case: Case, order: str, max_tokens: int) -> Request:
    """What the judge is asked about `case` with the answers in that order, one of ORDERS."""
    prompt = _prompt()
    pair = [case.reference, case.answer] if order == REFERENCE_FIRST else [case.answer, case.reference]
    first, second = (text.strip() or prompt["nothing"] for text in pair)
    user = Template(prompt["user"]).substitute(
        caption=case.caption.strip() or prompt["nothing"],
        mentions="\n".join(case.mentions) or prompt["nothing"],
        question=case.question,
        first=first,
        second=second,
    )
    messages = [{"role": "system", "content": prompt["system"].strip()}, {"role": "user", "content": user.strip()}]
    return Request(f"{case.id}:{order}", messages, max_tokens, schema=SCHEMA)


def read_verdict(reply: str) -> Verdict | None:
    """The verdict in a reply: the JSON object asked for, or what there is of it where it was cut short, or two numbers
    alone on the first line. None if it does not hold just two marks from 1 to 10."""
    text = _THOUGHT.sub("", reply).strip()
    found = _json_object(text) or _fields(text)
    first, second = _mark(found.get("first")), _mark(found.get("second"))
    if not all(MARKS[0] <= mark <= MARKS[-1] for mark in (first, second)):
        return None
    return Verdict(first, second, str(found.get("why") or ""))


def _mark(value: object) -> float:
    """0 for what is no number."""
    try:
        return 0.0 if isinstance(value, bool) else float(value)  # type: ignore[arg-type]
    except (TypeError, ValueError, OverflowError):
        return 0.0


def _json_object(text: str) -> Json:
    try:
        found = json.loads(text[text.find("{") : text.rfind("}") + 1], strict=False)
    except (ValueError, RecursionError):
        return {}
    return found if isinstance(found, dict) else {}


def _fields(text: str) -> Json:
    """Of an object that cannot be parsed, the marks; none where a mark stands there twice and differs."""
    if pair := _PAIR.fullmatch(text.split("\n", 1)[0].strip()):
        return {"first": pair[1], "second": pair[2]}
    found: dict[str, set[str]] = {}
    for name, mark in _FIELD.findall(text):
        found.setdefault(name.lower(), set()).add(mark)
    return {name: marks.pop() for name, marks in found.items() if len(marks) == 1}


def problem(reply: str) -> str:
    """What is wrong with a reply, for the judge to read; empty if nothing."""
    return "" if read_verdict(reply) else PROBLEM


@cache
def _prompt() -> Json:
    prompt: Json = yaml.safe_load(PROMPT.read_text(encoding="utf-8"))
    return prompt
