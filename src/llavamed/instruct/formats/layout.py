"""A layout: how one record of a file is understood, and written."""

import hashlib
import json
from collections.abc import Callable
from dataclasses import dataclass, field
from typing import NamedTuple

from llavamed.corpus.problem import Problem, printable
from llavamed.instruct.clean.again import MARK, Said
from llavamed.instruct.formats.rest import difference, restored
from llavamed.storage import Json

_ROLES = {"human": "human", "user": "human", "gpt": "gpt", "assistant": "gpt"}


@dataclass(frozen=True)
class Told:
    """What a record tells. `said`: its turns as our table has them. `image`: the picture's file, "" for none.

    `domain`: as the record has it. `notes`: what `write` needs to know, beside the table's row.
    """

    id: str
    pair_id: str
    image: str
    said: Said
    domain: object = None
    teacher: str = ""
    notes: Json = field(default_factory=dict)


class Layout(NamedTuple):
    """`spoken`: the keys of a record that hold what is said. `knows`: whether a record is of this layout.

    `read` raises Problem: the record is none. `write` takes a row of our table, the name of its picture ("" for none)
    and the notes.
    """

    name: str
    spoken: tuple[str, ...]
    knows: Callable[[Json], bool]
    read: Callable[[Json], Told]
    write: Callable[[Json, str, Json], Json]
    split: str = "train"  # of a file that says nothing of splits


def kept(layout: Layout, record: Json, told: Told, row: Json, where: str) -> str:
    """The column `record` of an imported row: what `as_it_was` needs, as JSON. `where`: the list it stood in."""
    found: Json = {"layout": layout.name, "said": _said(row), "notes": told.notes, "image": told.image, "list": where}
    found["rest"] = difference(record, layout.write(row, told.image, told.notes))
    return json.dumps({key: value for key, value in found.items() if value}, sort_keys=True, separators=(",", ":"))


def as_it_was(layout: Layout, row: Json, picture: str = "", usual: str = "") -> Json:
    """A row in a layout; if it was imported from it, with all that its record had.

    What is said stays as the row has it, if it was changed since. `picture`: the file that is written beside it;
    `usual`: what its picture is called, where the record did not say.
    """
    held = json.loads(row.get("record") or "{}")
    name = picture or held.get("image") or usual
    if held.get("layout") != layout.name:
        return layout.write(row, name, {})
    rest = held.get("rest", {})
    if "keys" in rest:
        own = layout.spoken if held["said"] != _said(row) else ()
        own += ("image", "images") if name != held.get("image") else ()
        rest = rest | {"keys": {key: part for key, part in rest["keys"].items() if key not in own}}
    found: Json = restored(layout.write(row, name, held.get("notes", {})), rest)
    return found


def list_of(row: Json) -> str:
    """The list of its file that the record of a row stood in, by name."""
    found: str = json.loads(row.get("record") or "{}").get("list", "")
    return found


def turns(parts: object, who: str, what: str) -> Said:
    """Turns as our table has them, of a list of `{who: role, what: text}`.

    Raises:
        Problem: record_broken: there is no such list.
    """
    if not (isinstance(parts, list) and parts and all(isinstance(part, dict) for part in parts)):
        raise Problem("record_broken", "no list of turns")
    return [{"from": role(part.get(who)), "value": words(part.get(what), what)} for part in parts]


def role(name: object) -> str:
    """human or gpt; other names as they are."""
    text = text_of(name)
    return _ROLES.get(text.lower(), text)


def words(value: object, key: str) -> str:
    """A text that must be there, as UTF-8 can hold it.

    Raises:
        Problem: record_broken.
    """
    if not isinstance(value, str):
        raise Problem("record_broken", f"{key} is no text")
    return printable(value)


def text_of(value: object) -> str:
    """A text or a whole number as text; empty for anything else."""
    plain = isinstance(value, str | int) and not isinstance(value, bool)
    return printable(str(value)) if plain else ""


def stem(name: str) -> str:
    """The name of a picture, without folders and suffix."""
    file = name.replace("\\", "/").rpartition("/")[2]
    return file.rpartition(".")[0] or file


def without_mark(value: str) -> str:
    """The words of a turn without the mark of the picture."""
    return value.replace(MARK, "").strip()


def _said(row: Json) -> str:
    text = json.dumps(row["conversations"], sort_keys=True)
    return hashlib.sha256(text.encode()).hexdigest()[:16]
