"""The sentences that cite each figure, and which figures a citation such as "Figs 2-4" reaches."""

import re
from bisect import bisect_right
from collections.abc import Iterator

from lxml import etree

from llavamed.corpus.text import BLOCKS, flat, run, sentence_spans

Element = etree._Element
_NUMBER = re.compile(r"(.*?)(\d+)\D*$", re.S)
_RANGE = re.compile(
    r"(?<!\w)S?(\d+)\s?[A-Za-z]?\)?\s?(?:[‐-–−-]|to|through|thru)\s?(?:(?:figures?|figs?)\.?\s?)?S?(\d+)(?![\d%])",
    re.IGNORECASE,
)
_BEFORE_RANGE = re.compile(
    r"(?:\b(?:fig(?:ure)?|scheme|plate|chart|graph|image|photo)s?\.?|[,;&(]|\band)\s?$", re.IGNORECASE
)
_PLURAL = re.compile(r"s\b[^.;]{0,12}$", re.IGNORECASE)


def mentions(article: Element, figures: list[Element]) -> list[list[str]]:
    """For each of `figures` (all `<fig>` elements in order) the sentences that cite it, once each, in order."""
    found: list[dict[str, None]] = [{} for _ in figures]
    reached_by = _ids(figures)
    places = [_place(figure, index) for index, figure in enumerate(figures)]
    for block in _citing_blocks(article, reached_by):
        marked = run(block, "xref")
        text = marked.text
        sentences = sentence_spans(text)
        for offset, index in _citations(text, marked.spans, reached_by, places):
            begin, end = sentences[bisect_right(sentences, offset, key=lambda span: span[0]) - 1]
            found[index][text[begin:end].strip()] = None
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


def _citations(
    text: str, xrefs: list[tuple[int, int, Element]], reached_by: dict[str, list[int]], places: list[tuple[str, int]]
) -> Iterator[tuple[int, int]]:
    """(offset in the text, figure) for every figure a citation names or reaches."""
    spans = []
    for begin, end, xref in xrefs:
        cited = [index for name in xref.get("rid", "").split() for index in reached_by.get(name, ())]
        offset = min(begin, len(text) - 1)  # one without text of its own belongs to what came before
        yield from ((offset, index) for index in cited if offset >= 0)
        if cited:
            spans.append((begin, end, cited))
    for match in _RANGE.finditer(text):
        first, last = int(match[1]), int(match[2])
        before = text[max(0, match.start() - 40) : match.start()]
        touched = [(begin, cited) for begin, end, cited in spans if begin < match.end() and match.start() < end]
        tagged = any(begin == match.start() for begin, _ in touched)
        # "Fig. 2 to 3 mm": words make a range only between two citations, or after a plural.
        words = "to" in match[0].lower() or "thr" in match[0].lower()
        if not (tagged or _BEFORE_RANGE.search(before)) or (words and len(touched) < 2 and not _PLURAL.search(before)):
            continue
        series = {places[i][0] for _, cited in touched for i in cited if places[i][1] in (first, last)}
        inside = [i for i, (name, number) in enumerate(places) if name in series and first <= number <= last]
        yield from ((match.start(), index) for index in inside)


def _place(figure: Element, index: int) -> tuple[str, int]:
    """(series, number) by its label: ("", 2) for "Figure 2", ("s", 1) for "Fig. S1"; by its place where it has none."""
    match = _NUMBER.match(flat(figure.find("label")))
    if not match or len(match[2]) > 6:
        return "", index + 1
    return re.sub(r"fig(?:ure)?s?|\W", "", match[1].lower()), int(match[2])
