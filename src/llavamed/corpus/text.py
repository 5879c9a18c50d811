"""Readable text out of XML, and its sentences."""

import re
from html.entities import html5
from itertools import islice

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


class Run:
    """Text with its white space made single, and where in it each citation stands that is not of the literature."""

    def __init__(self) -> None:
        self.spans: list[tuple[int, int, Element]] = []
        self.raw: list[str] = []  # what was appended since the last span began or ended
        self._done: list[str] = []
        self._length = 0

    @property
    def last(self) -> str:
        """The last character, "" at the beginning."""
        return next((piece[-1] for pieces in (self.raw, self._done) for piece in reversed(pieces) if piece), "")

    @property
    def text(self) -> str:
        """All of it."""
        self.end()
        return "".join(self._done)

    def end(self) -> int:
        """The length so far, with white space made single."""
        raw = "".join(self.raw)
        if raw:
            self.raw.clear()
            text = single(raw)
            if raw[0].isspace() and self._done and self._done[-1][-1] != " ":
                text = f" {text}"
            if raw[-1].isspace() and text.strip():
                text = f"{text} "
            if text:
                self._done.append(text)
                self._length += len(text)
        return self._length


def single(text: str) -> str:
    """`text` with its white space made single and none around it."""
    # No white space but the space itself is printable: most texts need not be taken apart.
    return text.strip() if text.isprintable() and "  " not in text else " ".join(text.split())


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
    found = Run()
    _fill(found, element, without, leave_blocks=False)
    return found.text.strip()


def run(block: Element) -> Run:
    """The text of a block without the blocks inside it, and the spans of its `<xref>`."""
    found = Run()
    _fill(found, block, frozenset(), leave_blocks=True)
    return found


def _fill(found: Run, top: Element, without: frozenset[str], leave_blocks: bool) -> None:
    """Append the text below `top`. Recursion is safe: the parser refuses what is nested deeper than 256."""
    raw = found.raw
    if text := top.text:
        raw.append(text)
    for element in top:
        tag = element.tag
        kind = _KINDS.get(tag)
        if kind is None:
            kind = _kind(tag)
        if kind == "xref" and (not leave_blocks or element.get("ref-type") == "bibr"):
            kind = ""
        if not kind and not without:  # most are: look no further
            if len(element):
                _fill(found, element, without, leave_blocks)
            elif text := element.text:
                raw.append(text)
        elif kind == "silent" or tag in without:
            pass
        elif kind == "xref":
            begin = found.end()
            _fill(found, element, without, leave_blocks)
            found.spans.append((begin, found.end(), element))
        elif kind == "block":
            raw.append(" ")
            if not leave_blocks:
                _fill(found, element, without, leave_blocks)
                raw.append(" ")
        elif kind == "math":
            raw.append(readable(element))
        elif kind == "tex":
            raw.append(_tex(element))
        elif kind == "break":
            raw.append(" ")
        elif kind == "entity":  # one that nobody knows
            raw.append(element.text or "")
        elif not (kind == "sup" and _raise(element, found)):
            _fill(found, element, without, leave_blocks)
        if text := element.tail:
            raw.append(text)


def _kind(tag: object) -> str:
    """The kind of what has another name or a namespace, or is no element."""
    return _KINDS.get(tag.rpartition("}")[2], "") if isinstance(tag, str) else "entity"


def _raise(element: Element, found: Run) -> bool:
    """Write a superscript that plain text would make misread; False if it needs no care."""
    inside = ("".join(map(str, element.itertext())) if len(element) else element.text or "").strip()
    if not inside[-1:].isdigit():
        return False
    if _NUMBERS.fullmatch(inside):
        cites = [*element.iter("xref"), *element.iterancestors("xref")]
        if any(xref.get("ref-type") == "bibr" for xref in cites):
            found.raw.append(f"[{inside}]")
            return True
    if found.last.isdigit() and _DIGITS.fullmatch(inside):
        found.raw.append(f"^{inside}")
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
_END = re.compile(
    r"([.!?…。！？])([)\]\"'”’»]*+(?:[\s,–-]*+\[\d[\d,\s–-]*+\])*)"
    r"(?:\s+(?=[(\[\"'“‘«]*+[^\W_a-zß-öø-ÿа-я])|(?<=[。！？])(?=[^\W_]))"
)
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
    begin = 0
    for match in _END.finditer(text):
        if until is not None and begin > until:
            return spans
        mark, closing = match.groups()
        plain = mark == "." and (not closing or closing.strip()[:1] in ("", "["))  # "et al. [12] The", not "(et al.)"
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
    word = text[max(begin, text.rfind(" ", begin, stop) + 1, stop - _LONGEST_WORD) : stop]
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
