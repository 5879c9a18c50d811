"""The panels of a figure: boxes from its picture, letters and sub-captions from its caption."""

import re
from bisect import bisect_left
from itertools import takewhile
from typing import NamedTuple

from PIL import Image

from llavamed.corpus.gutters import grey_of, on_paper, panel_boxes

_ALPHABET = tuple("abcdefghijklmnopqrstuvwxyz")
_NUMERALS = ("i", "ii", "iii", "iv", "v", "vi", "vii", "viii", "ix", "x")
_JOIN = r"(?:\s?(?:[-–—‐‑−,;&/]|\b(?:and|to|or|through)\b)\s?(?:and\s)?|\)\s?(?:[-–—,&]|and|to)\s?\()"
_START = r"(?:^|(?<=[.;]\s))"
# A letter that stands for a level of significance names no panel.
_LEVEL = r"(?!\s*[=:,]?\s*(?:[pP]\s?[<>=≤]|[sS]ignificantly|vs\b|versus\b))"


def _list(one: str) -> str:
    return rf"({one}(?![A-Za-z])(?:{_JOIN}{one}(?![A-Za-z])){{0,25}})"


_LETTER, _EITHER = _list("[A-Za-z]"), _list("(?:[ivx]{2,4}|[A-Za-z])")
# How captions name panels; of two ways that name as many, the first goes.
_WAYS = tuple(
    re.compile(pattern + _LEVEL)
    for pattern in (
        # (A)  [b, c]  (d–f)  (g; arrow)
        rf"(?<!letter )(?<!letters )[(\[（]\s*(?:[Pp]anels?\s)?{_EITHER}"
        r"\s*(?:[)\]）](?![a-z])|[,;:]\s(?=[^()]*\)))",
        r"(?:^|(?<=[\s,;]))((?:[ivx]{2,4}|[A-Za-z])(?:\s?[-–—,&/]\s?[A-Za-z]){0,25})\)",  # a)  b–d)
        rf"{_START}{_LETTER}[:,]\s",  # A, ...  B: ...
        rf"{_START}{_LETTER}(?:\.|\s[–—-])?\s(?=[A-Z0-9])",  # A Photograph ...  B. Section ...
        rf"{_START}{_list('[a-z]')}\s",  # a mRNA ...: nothing else begins a sentence in lower case
        rf"\b(?:[Pp]anel|[Ii]mage)s?\s{_LETTER}[:,.]?",  # Panel A
        rf"(?:^|(?<=[.;,:]\s)){_LETTER}\s[–—-]\s",  # A - CT, B - MRI
    )
)
_SHOWN = r"(?:panel|image|picture|photo(?:graph)?|micrograph|column|row|plot|graph|figure)s?"
_PLACES = (("left", "middle", "center", "centre", "right"), ("top", "upper", "middle", "bottom", "lower"))
_PLACE = "(left|right|top|bottom|upper|lower|middle|center|centre)"
_PLACED = re.compile(
    rf"[(\[]\s*{_PLACE}(?:\s{_SHOWN})?\s*[)\]]|\b{_PLACE}(?:[- ]hand)?\s{_SHOWN}\b[:,]?|{_START}{_PLACE}[:,]\s",
    re.IGNORECASE,
)
_SEVERAL = re.compile(r"\b(?:left|right|top|bottom|upper|lower|middle|each|both|all) panels?\b", re.IGNORECASE)
_BREAK = re.compile(r"(?<!\b[A-Za-z])(?<!\b[A-Z][a-z])(?<!\bal)(?<!\bvs)[.;](?:\s+|$)")  # not after E. or et al.
# A sentence of sizes: it names panels that were told of before.
_SIZES = re.compile(
    r"(?:^|(?<=\.\s))(?:all\s)?(?:scale(?:\sbars?)?|bars?|(?:original\s)?magnifications?)\b(?!\s(?:chart|graph|plot))"
    r".*?(?:\.(?=\s)|$)",
    re.IGNORECASE | re.DOTALL,
)
_SIZE = re.compile(r"\d\s?(?:[µμunmc]?m\b|Å|[×x])|[×x]\s?\d")
_PAUSE = re.compile(r"\s*(?:$|[.,;]|and\b)")
# What leads in to the next letter, at the end of what is said of the one before.
_LEAD = re.compile(r"[,;]\s+(?:and\s+)?([^,;]*\b(?:of|for|in|from|with|by|to|the|at|on|between|showing))\s*$")


