"""Questions, each to be asked on its own: one picture, one question. From conversations, or from a benchmark."""

from collections.abc import Iterator
from dataclasses import dataclass, replace
from pathlib import Path

import pyarrow.parquet as pq

from llavamed import artifact
from llavamed.corpus.problem import Problem
from llavamed.corpus.schema import KINDS
from llavamed.evaluate.benchmarks.read import Record, records
from llavamed.evaluate.closed import YES_NO, alternatives, asserted, options_of
from llavamed.evaluate.metrics import CLOSED, OPEN, normalise
from llavamed.storage import ROWS_IN_GROUP, Json

KIND_OF_IMAGE, YES_OR_NO, CHOICE = "kind of image", "yes or no", "choice"
_NAMES = {normalise(name): name for name in KINDS.values()}


@dataclass(frozen=True)
class Question:
    """`image`: the encoded picture, empty where it is missing. `kind`: open or closed. `options`: what a closed
    question lets one choose from.

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


def questions_of(
    source: Path, split: str = "test", *, language: str = "en", images: Path | None = None
) -> list[Question]:
    """Every question of one split, in order. Those of one picture share its bytes.

    `source`: conversations or a converted benchmark (artifacts), or whatever `benchmarks.records` reads, which says
    what `language` and `images` are. The options of "what kind of image is this" in conversations are the kinds that
    are an answer somewhere in the split.

    Raises:
        InputError: `source` is none of these.
    """
    pictures: dict[bytes, bytes] = {}
    found = []
    for question in each_question(source, split, language=language, images=images):
        found.append(replace(question, image=pictures.setdefault(question.image, question.image)))
    kinds = tuple(sorted({q.options[0] for q in found if q.question_type == KIND_OF_IMAGE}))
    return [replace(q, options=kinds) if q.question_type == KIND_OF_IMAGE else q for q in found]


def each_question(source: Path, split: str, *, language: str = "en", images: Path | None = None) -> Iterator[Question]:
    """The same one by one, without holding all pictures; the options of a kind of image are its right answer alone."""
    made = (source / "manifest.json").is_file() and artifact.require(source, "conversations")
    if not made or "benchmark" in made:
        yield from _of_benchmark(source, split, language, images)
        return
    for path in sorted((source / "data").glob(f"{split}-*.parquet")):
        with pq.ParquetFile(path) as file:
            for batch in file.iter_batches(batch_size=ROWS_IN_GROUP):
                for row in batch.to_pylist():
                    yield from _of_row(row)


def _of_benchmark(source: Path, split: str, language: str, images: Path | None) -> Iterator[Question]:
    """A picture is read once as long as its questions follow each other."""
    last, image = "", b""
    for record in records(source, split, language=language, images=images):
        if record.picture != last:
            last, image = record.picture, _image(record)
        yield of_record(record, image)


def _image(record: Record) -> bytes:
    try:
        return record.load()
    except Problem:
        return b""


def of_record(record: Record, image: bytes) -> Question:
    """A benchmark's record as a question. Where the benchmark does not say so, yes and no are closed, the rest open."""
    yes_no = record.answer.strip(" .").lower() in YES_NO
    kind = record.kind or (CLOSED if yes_no else OPEN)
    options = options_of(record.question, record.answer) if kind == CLOSED else ()
    question_type = record.question_type or (OPEN if kind == OPEN else YES_OR_NO if options == YES_NO else CHOICE)
    return Question(
        record.id, record.picture, image, record.question, record.answer, kind, question_type, options, record.organ,
        record.modality,
    )  # fmt: skip


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
