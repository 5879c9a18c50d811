"""The questions of a visual-chat evaluation, as published: with caption, mentions and reference answers."""

import json
from collections import Counter
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path

from llavamed.corpus.problem import Problem, printable
from llavamed.errors import InputError
from llavamed.evaluate import rows
from llavamed.evaluate.judge import Case
from llavamed.storage import Json

_IDS = ("question_id", "id")
_KNOWN = ("fig_caption", "in_text_mention")
_SHOWN = 5  # ids in a message


@dataclass(frozen=True)
class Left:
    """A question that is not judged, and why."""

    id: str
    reason: str
    detail: str
    source: str
    question: str = ""
    answer: str = ""


def read_questions(path: Path, captions: Path | None = None) -> tuple[list[Case], list[Left]]:
    """The questions of a file, and those that cannot be judged.

    A record: `{question_id, text, gpt4_answer, fig_caption, in_text_mention, pair_id, domain, type}`. Of several true
    domains the first counts, as in the published counts. `captions`: `{domain: [{pair_id, fig_caption,
    in_text_mention}]}`, for questions that hold no caption.

    Raises:
        InputError: a file cannot be read, or holds no such question.
    """
    figures = _figures(captions) if captions else {}
    found, left, seen = [], [], set[str]()
    for number, row in enumerate(table_of(path), 1):
        where = f"{path.name}#{number}"
        if isinstance(row, Problem):
            left.append(Left(where, row.reason, row.detail, where))
            continue
        pair_id = _text(row.get("pair_id") or row.get("image"))
        row = figures.get(pair_id, {}) | {key: value for key, value in row.items() if value not in (None, "", [], {})}
        name = _first(row, _IDS)
        text = _text(row.get("text")).replace("<image>", "").strip()
        reference, caption = _text(row.get("gpt4_answer")), _text(row.get("fig_caption"))
        needed = {"id": name, "text": text, "reference": reference, "caption": caption}
        missing = [what for what, value in needed.items() if not value]
        if missing or name in seen:
            reason = f"no_{missing[0]}" if missing else "duplicate_id"
            left.append(Left(name or where, reason, "", where, question=text))
            continue
        seen.add(name)
        mentions = tuple(_mentions(row.get("in_text_mention")))
        kind, domain = _text(row.get("type")) or "question", _domain(row.get("domain"))
        found.append(Case(name, pair_id, kind, domain, caption, mentions, text, reference))
    if not found:
        why = (
            ", ".join(f"{reason}: {n}" for reason, n in Counter(item.reason for item in left).items()) or "it is empty"
        )
        raise InputError(f"{path} holds no question to judge ({why}): name a file with records of question_id, text, "
                         "gpt4_answer and fig_caption")  # fmt: skip
    return found, left


def table_of(path: Path) -> Iterator[rows.Row]:
    """The rows of a file.

    Raises:
        InputError: it is not there, or is no table.
    """
    if not path.is_file() or path.suffix.lower() not in rows.FORMATS:
        what = "is none of" if path.is_file() else "is no file: name one of"
        raise InputError(f"{path} {what} {', '.join(rows.FORMATS)}")
    return rows.read(path)


def say(left: list[Left]) -> str:
    """What is left, counted by reason, with the first ids."""
    names: dict[str, list[str]] = {}
    for item in left:
        names.setdefault(item.reason, []).append(item.id)
    return "; ".join(
        f"{len(ids)} {reason.replace('_', ' ')} ({', '.join(ids[:_SHOWN])}{', ...' if len(ids) > _SHOWN else ''})"
        for reason, ids in names.items()
    )


def _figures(path: Path) -> dict[str, Json]:
    try:
        found = json.loads(path.read_bytes())
        records = [(key, record) for key, part in found.items() for record in part]
        return {
            record["pair_id"]: {"domain": {domain: True}, **{key: record.get(key) for key in _KNOWN}}
            for domain, record in records
        }
    except (OSError, ValueError, RecursionError, AttributeError, TypeError, KeyError) as error:
        raise InputError(
            f"{path} cannot be read as captions ({type(error).__name__}: {error}): name a file of lists by "
            "domain, with records of pair_id and fig_caption"
        ) from None


def _first(row: Json, names: tuple[str, ...]) -> str:
    return next((text for text in (_text(row.get(name)) for name in names) if text), "")


def _text(value: object) -> str:
    """A text or a whole number as text; empty for anything else."""
    plain = isinstance(value, str | int) and not isinstance(value, bool)
    return printable(str(value).strip()) if plain else ""


def _mentions(value: object) -> list[str]:
    """Sentences, each a text or `{tokens: text}`."""
    values = value if isinstance(value, list) else [value]
    texts = [_text(item.get("tokens") if isinstance(item, dict) else item) for item in values]
    return [text for text in texts if text]


def _domain(value: object) -> str:
    if isinstance(value, dict):
        value = next((name for name, true in value.items() if true is True), None)
    return _text(value) or "unknown"
