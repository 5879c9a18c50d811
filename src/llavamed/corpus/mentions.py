"""The sentences that cite each figure, and which figures a citation such as "Figs 2-4" reaches."""

import re
from collections.abc import Iterator

from lxml import etree

from llavamed.corpus.text import BLOCKS, Run, flat, run, sentence_spans

Element = etree._Element
_NUMBER = re.compile(r"(.*?)(\d+)\D*$", re.S)
_RANGE = re.compile(
    r"(\d+)\s?[A-Za-z]?\)?\s?(?:[‐-―−-]|to|through|thru)\s?(?:(?:figures?|figs?)\.?\s?)?S?\s?(\d+)", re.IGNORECASE
)
_PLURAL = re.compile(r"fig(?:ure)?s\b[^.;]{0,12}$", re.IGNORECASE)


def mentions(article: Element, figures: list[Element]) -> list[list[str]]:
    """For each of `figures` (the article's `<fig>` elements in order) the sentences that cite it, each once, in order."""
    found: list[dict[str, None]] = [{} for _ in figures]
    reached_by = _ids(figures)
    places = [_place(figure, index) for index, figure in enumerate(figures)]
    for block in _citing_blocks(article, reached_by):
        text = run(block, "xref")
        sentences = sentence_spans(text.text)
        for offset, index in _citations(text, reached_by, places):
            begin, end = next(span for span in sentences if offset < span[1])
            found[index][text.text[begin:end].strip()] = None
    return [list(sentences) for sentences in found]


def _ids(figures: list[Element]) -> dict[str, list[int]]:
    """XML id -> the figures it stands for: a figure's own id, those inside it, and that of its group."""
    ids: dict[str, list[int]] = {}
    for index, figure in enumerate(figures):
        groups = [group for group in figure.iterancestors("fig-group") if group.get("id")]
        for element in (*figure.iter(), *groups):
            name = element.get("id")
            if name and index not in ids.setdefault(name, []):
                ids[name].append(index)
    return ids


def _citing_blocks(article: Element, reached_by: dict[str, list[int]]) -> Iterator[Element]:
    seen = set()
    for xref in article.iter("xref"):
        if any(name in reached_by for name in xref.get("rid", "").split()):
            block = next((e for e in xref.iterancestors() if e.tag in BLOCKS), xref.getparent())
            if block is not None and block not in seen:
                seen.add(block)
                yield block


def _citations(text: Run, reached_by: dict[str, list[int]], places: list[tuple[str, int]]) -> Iterator[tuple[int, int]]:
    """(offset in the text, figure) for every figure a citation names or reaches."""
    spans = []
    for begin, end, xref in text.spans:
        cited = [index for name in xref.get("rid", "").split() for index in reached_by.get(name, ())]
        # A citation without text of its own stands where it is, or at the end of what came before.
        offset = min(begin, len(text.text) - 1)
        yield from ((offset, index) for index in cited if offset >= 0)
        if cited:
            spans.append((begin, end, cited))
    for match in _RANGE.finditer(text.text):
        first, last = int(match[1]), int(match[2])
        for begin, end, cited in spans:
            touches = begin < match.end() and match.start() < end
            series = {places[index][0] for index in cited if places[index][1] in (first, last)}
            if not touches or not series:
                continue
            whole = begin <= match.start(2) < end or any(b <= match.start(2) < e for b, e, _ in spans)
            if whole or not match[0].lower().count("to") or _PLURAL.search(text.text, 0, match.start()):
                inside = (i for i, (name, number) in enumerate(places) if name in series and first <= number <= last)
                yield from ((match.start(), index) for index in inside)


def _place(figure: Element, index: int) -> tuple[str, int]:
    """(series, number) by the figure's label: ("", 2) for "Figure 2", ("s", 1) for "Fig. S1"; by its place without one."""
    match = _NUMBER.match(flat(figure.find("label")))
    if not match or len(match[2]) > 6:
        return "", index + 1
    return re.sub(r"fig(?:ure)?s?|\W", "", match[1].lower()), int(match[2])
