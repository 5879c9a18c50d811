"""Turns that are no good whatever they are about: degenerate, in another language, with marks of a format."""

import re
from collections import Counter
from collections.abc import Sequence
from functools import cache

from llavamed.instruct.clean.phrases import ON_FOREIGN, Text, rules, words_of

REPEATED = 0.28  # of an answer's runs of three words: that many are repetitions of others
SAME = 0.5  # of an answer's words: one and the same
SENTENCE = 6  # words: from so many on, one in English has a word that only English has; with letters of others
FOREIGN = 4  # words of another language, whatever else there is
_ENDS = frozenset(".!?;:%")
_CLOSED = tuple(".!?…%)]\"'”’")
_PLACEHOLDER = re.compile(r"\s*[\[<{(][^\])>}\"]*[\])>}]\.?\s*")
_OPENS = frozenset("[<{(")
_MARKED = re.compile("[<[#`{:]")  # every mark has one of these
_RUN = re.compile(r"([^\d\s])\1{7,}")
_MARKS = re.compile(
    r"<\|?/?(?:im_start|im_end|assistant|user|system|human|image|s|endoftext|end|eot_id|bos|eos)\|?>|\[/?INST\]|<</?SYS>>"
    r"|^\s*#{2,}\s|\n#{2,}\s|```|^\s*[{\[]\s*[\"'{]|[\"']\s*:\s*[\"'\[{]"
    r"|(?:^|[.?!\n]\s*)(?:Human|User|Assistant|GPT|Bot|AI|Question|Answer|Response|System)\s?\d*\s*:"
    r"|(?:^|\s)Q\d*:.*\sA\d*:",
    re.IGNORECASE,
)
_SCRIPTS = re.compile(
    r"[\u0400-\u052f\u0590-\u06ff\u0900-\u0dff\u0e00-\u0e7f\u10a0-\u10ff]{3,}|[\u0370-\u03ff]{4,}"
    r"|[\u3040-\u30ff\u3400-\u9fff\uac00-\ud7af]{2,}"
)


def find_marks(text: str) -> str:
    """A mark of a role, a prompt or a data format in `text`, or ""."""
    match = _MARKS.search(text) if _MARKED.search(text) else None
    return match[0].strip() if match else ""


def has_sign(word: str) -> bool:
    """Whether a word has a sign that is in every mark."""
    return _MARKED.search(word) is not None


def find_language(read: Text) -> str:
    """What shows that a text is not in English, or ""."""
    plain = read.text.isascii()
    if not plain and (match := _SCRIPTS.search(read.text)):
        return match[0]
    if not read.lists & ON_FOREIGN:
        return ""
    foreign, english = read.known & words_of("foreign"), read.known & words_of("english")
    outnumbered = len(foreign) > 1 and len(foreign) > len(english)
    alone = not plain and len(read.known) >= SENTENCE and english <= words_of("shared")
    return " ".join(sorted(foreign)) if outnumbered or alone or len(foreign) >= FOREIGN else ""


def find_degenerate(asked: Sequence[str], answer: str, said: Sequence[str], long: bool) -> str:
    """What is wrong with the form of a turn, or "".

    `asked`, `said`: words of the question and of the answer; `long`: there is a long one.
    """
    if asked and asked[0] in _ENDS:
        asked = [word for word in asked if word not in _ENDS]
    words = [word for word in said if word not in _ENDS]
    if not asked or not words:
        return "empty"
    n = len(words)
    if (n < 5 and " ".join(words) in _empty()) or (answer.lstrip()[:1] in _OPENS and _PLACEHOLDER.fullmatch(answer)):
        return "placeholder"
    if words[0] == asked[0] and _repeats_question(words, asked):
        return "repeats the question"
    if n < 4 and asked[0] in words_of("asks") and words_of("bare").issuperset(words):
        return "bare yes or no"
    if n >= 6 and len({*said}) <= (1 - REPEATED) * n + 2 and _repeats(words):
        return "repeats itself"
    if (long or "...." in answer) and _RUN.search(answer):
        return "repeats itself"
    return "" if n < 5 else _cut(answer.rstrip(), said, words)


def _repeats_question(words: list[str], asked: Sequence[str]) -> bool:
    """Whether an answer begins with the question and has no word besides."""
    asked = [word for word in asked if word not in _ENDS]
    return words[: len(asked)] == asked and {*words} <= {*asked}


def _repeats(words: list[str]) -> bool:
    runs = list(zip(words, words[1:], words[2:], strict=False))
    return 1 - len(set(runs)) / len(runs) >= REPEATED or max(Counter(words).values()) / len(words) > SAME


def _cut(answer: str, said: Sequence[str], words: list[str]) -> str:
    if answer.endswith(_CLOSED):
        return ""
    unfinished = words[-1] in words_of("unfinished") or answer[-1] in ",;:-–"
    return "cut off" if unfinished or "." in said else ""


@cache
def _empty() -> frozenset[str]:
    return frozenset(word.strip().replace("/", " ") for word in rules()["empty"].split("|"))
