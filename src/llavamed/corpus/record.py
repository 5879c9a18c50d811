"""One entry of a source -> rows of the table: its pictures read, their kind and panels told."""

import hashlib
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path

from PIL import Image

from llavamed.corpus import test_sets
from llavamed.corpus.choose import Choice
from llavamed.corpus.entry import Entry, Graphic, Json
from llavamed.corpus.images import VECTORS, Picture, decode, keep, shrink, stack, store
from llavamed.corpus.modality import domain_of, modality_of
from llavamed.corpus.panels import Panel, is_compound, panels_of
from llavamed.corpus.problem import Problem
from llavamed.corpus.schema import TEXT, split_of

DETAIL = 4  # times `max_side`: how large a figure is kept until its panels are cut out


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
    text: Json = dict.fromkeys(TEXT) | entry.text
    problem = entry.problem or options.choice.refuses_text(text)
    if problem:
        yield text, problem
        return
    try:
        whole = _read(entry.graphics or [], options.max_side * (DETAIL if options.split else 1))
    except Problem as error:
        yield text, error
        return
    small = shrink(whole.image, options.max_side)
    caption = text["fig_caption"] or ""
    earlier = entry.earlier
    panels = _panels(earlier, small) if earlier else panels_of(small, caption)
    kinds = earlier["modality"] if earlier else _kinds(entry.modality, caption, text["in_text_mention"] or [])
    row = text | {
        "flags": [*entry.flags, *whole.flags],
        "split": earlier["split"] if earlier else split_of(entry.group),
        "modality": kinds or [],
        "panels": [],
        "single_plot": True,
    }
    if options.split and len(panels) > 1:
        for number, panel in enumerate(panels, start=1):
            part, picture, image = _cut(row, number, panel, whole, small, options.max_side)
            yield _check(part, picture, image, whole, options)
        return
    row["panels"] = [panel._asdict() for panel in panels]
    row["single_plot"] = earlier["single_plot"] if earlier else not is_compound(small, caption, panels)
    kept = keep(earlier["image"]["bytes"], text["pair_id"], options.max_side) if earlier else None
    yield _check(row, kept or store(small, text["pair_id"], whole.lossless), small, whole, options)


def _panels(earlier: Json, small: Image.Image) -> list[Panel]:
    """The panels that a row of a corpus has, in the picture as large as it is now."""
    scale = small.width / (earlier["width"] or small.width)
    panels = []
    for panel in earlier["panels"] or []:
        left, top, right, bottom = (round(side * scale) for side in panel["box"])
        panels.append(Panel((left, top, right, bottom), panel["label"], panel["subcaption"]))
    return panels


def _cut(
    row: Json, number: int, panel: Panel, whole: _Whole, small: Image.Image, max_side: int
) -> tuple[Json, Picture, Image.Image]:
    """The row of one panel, cut out of the figure as large as it was read; its kinds as its own words tell."""
    scale = whole.image.width / small.width
    image = shrink(whole.image.crop([round(side * scale) for side in panel.box]), max_side)
    name = panel.label or str(number)
    part = row | {"pair_id": f"{row['pair_id']}_{name}", "panel": name}
    if panel.subcaption:
        part["fig_caption"] = panel.subcaption
        part["modality"] = _kinds([], panel.subcaption, []) or row["modality"]
    if panel.label:
        part["fig_label"] = f"{(row['fig_label'] or '').rstrip('.: ')}{panel.label}"
    return part, store(image, part["pair_id"], whole.lossless), image


def _kinds(stated: list[Json], caption: str, mentions: list[str]) -> list[Json]:
    """The kinds of image that a source states, then those that the words tell."""
    names = {kind["name"] for kind in stated}
    return stated + [kind for kind in modality_of(caption, mentions) if kind["name"] not in names]


def _check(
    row: Json, picture: Picture, image: Image.Image, whole: _Whole, options: Options
) -> tuple[Json, Problem | None]:
    """A row with its picture, and whether it is left out for what that shows."""
    row = row | {
        "image": {"bytes": picture.data, "path": picture.path},
        "width": picture.width,
        "height": picture.height,
        "sha256": picture.sha256,
        "phash": picture.phash,
        "domain": domain_of(row["modality"]),
    }
    problem = options.choice.refuses_picture(row)
    if not problem and options.against:
        twin = test_sets.read(options.against).holds(picture, image, whole.digests)
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
