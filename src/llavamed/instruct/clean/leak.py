"""What a turn tells that no viewer of the picture could see.

Some of it is never seen: ages, doses, dates, statistics, magnification. The rest is compared with the caption and the
mentions: a number, a name or an unseen word that stands in both was read there.
"""

import re
from collections.abc import Iterator, Sequence
from functools import cache, lru_cache
from itertools import pairwise

from llavamed.instruct.clean.phrases import (
    ON_DIGITS,
    ON_DRUGS,
    ON_NEVER,
    ON_NUMBERS,
    ON_READ_OFF,
    ON_UNITS,
    ON_UNSEEN,
    Text,
    is_drug,
    rules,
    words_of,
)

NEAR = 4  # words on either side of a number
COUNTABLE = 12  # so many things can be counted in a picture
_UNIT = r"(?:mg|µg|μg|mcg|ng|pg|kg|g|mL|ml|dL|IU|mIU|U|mmol|µmol|nM|µM|μM|mM|MBq|mCi|Gy|mSv|bpm|mmHg|HU)(?:/\w+)?\b"
_MONTH = r"(?:January|February|March|April|May|June|July|August|September|October|November|December)"
_NEVER = re.compile(  # beside a number; where no word and none of these signs begins, nothing is tried
    r"(?=[\d×x[]|\b[A-Za-z])(?:"
    + "|".join(
        (
            r"\b\d+(?:\.\d+)?[- ](?:year|yr|month|week|day)s?[- ](?:old|of age)\b|\b\d+ ?y/?o\b",
            r"\baged? (?:of )?(?:about )?\d+|\b\d+ years of age",
            r"\b[Pp]\s?(?:[-–]?value)?\s?(?:of|is|was|[<=>≤≥])\s?0?\.\d+",
            r"\b[nN]\s?=\s?\d+|\d\s?±\s?\d",
            r"\d[\d.,]*\s?" + _UNIT,
            r"(?<![\d.]\s)(?<!\d)[×x]\s?\d{2,}\b(?!\s?(?:[×x]|[cmµ]m))|\b\d[\d,]*\s?[×xX](?!\s?\d)(?![a-z])",
            r"\bmagnification:? (?:(?:is|of|was) )?(?:about )?(?:[×x]\s?)?\d",
            r"\[\d+(?:\s?[-–,]\s?\d+)*\]|\bNCT\d+",
            r"\b\d{1,2}(?:st|nd|rd|th)? " + _MONTH + r"\b|\b" + _MONTH + r" (?:\d{1,2}, )?(?:19|20)\d\d",
            r"\b(?:in|since|from|of|between|until|during|year) (?:19|20)\d\d\b(?!\s?[×x])",
        )
    )
    + ")"
)
_TENS = r"(?:twenty|thirty|forty|fifty|sixty|seventy|eighty|ninety)"
_NAMED = re.compile(  # without a number
    r"\b(?:"
    + "|".join(
        (
            r"et al\b|(?:hazard|odds) ratio|statistical(?:ly significant| significance)|[pP][- ]values?\b",
            r"(?:Dr|Prof|Professor|Mr|Mrs)\b\.? [A-Z]|(?:University|Hospital|Institute) of [A-Z]",
            r"[A-Z][\w'-]+ (?:(?:\w+ )?Hospital|University|Medical Cent(?:er|re)|Institute|Clinic)\b",
            _TENS + r"(?:[- ]\w+)?[- ]years?[- ](?:old|of age)\b",
            r"(?:his|her|their) (?:twent|thirt|fort|fift|sixt|sevent|eight|ninet)ies\b",
        )
    )
    + ")"
)
_DIGIT = re.compile(r"\d")
_WORD = re.compile(r"\w")
_SIGNS = ".,;:!?()[]\"'’+-*"
_NUMBER = re.compile(r"(?<![\w.,])(?<![A-Za-z]-)(\d+(?:[.,]\d+)*)(?![\w])(?=[ -]?([A-Za-zµμ%]*))")
_MIXED = re.compile(r"[A-Za-zα-ω][\w/.-]*\d[\w/-]*")  # CD20, MCF-7
_VISIBLE = re.compile(r"T[12]\*?-?[wW]\w*|[A-Z]\d{1,2}(?:[/–-](?:[A-Z]?\d{1,2}|[a-z]+))*|COVID-19|[HC]2?O2?")
_INNER = re.compile(r"(?!Mc|Mac)[A-Z][a-z]+[A-Z]\w*")  # HeLa, BioRender
_CAPITALS = re.compile(r"[A-Z][A-Z-]*[A-Z]|[a-z]{1,3}[A-Z]\w+")  # KRAS, mRS
_NAME = re.compile(r"[A-Z][a-zß-ÿ]{2,}")
_INSIDE = re.compile(r"(?:(?<=[a-zß-ÿ,] )|(?<=Dr\. )|(?<=Prof\. )|(?<= [A-Z]\. ))[A-Z][a-zß-ÿ]{2,}\b")
_CALLED = re.compile(r"\b(?:of|by|at|from|in|Dr\.|Prof\.|Professor) ((?:[A-Z][\w.'’-]+ ?)+)")
_SMALL = re.compile(r"\b[a-zß-ÿ]{3,}\b")
_ORGANISM = re.compile(
    r"(?:ella|coccus|bacillus|bacter|bacterium|myces|plasma|spora|illus|nema|mania|soma|monas|ida|ium)$"
)


