"""SRC -> what is in it: one reader for each kind of source (`kinds.py` tells which).

A reader is a module with `reads(source)`, whether a file is of its kind; `list_items(source)`, its items (the units of
reading) in order and every file that counts; an `Item`, which knows its `name`, the day it was `collected` and about
how many `figures` it holds; and `entries(item)`, which reads one.
"""

from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any, Protocol

from llavamed import artifact
from llavamed.corpus.entry import Entry
from llavamed.corpus.images import RANKS
from llavamed.corpus.sources import articles, files, folder, parquet
from llavamed.corpus.sources.kinds import LISTS, READERS, reader_of
from llavamed.errors import InputError

_READER: dict[type, Callable[[Any], Iterator[Entry]]] = {reader.Item: reader.entries for reader in READERS}
_MADE = {"articles": articles, "corpus": parquet}  # kinds of artifact that figures are read from
WHAT = (
    "articles (a folder, an archive, .nxml), pictures with a CSV of captions, LLaVA JSON with its images, Parquet or "
    "WebDataset of images and captions, or a corpus"
)


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


def list_sources(
    sources: list[Path], images: Path | None = None, out: Path | None = None
) -> tuple[list[Item], list[tuple[str, Path]], list[Path]]:
    """(items in order, every file that counts by name, those sources that are artifacts).

    `images`: the folder of the pictures that a list among the sources names. `out`: the folder that is being written:
    what an earlier call wrote there is no source.

    Raises:
        InputError: a source is missing, holds nothing to read or several kinds, or is an unfinished artifact; no source
            is such a list.
    """
    items: list[Item] = []
    counted, parents = [], []
    if not sources:
        raise InputError(f"no source of figures: name {WHAT}")
    if images and not images.is_dir():
        raise InputError(f"{images} is no folder: name that of the pictures")
    used = False
    for index, source in enumerate(sources):
        if not source.exists():
            raise InputError(f"{source} does not exist: name {WHAT}")
        made = artifact.require(source, *_MADE) if (source / "manifest.json").is_file() else None
        if made:
            parents.append(source)
        elif (source / ".job").exists():
            raise InputError(f"{source} is unfinished: run the step that writes it again")
        place = source / "data" if made else source
        reader = _MADE[made["kind"]] if made else reader_of(place, out)
        if reader is None:
            raise InputError(f"{source} is nothing to read figures from: {_missing(source)}")
        found, beside = reader.list_items(place, images) if reader in LISTS else reader.list_items(place)
        used = used or reader in LISTS
        if not found:
            raise InputError(f"{source} holds nothing to read figures from: {_missing(source)}")
        items += found
        if not made:
            counted += [(f"{index}/{name}", path) for name, path in beside]
    if images and not used:
        raise InputError(f"no source is a list of pictures in {images}: name a CSV or JSON file too")
    return items, counted, parents


def _missing(source: Path) -> str:
    """What would make a source without anything to read one with it."""
    lists = sorted(source.iterdir()) if source.is_dir() else [source]
    if named := next((path for path in lists if path.suffix.lower() in folder.LISTS), None):
        return f"the first line of {named} does not name the columns of pictures and captions, such as file,caption"
    if source.is_file():
        return f"name {WHAT}"
    pictures = next(files.below(source, lambda name: Path(name).suffix.lower() in (*RANKS, *folder.DICOM)), "")
    if pictures:
        return "its pictures need a CSV with columns `file` and `caption` beside them"
    return "no .nxml, .xml or archive (.tar, .tar.gz, .tar.xz) in it"


def settle(items: list[Item]) -> list[Item]:
    """The same items; of articles that are there more than once all but the best marked as duplicates."""
    marked = iter(articles.mark_duplicates([item for item in items if isinstance(item, articles.Item)]))
    return [next(marked) if isinstance(item, articles.Item) else item for item in items]


def entries(item: Item) -> Iterator[Entry]:
    """What is in one item."""
    return _READER[type(item)](item)
