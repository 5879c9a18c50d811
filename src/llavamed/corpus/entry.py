"""What every kind of source is read into: figures whose pictures are not decoded yet."""

from collections.abc import Callable
from dataclasses import dataclass, field
from typing import Any

from llavamed.corpus.problem import Problem

Json = dict[str, Any]


@dataclass(frozen=True)
class Candidate:
    """A file that may hold a picture. `load` gives its bytes, or raises Problem."""

    name: str
    load: Callable[[], bytes]


@dataclass(frozen=True)
class Graphic:
    """A picture that a figure names, and the files that may hold it, the best first."""

    name: str
    candidates: list[Candidate]


@dataclass(frozen=True)
class Entry:
    """One figure of a source; or, where `graphics` is None, one article as a whole, or what could not be read at all.

    `text`: the text columns of the table that the source knows (`schema.TEXT`); a figure's `pair_id` among them.
    `group`: the article, patient or series, from which the split is hashed. `problem`: why it is left out without a
    look at its pictures. `flags`: what must be known of a picture ("burned_in_text"). `dropped`: identifying tags that
    were not taken over, by name. `modality`: kinds of image that the source itself states, `[{name, confidence,
    source}]`. `source`: the file it was read from, where an item holds several. `earlier`: its row in another corpus,
    whose picture (if it is small enough), kinds, panels, split and day of collection are kept.
    """

    text: Json
    group: str = ""
    graphics: list[Graphic] | None = None
    problem: Problem | None = None
    flags: list[str] = field(default_factory=list)
    dropped: dict[str, int] = field(default_factory=dict)
    modality: list[Json] = field(default_factory=list)
    source: str = ""
    earlier: Json | None = None