def find_leak(read: Text, source: str) -> str:
    """The first thing in a text that no viewer could see, or "".

    `source`: caption and mentions; "" where not known.
    """
    text = read.text
    if read.lists & ON_NEVER and (match := _NAMED.search(text)):
        return match[0]
    digits = read.lists & ON_DIGITS
    if not (digits or source):
        return ""
    said = text.split()
    numbers = [n for n, word in enumerate(said) if _DIGIT.search(word)] if digits else []
    for n in numbers:
        if match := _NEVER.search(" ".join(said[max(0, n - NEAR) : n + NEAR + 1])):
            return match[0].strip()
    return _read_there(read, said, numbers, source) if source else ""


def _read_there(read: Text, said: list[str], numbers: list[int], source: str) -> str:
    """What a text, whose words with their signs are `said`, has in common with `source`, and no viewer sees.

    `numbers`: places of words with digits.
    """
    counted = read.lists & ON_NUMBERS and read.lists & ON_UNITS
    if (numbers or counted) and not read.lists & ON_READ_OFF:
        stated = [*_numbers(said, numbers)]
        if counted:
            stated += _number_words(read.words)
        for number, unit, before in stated:
            there = number in source or "," in source  # else the source need not be looked through
            if there and _hidden(number, unit, before) and number in _numbers_of(source):
                return number
    # With a capital: if there is none but at the start, that is soon known. What has no letter is no name.
    odd = [0] if read.text[1:].islower() else [n for n, word in enumerate(said) if not word.islower()]
    english = words_of("english")
    for n in sorted({*odd, *numbers}) if numbers else odd:
        token = said[n].strip(_SIGNS)
        if token.lower() not in english and token in source and _is_unseen(token, said, n, source):
            return token
    return _unseen(read, source) if read.lists & (ON_UNSEEN | ON_DRUGS) else ""


def may_be_name(word: str) -> bool:
    """Whether a word as it is written could be a name or an abbreviation that no viewer sees, by itself."""
    token = strip(word)
    if token.lower() in words_of("english"):
        return False
    if _CAPITALS.fullmatch(token) and not _INNER.fullmatch(token):
        return token not in words_of("seen_stains")
    name = _NAME.fullmatch(token) and token not in words_of("eponyms") and not _ORGANISM.search(token.lower())
    return bool(name or _INNER.fullmatch(token))


def strip(word: str) -> str:
    """A word without the signs around it."""
    return word.strip(_SIGNS)


def _numbers(said: list[str], places: list[int]) -> Iterator[tuple[str, str, str]]:
    """(number, the unit that follows, the word before)."""
    for n in places:
        for match in _NUMBER.finditer(" ".join(said[n : n + 2])):
            if match.start() < len(said[n]):
                yield _plain(match[1]), match[2].lower(), said[n - 1] if n else ""


def _number_words(words: Sequence[str]) -> Iterator[tuple[str, str, str]]:
    """Number words before a unit, as `_numbers` gives numbers."""
    for word, after in pairwise(words):
        if word in _values() and after in words_of("units"):
            yield str(_values()[word]), after, ""


