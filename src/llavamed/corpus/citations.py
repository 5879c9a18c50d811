"""How a text cites figures: ranges such as "Figs 2-4", and citations without a tag such as "see Figure 3"."""

import re
from bisect import bisect_left, bisect_right
from collections.abc import Iterator, Sequence
from operator import itemgetter
from typing import Any, NamedTuple

from llavamed.corpus.problem import Problem

DASH = r"\-‐‑‒–−"  # in a character class
_TO = rf"(?:[{DASH}—~∼～]|to|through|thru)"
_RANGE = re.compile(
    rf"(?<!\w)S?(\d+)\s?\(?[A-Za-z]?\)?\s?{_TO}\s?(?:(?:figures?|figs?)\.?\s?)?S?(\d+)(?![\d%])",
    re.IGNORECASE,
)
_BEFORE_RANGE = re.compile(
    r"(?:\b(?:fig(?:ure)?|scheme|plate|chart|graph|image|photo)s?\.?|[,;&(]|\band)\s?$", re.IGNORECASE
)
_PLURAL = re.compile(r"s\b[^.;]{0,12}$", re.IGNORECASE)
_LONGEST_RANGE = 200  # figures
# A range up to its second number, and perhaps less; without IGNORECASE, which takes twice the time.
_JOINT = re.compile(rf"\d\s?\(?[A-Za-z]?\)?\s?(?:[{DASH}—~∼～]|[tT][oOhH])")


Span = tuple[int, int, Any]  # begin, end, and what stands there


def touching(spans: Sequence[Span], begin: int, end: int) -> Sequence[Span]:
    """Those of `spans`, (begin, end, ...) in order, that share a character with `begin` to `end`."""
    return spans[bisect_right(spans, begin, key=itemgetter(1)) : bisect_left(spans, end, key=itemgetter(0))]


class Range(NamedTuple):
    """ "2-4", and where in the text it stands."""

    first: int
    last: int
    begin: int
    end: int


def ranges(text: str, tagged: Sequence[Span]) -> Iterator[Range]:
    """The ranges that touch a tagged citation."""
    behind = 0  # the end of what was searched
    for left, right, *_ in tagged:
        if not _JOINT.search(text, max(0, left - 20), right + 20):
            continue  # most are: look no further
        for match in _RANGE.finditer(text, max(behind, left - 40), right + 40):
            behind = match.end()
            touched = touching(tagged, match.start(), match.end())
            before = text[max(0, match.start() - 40) : match.start()]
            is_list = any(span[0] == match.start() for span in touched) or _BEFORE_RANGE.search(before)
            # "Fig. 2 to 3 mm": words make a range only between two citations, or after a plural.
            words = "to" in match[0].lower() or "thr" in match[0].lower()
            if not touched or not is_list or (words and len(touched) < 2 and not _PLURAL.search(before)):
                continue
            if 0 <= int(match[2]) - int(match[1]) <= _LONGEST_RANGE:
                yield Range(int(match[1]), int(match[2]), match.start(), match.end())


# The literal first letters let the search skip most of a text.
_WORDS = {
    word: re.compile(rf"{word}(?:ure|ura|URE)?([sS]?)\b\.?\s?(?=[A-Z]{{0,2}}\d)") for word in ("Fig", "fig", "FIG")
}
_ITEM = re.compile(
    r"([A-Z]{0,2})(\d{1,3})(?!\d|[.,]\d)"
    rf"(?:\s?[A-Za-z](?!\w)|\s?\([A-Za-z]\))?(?:(?:\s?[{DASH},/&]\s?|,?\sand\s)[A-Za-z](?!\w))*"
)
_AND = re.compile(rf",?\s?(?:,|and|&|[{DASH}])\s?")
_THROUGH = re.compile(rf"\s?(?:[{DASH}]|to|through)\s?")
_SERIES = re.compile(
    r"\b(?:(suppl\w*|supp)|(extended data)|additional|supporting|append\w+|online|web|esi|file|ref\w*)"
    r"\W+(?:\w+\W+){0,2}$",
    re.IGNORECASE,
)
_OF_OTHERS = re.compile(r"(?:\b(?:their|his|her|whose|cited)|[\])]|et al\.?|\b(?:19|20)\d\d[a-z]?)[,:]?\s\(?$", re.I)
_OTHERS = re.compile(
    r"[^.;]{0,9}\b(?:of|in|from|by)\b(?! (?:this|our|the (?:present|current)) )"
    r"[^.;]{0,60}?(?:\[\d|\bet al|\b(?:19|20)\d\d|\bref|supp|support|additional|append"
    r"|\bE?SI\b|online|paper|previous|earlier|\b(?:his|her|their)\b)",
    re.IGNORECASE,
)
_SUPPLEMENT = re.compile(rf"\s?[—{DASH}]\s?(?:figure|source|video|supp)", re.IGNORECASE)


