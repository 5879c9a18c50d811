"""Readable text out of XML, and its sentences."""

import re
from dataclasses import dataclass, field

from lxml import etree


def _words(text: str) -> frozenset[str]:
    return frozenset(text.split())


# Elements that end a line of thought: their text never runs into their neighbour's.
BLOCKS = _words(
    "abstract ack app array article-title body boxed-text caption chem-struct-wrap code def def-item def-list "
    "disp-quote fig fig-group floats-group fn label list list-item media p preformat ref ref-list sec speech "
    "statement subtitle "
    "supplementary-material table table-wrap table-wrap-foot tbody td term tfoot th thead title tr trans-abstract "
    "trans-title verse-group verse-line"
)
SILENT = _words("alt-text annotation annotation-xml long-desc object-id permissions private-char tex-math")

_SPACE = re.compile(r"\s+")
_DIGITS = re.compile(r"[-−+–]?\d+")
_NUMBERS = re.compile(r"\d[\d\s,;–-]*")


@dataclass
class Run:
    """Text with its white space made single, and where in it each marked element stands."""

    pieces: list[str] = field(default_factory=list)
    length: int = 0
    spans: list[tuple[int, int, etree._Element]] = field(default_factory=list)

    @property
    def last(self) -> str:
        """The last character, "" at the beginning."""
        return self.pieces[-1][-1] if self.pieces else ""

    @property
    def text(self) -> str:
        """All of it."""
        return "".join(self.pieces)

    def add(self, piece: str | None) -> None:
        """Append `piece`."""
        piece = _SPACE.sub(" ", piece or "")
        if piece[:1] == " " and self.last in ("", " "):
            piece = piece[1:]
        if piece:
            self.pieces.append(piece)
            self.length += len(piece)


def flat(element: etree._Element | None, without: frozenset[str] = frozenset()) -> str:
    """All text below `element` on one line; "" for None. Raised digits: 10^6, and [12] if they cite the literature."""
    return "" if element is None else _walk(element, SILENT | without, frozenset(), frozenset()).text.strip()


def run(block: etree._Element, mark: str) -> Run:
    """The text of a block without the blocks inside it, and the spans of its `mark` elements."""
    return _walk(block, SILENT, BLOCKS, frozenset([mark]))


def _walk(top: etree._Element, silent: frozenset[str], leave: frozenset[str], marks: frozenset[str]) -> Run:
    found = Run()
    begins: list[int] = []
    walker = etree.iterwalk(top, events=("start", "end"))
    for event, element in walker:
        tag = element.tag
        if not isinstance(tag, str):  # an entity nobody knows
            found.add(f"{element.text or ''}{element.tail or ''}" if event == "start" else None)
            continue
        block = tag in BLOCKS or tag == "break"
        hidden = element is not top and (tag in silent or tag in leave)
        if event == "start":
            if block:
                found.add(" ")
            if tag in marks:
                begins.append(found.length)
            if hidden or (tag == "sup" and _raise(element, found)):
                walker.skip_subtree()
            else:
                found.add(element.text)
            continue
        if tag in marks:
            found.spans.append((begins.pop(), found.length, element))
        if block:
            found.add(" ")
        if element is not top:
            found.add(element.tail)
    return found


def _raise(element: etree._Element, found: Run) -> bool:
    """Write a superscript that plain text would make misread; False if it needs no care."""
    inside = "".join(map(str, element.itertext())).strip()
    cites = [*element.iter("xref"), *element.iterancestors("xref")]
    if any(xref.get("ref-type") == "bibr" for xref in cites) and _NUMBERS.fullmatch(inside):
        found.add(f"[{inside}]")
        return True
    if found.last.isdigit() and _DIGITS.fullmatch(inside):
        found.add(f"^{inside}")
        return True
    return False


# A full stop after these ends no sentence ...
_NEVER = _words(
    "fig figs figure ref refs eq eqs eqn tab tabs e.g i.e eg ie vs cf dr prof mr mrs ms st ca approx resp viz suppl "
    "supp vol ed eds var subsp nov ver ser sect sec chap ch pp para dept univ exp extended"
)
# ... nor after these, unless a word follows that only begins sentences ...
_SELDOM = _words("al etc sp spp inc ltd co corp jr sr u.s u.k a.m p.m ph.d m.d min max hr hrs wt")
# ... nor after these before a number.
_BEFORE_NUMBER = _words("no nos p n art pat cat")
_STARTERS = _words(
    "the this these that those in on at as we it its they their there our for to from by with a an all both however "
    "moreover furthermore although after before when while since if also another each here thus therefore note then "
    "he she his her patients results one two no such some most other"
)
_END = re.compile(r"([.!?…])([)\]\"'”’»]*(?:[\s,–-]*\[\d[\d,\s–-]*\])*)\s+(?=[(\[\"'“‘«]*[^\W_a-zß-öø-ÿ])")
_WORD = re.compile(r"[^\s(\[\"'“‘–—/]+$")
_NEXT = re.compile(r"[(\[\"'“‘«]*([\w-]+)")


def sentence_spans(text: str) -> list[tuple[int, int]]:
    """Where each sentence of `text` (white space already single) begins and ends; together they are the whole text."""
    spans, begin = [], 0
    for match in _END.finditer(text):
        plain = match[1] == "." and match[2].strip()[:1] in ("", "[")  # "et al. [12] The", not "(et al.)"
        if plain and not _ends(text, begin, match.start(), match.end()):
            continue
        spans.append((begin, match.end()))
        begin = match.end()
    if begin < len(text):
        spans.append((begin, len(text)))
    return spans


def sentences(text: str) -> list[str]:
    """The sentences of `text`."""
    text = " ".join(text.split())
    return [text[begin:end].strip() for begin, end in sentence_spans(text)]


def _ends(text: str, begin: int, stop: int, after: int) -> bool:
    """Whether the full stop at `stop`, with the next word at `after`, ends the sentence begun at `begin`."""
    found = _WORD.search(text, begin, stop)
    word = found[0] if found else ""
    lower = word.lower().strip(",;")
    follows = _NEXT.match(text, after)
    following = follows[1] if follows else ""
    if lower in _NEVER:
        return False
    if lower in _BEFORE_NUMBER and following[:1].isdigit():
        return False
    if word.isdigit() and not text[begin : stop - len(word)].strip():  # "1. Methods"
        return False
    initial = (len(word) == 1 and word.isupper()) or re.fullmatch(r"(?:[A-Z]\.)+[A-Z]|[A-Z][a-z]?-[A-Z]", word)
    if lower in _SELDOM or initial:
        return following.lower() in _STARTERS
    return True
