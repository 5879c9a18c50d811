"""What is left of an answer when the words about its text are taken out: no word is added, none changes its place."""

import re
from collections.abc import Callable

_INTRO = r"(?:as|based on|according to|per|from|in|given|judging by|judging from|going by|following|with reference to)"
# A clause of its own: at the start, between commas, in brackets, at the end.
_CLAUSES = (
    re.compile(rf"^\s*{_INTRO}\b[^,;:.!?()]*[,:]\s*(?:it is (?:written|stated|said) that\s+)?", re.IGNORECASE),
    re.compile(rf"(?<=[;.!?] ){_INTRO}\b[^,;:.!?()]*,\s*", re.IGNORECASE),
    re.compile(rf"\s*\({_INTRO}\b[^().!?]*\)", re.IGNORECASE),
    re.compile(rf",\s*{_INTRO}\b[^,;:.!?()]*,?(?=\s|[.;:!?]|$)", re.IGNORECASE),
    re.compile(r"\s+(?:as|as per|according to|based on|per)\s[^,;:.!?()]*(?=[.;:!?]|$)", re.IGNORECASE),
)
_SAYS = (
    r"(?:says|said|states|stated|mentions|notes|reports|explains|indicates|specifies|tells|suggests|reveals|confirms|shows"
    r"|describes|say|state|note|report|explain|indicate|tell|suggest)"
)
_SUBJECT = re.compile(
    rf"^(?:the|this|its|their)(?: [\w'’-]+){{1,4}} {_SAYS}(?: us)?"
    r"(?: that\b|(?= it'?s\b| it is\b| there (?:is|are)\b))\s*",
    re.IGNORECASE,
)


def strip(answer: str, broken: Callable[[str], bool]) -> str:
    """The answer without the clauses that are `broken` by themselves, such as "according to the caption,"."""
    if (match := _SUBJECT.match(answer)) and broken(match[0]):
        answer = _capital(answer[match.end() :])
    for pattern in _CLAUSES:
        answer = pattern.sub(lambda match: _left(match) if broken(match[0]) else match[0], answer)
    return _capital(re.sub(r"\s+([,.;:!?])", r"\1", answer.strip()))


def _left(match: re.Match[str]) -> str:
    """What a clause leaves behind: nothing, but the comma after a yes or no."""
    alone = match.string[: match.start()].strip().lower() in ("yes", "no")
    return "," if alone and match[0].rstrip().endswith(",") else ""


def _capital(text: str) -> str:
    """A sentence begins with a capital, but "pH" and "mRNA" stay as they are."""
    word = re.match(r"[a-z]+(?![\w-]*[A-Z0-9])", text)
    return text[0].upper() + text[1:] if word else text
