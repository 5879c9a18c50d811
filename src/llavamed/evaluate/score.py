"""What answers are worth: by the paper's rules and by strict ones, beside their controls.

One path for all answers, whether a model was just asked or they stand in a file.
"""

import hashlib
import json
from collections import Counter
from collections.abc import Callable, Iterable, Sequence
from io import BytesIO
from pathlib import Path

import pyarrow as pa
from PIL import Image

from llavamed import artifact, storage
from llavamed.artifact import Job
from llavamed.corpus.schema import IMAGE, with_features
from llavamed.errors import InputError
from llavamed.evaluate import predictions
from llavamed.evaluate.baselines import baselines, open_picture
from llavamed.evaluate.benchmarks.read import records
from llavamed.evaluate.contamination import answered, beside
from llavamed.evaluate.metrics import (
    CLOSED,
    OPEN,
    Item,
    difference,
    mcnemar,
    paper,
    strict,
    strict_scores,
)
from llavamed.evaluate.predictions import Match
from llavamed.evaluate.questions import Question, questions_of
from llavamed.storage import Json

RULES = 3  # of scoring: answers scored by other rules are another artifact
CONTROLS = ("blank", "shuffled", "against", "majority", "random")
WHO = ("model", *CONTROLS, "neighbour")
SIDE = 512  # pixels of a picture that is kept with its answers
QUESTION = [
    (name, pa.string())
    for name in ("id", "pair_id", "question", "reference", "kind", "question_type", "organ", "modality")
]


def column(who: str, what: str) -> str:
    """The column of the table of answers: answer, right, recall; blank_answer ..."""
    return what if who == "model" else f"{who}_{what}"


ANSWERS = with_features(
    pa.schema(
        [
            *QUESTION[:2],
            ("image", IMAGE),
            *QUESTION[2:],
            ("options", pa.list_(pa.string())),
            *((column(who, "answer"), pa.string()) for who in WHO),
            *((column(who, "right"), pa.bool_()) for who in WHO),  # of closed questions, by the strict rules
            *((column(who, "recall"), pa.float64()) for who in WHO),  # of open ones, 0 to 1
        ]
    )
)
EXCLUDED = pa.schema([*QUESTION, *((name, pa.string()) for name in ("source", "reason", "detail"))])
CARD = """---
pretty_name: "Answers to questions about pictures"
configs:
- config_name: default
  data_files: data/*.parquet
---
# Answers to questions about pictures

A model's answers, those of its controls where they were asked for (a blank picture, another question's picture, another
model), of baselines that see nothing (the commonest answer, a random one), and which of them are right.
`data/scores.json` holds the figures, in per cent; `strict` ones as value, low and high end of the 95 % interval.
Pictures are kept at most 512 pixels wide and high. For research use only: no figure here says that the model is fit
for clinical use.
"""

Answers = dict[str, list[str | None]]


def score(
    file: Path,
    references: Path,
    folder: Path | None = None,
    *,
    match: Match = "id",
    split: str = "test",
    language: str = "en",
    against: Path | None = None,
    blank: Path | None = None,
    shuffled: Path | None = None,
    model: Path | None = None,
    allow_missing: bool = False,
    force: bool = False,
) -> Json:
    """The scores of the answers in `file` to the questions of `references`; with `folder`, an artifact of them too.

    `references`: whatever `questions_of` reads. `against`, `blank`, `shuffled`: answers of another model, with a blank
    picture and with another question's picture, each compared in pairs. `model`: the one that gave the answers, to tell
    what of the benchmark it was trained on; None: the one that the manifest of `file` names, if it lies beside.
    Figures: see `scores`; `n_questions`: of how many; `problems`: {problem: n} of `file` and `references`; and what
    `described` tells.

    Raises:
        InputError: a file cannot be read; answers and questions do not fit (see `predictions.PROBLEMS`) and not
            `allow_missing`; or what `artifact.start` refuses.
    """
    files = {"model": file, "against": against, "blank": blank, "shuffled": shuffled}
    given = {who: path for who, path in files.items() if path}
    questions = questions_of(references, split, language=language)
    if not questions:
        raise InputError(f"{references} holds no {split} questions: name another --split")
    asked = {question.id: question for question in questions if question.reference and question.question}
    problems = [("no_reference", question.id, "") for question in questions if question.id not in asked]
    problems += [("no_type", name, "") for name in _untyped(references, split, language)]
    if not allow_missing:
        predictions.refuse(problems, str(references))
    listed, counts = predictions.listed(problems, references), {}
    said: dict[str, dict[str, str]] = {}
    for who, path in given.items():
        paired = predictions.pair(predictions.read(path), questions, match)
        if not allow_missing:  # a model that was asked may have said nothing; a file may have lost it
            faults = [fault for fault in paired.problems if fault[0] != "empty" or path.is_file()]
            predictions.refuse(faults, str(path))
        said[who] = paired.answers
        listed += predictions.listed(paired.problems, path)
        if who == "model":
            counts = counted(listed, "problem")
    kept = [question for question in asked.values() if question.id in said["model"]]
    if not kept:
        raise InputError(f"{file}: no answer is to a question of {references}: is --match right?")
    answers: Answers = {column(who, "answer"): [of.get(q.id) for q in kept] for who, of in said.items()}
    if folder is None:
        guesses, learnt = baselines(references, kept, language)
        about = described(model or answered(file), questions, references, split, language)
        return {**scores(kept, answers | guesses), **about, "problems": counts, "baselines_from": learnt}
    settings = {"match": match, "split": split, "language": language, "allow_missing": allow_missing, "rules": RULES}
    hashes = {who: _hash_of_file(path) for who, path in given.items()} | {"questions": hash_of(questions)}
    parents = [path for path in (model, references, *given.values()) if path and (path / "manifest.json").exists()]
    job = artifact.start(folder, "scores", settings, inputs=hashes, parents=parents, force=force)
    if job.manifest is None:
        excluded = [
            {**known(question), "source": file.name, "reason": "missing" if question.id in asked else "no_reference"}
            for question in questions
            if question.id not in asked or question.id not in said["model"]
        ]
        storage.write_json(job.out / "data/problems.json", listed)
        about = described(model or answered(file), questions, references, split, language)
        publish(job, kept, answers, excluded, {**about, "problems": counts}, references, language)
    return read(folder)


