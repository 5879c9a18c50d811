"""What a teacher is asked about a figure (the YAML files beside this one), and how its reply is read."""

import json
import re
from abc import ABC, abstractmethod
from dataclasses import dataclass
from functools import cached_property
from itertools import pairwise
from pathlib import Path
from string import Template

import yaml

from llavamed import storage
from llavamed.corpus.schema import KINDS
from llavamed.instruct.write import Turns, draw, kind_of
from llavamed.request import Request
from llavamed.storage import Json

COLUMNS = ["pair_id", "fig_caption", "in_text_mention", "modality", "single_plot"]
FEWEST, MOST = 2, 5  # turns of a conversation
LONGEST = 3000  # characters of a caption, and of all mentions: a long article must not cost a book
FEWEST_WORDS = 25  # of a description in detail
_TURN: Json = {
    "type": "object",
    "properties": {"question": {"type": "string"}, "answer": {"type": "string"}},
    "required": ["question", "answer"],
    "additionalProperties": False,
}
SCHEMA: Json = {
    "type": "object",
    "properties": {"turns": {"type": "array", "minItems": FEWEST, "maxItems": MOST, "items": _TURN}},
    "required": ["turns"],
    "additionalProperties": False,
}
ANSWER: Json = {
    "type": "object",
    "properties": {"answer": {"type": "string"}},
    "required": ["answer"],
    "additionalProperties": False,
}
PROBLEM = (
    f"It must hold {FEWEST} to {MOST} questions, each with its answer: one object "
    '{"turns": [{"question": "...", "answer": "..."}, ...]}, or, if you cannot write that, lines that begin with '
    '"Question:" and "Answer:" in turn.'
)
NO_ANSWER = (
    f'It must hold one description of at least {FEWEST_WORDS} words: one object {{"answer": "..."}}, or, if you cannot '
    "write that, the description and nothing else."
)
_THOUGHT = re.compile(r"<think>.*?(?:</think>|\Z)", re.DOTALL)  # what some models write before they answer
_DECODER = json.JSONDecoder(strict=False)  # models write line breaks as they are
_STRING = r'("(?:[^"\\]|\\.)*")'
_PAIR = re.compile(rf'"question"\s*:\s*{_STRING}\s*,\s*"answer"\s*:\s*{_STRING}', re.DOTALL)
_ANSWER = re.compile(rf'"answer"\s*:\s*{_STRING}', re.DOTALL)
_LINE = re.compile(r"^[\s*#\d.)]*(question|answer|[qa])\s*\d*\s*\**\s*:\s*\**", re.IGNORECASE | re.MULTILINE)


class _File(ABC):
    """A prompt file: what is wanted, and examples, which are sent before each figure."""

    @property
    @abstractmethod
    def path(self) -> Path:
        """The file."""

    @cached_property
    def hash(self) -> str:
        """SHA-256 of the file."""
        return storage.sha256_file(self.path)

    @cached_property
    def _text(self) -> Json:
        text: Json = yaml.safe_load(self.path.read_text(encoding="utf-8"))
        return text

    @cached_property
    def _begin(self) -> list[Json]:
        """The messages before the figure's own."""
        messages = [{"role": "system", "content": self._text["system"].strip()}]
        for example in self._text["examples"]:
            asked = {"question": example["question"]} if "question" in example else {}
            told = self._user(example["kind"], example["caption"], example.get("mentions", []), asked)
            said = {key: example[key] for key in ("turns", "answer") if key in example}
            messages.append({"role": "user", "content": told})
            messages.append({"role": "assistant", "content": json.dumps(said, ensure_ascii=False)})
        return messages

    def _user(self, kind: str, caption: str, mentions: list[str], asked: dict[str, str]) -> str:
        words = {"kind": kind, "caption": shorten(caption), "mentions": shorten("\n".join(mentions)) or "(none)"}
        return Template(self._text["user"]).substitute(words | asked).strip()

    def _messages(self, figure: Json, asked: dict[str, str] | None = None) -> list[Json]:
        kind = kind_of(figure)
        words = KINDS[kind] if kind else "not known", figure["fig_caption"] or "", figure["in_text_mention"] or []
        return [*self._begin, {"role": "user", "content": self._user(*words, asked or {})}]


