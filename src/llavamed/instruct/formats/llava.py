"""LLaVA's JSON: `{id, image, domain, conversations: [{from, value}]}`."""

from llavamed.corpus.sources.llava import TURNS
from llavamed.instruct.formats.layout import Layout, Told, stem, text_of, turns
from llavamed.storage import Json


def knows(record: Json) -> bool:
    """Whether a record has turns, under either name."""
    return any(key in record for key in TURNS)


def read(record: Json) -> Told:
    """Raises Problem: it has no turns."""
    key = next(key for key in TURNS if key in record)
    image = text_of(record.get("image"))
    name = text_of(record.get("id"))
    pair_id = text_of(record.get("pair_id")) or stem(image) or name
    notes = {} if key == TURNS[0] else {"key": key}
    return Told(name or pair_id, pair_id, image, turns(record[key], "from", "value"), record.get("domain"), notes=notes)


def write(row: Json, image: str, notes: Json) -> Json:
    """A row as a record."""
    found = {"id": row["id"], **({"image": image} if image else {})}
    found |= {"domain": row["domain"]} if row["domain"] else {}
    return found | {notes.get("key", TURNS[0]): row["conversations"]}


LLAVA = Layout("llava", TURNS, knows, read, write)