def scores(questions: Sequence[Question], answers: Answers) -> Json:
    """The figures, in per cent. `answers`: `column(who, "answer")` -> a list along `questions`, None where not asked.

    `{n_open, n_closed, n_images, paper, strict, blank, shuffled, against, majority, random: {n, paper, strict,
    difference (strict, the model minus it, paired)} or None, by_question_type, by_organ, by_modality: {name: {n, kind,
    figure, paper, strict, blank ... neighbour: interval, difference: {who: interval}}}}`; `against` has `mcnemar` too.
    """
    items = {who: _items(questions, answers.get(column(who, "answer"))) for who in WHO}
    result: Json = {
        "n_open": sum(question.kind == OPEN for question in questions),
        "n_closed": sum(question.kind == CLOSED for question in questions),
        "n_images": len({question.pair_id for question in questions}),
        "paper": paper(items["model"]),
        "strict": strict(items["model"]),
    }
    for who in CONTROLS:
        result[who] = _beside(items["model"], items[who]) if items[who] else None
    if result["against"]:
        result["against"]["mcnemar"] = mcnemar(items["model"], items["against"])
    groups: dict[str, Callable[[Question], str]] = {
        "by_question_type": lambda question: question.question_type,
        "by_organ": lambda question: question.organ,
        "by_modality": lambda question: question.modality,
    }
    return result | {name: _by(questions, items, key) for name, key in groups.items()}


def _beside(model: list[Item], other: list[Item]) -> Json:
    return {
        "n": len(other),
        "paper": paper(other),
        "strict": strict(other),
        "difference": difference(model, other),
    }


def _by(questions: Sequence[Question], items: dict[str, list[Item]], key: Callable[[Question], str]) -> Json:
    """The main figure of each group of questions, open and closed ones apart."""
    groups: dict[tuple[str, str], set[str]] = {}
    for question in questions:
        if key(question):
            groups.setdefault((key(question), question.kind), set()).add(question.id)
    mixed = {name for name, kind in groups if kind == OPEN} & {name for name, kind in groups if kind == CLOSED}
    found: Json = {}
    for (name, kind), ids in sorted(groups.items()):
        part = {who: [item for item in of if item.id in ids] for who, of in items.items()}
        figure = "open_recall" if kind == OPEN else "closed_accuracy"
        others = [who for who in WHO[1:] if part[who]]
        found[f"{name}, {kind}" if name in mixed else name] = {
            "n": len(ids),
            "kind": kind,
            "figure": figure,
            "paper": paper(part["model"])[figure],
            "strict": strict(part["model"])[figure],
            **{who: strict(part[who])[figure] if who in others else None for who in WHO[1:]},
            "difference": {who: difference(part["model"], part[who])[figure] for who in others},
        }
    return found


