"""Phrases of cleaning.yaml, and where a text has them.

A phrase is looked for only in texts that have a rare word of it: most turns need no search at all.
"""

import re
from collections import defaultdict
from functools import cache
from itertools import pairwise
from pathlib import Path
from typing import Any, NamedTuple

import yaml

FILES = ("cleaning.yaml", "words.yaml")
ENDS = ".!?;:%"  # words of their own
_BLANKS = str.maketrans(dict.fromkeys(',()[]{}<>"/\\-_=+*#&|~^`@$\n\t\r', " ") | {"’": "'"})
_ASCII = bytes(map(ord, "".join(map(chr, range(128))).lower().translate(_BLANKS))) + bytes(range(128, 256))
_ALL_BLANKS = _BLANKS | str.maketrans(dict.fromkeys("–—‑−“”„«»×…•", " "))
_GAP = "(?: [^ .!?;:]+){0,3}?"
_NEAR = "(?: (?!(?:in|on|of|at|by|from|within|through|with|to|for) )[^ .!?;:]+){0,3}?"
_START = "(?:^| [.!?;:])"
_SPECIAL = {"^": _START, "~": _GAP, "--": _NEAR}
_CUT = " §"  # stands for what was taken out, so that no phrase bridges it


class Text(NamedTuple):
    """A text, its words, the set of these, those that a list has, and all lists (ON_...) that have one, a bit each."""

    text: str
    words: list[str]
    known: set[str]
    listed: set[str]
    lists: int


ON_PHRASES, ON_NEVER, ON_FOREIGN, ON_NUMBERS, ON_UNITS, ON_READ_OFF, ON_UNSEEN = (1 << n for n in range(7))
ON_DRUGS, ON_DIGITS, ON_LONG = (1 << n for n in range(7, 10))  # not lists, but kinds of words
_REMEMBERED = 200_000  # words
_DIGIT = re.compile(r"\d")
_LONGEST = 30  # letters of a word; longer ones may be one letter many times


class _Lists(dict[str, int]):
    """Word -> the lists that have it: looked up once. `plain`: words that are on none, as most are."""

    def __init__(self) -> None:
        self.plain: set[str] = set()

    def __missing__(self, word: str) -> int:
        if len(self) + len(self.plain) >= _REMEMBERED:
            self.clear()
            self.plain.clear()
        found = (ON_DRUGS if is_drug(word) else 0) | (ON_DIGITS if _DIGIT.search(word) else 0)
        found |= ON_LONG if len(word) > _LONGEST else 0
        for bit, words in lists():
            found |= bit if word in words else 0
        if found:
            self[word] = found
        else:
            self.plain.add(word)
        return found


_LISTS = _Lists()


Pair = tuple[frozenset[str], frozenset[str]]
Needs = tuple[frozenset[str], ...]


class Phrase(NamedTuple):
    """A phrase of a rule; `fine` ones are taken out of a text before the rule's others are looked for."""

    rule: str
    fine: bool
    pattern: re.Pattern[str]
    needs: Needs  # every match has a word of each


@cache
def rules() -> dict[str, Any]:
    """cleaning.yaml and words.yaml as they stand."""
    found: dict[str, Any] = {}
    for name in FILES:
        found |= yaml.safe_load(Path(__file__).with_name(name).read_text(encoding="utf-8"))
    return found


@cache
def words_of(name: str, part: str = "") -> frozenset[str]:
    """A list of words of words.yaml."""
    found = rules()[name][part] if part else rules()[name]
    return frozenset(found.split())


def split(text: str) -> list[str]:
    """The words of `text` in small letters, and the ends of its sentences."""
    # Most are ASCII: small letters and blanks in one step.
    text = text.encode().translate(_ASCII).decode() if text.isascii() else text.lower().translate(_ALL_BLANKS)
    for end in ENDS:
        text = text.replace(end, f" {end} ")
    if "'" in text:
        text = f" {text} ".replace(" '", " ").replace("' ", " ")
    return text.split()


def read(text: str) -> Text:
    """A text as the rules look at it."""
    return text_of(text, split(text))


def read_both(first: str, second: str) -> tuple[Text, Text]:
    """Two texts, in little more time than one."""
    words = split(f"{first} \0 {second}")
    if words.count("\0") > 1:
        return read(first), read(second)
    place = words.index("\0")
    return text_of(first, words[:place]), text_of(second, words[place + 1 :])


def text_of(text: str, words: list[str]) -> Text:
    """A text with its words, as `split` gives them."""
    known = set(words)
    listed, lists = known - _LISTS.plain, 0
    for word in listed:
        lists |= _LISTS[word]
    return Text(text, words, known, listed, lists)


def lists_of(word: str) -> int:
    """The lists (ON_...) that a word is on, a bit each."""
    return _LISTS[word]


@cache
def lists() -> list[tuple[int, frozenset[str]]]:
    """The bit of each list, and its words."""
    return [
        (ON_PHRASES, frozenset(_index())),
        (ON_NEVER, words_of("never")),
        (ON_FOREIGN, words_of("foreign")),
        (ON_NUMBERS, words_of("numbers") | words_of("tens")),
        (ON_UNITS, words_of("units")),
        (ON_READ_OFF, words_of("read_off")),
        (ON_UNSEEN, words_of("unseen", "words")),
    ]


