"""The summary as Markdown: any text of it stays text."""

import re

from llavamed.pages import per_cent
from llavamed.summary.document import Chart, Document, Field, Table
from llavamed.summary.render import words

_SPECIAL = re.compile(r"[\\*\[\]|]|(?<![^\W_])_|_(?![^\W_])|~(?=~)")
_ENTITY = re.compile(r"&(?=#?\w+;)")
_BEGINS = re.compile(r"^([-+=>#]|\d+(?=[.)](?:\s|$)))(.?)")  # what begins a list, a heading, a quotation


def page(document: Document) -> str:
    """The summary as a page of Markdown."""
    parts = [f"# {plain(document.title)}", plain(document.model), _about(document), *map(plain, document.notes)]
    for section in document.sections:
        parts.append(f"## {plain(f'{section.number} {section.title}')}")
        parts += [part for field in section.fields for part in _field(field)]
    if document.charts:
        parts.append("## Charts")
        parts += [part for chart in document.charts for part in _chart(chart)]
    if document.appendix:
        parts.append("## Appendix")
        parts += [part for table in document.appendix for part in grid(table)]
    return "\n\n".join(parts) + "\n"


def plain(text: str) -> str:
    """`text` on one line, in which nothing is taken for Markdown or HTML; addresses become links where shown."""
    escaped = _ENTITY.sub("&amp;", words.line(text))
    escaped = _SPECIAL.sub(r"\\\g<0>", escaped).replace("<", "&lt;").replace("`", "&#96;")
    return _BEGINS.sub(_not_begun, escaped)


def _about(document: Document) -> str:
    lines = [f"- {what}: {plain(value)}" for what, value in words.about(document)]
    if document.previous:
        earlier = ", ".join(f"{plain(version)} ({plain(link)})" for version, link in document.previous)
        lines.append(f"- Earlier versions: {earlier}")
    return "\n".join(lines)


def _field(field: Field) -> list[str]:
    parts = [f"### {plain(f'{field.number} {field.title}')}", f"*{plain(field.basis)}*"]
    for block in words.blocks(field.answer):
        parts.append(plain(block) if isinstance(block, str) else "\n".join(f"- {plain(item)}" for item in block))
    parts += [part for table in field.tables for part in grid(table)]
    if field.sources:
        parts += [f"{words.READ}:", "\n".join(f"- {plain(source)}" for source in field.sources)]
    return parts


def _chart(chart: Chart) -> list[str]:
    rows = tuple((bar.label, f"{bar.n:,}", per_cent(bar.share)) for bar in words.bars(chart.counts))
    return [*grid(Table(words.COLUMNS, rows), f"### {plain(chart.title)}"), f"{words.READ}: {plain(chart.source)}"]


def grid(table: Table, heading: str = "") -> list[str]:
    """A table below its caption, or below `heading`."""
    rows = [table.header, ("---",) * len(table.header), *table.rows]
    lines = "\n".join(f"| {' | '.join(map(_cell, row))} |" for row in rows)
    caption = heading or (f"**{plain(table.caption)}**" if table.caption.strip() else "")
    return [caption, lines] if caption else [lines]


def _cell(text: str) -> str:
    return text if text == "---" else plain(text)


def _not_begun(match: re.Match[str]) -> str:
    """The first character as an entity, or the one after a number."""
    if match[1].isdigit():
        return f"{match[1]}&#{ord(match[2])};"
    return f"&#{ord(match[1])};{match[2]}"