def publish(
    job: Job,
    questions: Sequence[Question],
    answers: Answers,
    excluded: Sequence[Json],
    about: Json,
    source: Path,
    language: str = "en",
) -> None:
    """Write the table of answers, the figures, and the questions that were left out (rows of EXCLUDED).

    `about`: more for `scores.json`. `source`: where the baselines learn from, see `baselines`.
    """
    guesses, learnt = baselines(source, questions, language)
    answers = answers | guesses
    pictures: dict[str, bytes] = {}
    rows = [_row(question, n, answers, pictures) for n, question in enumerate(questions)]
    storage.write_table(job.out / "data/answers-00000.parquet", rows, ANSWERS)
    figures = {**scores(questions, answers), **about, "baselines_from": learnt}
    storage.write_json(job.out / "data/scores.json", figures)
    if excluded:
        storage.write_table(job.out / "excluded/questions-00000.parquet", list(excluded), EXCLUDED)
    counts = {"in": len(questions) + len(excluded), "kept": len(questions), "excluded": counted(excluded)}
    artifact.publish(job, counts={"questions": counts}, card=CARD)


def read(folder: Path) -> Json:
    """The figures of a finished score, with `artifact` (its folder) and `hash`.

    Raises:
        InputError: `folder` is no score, or its figures cannot be read.
    """
    manifest = artifact.require(folder, "scores")
    path = folder / "data/scores.json"
    try:
        result = json.loads(path.read_text(encoding="utf-8"))
    except (OSError, ValueError) as error:
        raise InputError(f"{path} cannot be read ({error}): score again with --force") from None
    return {**result, "artifact": str(folder), "hash": manifest["hash"]}


def described(model: Path | None, questions: Sequence[Question], source: Path, split: str, language: str) -> Json:
    """What was asked, of whom: `{benchmark, split, language, data, published, contamination, n_questions}`.

    `benchmark`: a published one's title, else the name of `source`. `data`: `hash_of` all questions. The rest: see
    `contamination.beside`. `model`: None if nothing is known of it.
    """
    about = beside(model, questions, split, language, source)
    name = about["published"]["benchmark"] if about["published"] else source.resolve().name
    return {"benchmark": name, "split": split, "language": language, "data": hash_of(questions), **about}


def hash_of(questions: Iterable[Question]) -> str:
    """SHA-256 of what is asked: id, picture's name, question, reference and kind of each, in order of the ids."""
    lines = sorted(json.dumps([q.id, q.pair_id, q.question, q.reference, q.kind]) for q in questions)
    return hashlib.sha256("\n".join(lines).encode()).hexdigest()


def _hash_of_file(path: Path) -> str:
    """SHA-256 of a file of answers, or the content hash of a score."""
    return artifact.read_manifest(path)["hash"] if path.is_dir() else storage.sha256_file(path)


def _untyped(references: Path, split: str, language: str) -> list[str]:
    """Questions whose source tells the type of others, but not theirs."""
    if (references / "manifest.json").exists():
        return []
    found = [(record.id, record.kind) for record in records(references, split, language=language)]
    untyped = [name for name, kind in found if not kind]
    return untyped if len(untyped) < len(found) else []


def counted(rows: Iterable[Json], what: str = "reason") -> dict[str, int]:
    """How often each value stands in that column, in order."""
    return dict(sorted(Counter(row[what] for row in rows).items()))


def _items(questions: Sequence[Question], said: Sequence[str | None] | None) -> list[Item]:
    return [
        Item(q.id, q.question, q.reference, answer, q.kind, q.options, q.pair_id)
        for q, answer in zip(questions, said or [None] * len(questions), strict=True)
        if answer is not None
    ]


def _row(question: Question, n: int, answers: Answers, pictures: dict[str, bytes]) -> Json:
    if question.pair_id not in pictures:
        pictures[question.pair_id] = small(question.image)
    row = known(question) | {
        "image": {"bytes": pictures[question.pair_id], "path": None},
        "options": list(question.options),
    }
    for who in WHO:
        said = answers.get(column(who, "answer"))
        row[column(who, "answer")] = said[n] if said else None
        for item in _items([question], said and said[n : n + 1]):
            found = strict_scores(item)
            if question.kind == CLOSED:
                row[column(who, "right")] = found["closed_accuracy"] == 1
            else:
                row[column(who, "recall")] = found["open_recall"]
    return row


def known(question: Question) -> Json:
    """What the tables tell of a question."""
    return {name: getattr(question, name) for name, _ in QUESTION}


def small(image: bytes) -> bytes:
    """The picture as it is if at most SIDE pixels wide and high, else a JPEG of that size; nothing if unreadable."""
    try:
        picture = open_picture(image)
    except (OSError, ValueError, SyntaxError, Image.DecompressionBombError):
        return b""
    if max(picture.size) <= SIDE:
        return image
    picture.thumbnail((SIDE, SIDE), Image.Resampling.LANCZOS)
    stream = BytesIO()
    picture.save(stream, "JPEG", quality=90)
    return stream.getvalue()
