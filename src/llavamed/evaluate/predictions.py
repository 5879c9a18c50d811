"""Answers that stand in a file, each paired with the question it is to.

Read: the reference system's answer files (JSON lines of question_id, prompt, text), any JSON lines, JSON, CSV or
Parquet with an id and an answer a row, a JSON object of id: answer, and the folder of an earlier score.
"""

import json
import re
from collections import defaultdict
from collections.abc import Iterable, Iterator, Sequence
from dataclasses import dataclass, field
from pathlib import Path, PurePosixPath
from typing import Any, Literal

from llavamed import artifact, storage
from llavamed.corpus.problem import Problem
from llavamed.errors import InputError
from llavamed.evaluate import rows
from llavamed.evaluate.questions import Question
from llavamed.storage import Json

Match = Literal["id", "question", "position"]
# What a column holds -> the names understood, whatever their case; the first that is there is taken.
NAMES = {
    "id": ("question_id", "qid", "id"),
    "answer": ("prediction", "predicted_answer", "model_answer", "response", "output", "text", "answer"),
    "question": ("prompt", "question"),
    "image": ("image", "image_name", "img_name", "image_path"),
}
PROBLEMS = {
    "missing": "questions without an answer",
    "unknown": "answers to no question",
    "duplicate": "further answers to one question",
    "empty": "empty answers",
    "broken": "rows without an answer",
    "ambiguous": "answers whose question is asked more than once",
    "other_question": "answers whose prompt holds another question",
    "no_reference": "questions without a reference answer",
    "no_type": "references without a type",
}
_LISTED = 5  # of each problem, in an error
Found = tuple[str, str, str]  # problem, what it is about, the answer


@dataclass(frozen=True)
class Prediction:
    """One answer. `where`: file and row. `text` is None where the row holds no answer."""

    id: str
    text: str | None
    question: str
    image: str
    where: str


@dataclass
class Paired:
    """`answers`: by the question's id."""

    answers: dict[str, str] = field(default_factory=dict)
    problems: list[Found] = field(default_factory=list)


def read(path: Path) -> list[Prediction]:
    """The answers of a file, or of the folder of a score, in order.

    Raises:
        InputError: it cannot be read, or holds no answer.
    """
    found = [_prediction(row, f"{path.name}#{n}") for n, row in enumerate(_rows(path), start=1)]
    if not any(one.text is not None for one in found):
        understood = "; ".join(f"{what}: {', '.join(NAMES[what])}" for what in ("id", "answer"))
        raise InputError(f"{path} holds no answers: it needs an id and an answer a row; understood are {understood}")
    return found


def pair(predictions: Sequence[Prediction], questions: Sequence[Question], match: Match) -> Paired:
    """The answers by question, and what is wrong with them. Of several answers to one question the first is taken."""
    paired = Paired()
    for prediction, question, problem in _PAIRINGS[match](predictions, questions):
        text = prediction.text or ""
        if prediction.text is None or question is None:
            paired.problems.append((problem, prediction.id or prediction.where, text))
        elif question.id in paired.answers:
            paired.problems.append(("duplicate", question.id, text))
        else:
            paired.answers[question.id] = text
            if not text.strip():
                paired.problems.append(("empty", question.id, text))
            if prediction.question and _words(question.question) not in _words(prediction.question):
                paired.problems.append(("other_question", question.id, text))
    paired.problems += [("missing", question.id, "") for question in questions if question.id not in paired.answers]
    return paired


def refuse(problems: Iterable[Found], where: str) -> None:
    """Raise InputError if there is a problem, with all counts and the first of each kind."""
    listed: dict[str, list[str]] = defaultdict(list)
    for problem, about, _ in problems:
        listed[problem].append(about)
    if listed:
        parts = [
            f"{len(names):,} {PROBLEMS[problem]} ({', '.join(names[:_LISTED])}{', ...' if names[_LISTED:] else ''})"
            for problem, names in sorted(listed.items())
        ]
        raise InputError(f"{where}: {'; '.join(parts)}: mend them, or --allow-missing to score the rest")


