"""The part of Markdown that our own texts use, as HTML: headings, lists, tables, paragraphs, bold, emphasis, code.

Everything is escaped: HTML in the text is shown as text. Links stay as they are written.
"""

import html
import re
from collections.abc import Iterator

from markupsafe import Markup, escape

_ITEM = re.compile(r"^( *)(?:[-*+]|\d+[.)]) +(.*)$")
_HEADING = re.compile(r"^(#{1,6}) +(.*?)(?: +#+)?$")
_RULE = re.compile(r"^ *\|?( *:?-+:? *\|)+( *:?-+:? *)?$")
_CELL = re.compile(r"(?<!\\)\|")
_CODE = re.compile(r"(`+)(.+?)\1")
_STYLE = re.compile(
    r"(?<!\\)\*\*(?=\S)(?P<strong>.+?)(?<=[^\s\\])\*\*"
    r"|(?<![\w*\\])\*(?=[^\s*])(?P<em>[^*]+?)(?<=[^\s\\])\*(?![\w*])"
)
_ESCAPE = re.compile(r"\\([|*`_#\[\]\\])")


def markdown(text: str, top: int = 3) -> Markup:
    """`text` as HTML in `<div class="text">`. `top`: the level at which its highest heading stands on the page."""
    lines = text.expandtabs(4).splitlines()
    levels = [len(match[1]) for line in lines if (match := _HEADING.match(line))]
    shift = top - min(levels, default=1)
    return Markup('<div class="text">{}</div>').format(Markup("\n").join(_blocks(lines, shift)))


def _blocks(lines: list[str], shift: int) -> Iterator[Markup]:
    n = 0
    while n < len(lines):
        line, start = lines[n], n
        if not line.strip():
            n += 1
        elif match := _HEADING.match(line):
            level = max(1, min(6, len(match[1]) + shift))
            yield Markup("<h{}>{}</h{}>").format(level, _inline(match[2]), level)
            n += 1
        elif "|" in line and n + 1 < len(lines) and _RULE.match(lines[n + 1]):
            while n < len(lines) and "|" in lines[n]:
                n += 1
            yield _table(lines[start:n])
        elif _ITEM.match(line):
            while n < len(lines) and (lines[n].strip() or any(_ITEM.match(after) for after in lines[n + 1 : n + 2])):
                n += 1
            yield _list([part for part in lines[start:n] if part.strip()])
        else:
            while n < len(lines) and lines[n].strip() and (n == start or not _begins(lines[n])):
                n += 1
            yield Markup("<p>{}</p>").format(_inline(" ".join(part.strip() for part in lines[start:n])))


def _begins(line: str) -> bool:
    return bool(_HEADING.match(line) or _ITEM.match(line))


def _table(lines: list[str]) -> Markup:
    rows = [[cell.strip() for cell in _CELL.split(line.strip().removeprefix("|").removesuffix("|"))] for line in lines]
    width = len(rows[0])
    head = Markup("").join(Markup('<th scope="col">{}</th>').format(_inline(cell)) for cell in rows[0])
    body = Markup("")
    for cells in rows[2:]:
        first, *rest = (cells + [""] * width)[:width]
        body += Markup('<tr><th scope="row">{}</th>{}</tr>').format(
            _inline(first), Markup("").join(Markup("<td>{}</td>").format(_inline(cell)) for cell in rest)
        )
    label = html.unescape(rows[0][0]) or "table"
    return Markup(
        '<div class="wide" tabindex="0" role="group" aria-label="{}">'
        "<table><thead><tr>{}</tr></thead><tbody>{}</tbody></table></div>"
    ).format(label, head, body)


def _list(lines: list[str]) -> Markup:
    """A list; items that are indented further than the first one are lists in their item."""
    base = _indent(lines[0])
    items: list[tuple[str, list[str]]] = []
    for line in lines:
        match = _ITEM.match(line)
        if match and len(match[1]) <= base:
            items.append((match[2], []))
        elif match or items[-1][1]:
            items[-1][1].append(line)
        else:
            items[-1] = (f"{items[-1][0]} {line.strip()}", [])
    shown = [Markup("<li>{}{}</li>").format(_inline(words), _list(inner) if inner else "") for words, inner in items]
    tag = "ol" if lines[0].lstrip()[0].isdigit() else "ul"
    return Markup("<{}>{}</{}>").format(tag, Markup("").join(shown), tag)


def _indent(line: str) -> int:
    return len(line) - len(line.lstrip())


def _inline(words: str) -> Markup:
    """Bold, emphasis and code in one line of text."""
    shown, place = Markup(""), 0
    for match in _CODE.finditer(words):
        shown += _styled(words[place : match.start()])
        shown += Markup("<code>{}</code>").format(match[2].strip().replace("\\|", "|"))
        place = match.end()
    return shown + _styled(words[place:])


def _styled(words: str) -> Markup:
    shown, place = Markup(""), 0
    for match in _STYLE.finditer(words):
        tag = str(match.lastgroup)
        shown += _plain(words[place : match.start()])
        shown += Markup("<{}>{}</{}>").format(tag, _styled(match[tag]), tag)
        place = match.end()
    return shown + _plain(words[place:])


def _plain(words: str) -> Markup:
    return escape(html.unescape(_ESCAPE.sub(r"\1", words)))