class Panel(NamedTuple):
    """One picture of a figure: left, top, right, bottom in pixels; its letter and text, None where not told."""

    box: tuple[int, int, int, int]
    label: str | None
    subcaption: str | None


class _Mark(NamedTuple):
    """Where a caption names panels: characters `start` to `stop`."""

    labels: tuple[str, ...]
    start: int
    stop: int


def panels_of(image: Image.Image, caption: str) -> list[Panel]:
    """The panels of a figure, row by row; none where its picture shows no gutters and no seams.

    Boxes are disjoint and within `image`, of any mode. They carry the caption's letters where both are as many.
    """
    letters = letters_of(caption)
    pixels = grey_of(image)
    across, down = image.width / pixels.shape[1], image.height / pixels.shape[0]
    panels = []
    for i, box in enumerate(boxes := panel_boxes(pixels, len(letters))):
        label, text = letters[i] if len(letters) == len(boxes) else (None, None)
        scaled = int(box.left * across), int(box.top * down), int(box.right * across), int(box.bottom * down)
        panels.append(Panel(scaled, label, text or None))
    return panels


def is_compound(image: Image.Image, caption: str, panels: list[Panel]) -> bool:
    """Whether a figure shows several pictures: as its picture tells (`panels_of`), or else its caption.

    On bare paper only the picture tells: letters there often name the curves of one plot.
    """
    named = bool(letters_of(caption)) or _SEVERAL.search(caption) is not None
    return len(panels) > 1 or (named and not on_paper(grey_of(image)))


def letters_of(caption: str) -> list[tuple[str, str]]:
    """The panels that a caption names, each with what it says of it: [("A", "CT of the chest"), ("B", "MRI"), ...].

    Letters or Roman numerals must run from the first without a gap, in one style; else left and right, or top and
    bottom. What the caption says of all of them before the first is left out. Empty where it names fewer than two.
    """
    labels: list[str] = []
    marks: list[_Mark] = []
    for way in _WAYS:
        found = [_Mark(_expanded(m[1]), m.start(), m.end()) for m in way.finditer(caption)]
        for case in (str.isupper, str.islower):
            run = _run({label for mark in found for label in mark.labels if case(label)})
            if len(run) > len(labels):
                labels, marks = run, [mark for mark in found if set(mark.labels) <= set(run)]
    if not labels:
        labels, marks = _placed(caption)
    texts = _texts(caption, marks)
    return [(label, texts.get(label, "")) for label in labels]


def _expanded(text: str) -> tuple[str, ...]:
    """ "a–c, e" -> a, b, c, e."""
    labels: list[str] = []
    joins = re.split(rf"({_JOIN})", text)
    for join, label in zip(["", *joins[1::2]], joins[::2], strict=True):
        if labels and not re.search(r"[,;&/]|and|or", join) and len(labels[-1]) == len(label) == 1:
            labels += [chr(code) for code in range(ord(labels[-1]) + 1, ord(label))]
        labels.append(label)
    return tuple(labels)


def _run(named: set[str]) -> list[str]:
    """The labels among `named` that run from the first letter or numeral without a gap: two at least, or none."""
    upper = any(map(str.isupper, named))
    runs = []
    for sequence in (_ALPHABET, _NUMERALS):
        labels = [label.upper() if upper else label for label in sequence]
        runs.append(list(takewhile(named.__contains__, labels)))
    longest = max(runs, key=len)
    return longest if len(longest) > 1 else []


def _placed(caption: str) -> tuple[list[str], list[_Mark]]:
    """Left and right, or top and bottom, where the caption names pictures by their place."""
    marks = [_Mark(((m[1] or m[2] or m[3]).lower(),), m.start(), m.end()) for m in _PLACED.finditer(caption)]
    named = {label for mark in marks for label in mark.labels}
    for places in _PLACES:
        labels = [place for place in places if place in named]
        if len(labels) > 1:
            return labels, [mark for mark in marks if mark.labels[0] in labels]
    return [], []