class Plain(NamedTuple):
    """A figure cited without a tag: 3 of "Figure 3" (series ""), of "Fig. S3" ("s"), and where in the text."""

    series: str
    number: int
    begin: int
    end: int


def plain(text: str, tagged: Sequence[Span]) -> Iterator[Plain]:
    """The figures that `text` cites by word and number, outside of what is tagged.

    Not those of other documents, and not "Figure 4" of "Figure 4—figure supplement 1".
    """
    for word, pattern in _WORDS.items():
        for match in pattern.finditer(text) if word in text else ():
            if not match[1] and touching(tagged, match.end(), match.end() + 1):
                continue  # most are: look no further
            found = [one for one in _listed(text, match) if not touching(tagged, one.begin, one.end)]
            if found and not _of_others(text, match.start(), max(one.end for one in found)):
                yield from found


def _of_others(text: str, begin: int, end: int) -> bool:
    before = text[max(0, begin - 40) : begin]
    return bool(
        before[-1:].isalnum()  # "config 1"
        or _OF_OTHERS.search(before)
        or _OTHERS.match(text, end)
        or _SUPPLEMENT.match(text, end)
    )


def _listed(text: str, word: re.Match[str]) -> list[Plain]:
    """The figures after "Fig." or "Figs"."""
    found: list[Plain] = []
    kind = _SERIES.search(text[max(0, word.start() - 40) : word.start()])
    series = ("s" if kind[1] else "extendeddata" if kind[2] else None) if kind else ""
    item = _ITEM.match(text, word.end()) if series is not None else None
    while item:
        number = int(item[2])
        found.append(Plain(series or item[1].lower(), number, item.start(), item.end()))
        through = _THROUGH.match(text, item.end())
        joint = through if through and (word[1] or through[0].strip() not in ("to", "through")) else None
        joint = joint or (_AND.match(text, item.end()) if word[1] else None)
        item = _ITEM.match(text, joint.end()) if joint else None
        if item and joint is through and 0 < int(item[2]) - number <= _LONGEST_RANGE:
            found += [found[-1]._replace(number=n) for n in range(number + 1, int(item[2]))]
    return found


MAX_PLAIN = 20_000  # of a file: more were made to fill the time
_GAP = rb"(?:\s|&#?\w{2,6};|\xc2\xa0|\xe2\x80[\x80-\x8f\xaf]|<[^<>]{0,200}>){0,8}"
_TAGGED = rb"[0-9A-Za-z]{0,3}\.?</(?:xref|label)>"
_RAW = [
    re.compile(
        word + rb"(?:ure|ura|URE)?([sS])?\b(" + _GAP + rb"\.?" + _GAP + rb")([A-Z]{0,2})(\d{1,3})"
        rb"(?(1)|(?!" + _TAGGED + rb"))"  # most are: look no further; of "Figs" more may follow
    )
    for word in (b"F(?:ig|IG)", b"fig")
]
_MORE = re.compile(rb"</xref>[\s,;A-Za-z]{0,9}?(?:,|and|&amp;)\s?(\d{1,3})")  # "Figs <xref>1</xref> and 2"
_NO_TEXT = (b"<xref", b"<label", b"<alt-text", b"<object-id")


def plain_places(data: bytes) -> set[tuple[str, int]]:
    """(letters, number) of what `plain` can find in the text of an XML file, and of some more. Most files have none.

    Raises:
        Problem: too_many_mentions.
    """
    found = set()
    count = 0
    for pattern in _RAW:
        for match in pattern.finditer(data):
            start = match.start()
            tag = data.rfind(b"<", max(0, start - 300), start)
            if match[1] and (more := _MORE.search(data, match.end(), match.end() + 200)):
                found.add(("", int(more[1])))
            if data.startswith(_NO_TEXT, max(tag, 0)) or data.find(b">", max(tag, 0), start) < 0:
                continue
            before = data[max(0, start - 300) : start]
            if before.rfind(b"<xref") > before.rfind(b"</xref") or b"<xref" in match[2]:
                continue
            count += 1
            if count > MAX_PLAIN:
                raise Problem("too_many_mentions", f"over {MAX_PLAIN:,} without a tag in one file")
            supplement = before.find(b"uppl", -30) >= 0 or before.find(b"dditional", -30) >= 0
            found.add(("s" if supplement else match[3].decode().lower(), int(match[4])))
            if match[1]:
                after = data[match.end() : match.end() + 40]
                found.update((a.decode().lower(), int(n)) for a, n in re.findall(rb"([A-Z]{0,2})(\d{1,3})", after))
    return found
