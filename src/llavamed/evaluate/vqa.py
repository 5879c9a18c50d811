"""Ask a model held-out questions, with the picture and with a blank one, and score the answers beside baselines."""

import json
from collections.abc import Iterable, Sequence
from functools import partial
from hashlib import sha256
from pathlib import Path

import pyarrow as pa
from PIL import Image
from rich import box
from rich.table import Table

from llavamed import artifact
from llavamed.artifact import Json
from llavamed.console import console
from llavamed.corpus.schema import IMAGE, with_features
from llavamed.errors import InputError
from llavamed.evaluate.baselines import baselines, blank, open_picture
from llavamed.evaluate.metrics import CLOSED, OPEN, Interval, Item, difference, paper, strict, strict_scores
from llavamed.evaluate.questions import Question, questions_of

RULES = 2  # of scoring: answers scored by other rules are another artifact
_QUESTION = [(name, pa.string()) for name in ("id", "pair_id", "question", "reference", "kind", "question_type")]
_SAYS = ("answer", "blank_answer", "majority_answer", "neighbour_answer")
_RIGHT = ("right", "blank_right", "majority_right", "neighbour_right")
ANSWERS = with_features(
    pa.schema(
        [
            *_QUESTION[:2],
            ("image", IMAGE),
            *_QUESTION[2:],
            ("options", pa.list_(pa.string())),
            *((name, pa.string()) for name in _SAYS),
            *((name, pa.bool_()) for name in _RIGHT),  # of closed questions, by the strict rules
            *((name, pa.float64()) for name in ("recall", "blank_recall")),  # of open ones, 0 to 1
        ]
    )
)
EXCLUDED = pa.schema([*_QUESTION, *((name, pa.string()) for name in ("source", "reason", "detail"))])
CARD = """---
pretty_name: "Answers to held-out questions"
configs:
- config_name: default
  data_files: data/*.parquet
---
# Answers to held-out questions

What a model answered with the picture and with a blank one, the answers of two baselines, and which of them are right.
`data/scores.json` holds the figures, in per cent; `strict` ones as value, low and high end of the 95 % interval.
For research use only: no figure here says that the model is fit for clinical use.
"""


def evaluate(
    model: Path,
    data: Path,
    folder: Path,
    *,
    split: str = "test",
    max_new_tokens: int = 32,
    batch_size: int = 8,
    limit: int | None = None,
    device: str = "auto",
    force: bool = False,
) -> Json:
    """Write the answers and scores of `model` on one split of the conversations `data` to `folder`, and return them.

    `limit`: at most so many questions, drawn by hash of their id. Scores are in per cent: `{n_open, n_closed, n_images,
    paper, strict, blank: {paper, strict}, majority: {paper, strict} or None, difference (strict, real - blank, paired),
    by_question_type: {type: {n, strict, blank, difference, majority, neighbour}}, data, artifact, hash}`.

    Raises:
        InputError: `model` or `data` is something else, or has no such split; the device is not there; or what
            `artifact.start` and `checkpoint.load` refuse.
    """
    artifact.require(model, "model")
    source = artifact.require(data, "conversations")
    if not artifact.has_rows(data, split):
        raise InputError(f"{data} holds no {split} conversations: name another --split, or build from more articles")
    settings = {
        "split": split,
        "max_new_tokens": max_new_tokens,
        "batch_size": batch_size,
        "limit": limit,
        "rules": RULES,
    }
    job = artifact.start(folder, "scores", settings, parents=[model, data], force=force)
    if job.manifest is None:
        try:
            questions, excluded = _sift(questions_of(data, split), limit)
            if not questions:
                raise InputError(
                    f"{data}: no {split} question can be asked ({_reasons(excluded)}): look at its conversations"
                )
            answers = _ask(model, questions, job.work / "answers.jsonl", max_new_tokens, batch_size, device)
        except InputError:
            if not (job.work / "answers.jsonl").exists():
                artifact.abandon(job)
            raise
        answers |= baselines(data, questions)
        rows = _rows(questions, answers)
        artifact.write_table(job.out / "data/answers-00000.parquet", rows, ANSWERS)
        artifact.write_json(job.out / "data/scores.json", {**scores(questions, answers), "data": source["hash"]})
        if excluded:
            artifact.write_table(job.out / "excluded/questions-00000.parquet", excluded, EXCLUDED)
        counts = {"in": len(questions) + len(excluded), "kept": len(questions), "excluded": _reasons(excluded)}
        job.manifest = artifact.publish(job, counts={"questions": counts}, card=CARD)
    result = json.loads((folder / "data/scores.json").read_text(encoding="utf-8"))
    return {**result, "artifact": str(folder), "hash": job.manifest["hash"]}


def scores(questions: Sequence[Question], answers: dict[str, list[str | None]]) -> Json:
    """The figures for `answers`: {answer, blank_answer, majority, neighbour}, each a list along `questions`."""
    items = {who: _items(questions, said) for who, said in answers.items()}
    real, unseen = items["answer"], items["blank_answer"]
    by_type: Json = {}
    for name in sorted({question.question_type for question in questions}):
        chosen = {question.id for question in questions if question.question_type == name}
        part = {who: [item for item in found if item.id in chosen] for who, found in items.items()}
        figure = "open_recall" if part["answer"][0].kind == OPEN else "closed_accuracy"
        by_type[name] = {
            "n": len(chosen),
            "figure": figure,
            "strict": strict(part["answer"])[figure],
            "blank": strict(part["blank_answer"])[figure],
            "difference": difference(part["answer"], part["blank_answer"])[figure],
            "majority": strict(part["majority_answer"])[figure],
            "neighbour": strict(part["neighbour_answer"])[figure],
        }
    majority = items["majority_answer"]
    return {
        "n_open": sum(question.kind == OPEN for question in questions),
        "n_closed": sum(question.kind == CLOSED for question in questions),
        "n_images": len({question.pair_id for question in questions}),
        "paper": paper(real),
        "strict": strict(real),
        "blank": {"paper": paper(unseen), "strict": strict(unseen)},
        "majority": {"paper": paper(majority), "strict": strict(majority)} if majority else None,
        "difference": difference(real, unseen),
        "by_question_type": by_type,
    }


