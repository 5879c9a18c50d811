"""Concept alignment: one question and answer per figure, the caption as the answer."""

from functools import partial
from pathlib import Path

import yaml

from llavamed import storage
from llavamed.errors import InputError
from llavamed.instruct.write import Excluded, Turns, draw, open_set, place, result, write_set
from llavamed.storage import Json

QUESTIONS = Path(__file__).with_name("questions.yaml")
BRIEF_WORDS = 30  # LLaVA-Med (arXiv 2306.00890) asks for a brief description of figures with shorter captions

CARD = """Single-turn conversations that tie pictures to biomedical terms: a paraphrase of "describe this image",
answered by the figure's caption as its authors wrote it. No model made any of the text. Each caption keeps its
article's licence."""


def align(
    corpus: Path, folder: Path, *, n: int | None = None, seed: int = 0, workers: int = 1, force: bool = False
) -> Json:
    """Write the alignment set of `corpus` to `folder`: of all its captioned figures, or of `n` drawn by hash.

    The question is drawn by hash of (seed, pair_id), so that more figures change no old record.
    Returns `{conversations: {in, kept, excluded}, turns, splits, artifact, hash}`.

    Raises:
        InputError: `corpus` is not a finished corpus, `n` is less than 1, or `folder` holds something else.
    """
    if n is not None and n < 1:
        raise InputError(f"--n {n}: take at least 1 figure")
    job = open_set(corpus, folder, "alignment", {"seed": seed, "n": n}, QUESTIONS, force)
    if job.manifest is None:
        questions = yaml.safe_load(QUESTIONS.read_text(encoding="utf-8"))
        writer = partial(write_one, questions=questions, seed=seed, limit=_limit(corpus, n, seed))
        writers = {path.relative_to(corpus).as_posix(): writer for path in storage.tables(corpus)}
        job.manifest = write_set(job, corpus, writers, teacher="caption", models=[], text=CARD, workers=workers)
    return result(job.manifest, folder)


def write_one(figure: Json, *, questions: dict[str, list[str]], seed: int, limit: float = 1.0) -> Turns:
    """The figure's single turn. Raises Excluded for an empty caption, or a figure whose place is past `limit`."""
    caption = " ".join((figure["fig_caption"] or "").split())
    if not caption:
        raise Excluded("no_caption")
    if place("take", seed, figure["pair_id"]) > limit:
        raise Excluded("not_drawn")
    length = "brief" if len(caption.split()) < BRIEF_WORDS else "detailed"
    return [(draw(questions[length], seed, figure["pair_id"]), caption)]


def _limit(corpus: Path, n: int | None, seed: int) -> float:
    """The place of the nth captioned figure: those up to it are taken."""
    if n is None:
        return 1.0
    rows = storage.read_rows(corpus, columns=["pair_id", "fig_caption"])
    places = sorted(place("take", seed, row["pair_id"]) for row in rows if (row["fig_caption"] or "").strip())
    return places[n - 1] if n <= len(places) else 1.0