def is_drug(word: str) -> bool:
    """Whether a word ends as the international names of drugs do."""
    return len(word) > 5 and word.endswith(_endings())


@cache
def _endings() -> tuple[str, ...]:
    return tuple(sorted(words_of("unseen", "drugs")))


def find(read: Text) -> dict[str, str]:
    """Rule -> its first phrase in a text, of the rules that have one there."""
    if not read.lists & ON_PHRASES:
        return {}
    index, known, phrases = _index(), read.known, []
    for word in read.listed:
        if _LISTS[word] & ON_PHRASES:
            for phrase in index[word]:
                for need in phrase.needs[1:]:  # of the first, `word` is one
                    if known.isdisjoint(need):
                        break
                else:
                    phrases.append(phrase)
    if not phrases:
        return {}
    text = f" {' '.join(read.words)} "
    broken = {phrase.rule for phrase in phrases if not phrase.fine and phrase.pattern.search(text)}
    found = {rule: _first(rule, phrases, text) for rule in broken}
    return {rule: said for rule, said in found.items() if said}


def _first(rule: str, phrases: list[Phrase], text: str) -> str:
    own = [phrase for phrase in phrases if phrase.rule == rule]
    for pattern in sorted((phrase.pattern for phrase in own if phrase.fine), key=lambda pattern: pattern.pattern):
        text = pattern.sub(_CUT, text)
    matches = [match for phrase in own if not phrase.fine and (match := phrase.pattern.search(text))]
    return min(matches, key=lambda match: (match.start(), match.end()))[0].strip() if matches else ""


@cache
def _index() -> dict[str, list[Phrase]]:
    """A word of a phrase that must be there -> the phrases with it."""
    index: dict[str, list[Phrase]] = defaultdict(list)
    for rule, own in rules()["rules"].items():
        for kind in ("fine", "phrases"):
            for line in own[kind].splitlines():
                pattern, needs = compile_phrase(line)
                for word in needs[0]:
                    index[word].append(Phrase(rule, kind == "fine", pattern, needs))
    return dict(index)


@cache
def pairs() -> dict[Pair, list[tuple[re.Pattern[str], Needs]]]:
    """Two sets of words -> phrases of rules, of which every match has a word of the one set before one of the other.

    The other is empty where it may be any word.
    """
    found: dict[Pair, list[tuple[re.Pattern[str], Needs]]] = defaultdict(list)
    for own in rules()["rules"].values():
        for line in own["phrases"].splitlines():
            found[_pair_of(line)].append(compile_phrase(line))
    return dict(found)


def _pair_of(phrase: str) -> Pair:
    """The rarest pair of a phrase, or words that are rarer."""
    must = [_must(element) for element in phrase.split()]
    beside = [pair for pair in pairwise(must) if all(pair)] + [(words, frozenset()) for words in must if words]
    return min(beside, key=lambda pair: _frequency(pair[0]) * (_frequency(pair[1]) if pair[1] else 100))


def compile_phrase(phrase: str) -> tuple[re.Pattern[str], Needs]:
    """The phrase as a pattern for words parted by one blank, and the sets of which every match has a word.

    The rarest set comes first.

    Raises:
        ValueError: no word must be there.
    """
    parts, needs = [], []
    for element in phrase.split():
        if element in _SPECIAL:
            parts.append(_SPECIAL[element])
            continue
        words, patterns = _options(element)
        parts.append(f"(?: (?:{'|'.join([*map(re.escape, words), *patterns])})){'?' if '?' in element else ''}")
        if must := _must(element):
            needs.append(must)
    if not needs:
        raise ValueError(f"phrase {phrase!r} has no word that must be there")
    return re.compile("".join(parts) + "(?= )"), tuple(
        sorted(needs, key=lambda words: (_frequency(words), sorted(words)))
    )


def _must(element: str) -> frozenset[str]:
    """The words of an element of which every match has one, or none."""
    if element in _SPECIAL or "?" in element:
        return frozenset()
    words, patterns = _options(element)
    return frozenset() if patterns else frozenset(words)


def _frequency(words: frozenset[str]) -> float:
    """About how many of a hundred texts have one of `words`."""
    often = {"often": 40, "english": 6, "common": 6}
    return sum(max((n for name, n in often.items() if word in words_of(name)), default=0.3) for word in words)


def _options(element: str) -> tuple[list[str], list[str]]:
    """The words of an element, and its patterns."""
    words: list[str] = []
    patterns: list[str] = []
    for option in element.split("/"):
        name = option.rstrip("?")
        if name == "[any]":
            patterns.append("[^ .!?;:]+")
        elif name == "[drug]":
            patterns.append(rf"[^ ]*(?:{'|'.join(sorted(words_of('unseen', 'drugs')))})")
        elif name == r"\d":
            patterns.append(r"\d[^ ]*")
        elif name.startswith("["):
            words += rules()["lists"][name[1:-1]].split()
        elif name:
            words.append(name)
    return words, patterns