def _texts(caption: str, marks: list[_Mark]) -> dict[str, str]:
    """What a caption says of each label: after its mark, or before it where most marks stand behind their text."""
    caption, marks = _without_sizes(caption, marks)
    marks = _naming(caption, marks)
    sides = [_side(caption, mark) for mark in marks]
    behind = sum(sides) < 0
    kept: dict[tuple[str, ...], _Mark] = {}
    for mark, side in zip(marks, sides, strict=True):
        if side == 0 or (side < 0) == behind:
            kept.setdefault(mark.labels, mark)
    ordered = sorted(kept.values(), key=lambda mark: mark.start)
    told = _before(caption, ordered) if behind else _after(caption, ordered)
    texts: dict[str, str] = {}
    for mark, text in sorted(zip(ordered, told, strict=True), key=lambda pair: len(pair[0].labels)):
        for label in mark.labels:
            texts.setdefault(label, text)
    return texts


def _without_sizes(caption: str, marks: list[_Mark]) -> tuple[str, list[_Mark]]:
    """The caption, sentences of panels' sizes blank, and the marks elsewhere."""
    starts = [mark.start for mark in marks]
    passed: set[int] = set()

    def blank(sizes: re.Match[str]) -> str:
        inside = range(bisect_left(starts, sizes.start()), bisect_left(starts, sizes.end()))
        if not inside or not _SIZE.search(sizes[0]):
            return sizes[0]
        passed.update(inside)
        return " " * len(sizes[0])

    caption = _SIZES.sub(blank, caption)
    return caption, [mark for index, mark in enumerate(marks) if index not in passed]


def _naming(caption: str, marks: list[_Mark]) -> list[_Mark]:
    """`marks` without those that point back to panels told of before: "(A-C) Lung. Arrows in (B) ..."."""
    named: set[str] = set()
    kept = []
    for mark in marks:
        if not (named.issuperset(mark.labels) and caption.endswith(" in ", 0, mark.start)):
            kept.append(mark)
        named.update(mark.labels)
    return kept


def _side(caption: str, mark: _Mark) -> int:
    """1 where the text of a mark follows it, -1 where it stands before it, 0 where that cannot be told."""
    before = caption[: mark.start].rstrip()
    if not before or before.endswith((".", ",", ";", ":", " and")) or caption[mark.stop - 1].isspace():
        return 1
    return -1 if _PAUSE.match(caption, mark.stop) else 0


def _before(caption: str, marks: list[_Mark]) -> list[str]:
    texts = []
    stop = 0
    for mark in marks:
        start = max([stop, *(m.end() for m in _BREAK.finditer(caption, stop, mark.start))])
        texts.append(_clean(caption[start : mark.start]))
        stop = mark.stop
    return texts


def _after(caption: str, marks: list[_Mark]) -> list[str]:
    """Each text with what leads in to it: "Section of (A) lung and (B) liver" -> Section of lung, Section of liver."""
    texts: list[str] = []
    stop = 0
    lead = ""
    for mark, following in zip([None, *marks], [*marks, None], strict=True):
        said, opening = caption[stop : following.start if following else None], None
        stop = following.stop if following else len(caption)
        if following:
            said, opening = _parted(said, first=mark is None)
        if mark:
            texts.append(_clean(f"{lead} {said}"))
        lead = lead if opening is None else opening
    return texts


def _parted(said: str, *, first: bool) -> tuple[str, str | None]:
    """What is said before the next letter, parted from what leads in to it: None where the lead-in stays as it was."""
    ends = list(_BREAK.finditer(said))
    if ends:
        own, opening = said[: ends[-1].end()], said[ends[-1].end() :]
        return own, opening if opening or own.rstrip().endswith(".") else None
    tail = _LEAD.search(said)
    if first:
        return "", said
    return (said[: tail.start()], tail[1]) if tail else (said, None)


def _clean(text: str) -> str:
    """`text` without the joining words and marks around it."""
    return re.sub(r"^(?:[\s,;:.–—-]|and\b)+|(?:[\s,;:]|\b(?:and|or))+$", "", " ".join(text.split()))
