"""The sentences that cite each figure."""

import re
from bisect import bisect_right
from collections.abc import Iterator
from dataclasses import dataclass
from functools import lru_cache
from itertools import chain, islice
from operator import itemgetter

from lxml import etree

from llavamed.corpus.citations import plain, ranges, touching
from llavamed.corpus.problem import Problem
from llavamed.corpus.text import BLOCKS, SILENT, Run, child, flat, run, sentence_spans

Element = etree._Element
Place = tuple[Element | None, str, int]  # (sub-article, series, number): ("s", 1) for "Fig. S1"
MAX_MENTIONS = 100_000  # of an article: more were made to fill the memory
MAX_CITATIONS = 20_000  # of a paragraph
MAX_SENTENCE = 5_000  # characters

_SOURCES = ("xref", "range", "text")  # best first
_PARTS = ("sub-article", "response")
_ENDS = BLOCKS | SILENT
# The blocks that hold text themselves, not only other blocks.
_TEXTUAL = ("code", "entry", "license-p", "p", "preformat", "subtitle", "td", "term", "th", "title", "verse-line")
_NUMBER = re.compile(r"(.*?)(\d{1,6})\D*$", re.S)
_STATED = re.compile(r"\W*fig(?:ure|ura)?s?\b\W*[A-Z]{0,2}\d+", re.IGNORECASE)


@dataclass(frozen=True)
class Index:
    """The figures of an article by what may name them; a figure is its position among them."""

    figures: dict[Element, int]
    around: list[list[Element]]  # the figures, groups of figures, and sub-articles that each stands in, innermost first
    labels: list[str]
    ids: dict[str, list[int]]
    places: list[Place]
    at: dict[Place, list[int]]
    stated: dict[Place, list[int]]  # `at`, without the places that are only guessed


def mentions(article: Element, index: Index, xrefs: list[Element], everywhere: bool) -> list[dict[str, str]]:
    """For each figure the sentences that cite it, in order, and how each does: "xref", "range" or "text".

    `xrefs`: all `<xref>` of the article that may cite a figure; `everywhere`: look for citations without a tag too.

    Raises:
        Problem: too_many_mentions.
    """
    found: list[dict[str, str]] = [{} for _ in index.figures]
    blocks = _citing_blocks(xrefs, index.ids)
    if everywhere:
        blocks = dict.fromkeys(e for e in article.iter(*_TEXTUAL) if e in blocks or _says_figure(e)) | blocks
    count = 0
    for block in blocks:
        marked = run(block)
        text = marked.text
        citations = _tagged(marked, text, index)
        if everywhere:
            citations = chain(citations, _plain(marked, text, index, block))
        cited = list(islice(citations, MAX_MENTIONS + 1))
        if not cited:
            continue
        spans = sentence_spans(text, until=max(map(itemgetter(1), cited)))
        said: dict[tuple[int, int], str] = {}
        for first, last, figure, source in cited:
            span = spans[bisect_right(spans, (first, len(text))) - 1]
            if last >= span[1]:  # no sentence ends within a citation, as in "Fig. 9. B"
                span = span[0], spans[bisect_right(spans, (last, len(text))) - 1][1]
            if span[1] - span[0] > MAX_SENTENCE:
                span = _cut(text, span, first)
            words = said.get(span) or said.setdefault(span, text[span[0] : span[1]].strip())
            known = found[figure].setdefault(words, source)
            if known != source and _SOURCES.index(source) < _SOURCES.index(known):
                found[figure][words] = source
        count += len(cited)
        if count > MAX_MENTIONS:
            raise Problem("too_many_mentions", f"over {MAX_MENTIONS:,} in one article")
    return found


def _says_figure(block: Element) -> bool:
    """Whether the word is in it, or in a block inside it."""
    text: str = etree.tostring(block, method="text", encoding="unicode", with_tail=False)
    return "Fig" in text or "fig" in text or "FIG" in text


def index_of(figures: list[Element], xrefs: list[Element]) -> Index:
    """What may name each of `figures`, the `<fig>` of an article in order."""
    positions = {figure: position for position, figure in enumerate(figures)}
    around = [list(figure.iterancestors("fig", "fig-group", *_PARTS)) for figure in figures]
    labels = [flat(child(figure, "label")) for figure in figures]
    places = [
        _place(figure, position, label, nearest(outer, *_PARTS))
        for position, (figure, label, outer) in enumerate(zip(figures, labels, around, strict=True))
    ]
    at: dict[Place, list[int]] = {}
    stated: dict[Place, list[int]] = {}
    for position, (place, is_stated) in enumerate(places):
        at.setdefault(place, []).append(position)
        if is_stated:
            stated.setdefault(place, []).append(position)
    if not stated and all(_ends_with(figure.get("id"), position + 1) for figure, position in positions.items()):
        stated = at
    return Index(positions, around, labels, _ids(positions, around, xrefs), [place for place, _ in places], at, stated)


def nearest(elements: list[Element], *tags: str) -> Element | None:
    """The first of `elements` with such a tag."""
    return next((element for element in elements if element.tag in tags), None) if elements else None