def table(result: Json) -> Table:
    """The scores for the terminal: the model beside its controls, each value with the ends of its interval."""
    title = f"{result['n_open']} open and {result['n_closed']} closed questions on {result['n_images']} images"
    notes = "per cent [95 % interval over images]; paper: by LLaVA-Med's rules"
    shown = Table(title=title, caption=notes, box=box.SIMPLE_HEAD, pad_edge=False)
    shown.add_column("")
    for heading in ("n", "model", "blank image", "majority", "neighbour"):
        shown.add_column(heading, justify="right", no_wrap=True)
    parts = (result, result["blank"], result["majority"] or {"strict": {}, "paper": {}})
    whole = (("open recall", "n_open", "open_recall"), ("closed accuracy", "n_closed", "closed_accuracy"))
    for label, n, figure in whole:
        if result[n]:
            shown.add_row(label, str(result[n]), *(_say(part["strict"].get(figure)) for part in parts))
            papers = [part["paper"].get(figure) for part in parts]
            shown.add_row("  paper", "", *("" if value is None else f"{value:.1f}" for value in papers))
    shown.add_section()
    for name, part in result["by_question_type"].items():
        cells = [_say(part[key]) for key in ("strict", "blank", "majority", "neighbour")]
        shown.add_row(name, str(part["n"]), *cells)
    return shown


def _say(interval: Interval | None) -> str:
    return "" if interval is None else "{:.0f} [{:.0f}, {:.0f}]".format(*interval)


def _sift(questions: Sequence[Question], limit: int | None) -> tuple[list[Question], list[Json]]:
    """The questions to ask, and those that cannot be, or that are over the limit."""
    reasons: dict[str, tuple[str, str]] = {}
    pictures: dict[str, str] = {}
    for question in questions:
        if question.pair_id not in pictures:
            pictures[question.pair_id] = _fault(question.image)
        if not question.question or not question.reference:
            reasons[question.id] = ("no_question" if not question.question else "no_reference", "")
        elif pictures[question.pair_id]:
            reasons[question.id] = ("unreadable_image" if question.image else "no_image", pictures[question.pair_id])
    if limit is not None:
        drawn = sorted(
            (q.id for q in questions if q.id not in reasons), key=lambda name: sha256(name.encode()).digest()
        )
        reasons |= {name: ("over_limit", f"limit {limit}") for name in drawn[limit:]}
    excluded = [
        {name: getattr(q, name) for name, _ in _QUESTION}
        | {"source": q.pair_id, "reason": reasons[q.id][0], "detail": reasons[q.id][1]}
        for q in questions
        if q.id in reasons
    ]
    return [q for q in questions if q.id not in reasons], excluded


def _fault(image: bytes) -> str:
    if not image:
        return "the row holds no picture"
    try:
        open_picture(image)
    except (OSError, ValueError, SyntaxError, Image.DecompressionBombError) as error:
        return str(error)
    return ""


def _reasons(excluded: Iterable[Json]) -> dict[str, int]:
    counts: dict[str, int] = {}
    for row in excluded:
        counts[row["reason"]] = counts.get(row["reason"], 0) + 1
    return dict(sorted(counts.items()))


def _ask(
    model: Path, questions: Sequence[Question], journal: Path, max_new_tokens: int, batch_size: int, device: str
) -> dict[str, list[str | None]]:
    """The model's answers, with the picture and with a blank one."""
    console.print(f"loading {model.name}", highlight=False)
    from llavamed.evaluate.generate import Prompt, generate
    from llavamed.model.checkpoint import load
    from llavamed.model.device import pick

    network, processor = load(model, device=pick(device))
    real = [Prompt(f"{q.id} real", q.question, partial(open_picture, q.image)) for q in questions]
    unseen = [Prompt(f"{q.id} blank", q.question, partial(_blank, q.image)) for q in questions]
    said = generate(network, processor, [*real, *unseen], journal, max_new_tokens=max_new_tokens, batch_size=batch_size)
    return {"answer": [said[p.id] for p in real], "blank_answer": [said[p.id] for p in unseen]}


def _blank(image: bytes) -> Image.Image:
    return blank(open_picture(image))


def _items(questions: Sequence[Question], said: Sequence[str | None]) -> list[Item]:
    return [
        Item(q.id, q.question, q.reference, answer, q.kind, q.options, q.pair_id)
        for q, answer in zip(questions, said, strict=True)
        if answer is not None
    ]


def _rows(questions: Sequence[Question], answers: dict[str, list[str | None]]) -> list[Json]:
    rows = []
    for n, q in enumerate(questions):
        row = {name: getattr(q, name) for name, _ in _QUESTION}
        row |= {"image": {"bytes": q.image, "path": None}, "options": list(q.options)}
        for says, right in zip(_SAYS, _RIGHT, strict=True):
            row[says] = answers[says][n]
            for item in _items([q], [row[says]]):
                score = strict_scores(item)
                if q.kind == CLOSED:
                    row[right] = score["closed_accuracy"] == 1
                elif says in ("answer", "blank_answer"):
                    row["recall" if says == "answer" else "blank_recall"] = score["open_recall"]
        rows.append(row)
    return rows
