"""Concept alignment: one question and answer per figure, the caption as the answer."""

from collections.abc import Sequence
from functools import partial
from pathlib import Path

import yaml

from llavamed import artifact, storage
from llavamed.errors import InputError
from llavamed.instruct.draw import Drawn, Wanted, draw_figures, read_against
from llavamed.instruct.write import Turns, draw, open_set, result, write_set
from llavamed.storage import Json

QUESTIONS = Path(__file__).with_name("questions.yaml")
BRIEF_WORDS = 30  # LLaVA-Med (arXiv 2306.00890) asks for a brief description of figures with shorter captions

CARD = """Single-turn conversations that tie pictures to biomedical terms: a paraphrase of "describe this image",
answered by the figure's caption as its authors wrote it. No model made any of the text. Each caption keeps its
article's licence."""


def align(
    corpus: Path,
    folder: Path,
    *,
    n: int | None = None,
    by_domain: bool = False,
    against: Sequence[Path] = (),
    seed: int = 0,
    workers: int = 1,
    force: bool = False,
) -> Json:
    """Write the alignment set of `corpus` to `folder`: of all its captioned figures, or of `n` drawn by hash.

    `by_domain`: of the five domains in turn. `against`: without the figures of these evaluation sets.
    The question is drawn by hash of (seed, pair_id), so that more figures change no old record.
    Returns `{conversations: {in, kept, excluded}, turns, splits, artifact, hash}`.

    Raises:
        InputError: `corpus` is not a finished corpus, one of `against` no evaluation set, `n` is less than 1 or, with
            `by_domain`, missing, or `folder` holds something else.
    """
    if n is not None and n < 1:
        raise InputError(f"--n {n}: take at least 1 figure")
    if by_domain and n is None:
        raise InputError("--by-domain says which figures -n takes: add -n")
    settings: Json = {"seed": seed, "n": n} | ({"by_domain": True} if by_domain else {})
    job = open_set(corpus, folder, "alignment", settings, QUESTIONS, force, against)
    if job.manifest is None:
        wanted = Wanted(n, seed, per_article=None, compound=True, in_turn=by_domain)
        try:
            found = read_against(job, corpus, against, workers)
        except InputError:
            artifact.abandon(job)
            raise
        drawn = draw_figures(corpus, wanted, found)
        questions = yaml.safe_load(QUESTIONS.read_text(encoding="utf-8"))
        writers = {
            path.relative_to(corpus).as_posix(): partial(
                write_one, questions=questions, seed=seed, drawn=drawn[path.name], wanted=wanted
            )
            for path in storage.tables(corpus)
        }
        job.manifest = write_set(job, corpus, writers, teacher="caption", models=[], text=CARD, workers=workers)
    return result(job.manifest, folder)


def write_one(figure: Json, *, questions: dict[str, list[str]], seed: int, drawn: Drawn, wanted: Wanted) -> Turns:
    """The figure's single turn. Raises Excluded where it has no caption or is not drawn."""
    drawn.check(figure, wanted)
    caption = " ".join(figure["fig_caption"].split())
    return [(question_of(caption, figure["pair_id"], questions, seed), caption)]


def question_of(caption: str, pair_id: str, questions: dict[str, list[str]], seed: int) -> str:
    """What asks for a figure's description, in words that its id decides."""
    length = "brief" if len(caption.split()) < BRIEF_WORDS else "detailed"
    return draw(questions[length], seed, pair_id)
