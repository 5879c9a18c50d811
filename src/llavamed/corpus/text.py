"""Readable text out of XML, and its sentences."""

import re
from html.entities import html5
from itertools import accumulate, chain, islice, pairwise
from typing import NamedTuple

from lxml import etree

from llavamed.corpus.mathml import readable

Element = etree._Element


def _words(text: str) -> frozenset[str]:
    return frozenset(text.split())


# Elements that end a line of thought: their text never runs into their neighbour's.
BLOCKS = _words(
    "abstract ack app array article-title body boxed-text caption chem-struct-wrap code def def-item def-list "
    "disp-quote entry fig fig-group floats-group fn label license-p list list-item media p preformat ref ref-list sec "
    "speech statement subtitle supplementary-material table table-wrap table-wrap-foot tbody td term tfoot th thead "
    "title tr trans-abstract trans-title verse-group verse-line"
)
SILENT = _words("alt-text annotation annotation-xml long-desc object-id permissions private-char")

_DIGITS = re.compile(r"[-−+–]?\d+")
_NUMBERS = re.compile(r"\d[\d\s,;–-]*")
# What an element is, if it is more than a stretch of text.
_INLINE = _words("bold email ext-link inline-formula italic named-content sc styled-content sub underline uri")
_KINDS = dict.fromkeys(_INLINE, "") | dict.fromkeys(BLOCKS, "block") | dict.fromkeys(SILENT, "silent")
_KINDS |= {"break": "break", "sup": "sup", "math": "math", "tex-math": "tex", "xref": "xref"}


Span = tuple[int, int, Element]  # begin, end, and what stands there


class Run(NamedTuple):
    """Text with its white space made single, and where in it each citation stands that is not of the literature."""

    text: str
    spans: list[Span]


def single(text: str) -> str:
    """`text` with its white space made single and none around it."""
    # Most texts need not be taken apart: of ASCII, XML has no other white space than these; of all, none is printable.
    odd = "\n" in text or "\t" in text or "\r" in text if text.isascii() else not text.isprintable()
    return " ".join(text.split()) if odd or "  " in text else text.strip()


def child(element: Element, *path: str) -> Element | None:
    """The first child of the first name in it, its first child of the next, ...; `find` takes three times as long."""
    found: Element | None = element
    for tag in path:
        found = None if found is None else next(found.iterchildren(tag), None)
    return found


def flat(element: Element | None, without: frozenset[str] = frozenset()) -> str:
    """All text below `element` on one line; "" for None. Raised digits: 10^6, and [12] if they cite the literature."""
    if element is None:
        return ""
    if len(element) == 0:
        return single(element.text or "")
    raw: list[str] = []
    _fill(raw, element, without, None)
    return single("".join(raw))


def run(block: Element) -> Run:
    """The text of a block without the blocks inside it, and the spans of its `<xref>`."""
    raw: list[str] = []
    marks: list[Span] = []
    _fill(raw, block, frozenset(), marks)
    return _placed(raw, marks)


def _placed(raw: list[str], marks: list[Span]) -> Run:
    """The text of pieces that were read, and the places in it of spans of pieces."""
    whole = "".join(raw)
    begun = whole.lstrip()
    text = f"{single(begun)} " if begun[-1:].isspace() else single(begun)
    if len(text) == len(begun):  # most: no white space in it but single ones
        ends = list(accumulate(map(len, raw), initial=len(begun) - len(whole)))
        return Run(text, [(max(0, ends[b]), max(0, ends[e]), mark) for b, e, mark in marks])
    at, text = {0: 0}, ""
    for begin, end in pairwise(sorted({0, len(raw), *chain.from_iterable(mark[:2] for mark in marks)})):
        piece = "".join(raw[begin:end])
        words = single(piece)
        if piece[:1].isspace() and text and text[-1] != " ":
            words = f" {words}"
        if piece[-1:].isspace() and words.strip():
            words = f"{words} "
        text += words
        at[end] = len(text)
    return Run(text, [(at[begin], at[end], mark) for begin, end, mark in marks])