def _ids(figures: dict[Element, int], around: list[list[Element]], xrefs: list[Element]) -> dict[str, list[int]]:
    """XML id -> the figures it stands for: a figure's own id, that of its group, of a figure or any element in it."""
    ids: dict[str, list[int]] = {}

    def add(name: str | None, figure: int) -> None:
        if name and figure not in (known := ids.setdefault(name, []))[-1:]:
            known.append(figure)

    for figure, position in figures.items():
        name = figure.get("id")
        add(name, position)
        for outer in around[position]:
            if outer in figures:
                add(name, figures[outer])
            elif outer.tag == "fig-group":
                add(outer.get("id"), position)
    cited = set()
    for xref in xrefs:
        rid = xref.get("rid")
        if rid not in ids and rid and xref.get("ref-type") in ("fig", None):
            cited.update(rid.split())
    cited -= ids.keys()
    outermost = (figure for figure, position in figures.items() if nearest(around[position], "fig") is None)
    for element in chain.from_iterable(figure.iter() for figure in outermost) if cited else ():
        if element.get("id") in cited:
            for outer in element.iterancestors("fig"):
                add(element.get("id"), figures[outer])
    return ids


def _citing_blocks(xrefs: list[Element], ids: dict[str, list[int]]) -> dict[Element, None]:
    """The innermost blocks in which a tagged citation stands, in order."""
    blocks: dict[Element, Element] = {}
    for xref in xrefs:
        rid = xref.get("rid", "")
        if rid in ids or (" " in rid and any(name in ids for name in rid.split())):
            parent = xref.getparent()
            if parent is not None and parent not in blocks:
                around = (parent, *(() if parent.tag in _ENDS else parent.iterancestors()))
                blocks[parent] = next((e for e in around if e.tag in _ENDS), parent)
    return dict.fromkeys(blocks.values())


def _tagged(marked: Run, text: str, index: Index) -> Iterator[tuple[int, int, int, str]]:
    """(offset of its first and last character, figure, source) for every figure that a tag names or a range reaches."""
    tagged = []
    for begin, end, xref in marked.spans:
        rid = xref.get("rid", "")
        cited = index.ids.get(rid) or [i for name in rid.split() for i in index.ids.get(name, ())]
        if cited and text:
            # One without text of its own belongs to what came before; one that begins with a space, to what follows.
            offset = min(begin + (text[begin : begin + 1] == " " and begin < end), len(text) - 1)
            for figure in cited if len(cited) == 1 else dict.fromkeys(cited):
                yield offset, max(offset, end - 1), figure, "xref"
            tagged.append((begin, end, cited))
    for found in ranges(text, tagged) if tagged else ():
        touched = touching(tagged, found.begin, found.end)
        places = {index.places[figure] for _, _, cited in touched for figure in cited}
        series = {(part, name) for part, name, number in places if number in (found.first, found.last)}
        for number in range(found.first, found.last + 1):
            reached = [figure for part, name in series for figure in index.at.get((part, name, number), ())]
            yield from ((found.begin, found.end - 1, figure, "range") for figure in reached)


def _plain(marked: Run, text: str, index: Index, block: Element) -> Iterator[tuple[int, int, int, str]]:
    """The citations without a tag that can mean one figure only."""
    cited = list(plain(text, marked.spans))
    if not cited or block.tag == "label" or next(block.iterancestors("ref", "ref-list"), None) is not None:
        return
    part = next(block.iterancestors(*_PARTS), None)
    around = {index.figures.get(e) for e in (block, *block.iterancestors("fig"))}
    for found in cited:
        figures = index.stated.get((part, found.series, found.number), ())
        if len(figures) == 1 and figures[0] not in around:
            yield found.begin, found.end - 1, figures[0], "text"


def _cut(text: str, span: tuple[int, int], offset: int) -> tuple[int, int]:
    """Of a sentence that is too long, as lists without full stops are, what is near the citation."""
    begin, end = span
    left, right = max(begin, offset - MAX_SENTENCE // 2), min(end, offset + MAX_SENTENCE // 2)
    return (text.find(" ", left, offset) + 1 or left) if left > begin else begin, right


def _ends_with(name: str | None, number: int) -> bool:
    match = _NUMBER.match((name or "")[-20:])
    return match is not None and int(match[2]) == number


def _place(figure: Element, position: int, label: str, part: Element | None) -> tuple[Place, bool]:
    """Its place, and whether it is stated: by its label or a caption that begins with it; else it is its position."""
    if not label:
        stated = _STATED.match(flat(child(figure, "caption"))[:40])
        label = stated[0] if stated else ""
    series, number = _numbered(label[:200])
    return (part, series, position + 1 if number is None else number), number is not None


@lru_cache(1000)
def _numbered(label: str) -> tuple[str, int | None]:
    """("s", 1) for "Fig. S1"; ("", None) without a number."""
    match = _NUMBER.match(label)
    if not match:
        return "", None
    series = re.sub(r"fig(?:ure|ura)?s?|\W", "", match[1].lower())
    return "s" if series.startswith("supp") else series, int(match[2])
