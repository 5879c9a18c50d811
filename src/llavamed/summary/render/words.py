"""What the formats share: the words around a document, and how its answers, links and counts are cut."""

import re
from collections.abc import Iterable
from dataclasses import fields, is_dataclass, replace
from typing import Any, NamedTuple
from urllib.parse import urlsplit

from llavamed.summary.document import Document, Table

FORMS = {
    "combined": "combined form",
    "eu": "Regulation (EU) 2024/1689 (AI Act), Article 53(1)(d)",
    "ab2013": "California Civil Code, section 3111 (AB 2013)",
}
READ = "Where this was read"
COLUMNS = ("value", "figures", "share")  # of a chart's table
TOP = 30  # bars of a chart that are shown; JSON has all

# what XML 1.0 cannot hold, and what turns the direction of all text after it (U+202D, U+202E)
_FORBIDDEN = re.compile("[^\t\n\r\x20-\u202c\u202f-\ud7ff\ue000-\ufffd\U00010000-\U0010ffff]")
_ITEM = re.compile(r"[-*•] +(?=\S)")
_ADDRESS = re.compile(r"https?://(?=\w)[^\s<>\"`|\\^{}]+|(?<![\w.+-])[\w.+-]+@[\w-]+(?:\.[\w-]+)+")
_SHARE = r"<?\d+(\.\d+)? ?%"
_NUMBER = re.compile(rf"{_SHARE}|\d[\d,]*( \({_SHARE}\))?")  # 1.1 may be a version
_RELATIVE = re.compile(r"(?!//)[\w./~%#?&=+-]+")


class Bar(NamedTuple):
    """A row of a chart. `share`: of all figures, from 0 to 1."""

    label: str
    n: int
    share: float


class Piece(NamedTuple):
    """Some words, and what they link to ("": nothing)."""

    words: str
    link: str


def clean(value: Any) -> Any:
    """`value` (text, or dataclasses, lists and dicts of it) without the characters that no page may hold."""
    if isinstance(value, str):
        return _FORBIDDEN.sub("\ufffd", value)
    if isinstance(value, dict):
        return {clean(key): clean(inner) for key, inner in value.items()}
    if isinstance(value, list | tuple):
        return type(value)(clean(inner) for inner in value)
    if is_dataclass(value) and not isinstance(value, type):
        return replace(value, **{field.name: clean(getattr(value, field.name)) for field in fields(value)})
    return value


def about(document: Document) -> list[tuple[str, str]]:
    """What stands at the head of a summary, below title and model: (what, value)."""
    return [
        ("Form", FORMS.get(document.form, document.form)),
        ("Version of this summary", document.version),
        ("Last update", document.updated),
    ]


def blocks(answer: str) -> list[str | tuple[str, ...]]:
    """Paragraphs, each on one line; lines that begin with "- " are a list, as a tuple of its items."""
    found: list[str | tuple[str, ...]] = []
    for paragraph in re.split(r"\n\s*\n", "\n".join(answer.splitlines())):
        words, items = _itemised(paragraph.split("\n"))
        found += [words] if words else []
        found += [tuple(items)] if items else []
    return found


def line(text: str) -> str:
    """`text` on one line."""
    return " ".join(text.split())


def bars(counts: dict[str, int]) -> list[Bar]:
    """The TOP largest counts in the order given, and the sum of the rest as "and K more"."""
    total = sum(counts.values()) or 1
    largest = set(sorted(counts, key=lambda label: -counts[label])[:TOP])
    shown = [Bar(label, n, n / total) for label, n in counts.items() if label in largest]
    rest = [n for label, n in counts.items() if label not in largest]
    return [*shown, Bar(f"and {len(rest):,} more", sum(rest), sum(rest) / total)] if rest else shown


def pieces(text: str) -> list[Piece]:
    """`text` on one line, cut where a web or mail address begins and ends."""
    text, found, place = line(text), [], 0
    for match in _ADDRESS.finditer(text):
        address = _trimmed(match[0])
        found += [Piece(text[place : match.start()], ""), Piece(address, web(address))]
        place = match.start() + len(address)
    return [piece for piece in (*found, Piece(text[place:], "")) if piece.words]


def web(address: str) -> str:
    """What an address links to: a web page, a mail box, a file beside this one; "" for anything else."""
    if address.startswith(("https://", "http://")):
        return address if _has_host(address) else ""
    if "@" in address:
        return f"mailto:{address}" if _ADDRESS.fullmatch(address) else ""
    return address if _RELATIVE.fullmatch(address) else ""


def numeric(table: Table) -> set[int]:
    """The columns of a table, from 0, that hold numbers alone; never the first."""
    columns = range(1, len(table.header))
    return {n for n in columns if table.rows and all(_NUMBER.fullmatch(row[n]) for row in table.rows)}


def _has_host(address: str) -> bool:
    try:
        parts = urlsplit(address)
        return bool(parts.hostname) and (parts.port or 1) > 0
    except ValueError:  # brackets of an IPv6 address, a port that is no number
        return False


def _itemised(lines: Iterable[str]) -> tuple[str, list[str]]:
    """Lines before the first item, and the items; a line that begins none goes on with what stands before it."""
    words, items = "", list[str]()
    for text in map(line, lines):
        if match := _ITEM.match(text):
            items.append(text[match.end() :])
        elif items:
            items[-1] = f"{items[-1]} {text}".rstrip()
        else:
            words = f"{words} {text}".strip()
    return words, items


def _trimmed(address: str) -> str:
    """Without the punctuation of the sentence that the address stands in."""
    while address[-1] in ".,;:!?'*" or (address[-1] == ")" and address.count(")") > address.count("(")):
        address = address[:-1]
    return address
