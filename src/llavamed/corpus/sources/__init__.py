"""SRC -> what is in it: one reader for each kind of source.

A reader is a module with `reads(source)`, whether a path is of its kind; `list_items(source)`, its items (the units of
reading) in order and every file that counts; an `Item`, which knows its `name`, the day it was `collected` and about
how many `figures` it holds; and `entries(item)`, which reads one.
"""

from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any, Protocol

from llavamed import artifact
from llavamed.corpus.entry import Entry
from llavamed.corpus.sources import articles
from llavamed.errors import InputError

READERS = (articles,)  # the first that reads a source has it
_READER: dict[type, Callable[[Any], Iterator[Entry]]] = {reader.Item: reader.entries for reader in READERS}
WHAT = "a folder, an archive or an .nxml file of articles"


class Item(Protocol):
    """A unit of reading."""

    @property
    def name(self) -> str:
        """Its path below SRC."""

    @property
    def collected(self) -> str:
        """YYYY-MM-DD."""

    @property
    def figures(self) -> int:
        """About how many it holds."""


def list_sources(sources: list[Path]) -> tuple[list[Item], list[tuple[str, Path]], list[Path]]:
    """(items in order, every file that counts by name, those sources that are artifacts).

    Raises:
        InputError: a source is missing, holds nothing to read, or is an unfinished artifact.
    """
    items: list[Item] = []
    files, parents = [], []
    if not sources:
        raise InputError(f"no source of figures: name {WHAT}")
    for index, source in enumerate(sources):
        if not source.exists():
            raise InputError(f"{source} does not exist: name {WHAT}")
        made = (source / "manifest.json").is_file()
        if made:
            artifact.require(source, "articles")
            parents.append(source)
        elif (source / ".job").exists():
            raise InputError(f"{source} is unfinished: run the step that writes it again")
        reader = next((reader for reader in READERS if reader.reads(source)), None)
        if reader is None:
            raise InputError(f"{source} is nothing to read figures from: name {WHAT}")
        found, beside = reader.list_items(source / "data" if made else source)
        if not found:
            raise InputError(f"{source} holds no article: no .nxml, .xml or .tar.gz in it")
        items += found
        if not made:
            files += [(f"{index}/{name}", path) for name, path in beside]
    return items, files, parents


def settle(items: list[Item]) -> list[Item]:
    """The same items; of articles that are there more than once all but the best marked as duplicates."""
    marked = iter(articles.mark_duplicates([item for item in items if isinstance(item, articles.Item)]))
    return [next(marked) if isinstance(item, articles.Item) else item for item in items]


def entries(item: Item) -> Iterator[Entry]:
    """What is in one item."""
    return _READER[type(item)](item)