@cache
def _values() -> dict[str, int]:
    """Number words -> numbers."""
    units, tens = rules()["numbers"].split(), rules()["tens"].split()
    return {word: n for n, word in enumerate(units)} | {word: 10 * n for n, word in enumerate(tens, 2)}


def _hidden(number: str, unit: str, before: str) -> bool:
    """Whether a number is more than a count of things in the picture."""
    before = before.lower().strip(_SIGNS)
    if before in words_of("refers"):
        return False
    if unit in words_of("units") or before in words_of("counted_by"):
        return True
    return not number.isdigit() or int(number) > COUNTABLE


@lru_cache(maxsize=64)
def _numbers_of(source: str) -> frozenset[str]:
    return frozenset(_plain(match[1]) for match in _NUMBER.finditer(source))


def _plain(number: str) -> str:
    return re.sub(r",(?=\d{3}\b)", "", number)


def _is_unseen(token: str, said: list[str], n: int, source: str) -> bool:
    """Whether the `n`th word is a gene, a cell line, a value or a name, which also stands in `source`."""
    if _MIXED.fullmatch(token) or _INNER.fullmatch(token):
        return not _VISIBLE.fullmatch(token) and _stands(token, source)
    if _CAPITALS.fullmatch(token):
        if token in words_of("seen_stains"):
            return False
        return token in words_of("unseen", "abbreviations") or _is_marker(token, " ".join(said[max(0, n - 2) : n + 2]))
    return _NAME.fullmatch(token) is not None and _is_name(token, said, n, source)


def _stands(token: str, source: str) -> bool:
    """Whether `source` has `token` as a word of its own."""
    start = source.find(token)
    while start >= 0:
        end = start + len(token)
        if not source[max(0, start - 1) : start].isalnum() and not source[end : end + 1].isalnum():
            return True
        start = source.find(token, end)
    return False


def _is_marker(token: str, near: str) -> bool:
    """Whether an abbreviation stands beside words for genes and proteins."""
    before, after = _markers()
    start = near.find(token)
    while start >= 0:
        end = start + len(token)
        if before.search(near, 0, start) and not _WORD.match(near, end):
            return True
        if after.match(near, end) and not _WORD.match(near[max(0, start - 1) : start]):
            return True
        start = near.find(token, start + 1)
    return False


@cache
def _markers() -> tuple[re.Pattern[str], re.Pattern[str]]:
    """What stands before a marker, and what behind it."""
    words = rules()["markers"]
    return re.compile(rf"(?:{words['before']}) ?\Z"), re.compile(rf"[- ](?:{words['after']})\b")


def _is_name(name: str, said: list[str], n: int, source: str) -> bool:
    """Of a person, a place, a maker: in `source` with a capital within a sentence, and no word for what is seen."""
    if name in words_of("eponyms") or _ORGANISM.search(name.lower()):
        return False
    if n + 1 < len(said) and said[n + 1].strip(_SIGNS).lower() in words_of("named"):
        return False
    if n > 1 and said[n - 1] == "of" and said[n - 2].lower() in words_of("part_of"):
        return False
    opens = n == 0 or (len(said[n - 1]) > 2 and said[n - 1].endswith((".", "!", "?", ":")))  # not after "N."
    return f" {name}" in source and name in (_called(source) if opens else _names_of(source))


@lru_cache(maxsize=64)
def _called(source: str) -> frozenset[str]:
    """Of the names in `source`, those whose place says so: "by Dr. Oskar Lindqvist", "from Ghana"."""
    return frozenset(word.strip(_SIGNS) for run in _CALLED.findall(source) for word in run.split()) & _names_of(source)


@lru_cache(maxsize=64)
def _names_of(source: str) -> frozenset[str]:
    """Words that have a capital within a sentence of `source`, and nowhere a small letter instead."""
    return frozenset(_INSIDE.findall(source)) - {word.capitalize() for word in _SMALL.findall(source)}


def _unseen(read: Text, source: str) -> str:
    """A word for history, treatment or laboratory, or a drug, that stands in `source` too."""
    low = source.lower()
    for word in sorted(read.known & words_of("unseen", "words")):
        if word[:5] in low:
            return word
    return next((word for word in sorted(filter(is_drug, read.known)) if word in low), "")