def _rows(path: Path) -> Iterator[rows.Row]:
    if path.is_dir():
        artifact.require(path, "scores")
        yield from storage.read_rows(path, columns=["id", "question", "answer"])
    elif not path.is_file():
        raise InputError(f"{path} does not exist: name a file of answers")
    elif path.suffix.lower() == ".json":
        yield from _json(path)
    elif path.suffix.lower() in rows.FORMATS:
        yield from rows.read(path)
    else:
        raise InputError(f"{path} is none of {', '.join(rows.FORMATS)}: name a file of answers")


def _json(path: Path) -> Iterator[rows.Row]:
    """A list of rows, an object of id: answer, or, as in published answer files, JSON lines."""
    try:
        found = json.loads(path.read_bytes().decode("utf-8-sig"))
    except (ValueError, RecursionError):
        yield from rows.FORMATS[".jsonl"](path)
        return
    if isinstance(found, dict) and not {name for names in NAMES.values() for name in names} & found.keys():
        found = [{"id": key, "answer": value} for key, value in found.items()]
    for row in found if isinstance(found, list) else [found]:
        yield row if isinstance(row, dict) else Problem("record_broken", "no object")


def _prediction(row: rows.Row, where: str) -> Prediction:
    if isinstance(row, Problem):
        return Prediction("", None, "", "", where)
    named = {str(key).lower().strip(): value for key, value in row.items()}
    held = {what: _text(next((named[name] for name in names if name in named), None)) for what, names in NAMES.items()}
    return Prediction(held["id"] or "", held["answer"], held["question"] or "", held["image"] or "", where)


def _text(value: Any) -> str | None:
    if isinstance(value, list) and len(value) == 1:
        value = value[0]
    if isinstance(value, bool):
        return "yes" if value else "no"
    if isinstance(value, float) and value.is_integer():  # an id that went through a spreadsheet
        value = int(value)
    return str(value).strip() if isinstance(value, str | int | float) else None


Pairs = Iterator[tuple[Prediction, Question | None, str]]


def _by_id(predictions: Sequence[Prediction], questions: Sequence[Question]) -> Pairs:
    known = {question.id: question for question in questions}
    for prediction in predictions:
        yield prediction, known.get(prediction.id), "broken" if prediction.text is None else "unknown"


def _by_position(predictions: Sequence[Prediction], questions: Sequence[Question]) -> Pairs:
    for n, prediction in enumerate(predictions):
        question = questions[n] if n < len(questions) else None
        yield prediction, question, "broken" if prediction.text is None else "unknown"


def _by_question(predictions: Sequence[Prediction], questions: Sequence[Question]) -> Pairs:
    """By the words of the question, and the picture where it is told. Without it, a question that is asked of several
    pictures is paired in order if it is answered as often as it is asked."""
    asked: dict[str, list[Question]] = defaultdict(list)
    for question in questions:
        asked[_words(question.question)].append(question)
    often: dict[str, int] = defaultdict(int)
    for prediction in predictions:
        often[_words(prediction.question)] += 1
    seen: dict[tuple[str, str], int] = defaultdict(int)
    for prediction in predictions:
        words = _words(prediction.question)
        same = [q for q in asked[words] if not prediction.image or _same_picture(q.pair_id, prediction.image)]
        place = seen[words, prediction.image]
        seen[words, prediction.image] += 1
        in_order = bool(prediction.image) or often[words] == len(same)
        found = same[min(place, len(same) - 1)] if same and (in_order or len(same) == 1) else None
        problem = "broken" if prediction.text is None else "ambiguous" if same else "unknown"
        yield prediction, found, problem


_PAIRINGS = {"id": _by_id, "question": _by_question, "position": _by_position}


def _same_picture(name: str, other: str) -> bool:
    one, two = (f"/{PurePosixPath(path).with_suffix('')}" for path in (name, other))
    return one.endswith(two) or two.endswith(one)


def _words(text: str) -> str:
    return " ".join(re.findall(r"\w+", text.replace("<image>", " ").lower()))


def listed(problems: Iterable[Found], path: Path) -> list[Json]:
    """The problems of one file as rows."""
    return [{"file": path.name, "problem": name, "about": about, "answer": text} for name, about, text in problems]
