"""A fact: a value, and where it was read."""

from collections.abc import Iterable
from dataclasses import dataclass
from typing import Any

from llavamed.lineage import name
from llavamed.storage import Json


@dataclass(frozen=True)
class Fact:
    """A value, and the notes it was read from."""

    value: Any
    source: str


Facts = dict[str, Fact]


def names(manifests: Iterable[Json]) -> str:
    """How a note names several artifacts, each once."""
    return ", ".join(dict.fromkeys(name(m) for m in manifests))


def day(time: str) -> str:
    """YYYY-MM-DD of a manifest's time."""
    return time[:10]
