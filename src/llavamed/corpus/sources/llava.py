"""LLaVA's and LLaVA-Med's JSON, and JSON lines of image and caption (PMC-OA), with a folder of images.

Three layouts, as a list, as lines, or as lists by domain (`{"ct_scan": [...]}`):

- figures: `{pair_id, pmid, fig_id, fig_label, fig_caption, in_text_mention, domain}`, LLaVA-Med's `..._fig_captions`;
- pairs: `{id, image, conversations: [{from, value}, {from, value}]}`, one question and its answer, which is the caption
  (LLaVA-Med's alignment data). A record of several turns holds no caption: what a model wrote about one;
- captions: `{image, caption}`, PMC-OA.

The picture is `image`, else `{pair_id}.jpg`, beside the file, in `images/` there, or in the folder that is named.
"""

import re
from array import array
from collections.abc import Iterator
from dataclasses import dataclass, field
from functools import partial
from pathlib import Path

from llavamed.corpus.entry import Candidate, Entry, Graphic
from llavamed.corpus.images import RANKS, load
from llavamed.corpus.jats import file_name
from llavamed.corpus.problem import Problem, printable
from llavamed.corpus.sources import columns, spans
from llavamed.corpus.sources.files import below, day, inside
from llavamed.errors import InputError

SUFFIXES = (".json", ".jsonl")
TURNS = ("conversations", "conversatons")  # the second is what some published files have
_HEAD = 200_000
_NAMED = re.compile(rb'"(?:image|pair_id)"\s*:')
_TOLD = re.compile(rb'"(?:fig_caption|caption|conversations|conversatons)"\s*:')


@dataclass(frozen=True)
class Item:
    """Some records of a file. `spans`: where each begins and ends, in bytes. `domain`: the list they stand in."""

    name: str
    collected: str
    path: Path
    folders: tuple[Path, ...]
    domain: str = ""
    first: int = 1
    spans: "array[int]" = field(default_factory=lambda: array("Q"), repr=False)

    @property
    def figures(self) -> int:
        """How many records."""
        return len(self.spans) // 2


def reads(source: Path) -> bool:
    """Whether `source` is JSON, or a folder with JSON of one of the layouts."""
    if source.is_dir():
        return bool(_files(source))
    return source.suffix.lower() in SUFFIXES


def _files(source: Path) -> list[Path]:
    if source.is_file():
        return [source]
    return [path for path in sorted(source.iterdir()) if path.suffix.lower() in SUFFIXES and is_layout(path)]


def is_layout(path: Path) -> bool:
    """Whether a file is JSON of one of the layouts, as its head tells."""
    if not path.is_file():
        return False
    with path.open("rb") as stream:
        head = stream.read(_HEAD)
    return bool(_NAMED.search(head) and _TOLD.search(head))


def list_items(source: Path, images: Path | None = None) -> tuple[list[Item], list[tuple[str, Path]]]:
    """(records in parts; the files, and the images in the folders where they are looked for).

    Raises:
        InputError: a file is none of the layouts.
    """
    items: list[Item] = []
    paths = _files(source)
    files = [(printable(path.name), path) for path in paths]
    folders = picture_folders(source, images)
    for path in paths:
        if not is_layout(path):
            raise InputError(
                f"{path} is no JSON with records of an image (image, pair_id) and a caption (fig_caption, caption, "
                "conversations): name such a file"
            )
        about = (printable(path.name), day(path), path, folders)
        items += [Item(*about, *part) for part in spans.parts(path)]
    pictures = below(folders[0], lambda name: Path(name).suffix.lower() in RANKS)
    return items, files + [(f"pictures/{printable(name)}", folders[0] / name) for name in pictures]


def picture_folders(source: Path, images: Path | None) -> tuple[Path, ...]:
    """Where the pictures that a file or folder names are looked for."""
    beside = source if source.is_dir() else source.parent
    return (images,) if images else (beside, beside / "images")


def entries(item: Item) -> Iterator[Entry]:
    """A figure for each record."""
    with item.path.open("rb") as stream:
        for index in range(item.figures):
            begin, end = item.spans[2 * index : 2 * index + 2]
            where = f"{item.name}#{item.first + index}"
            try:
                yield _entry(spans.record(stream, begin, end), item, where)
            except Problem as problem:
                text = {"pair_id": file_name(where), "fig_caption": ""}
                yield Entry(text, where, [], Problem(problem.reason, f"{where}: {problem.detail}"), source=where)


def _entry(record: object, item: Item, where: str) -> Entry:
    """Raises Problem: there is nothing to tell of a figure."""
    if not isinstance(record, dict):
        raise Problem("record_broken", "no object")
    record = ({"domain": {item.domain: True}} if item.domain else {}) | record
    turns = next((record[key] for key in TURNS if record.get(key)), None)
    problem = None
    if turns is not None:
        answer = _answer(turns)
        record = record | {"caption": answer}
        problem = None if answer else Problem("no_caption", f"{where}: a conversation of several turns")
    image = columns.clean(record.get("image")).removeprefix("./")
    text, group, kinds = columns.read(record, image.rpartition(".")[0] or image or where)
    name = image or f"{text['pair_id']}.jpg"
    try:
        path = find_picture(item.folders, name)
    except Problem as error:
        path, problem = None, problem or error
    candidates = [Candidate(printable(path.name), partial(load, path))] if path else []
    return Entry(text, group or where, [Graphic(name, candidates)], problem, modality=kinds, source=where)


def _answer(turns: object) -> str:
    """The answer of a conversation of one question; empty for any other."""
    if not (isinstance(turns, list) and len(turns) == 2 and all(isinstance(turn, dict) for turn in turns)):
        return ""
    return columns.clean(turns[1].get("value")) if turns[1].get("from") in ("gpt", "assistant") else ""


def find_picture(folders: tuple[Path, ...], name: str) -> Path | None:
    """The file of that name, or of its name without suffix with another. Raises what `inside` raises."""
    stem = name.removesuffix(Path(name).suffix)
    names = dict.fromkeys((name, *(stem + suffix for suffix in RANKS)))
    return next(filter(None, (inside(folder, name) for folder in folders for name in names)), None)