@dataclass(frozen=True)
class Prompt(_File):
    """Of a conversation. `mentions`: the sentences that cite the figure are shown as well."""

    mentions: bool

    @property
    def path(self) -> Path:
        """The file."""
        return Path(__file__).with_name("mentions.yaml" if self.mentions else "caption.yaml")

    @cached_property
    def _uncited(self) -> "Prompt":
        return Prompt(False)

    def of(self, figure: Json) -> "Prompt":
        """The prompt for a figure: one that no sentence cites is asked about from its caption alone."""
        cited = any((text or "").strip() for text in figure["in_text_mention"] or [])
        return self._uncited if self.mentions and not cited else self

    def request(self, figure: Json, max_tokens: int) -> Request:
        """What is asked about a row of a corpus (COLUMNS)."""
        return Request(figure["pair_id"], self.of(figure)._messages(figure), max_tokens, schema=SCHEMA)


@dataclass(frozen=True)
class Description(_File):
    """Of a description in detail. `seed` draws the question."""

    seed: int = 0

    @property
    def path(self) -> Path:
        """The file."""
        return Path(__file__).with_name("describe.yaml")

    def question(self, figure: Json) -> str:
        """How the description is asked for, drawn by hash of (seed, pair_id)."""
        questions: list[str] = self._text["questions"]
        return draw(questions, "describe", self.seed, figure["pair_id"])

    def request(self, figure: Json, max_tokens: int) -> Request:
        """What is asked about a row of a corpus (COLUMNS)."""
        messages = self._messages(figure, {"question": self.question(figure)})
        return Request(f"{figure['pair_id']} description", messages, max_tokens, schema=ANSWER)


def shorten(text: str) -> str:
    """One line each, and no more than LONGEST characters: what is over is cut off between words."""
    lines = "\n".join(filter(None, (" ".join(line.split()) for line in text.splitlines())))
    return lines if len(lines) <= LONGEST else lines[: LONGEST + 1].rpartition(" ")[0] + " ..."


def read_turns(reply: str) -> Turns:
    """The questions and answers in a reply: of JSON, whole or cut short, else of lines. At most the first MOST.

    Empty if there are fewer than FEWEST.
    """
    text = _THOUGHT.sub("", reply)
    pairs = _PAIR.findall(text)
    found = [(_string(q), _string(a)) for q, a in pairs] if pairs else _lines(text)
    turns = [(_clean(question), _clean(answer)) for question, answer in found]
    turns = [turn for turn in turns if all(turn)][:MOST]
    return turns if len(turns) >= FEWEST else []


def read_answer(reply: str) -> str:
    """The description in a reply: of JSON, else all of it. Empty if it has fewer words than FEWEST_WORDS."""
    text = _THOUGHT.sub("", reply).strip()
    found = _ANSWER.search(text)
    if found:
        text = _string(found[1])
    elif text.startswith(("{", "[", "```")):
        return ""
    elif mark := _LINE.match(text):
        text = text[mark.end() :]
    text = " ".join(_clean(text).split())
    return text if len(text.split()) >= FEWEST_WORDS else ""


def problem(reply: str) -> str:
    """What is wrong with a reply, for the teacher to read; empty if nothing."""
    return "" if read_turns(reply) else PROBLEM


def answer_problem(reply: str) -> str:
    """The same of a description."""
    return "" if read_answer(reply) else NO_ANSWER


def _lines(text: str) -> Turns:
    """Of "Question: ... Answer: ..." in lines. A question without its answer counts as not there."""
    parts = _LINE.split(text)[1:]
    said = [(who[0].lower(), what) for who, what in zip(parts[::2], parts[1::2], strict=True)]
    return [(q, a) for (who, q), (other, a) in pairwise(said) if (who, other) == ("q", "a")]


def _string(quoted: str) -> str:
    try:
        return str(_DECODER.decode(quoted))
    except ValueError:
        return ""


def _clean(text: str) -> str:
    """Without what would be taken for the picture's place, or cannot be stored."""
    text = text.replace("<image>", "image").strip().strip("*").strip()
    return text.encode("utf-8", "replace").decode()