def _fill(raw: list[str], top: Element, without: frozenset[str], marks: list[Span] | None) -> None:
    """Append the text below `top`, and to `marks` which pieces of it cite; without marks, that of blocks too.

    Recursion is safe: the parser refuses what is nested deeper than 256.
    """
    if text := top.text:
        raw.append(text)
    for element in top:
        tag = element.tag
        kind = _KINDS.get(tag)
        if kind is None:
            kind = _kind(tag)
        cites = -1
        if kind == "xref":
            kind = ""
            if marks is not None and element.get("ref-type") != "bibr":
                cites = len(raw)
        if not kind and tag not in without:  # most are: look no further
            if len(element):
                _fill(raw, element, without, marks)
            elif text := element.text:
                raw.append(text)
            if cites >= 0 and marks is not None:
                marks.append((cites, len(raw), element))
        elif kind == "silent" or tag in without:
            pass
        elif kind == "block":
            raw.append(" ")
            if marks is None:
                _fill(raw, element, without, marks)
                raw.append(" ")
        elif kind == "math":
            raw.append(readable(element))
        elif kind == "tex":
            raw.append(_tex(element))
        elif kind == "break":
            raw.append(" ")
        elif kind == "entity":  # one that nobody knows
            raw.append(element.text or "")
        elif not (kind == "sup" and _raise(element, raw)):
            _fill(raw, element, without, marks)
        if text := element.tail:
            raw.append(text)


def _kind(tag: object) -> str:
    """The kind of what has another name or a namespace, or is no element."""
    return _KINDS.get(tag.rpartition("}")[2], "") if isinstance(tag, str) else "entity"


def _raise(element: Element, raw: list[str]) -> bool:
    """Write a superscript that plain text would make misread; False if it needs no care."""
    inside = ("".join(map(str, element.itertext())) if len(element) else element.text or "").strip()
    if not inside[-1:].isdigit():
        return False
    if _NUMBERS.fullmatch(inside):
        inner = element.iter("xref") if len(element) else ()
        cites = chain(inner, element.iterancestors("xref"))
        if any(xref.get("ref-type") == "bibr" for xref in cites):
            raw.append(f"[{inside}]")
            return True
    before = raw[-1] if raw and raw[-1] else next(filter(None, reversed(raw)), "")
    if before[-1:].isdigit() and _DIGITS.fullmatch(inside):
        raw.append(f"^{inside}")
        return True
    return False


_TEX_COMMAND = re.compile(r"\\([A-Za-z]+)\s*")
_TEX_FRACTION = re.compile(r"\\frac\s*\{([^{}]*)\}\s*\{([^{}]*)\}")


def _tex(element: Element) -> str:
    """A formula for which there is no MathML, in characters: `\\frac{\\alpha}{2}` -> `α/2`."""
    beside = (*islice(element.itersiblings(), 2), *islice(element.itersiblings(preceding=True), 2))
    if any(str(e.tag).rpartition("}")[2] == "math" for e in beside):
        return ""
    text = element.text or ""
    text = text.partition(r"\begin{document}")[2].partition(r"\end{document}")[0] or text
    text = _TEX_FRACTION.sub(r"\1/\2", text)
    text = _TEX_COMMAND.sub(lambda match: html5.get(f"{match[1]};", " "), text)
    return re.sub(r"[{}$\\]", "", text).strip()


