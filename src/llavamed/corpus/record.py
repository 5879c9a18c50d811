"""One entry of a source -> rows of the table: its pictures read, their kind and panels told."""

import hashlib
import re
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path

from PIL import Image

from llavamed.corpus import test_sets
from llavamed.corpus.choose import Choice
from llavamed.corpus.entry import Entry, Graphic, Json
from llavamed.corpus.images import VECTORS, decode, keep, shrink, stack, store
from llavamed.corpus.modality import domain_of, modality_of
from llavamed.corpus.problem import Problem
from llavamed.corpus.schema import TEXT, split_of

# "(A)", "a)", "(b–d)", "A:" or "left panel": a caption that tells of several pictures.
_LETTERS = r"[a-h](?:\s?[-–,&/]\s?[a-h]|\s(?:and|to)\s[a-h])*"
_PANELS = re.compile(
    rf"[(\[]\s*{_LETTERS}\s*[)\],;:]|(?:^|[.;:,]\s)[a-h]\)\s|(?:^|[.;]\s)(?-i:[A-H])[:.,]?\s(?=(?-i:[A-Z]))"
    r"|\b(?:panels?|(?:top|bottom|upper|lower|left|right|middle) (?:panel|row|column|image|picture)s?)\b"
    r"|[(\[](?:left|right|top|bottom)[)\]]",
    re.IGNORECASE,
)


@dataclass(frozen=True)
class Options:
    """How entries become rows. `split`: a row for each panel. `against`: the table of test sets' pictures."""

    max_side: int
    split: bool
    choice: Choice
    against: Path | None = None


@dataclass(frozen=True)
class _Whole:
    """All that a figure shows, as one image. `digests`: of its files."""

    image: Image.Image
    lossless: bool
    digests: list[str]
    flags: list[str]


def rows(entry: Entry, options: Options) -> Iterator[tuple[Json, Problem | None]]:
    """The rows of a figure (one; or one a panel), each with the reason to leave it out, or None."""
    text = dict.fromkeys(TEXT) | entry.text
    problem = entry.problem or options.choice.refuses_text(text)
    if problem:
        yield text, problem
        return
    try:
        whole = _read(entry.graphics or [], options.max_side)
    except Problem as error:
        yield text, error
        return
    split = entry.earlier["split"] if entry.earlier else split_of(entry.group)
    row = text | {"flags": [*entry.flags, *whole.flags], "split": split, "modality": entry.modality}
    yield _row(row, whole, options, entry.earlier)


def _row(text: Json, whole: _Whole, options: Options, earlier: Json | None) -> tuple[Json, Problem | None]:
    picture = keep(earlier["image"]["bytes"], text["pair_id"], options.max_side) if earlier else None
    picture = picture or store(whole.image, text["pair_id"], whole.lossless)
    stated = text["modality"]
    told = modality_of(text["fig_caption"] or "", text["in_text_mention"] or [])
    modality = stated + [kind for kind in told if kind["name"] not in {known["name"] for known in stated}]
    row = text | {
        "image": {"bytes": picture.data, "path": picture.path},
        "width": picture.width,
        "height": picture.height,
        "sha256": picture.sha256,
        "phash": picture.phash,
        "modality": modality,
        "domain": domain_of(modality),
        "panels": [],
        "single_plot": _PANELS.search(text["fig_caption"] or "") is None,
    }
    problem = options.choice.refuses_picture(row)
    if not problem and options.against:
        twin = test_sets.read(options.against).holds(picture, whole.image, whole.digests)
        problem = Problem("in_test_set", twin) if twin else None
    return row, problem


def _read(graphics: list[Graphic], max_side: int) -> _Whole:
    """Every picture that a figure names, below each other; those that cannot be had are flagged.

    Raises:
        Problem: no_graphic; or there is none, why the first was not usable (see `_decode`).
    """
    if not graphics:
        raise Problem("no_graphic")
    images, digests, lossless = [], [], True
    first: Problem | None = None
    for graphic in graphics:
        try:
            image, exact, digest = _decode(graphic, max_side)
        except Problem as problem:
            first = first or problem
            continue
        images.append(image)
        digests.append(digest)
        lossless = lossless and exact
    if not images:
        raise first or Problem("no_graphic")
    flags = ["part_missing"] if first else []
    return _Whole(shrink(stack(images), max_side), lossless, digests, flags)


def _decode(graphic: Graphic, max_side: int) -> tuple[Image.Image, bool, str]:
    """The first usable image among a graphic's candidates; whether it is lossless; the SHA-256 of its file.

    Raises:
        Problem: image_missing, vector_image, image_too_large, image_broken: why the first was not.
    """
    first: Problem | None = None
    for candidate in graphic.candidates:
        try:
            if candidate.name.lower().endswith(VECTORS):
                raise Problem("vector_image", candidate.name)
            data = candidate.load()
            return *decode(data, max_side), hashlib.sha256(data).hexdigest()
        except Problem as error:
            detail = candidate.name if error.detail in ("", candidate.name) else f"{candidate.name}: {error.detail}"
            first = first or Problem(error.reason, detail)
    raise first or Problem("image_missing", graphic.name)
