"""The summary as one HTML file in the style of the project's pages: any text of it stays text, nothing is fetched."""

import re

from markupsafe import Markup

from llavamed import pages
from llavamed.summary.document import Chart, Document, Field, Table
from llavamed.summary.render import words

TEMPLATE = "summary.html"
_HASH = re.compile(r"\b([0-9a-f]{64})\b")


def page(document: Document) -> str:
    """The summary as a page. A field's anchor is its number: `#1.3.1.A`."""
    sections = [("About this summary", [_about(document), *(pages.text(note) for note in document.notes)])]
    sections += [(f"{s.number} {s.title}", [_field(field) for field in s.fields]) for s in document.sections]
    if document.charts:
        sections.append(("Charts", [pages.row(*map(_chart, document.charts))]))
    if document.appendix:
        sections.append(("Appendix", [_table(table, f"Table {n}") for n, table in enumerate(document.appendix, 1)]))
    return pages.page(document.title, sections, document.model)


def _about(document: Document) -> Markup:
    rows = [(what, linked(value)) for what, value in words.about(document)]
    earlier = [(version, link, words.web(link)) for version, link in document.previous]
    return pages.macro(TEMPLATE, "about", rows, earlier)


def _field(field: Field) -> Markup:
    blocks = [_block(block) for block in words.blocks(field.answer)]
    tables = [_table(table, f"{field.number} {field.title}") for table in field.tables]
    anchor = re.sub(r"\s+", "-", field.number)
    basis = field.basis.split(", ")
    return pages.macro(TEMPLATE, "field", anchor, field, basis, blocks, tables, _read(field.sources))


def _block(block: str | tuple[str, ...]) -> Markup:
    if isinstance(block, str):
        return Markup('<p dir="auto">{}</p>').format(linked(block))
    items = Markup("").join(Markup('<li dir="auto">{}</li>').format(linked(item)) for item in block)
    return Markup("<ul>{}</ul>").format(items)


def _table(table: Table, otherwise: str) -> Markup:
    """`otherwise`: the title of a table that has no caption."""
    rows = [[linked(cell) for cell in row] for row in table.rows]
    return pages.table(table.caption or otherwise, table.header, rows, words.numeric(table))


def _chart(chart: Chart) -> Markup:
    counts = {bar.label: bar.n for bar in words.bars(chart.counts)}
    return Markup("<div>{}{}</div>").format(pages.bars(chart.title, counts, words.COLUMNS[0]), _read((chart.source,)))


def _read(sources: tuple[str, ...]) -> Markup:
    return pages.macro(TEMPLATE, "read", words.READ, map(linked, sources)) if sources else Markup()


def linked(text: str) -> Markup:
    """`text` on one line, with its addresses as links and whole hashes as code."""
    return Markup("").join(
        Markup('<a href="{}" rel="noreferrer">{}</a>').format(piece.link, piece.words)
        if piece.link
        else _marked(piece.words)
        for piece in words.pieces(text)
    )


def _marked(text: str) -> Markup:
    parts = _HASH.split(text)  # every other one is a hash
    return Markup("").join(Markup("<code>{}</code>").format(part) if n % 2 else part for n, part in enumerate(parts))
