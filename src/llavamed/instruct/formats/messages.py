"""`messages` as TRL and LLaMA-Factory read them: `{messages: [{role, content}], images: [file]}`.

TRL takes `content` as parts (`{type: image}`, `{type: text, text}`), LLaMA-Factory as text in which `<image>` stands
for the picture. Neither reads the other's: TRL would take the mark for words.
"""

from llavamed.corpus.problem import Problem
from llavamed.instruct.clean.again import MARK
from llavamed.instruct.formats.layout import Layout, Told, role, stem, text_of, without_mark, words
from llavamed.storage import Json

ROLES = {"human": "user", "gpt": "assistant"}
SYSTEM = ("system", "developer")


def knows(record: Json) -> bool:
    """Whether a record has messages."""
    return "messages" in record


def read(record: Json) -> Told:
    """Raises Problem: record_broken; several_images."""
    parts = record["messages"]
    if not (isinstance(parts, list) and parts and all(isinstance(part, dict) for part in parts)):
        raise Problem("record_broken", "messages is no list of messages")
    before = parts[:1] if parts[0].get("role") in SYSTEM else []
    said = [{"from": role(part.get("role")), "value": _value(part.get("content"))} for part in parts[len(before) :]]
    given = record.get("images", record.get("image"))
    names = [_name(image) for image in (given if isinstance(given, list) else [given] if given else [])]
    if len(names) > 1:
        raise Problem("several_images", f"{len(names)} pictures")
    image = names[0] if names else ""
    own = text_of(record.get("id"))
    pair_id = text_of(record.get("pair_id")) or stem(image) or own
    plain = bool(said) and isinstance(parts[-1].get("content"), str)
    notes: Json = ({"before": before} if before else {}) | ({"plain": True} if plain else {})
    return Told(own or pair_id, pair_id, image, said, record.get("domain"), notes=notes)


def _name(image: object) -> str:
    """The file of a picture, which is named or `{path}`."""
    return text_of(image.get("path") if isinstance(image, dict) else image)


def _value(content: object) -> str:
    if isinstance(content, str):
        return words(content, "content")
    if not isinstance(content, list):
        raise Problem("record_broken", "content is neither text nor parts")
    found = []
    for part in content:
        kind = part.get("type") if isinstance(part, dict) else None
        if kind not in ("image", "text"):
            raise Problem("record_broken", f"a part of content is {text_of(kind) or 'none'}: image and text are read")
        found.append(MARK if kind == "image" else words(part.get("text"), "text"))
    return "\n".join(found)


def write(row: Json, image: str, notes: Json) -> Json:
    """A row as TRL reads it; as text where it was text."""
    said = []
    for turn in row["conversations"]:
        text = without_mark(turn["value"])
        marks = MARK in turn["value"] and bool(image)
        parts = [{"type": "image"}] * marks + [{"type": "text", "text": text}]
        content = MARK * marks + text if notes.get("plain") else parts
        said.append({"role": ROLES.get(turn["from"], turn["from"]), "content": content})
    return {"id": row["id"], "messages": [*notes.get("before", []), *said], **({"images": [image]} if image else {})}


def _write_plain(row: Json, image: str, notes: Json) -> Json:
    return write(row, image, notes | {"plain": True})


MESSAGES = Layout("messages", ("messages",), knows, read, write)
LLAMA_FACTORY = Layout("llama_factory", ("messages",), knows, read, _write_plain)