# A full stop after these ends no sentence ...
_NEVER = _words(
    "fig figs figure ref refs eq eqs eqn tab tabs e.g i.e eg ie vs cf dr prof mr mrs ms st ca approx resp viz suppl "
    "supp vol ed eds var subsp nov ver ser sect sec chap ch pp para dept univ exp extended "
    "abb bzw tabl obr ryc рис табл"
)
# ... nor after these, unless a word follows that only begins sentences ...
_SELDOM = _words("al etc sp spp inc ltd co corp jr sr u.s u.k a.m p.m ph.d m.d min max hr hrs wt")
# ... nor after these before a number.
_BEFORE_NUMBER = _words("no nos p n art pat cat")
_SHORTENED = _NEVER | _SELDOM | _BEFORE_NUMBER
_STARTERS = _words(
    "the this these that those in on at as we it its they their there our for to from by with a an all both however "
    "moreover furthermore although after before when while since if also another each here thus therefore note then "
    "he she his her patients results one two no such some most other"
)
_AFTER = (
    r"([)\]\"'”’»]*+(?:[\s,–-]*+\[\d[\d,\s–-]*+\])*)"
    r"(?:\s+(?=[(\[\"'“‘«]*+[^\W_a-zß-öø-ÿа-я])|(?<=[。！？])(?=[^\W_]))"
)
_END, _STOP = re.compile(rf"[.!?…。！？]{_AFTER}"), re.compile(rf"\.{_AFTER}")
_WORD = re.compile(r"[^\s(\[\"'“‘–—/]+$")
_NEXT_LETTER = re.compile(r"[^\W\d_]\.")  # as in "z. B."
_LONGEST_WORD = 40  # longer ones are no abbreviations
_NEXT = re.compile(r"[(\[\"'“‘«]*([\w-]+)")
_INITIALS = re.compile(r"(?:[A-Z]\.)+[A-Z]|[A-Z][a-z]?-[A-Z]")


def sentence_spans(text: str, until: int | None = None) -> list[tuple[int, int]]:
    """Where each sentence of `text` (white space already single) begins and ends; together they are the whole text.

    `until`: the sentences after the one at this offset are not wanted.
    """
    spans: list[tuple[int, int]] = []
    begin, until = 0, len(text) if until is None else until
    others = "?" in text or "!" in text or "…" in text or "。" in text or "！" in text or "？" in text
    for match in (_END if others else _STOP).finditer(text):  # to look for one letter takes half the time
        if begin > until:
            return spans
        stop, after = match.span()
        closing = match[1]
        plain = text[stop] == "." and (not closing or closing.strip()[:1] in ("", "["))  # not "(et al.)"
        if not plain or _ends(text, begin, stop, after):
            spans.append((begin, after))
            begin = after
    if begin < len(text):
        spans.append((begin, len(text)))
    return spans


def sentences(text: str) -> list[str]:
    """The sentences of `text`."""
    text = " ".join(text.split())
    return [text[begin:end].strip() for begin, end in sentence_spans(text)]


def _ends(text: str, begin: int, stop: int, after: int) -> bool:
    """Whether the full stop at `stop`, with the next word at `after`, ends the sentence begun at `begin`."""
    first = max(begin, stop - _LONGEST_WORD)
    word = text[text.rfind(" ", first, stop) + 1 or first : stop]
    is_word = word.isalpha() and len(word) > 1 and word.lower() not in _SHORTENED
    if is_word or word.endswith((")", "]")):  # most are: look no further
        return True
    if not word.isalnum():
        found = _WORD.search(word)
        word = found[0] if found else ""
    lower = word.lower().strip(",;")
    if lower in _NEVER or lower.endswith(("-fig", "-figs")):  # as in "2A-Fig. 2C"
        return False
    if len(word) == 1 and word.isalpha() and _NEXT_LETTER.match(text, after):
        return False
    if word.isdigit() and stop - len(word) - begin <= 1 and text[begin:stop].strip() == word:  # "1. Methods"
        return False
    initial = (len(word) == 1 and word.isupper()) or _INITIALS.fullmatch(word)
    if not (initial or lower in _SELDOM or lower in _BEFORE_NUMBER):
        return True
    follows = _NEXT.match(text, after)
    following = follows[1] if follows else ""
    if lower in _BEFORE_NUMBER and following[:1].isdigit():
        return False
    return following.lower() in _STARTERS if initial or lower in _SELDOM else True
