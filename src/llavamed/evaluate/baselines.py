"""What can be answered without a model, or without looking: the controls beside every score."""

from collections import Counter, defaultdict
from collections.abc import Sequence
from io import BytesIO
from pathlib import Path

import numpy as np
from PIL import Image

from llavamed.evaluate.closed import YES_NO, asserted
from llavamed.evaluate.metrics import CLOSED, normalise
from llavamed.evaluate.questions import KIND_OF_IMAGE, YES_OR_NO, Question, each_question

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


def baselines(folder: Path, questions: Sequence[Question]) -> dict[str, list[str | None]]:
    """An answer for each question, from the train split of `folder`: {majority_answer, neighbour_answer}.

    Majority: the commonest answer to closed questions of its type, among its options. Neighbour: for kinds of image,
    the answer of the train picture that is nearest in grey values at 16 x 16 pixels (Euclidean). None: not for
    questions of that type, or there is no train split.
    """
    counts: dict[str, Counter[str]] = defaultdict(Counter)
    pictures: dict[str, tuple[np.ndarray, str]] = {}
    for known in each_question(folder, "train"):
        if known.kind == CLOSED and known.reference:
            counts[known.question_type][_answer(known)] += 1
        if known.question_type == KIND_OF_IMAGE and known.pair_id not in pictures and known.image:
            try:
                pictures[known.pair_id] = thumbnail(open_picture(known.image)), known.reference
            except (OSError, ValueError, SyntaxError, Image.DecompressionBombError):
                continue  # no neighbour; training has excluded it with the reason
    train, answers = np.array([p for p, _ in pictures.values()]), [answer for _, answer in pictures.values()]
    return {
        "majority_answer": [_majority(question, counts) for question in questions],
        "neighbour_answer": [
            _nearest(question.image, train, answers) if answers and question.question_type == KIND_OF_IMAGE else None
            for question in questions
        ],
    }


def thumbnail(picture: Image.Image) -> np.ndarray:
    """256 grey values, 0 to 255."""
    small = picture.convert("L").resize((SIDE, SIDE), Image.Resampling.BOX)
    return np.asarray(small, dtype=np.float32).ravel()


def _answer(question: Question) -> str:
    """The answer in one spelling."""
    said = asserted(question.reference, YES_NO) if question.question_type == YES_OR_NO else None
    return said or normalise(question.reference)


def _majority(question: Question, counts: dict[str, Counter[str]]) -> str | None:
    """Ties go to the alphabet."""
    if question.kind != CLOSED or not counts:
        return None
    ranked = sorted(counts[question.question_type].items(), key=lambda pair: (-pair[1], pair[0]))
    return next((answer for answer, _ in ranked if asserted(answer, question.options)), "")


def _nearest(image: bytes, train: np.ndarray, answers: list[str]) -> str:
    distances = ((train - thumbnail(open_picture(image))) ** 2).sum(axis=1)
    return answers[int(distances.argmin())]
