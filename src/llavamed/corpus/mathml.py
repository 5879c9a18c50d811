"""MathML on one line: a/b, x^2, x_i, √(x), Σ_(i=1)^n."""

import re
from collections.abc import Callable, Iterable

from lxml import etree

Element = etree._Element

_SPACED = frozenset("=<>≤≥≈≅≃∼~≠≡±∓×·∗→←↔∈∉⊂⊆∪∩∧∨|∝≪≫") | {"<=", ">=", ":=", "+", "-", "−", "–"}
_SIGNS = frozenset("+-−–±∓")
_INVISIBLE = dict.fromkeys(map(ord, "\u2061\u2062\u2063\u2064\u200b"))
_ACCENTS = {"¯": "\u0304", "‾": "\u0304", "ˉ": "\u0304", "^": "\u0302", "ˆ": "\u0302", "~": "\u0303", "˜": "\u0303"}
_ACCENTS |= {"→": "\u20d7", "⃗": "\u20d7", "˙": "\u0307", ".": "\u0307"}
_ATOM = re.compile(r"[-−+]?[\w\u0300-\u036f\u20d0-\u20ff]+(?:[.^]\w+)*[′'*]*|\W")
_PRIMES = ("′", "″", "'", "*")
_HIDDEN = ("annotation", "annotation-xml", "mphantom", "maligngroup", "malignmark", "none", "mprescripts")


def readable(element: Element) -> str:
    """A formula (or any part of one) as text. What this knows no rule for is written child after child."""
    tag = _tag(element)
    if tag in _HIDDEN:
        return ""
    if tag == "mspace":
        return " "
    if len(element) == 0:
        return _token(tag, element.text or "")
    parts = [readable(child) for child in element]
    rule = _RULES.get(tag)
    if rule and len(parts) >= _NEEDS.get(tag, 1):
        return rule(parts)
    if tag == "mfenced":
        separator = (element.get("separators", ",").strip() or " ")[0]
        inside = f"{separator} ".join(parts) if separator != " " else " ".join(parts)
        return f"{element.get('open', '(')}{inside}{element.get('close', ')')}"
    return _row(parts)


def _tag(element: Element) -> str:
    return element.tag.rpartition("}")[2] if isinstance(element.tag, str) else "none"


def _token(tag: str, text: str) -> str:
    text = " ".join(text.translate(_INVISIBLE).split())
    return f" {text} " if tag == "mo" and text in _SPACED else text


def _row(parts: Iterable[str]) -> str:
    """Side by side; a space between words ("sin x"), none after a sign that stands alone ("−5")."""
    out: list[str] = []
    before = ""
    for part in filter(None, parts):
        if part.strip() in _SIGNS and (before.strip() in ("", *_SPACED) or before[-1] in "([{,"):
            part = part.strip()
        if before[-1:].isalnum() and part[0].isalnum() and (_is_word(before) or _is_word(part)):
            out.append(" ")
        out.append(part)
        before = part
    return "".join(out)


def _is_word(text: str) -> bool:
    return len(text) > 1 and text[:2].isalpha()


def _group(text: str) -> str:
    """`text` as one operand: in brackets unless it is a single number, name or sign."""
    text = text.strip()
    return text if not text or _ATOM.fullmatch(text) or _bracketed(text) else f"({text})"


def _bracketed(text: str) -> bool:
    return text[0] == "(" and text[-1] == ")" and not set("()") & set(text[1:-1])


def _under(parts: list[str]) -> str:
    return f"{_group(parts[0])}_{_group(parts[1])}"


def _over(parts: list[str]) -> str:
    base, over = parts[0].strip(), parts[1].strip()
    if over in _ACCENTS:
        return f"{base}{_ACCENTS[over]}" if len(base) == 1 else base
    return f"{_group(base)}^{_group(over)}"


def _power(parts: list[str]) -> str:
    return "".join(parts) if parts[1].strip() in _PRIMES else f"{_group(parts[0])}^{_group(parts[1])}"


def _both(parts: list[str]) -> str:
    return f"{_group(parts[0])}_{_group(parts[1])}^{_group(parts[2])}"


_RULES: dict[str, Callable[[list[str]], str]] = {
    "mfrac": lambda parts: f"{_group(parts[0])}/{_group(parts[1])}",
    "msup": _power,
    "msub": _under,
    "munder": _under,
    "mover": _over,
    "msubsup": _both,
    "munderover": _both,
    "msqrt": lambda parts: f"√{_group(_row(parts))}",
    "mroot": lambda parts: f"{_group(parts[0])}^(1/{_group(parts[1])})",
    "semantics": lambda parts: parts[0],
    "maction": lambda parts: parts[0],
    "mtable": "; ".join,
    "mtr": ", ".join,
}
_NEEDS = {"mfrac": 2, "msup": 2, "msub": 2, "munder": 2, "mover": 2, "msubsup": 3, "munderover": 3, "mroot": 2}
