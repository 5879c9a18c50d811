"""The questions that a set of conversations holds, each to be asked on its own: one picture, one question."""

from collections.abc import Iterator
from dataclasses import dataclass, replace
from pathlib import Path

import pyarrow.parquet as pq

from llavamed.artifact import ROWS_IN_GROUP, Json
from llavamed.corpus.schema import KINDS
from llavamed.evaluate.closed import YES_NO, alternatives, asserted, options_of
from llavamed.evaluate.metrics import CLOSED, OPEN, normalise

KIND_OF_IMAGE, YES_OR_NO, CHOICE = "kind of image", "yes or no", "choice"
_NAMES = {normalise(name): name for name in KINDS.values()}


@dataclass(frozen=True)
class Question:
    """`image`: the encoded picture. `kind`: open or closed. `options`: what a closed question lets one choose from.

    `pair_id`: the same for all questions of one picture. `organ`, `modality`: "" where the source states none.
    """

    id: str
    pair_id: str
    image: bytes
    question: str
    reference: str
    kind: str
    question_type: str
    options: tuple[str, ...] = ()
    organ: str = ""
    modality: str = ""


def questions_of(folder: Path, split: str = "test") -> list[Question]:
    """Every question of one split of the conversations in `folder`, in order.

    The options of "what kind of image is this" are the kinds that are an answer somewhere in the split.
    """
    found = list(each_question(folder, split))
    kinds = tuple(sorted({q.options[0] for q in found if q.question_type == KIND_OF_IMAGE}))
    return [replace(q, options=kinds) if q.question_type == KIND_OF_IMAGE else q for q in found]


def each_question(folder: Path, split: str) -> Iterator[Question]:
    """The same one by one, without holding all pictures; the options of a kind of image are its right answer alone."""
    for path in sorted((folder / "data").glob(f"{split}-*.parquet")):
        with pq.ParquetFile(path) as file:
            for batch in file.iter_batches(batch_size=ROWS_IN_GROUP):
                for row in batch.to_pylist():
                    yield from _of_row(row)


def _of_row(row: Json) -> Iterator[Question]:
    image = (row["image"] or {}).get("bytes") or b""
    turns = row["conversations"] or []
    for n, turn in enumerate(turns):
        if turn["from"] != "human":
            continue
        answered = n + 1 < len(turns) and turns[n + 1]["from"] == "gpt"
        text = (turn["value"] or "").replace("<image>", " ").strip()
        reference = ((turns[n + 1]["value"] if answered else "") or "").strip()
        kind, question_type, options = _sort(text, reference)
        yield Question(f"{row['id']}-{n // 2}", row["pair_id"], image, text, reference, kind, question_type, options)


def _sort(question: str, reference: str) -> tuple[str, str, tuple[str, ...]]:
    """Kind, question type and options.

    Closed: the answer is yes or no, or a kind of image, or one of the alternatives that the question names.
    """
    name = _NAMES.get(normalise(reference).strip())
    if name:
        return CLOSED, KIND_OF_IMAGE, (name,)
    if reference and options_of(question, reference) == YES_NO:
        return CLOSED, YES_OR_NO, YES_NO
    named = alternatives(question)
    if reference and named and asserted(reference, named):
        return CLOSED, CHOICE, named
    return OPEN, OPEN, ()
