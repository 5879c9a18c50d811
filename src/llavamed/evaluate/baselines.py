"""What can be answered without a model, or without looking: the controls beside every score."""

from collections import Counter, defaultdict
from collections.abc import Iterator, Sequence
from io import BytesIO
from pathlib import Path

import numpy as np
from PIL import Image

from llavamed.evaluate.benchmarks.read import records
from llavamed.evaluate.closed import YES_NO, asserted
from llavamed.evaluate.metrics import OPEN, SEED, normalise
from llavamed.evaluate.questions import KIND_OF_IMAGE, Question, each_question, of_record

SIDE = 16  # pixels of the nearest neighbour's pictures
GREY = (128, 128, 128)


def open_picture(data: bytes) -> Image.Image:
    """The decoded picture, RGB.

    Raises:
        OSError, ValueError, SyntaxError, Image.DecompressionBombError: it cannot be read.
    """
    with Image.open(BytesIO(data)) as picture:
        return picture.convert("RGB")


def blank(picture: Image.Image) -> Image.Image:
    """A uniform mid-grey picture of the same size: what is answered without seeing anything."""
    return Image.new("RGB", picture.size, GREY)


def baselines(
    source: Path, questions: Sequence[Question], language: str = "en"
) -> tuple[dict[str, list[str | None]], str]:
    """An answer of each baseline for each question, and where it learnt from: the train split of `source`, or, where
    there is none, the questions themselves ("test": what a constant answer can reach at most).

    `{majority_answer, random_answer, neighbour_answer}`. Majority: the commonest answer to questions of its type, of
    closed ones among its options. Random, seeded: an option; without options, an answer to a question of its type.
    Neighbour: for kinds of image, the answer of the train picture that is nearest in grey values at 16 x 16 pixels
    (Euclidean); None for other questions.
    """
    counts: dict[tuple[str, str], Counter[str]] = defaultdict(Counter)
    pictures: dict[str, tuple[np.ndarray, str]] = {}
    for known in _train(source, language):
        if known.reference:
            counts[known.kind, known.question_type][_answer(known)] += 1
        if known.question_type == KIND_OF_IMAGE and known.pair_id not in pictures and known.image:
            try:
                pictures[known.pair_id] = thumbnail(open_picture(known.image)), known.reference
            except (OSError, ValueError, SyntaxError, Image.DecompressionBombError):
                continue  # no neighbour; training has excluded it with the reason
    learnt = "train" if counts else "test"
    if not counts:
        for question in questions:
            counts[question.kind, question.question_type][_answer(question)] += 1
    ranked = {  # the commonest first; ties go to the alphabet
        key: [answer for answer, _ in sorted(of.items(), key=lambda pair: (-pair[1], pair[0]))]
        for key, of in counts.items()
    }
    known_to = [ranked.get((question.kind, question.question_type), []) for question in questions]
    train, answers = np.array([p for p, _ in pictures.values()]), [answer for _, answer in pictures.values()]
    random = np.random.default_rng(SEED)
    said: dict[str, list[str | None]] = {
        "majority_answer": list(map(_majority, questions, known_to)),
        "random_answer": [_random(q, known, random) for q, known in zip(questions, known_to, strict=True)],
        "neighbour_answer": [
            _nearest(question.image, train, answers) if answers and question.question_type == KIND_OF_IMAGE else None
            for question in questions
        ],
    }
    return said, learnt


def _train(source: Path, language: str) -> Iterator[Question]:
    """The questions of the train split; of a benchmark, without their pictures, which no baseline looks at."""
    if (source / "manifest.json").is_file():
        yield from each_question(source, "train")
    else:
        for record in records(source, "train", language=language):
            yield of_record(record, b"")


def thumbnail(picture: Image.Image) -> np.ndarray:
    """256 grey values, 0 to 255."""
    small = picture.convert("L").resize((SIDE, SIDE), Image.Resampling.BOX)
    return np.asarray(small, dtype=np.float32).ravel()


def _answer(question: Question) -> str:
    """The answer in one spelling."""
    said = asserted(question.reference, YES_NO) if question.options == YES_NO else None
    return said or normalise(question.reference)


def _majority(question: Question, ranked: Sequence[str]) -> str:
    fitting = (answer for answer in ranked if question.kind == OPEN or asserted(answer, question.options))
    return next(fitting, min(question.options, default=""))


def _random(question: Question, known: Sequence[str], random: np.random.Generator) -> str:
    among = question.options if len(question.options) > 1 else known
    return among[int(random.integers(len(among)))] if among else ""


def _nearest(image: bytes, train: np.ndarray, answers: list[str]) -> str:
    distances = ((train - thumbnail(open_picture(image))) ** 2).sum(axis=1)
    return answers[int(distances.argmin())]
