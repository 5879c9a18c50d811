"""Ask a model held-out questions, with their pictures and with those of its controls, and score the answers."""

from collections.abc import Callable, Iterable, Sequence
from functools import partial
from hashlib import sha256
from pathlib import Path
from typing import Literal

import numpy as np
from PIL import Image

from llavamed import artifact, storage
from llavamed.endpoint import Endpoint
from llavamed.errors import InputError
from llavamed.evaluate.baselines import blank, open_picture
from llavamed.evaluate.generate import Prompt, generate
from llavamed.evaluate.metrics import SEED
from llavamed.evaluate.models import Local, Remote, fingerprint
from llavamed.evaluate.questions import Question, questions_of
from llavamed.evaluate.score import RULES, Answers, column, counted, described, hash_of, known, publish, read
from llavamed.storage import Json

Controls = Literal["all", "blank", "none"]
_ASKED: dict[Controls, tuple[str, ...]] = {
    "all": ("model", "blank", "shuffled"),
    "blank": ("model", "blank"),
    "none": ("model",),
}


def evaluate(
    model: Path,
    data: Path,
    folder: Path,
    *,
    split: str = "test",
    language: str = "en",
    max_new_tokens: int = 32,
    batch_size: int = 32,
    limit: int | None = None,
    controls: Controls = "all",
    allow_missing: bool = False,
    device: str = "auto",
    workers: int = 1,
    endpoint: str = "",
    force: bool = False,
) -> Json:
    """Write the answers and scores of `model` on one split of `data` to `folder`, and return the scores.

    `model`: one of ours, or any folder that `models.open_model` reads, asked by `workers` processes; or, with the URL
    of an `endpoint`, its name there. `data`: conversations, or a benchmark as `questions_of` reads it. `limit`: at most
    so many questions, drawn by hash of their id. `controls`: which pictures the questions are asked with beside their
    own: grey ones (blank), those of other questions too (all). The figures are those of `score.scores`.

    Raises:
        InputError: `model` or `data` is something else, or has no such split; a benchmark lacks pictures or answers
            and not `allow_missing`; the device is not there; or what `artifact.start` and `generate` refuse.
    """
    known_model = not endpoint and (model / "manifest.json").exists()
    if known_model:
        artifact.require(model, "model")
    ours = (data / "manifest.json").exists()
    if ours:
        artifact.require(data, "conversations")
    if ours and not storage.has_rows(data, split):
        raise InputError(f"{data} holds no {split} conversations: name another --split, or build from more articles")
    settings = {
        "split": split,
        "language": language,
        "max_new_tokens": max_new_tokens,
        "batch_size": batch_size,
        "limit": limit,
        "controls": controls,
        "rules": RULES,
    }
    if endpoint:
        settings |= {"endpoint": endpoint, "model": str(model)}
    elif not known_model:
        settings["model"] = fingerprint(model)
    # Conversations are told by their manifest, and read only if there is something to ask; a benchmark is read first.
    questions = [] if ours else questions_of(data, split, language=language)
    inputs = {} if ours else {"questions": hash_of(questions), "pictures": _hash_of_pictures(questions)}
    parents = [*([model] if known_model else []), *([data] if ours else [])]
    if not ours and not allow_missing:
        _refuse(_sift(questions, None)[1], data)
    job = artifact.start(folder, "scores", settings, inputs=inputs, parents=parents, force=force)
    if job.manifest is None:
        try:
            questions = questions or questions_of(data, split, language=language)
            asked, excluded = _sift(questions, limit)
            if not asked:
                raise InputError(
                    f"{data}: no {split} question can be asked ({counted(excluded)}): look at what it holds"
                )
            who = (
                Remote(Endpoint(endpoint, str(model)), max_new_tokens)
                if endpoint
                else Local(model, max_new_tokens, device, workers=workers)
            )
            answers = _ask(who, asked, job.work / "answers.jsonl", _ASKED[controls], batch_size)
        except InputError:
            if not (job.work / "answers.jsonl").exists():
                artifact.abandon(job)
            raise
        about = {
            **described(None if endpoint else model, questions, data, split, language),
            "problems": counted(excluded),
        }
        publish(job, asked, answers, excluded, about, data, language)
    return read(folder)


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
        known(q) | {"source": q.pair_id, "reason": reasons[q.id][0], "detail": reasons[q.id][1]}
        for q in questions
        if q.id in reasons
    ]
    return [q for q in questions if q.id not in reasons], excluded


def _refuse(excluded: Sequence[Json], data: Path) -> None:
    lacking = [row for row in excluded if row["reason"] != "over_limit"]
    if lacking:
        some = ", ".join(f"{row['id']} ({row['source']})" for row in lacking[:5])
        raise InputError(
            f"{data}: {len(lacking)} questions cannot be asked ({counted(lacking)}), such as {some}: mend the folder, "
            "or --allow-missing to ask the rest"
        )


def _fault(image: bytes) -> str:
    if not image:
        return "there is no picture"
    try:
        open_picture(image)
    except (OSError, ValueError, SyntaxError, Image.DecompressionBombError) as error:
        return str(error)
    return ""


def _hash_of_pictures(questions: Iterable[Question]) -> str:
    pictures = {question.pair_id: question.image for question in questions}
    lines = (f"{sha256(image).hexdigest()}  {name}\n" for name, image in sorted(pictures.items()))
    return sha256("".join(lines).encode()).hexdigest()


def _ask(
    model: Local | Remote, questions: Sequence[Question], journal: Path, who: Sequence[str], batch_size: int
) -> Answers:
    """The model's answers, with the pictures of each of `who`."""
    prompts = {
        one: [Prompt(f"{q.id} {one}", q.question, *picture) for q, picture in zip(questions, shown, strict=True)]
        for one in who
        if (shown := PICTURES[one](questions))
    }
    every = [prompt for of in prompts.values() for prompt in of]
    said = generate(model, every, journal, batch_size=batch_size)
    return {column(one, "answer"): [said[prompt.id] for prompt in of] for one, of in prompts.items()}


Pictures = list[tuple[Callable[[], Image.Image], str]]  # and the name of each


def _own(questions: Sequence[Question]) -> Pictures:
    return [_as_it_is(question.image) for question in questions]


def _as_it_is(image: bytes) -> tuple[Callable[[], Image.Image], str]:
    return partial(open_picture, image), sha256(image).hexdigest()


def _blank(questions: Sequence[Question]) -> Pictures:
    return [(partial(_greyed, question.image), "blank") for question in questions]


def _greyed(image: bytes) -> Image.Image:
    return blank(open_picture(image))


def _shuffled(questions: Sequence[Question]) -> Pictures:
    """Those of other questions; none where all have one picture."""
    other = derangement(list(dict.fromkeys(question.pair_id for question in questions)))
    pictures = {question.pair_id: question.image for question in questions}
    return [_as_it_is(pictures[other[question.pair_id]]) for question in questions] if other else []


PICTURES: dict[str, Callable[[Sequence[Question]], Pictures]] = {"model": _own, "blank": _blank, "shuffled": _shuffled}


def derangement(names: Sequence[str], seed: int = SEED) -> dict[str, str]:
    """Each name -> another one, all of them once: a random cycle (Sattolo's algorithm). Empty for fewer than two."""
    if len(names) < 2:
        return {}
    random, other = np.random.default_rng(seed), list(names)
    for n in range(len(other) - 1, 0, -1):
        k = int(random.integers(n))
        other[n], other[k] = other[k], other[n]
    return dict(zip(names, other, strict=True))
