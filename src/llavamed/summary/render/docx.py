"""The summary as a Word file: WordprocessingML (ISO/IEC 29500, transitional) made of templates.

No part holds the time of writing, so the same document is the same bytes. Charts are tables with bars: each bar is one
pixel, stretched, with its share as text alternative.
"""

import re
import zlib
from collections.abc import Iterable
from io import BytesIO
from itertools import chain
from struct import pack
from typing import Any, NamedTuple
from urllib.parse import quote
from zipfile import ZIP_DEFLATED, ZipFile, ZipInfo

from llavamed import __version__
from llavamed.pages import environment, per_cent
from llavamed.summary.document import Chart, Document, Table
from llavamed.summary.render import words

# what is in the file -> the template of it; the relationships are known only when the document is made
PARTS = {
    "[Content_Types].xml": "content-types.xml",
    "_rels/.rels": "package-rels.xml",
    "docProps/core.xml": "core.xml",
    "word/document.xml": "document.xml",
    "word/styles.xml": "styles.xml",
    "word/settings.xml": "settings.xml",
    "word/numbering.xml": "numbering.xml",
    "word/footer.xml": "footer.xml",
    "word/_rels/document.xml.rels": "document-rels.xml",
}
EPOCH = (1980, 1, 1, 0, 0, 0)  # the time of every entry of the zip
COLOUR = (11, 118, 128)  # of bars
WIDTH = 9638  # of the text, in twentieths of a point: A4 less 20 mm on each side
BAR = 2_400_000  # the longest bar, in EMU (36,000 to the millimetre)
FOOTER = 90  # characters
TOGETHER = 12  # a table of at most so many rows stays on one page
_DAY = re.compile(r"\d{4}-(0[1-9]|1[0-2])-(0[1-9]|[12]\d|3[01])")


class Bar(NamedTuple):
    """A row of a chart's table; `length` in EMU, 0: no bar."""

    label: str
    n: str
    share: str
    length: int


def file(document: Document) -> bytes:
    """The summary as the bytes of a .docx file."""
    values = _values(document)
    out = BytesIO()
    with ZipFile(out, "w", ZIP_DEFLATED) as package:
        for name, template in PARTS.items():
            _put(package, name, environment().get_template(f"docx/{template}").render(values).encode())
        _put(package, "word/media/bar.png", _pixel(COLOUR))
    return out.getvalue()


def _values(document: Document) -> dict[str, Any]:
    """What the templates are filled with."""
    links: dict[str, str] = {}  # target -> id of its relationship
    headings = [f"{section.number} {section.title}" for section in document.sections]
    return {
        "document": document,
        "about": words.about(document),
        "headings": [*headings, *(["Charts"] if document.charts else []), *(["Appendix"] if document.appendix else [])],
        "updated": document.updated if _DAY.fullmatch(document.updated) else "",
        "foot": _short(f"{document.model}: training-data summary, version {document.version}"),
        "made_by": __version__,
        "head": (*words.COLUMNS, "bar"),
        "read": words.READ,
        "blocks": words.blocks,
        "pieces": words.pieces,
        "numeric": words.numeric,
        "web": words.web,
        "together": TOGETHER,
        "widths": _widths,
        "bars": _bars,
        "links": links,
        "link": lambda target: links.setdefault(quote(target, safe="%/:=&?~#+!$,;'@()*[]"), f"link{len(links)}"),
    }


def _put(package: ZipFile, name: str, data: bytes) -> None:
    entry = ZipInfo(name, EPOCH)
    entry.compress_type, entry.create_system = ZIP_DEFLATED, 3
    package.writestr(entry, data)


def _widths(table: Table) -> list[int]:
    """Widths of the columns, in twentieths of a point, by the words in them; their sum is WIDTH."""
    columns = list(zip(table.header, *table.rows, strict=True))
    whole = words.numeric(table)  # "3,839 (18.5 %)" stays on one line
    longest = [_longest((cell,) if n in whole else cell.split() for cell in cells) for n, cells in enumerate(columns)]
    weights = [
        most + sum(min(len(cell), 200) for cell in cells) ** 0.5 for most, cells in zip(longest, columns, strict=True)
    ]
    widths = [int(WIDTH * weight / sum(weights)) for weight in weights]
    return [*widths[:-1], WIDTH - sum(widths[:-1])]


def _longest(cells: Iterable[Iterable[str]]) -> int:
    return max(min(len(word), 24) for word in chain(["-" * 4], *cells))


def _bars(chart: Chart) -> list[Bar]:
    shown = words.bars(chart.counts)
    most = max((bar.n for bar in shown), default=0) or 1
    return [Bar(bar.label, f"{bar.n:,}", per_cent(bar.share), BAR * bar.n // most) for bar in shown]


def _short(text: str) -> str:
    text = words.line(text)
    return text if len(text) <= FOOTER else f"{text[:FOOTER]}…"


def _pixel(colour: tuple[int, int, int]) -> bytes:
    """A PNG of one pixel."""
    header = pack(">2I5B", 1, 1, 8, 2, 0, 0, 0)  # width, height, bits, RGB
    parts = ((b"IHDR", header), (b"IDAT", zlib.compress(bytes((0, *colour)))), (b"IEND", b""))
    return b"\x89PNG\r\n\x1a\n" + b"".join(
        pack(">I", len(data)) + name + data + pack(">I", zlib.crc32(name + data)) for name, data in parts
    )
