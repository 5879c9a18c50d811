"""Phrases of cleaning.yaml, and where a text has them.

A phrase is looked for only in texts that have a rare word of it: most turns need no search at all.
"""

import re
from collections import defaultdict
from collections.abc import Sequence
from functools import cache
from pathlib import Path
from typing import Any, NamedTuple

import yaml

FILES = ("cleaning.yaml", "words.yaml")
_ENDS = ".!?;:%"  # words of their own
_BLANKS = str.maketrans(dict.fromkeys(',()[]{}<>"/\\-_=+*#&|~^`@$\n\t\r', " ") | {"’": "'"})
_DASHES = str.maketrans(dict.fromkeys("–—‑−“”„«»×…•", " ") | {"’": "'"})
_GAP = "(?: [^ .!?;:]+){0,3}?"
_NEAR = "(?: (?!(?:in|on|of|at|by|from|within|through|with|to|for) )[^ .!?;:]+){0,3}?"
_START = "(?:^| [.!?;:])"
_SPECIAL = {"^": _START, "~": _GAP, "--": _NEAR}
_CUT = " §"  # stands for what was taken out, so that no phrase bridges it


class Phrase(NamedTuple):
    """A phrase of a rule; `fine` ones are taken out of a text before the rule's others are looked for."""

    rule: str
    fine: bool
    pattern: re.Pattern[str]
    needs: tuple[frozenset[str], ...]  # every match has a word of each


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
    text = text.lower()
    if not text.isascii():
        text = text.translate(_DASHES)
    text = text.translate(_BLANKS)
    for end in _ENDS:
        text = text.replace(end, f" {end} ")
    if "'" in text:
        text = f" {text} ".replace(" '", " ").replace("' ", " ")
    return text.split()


def find(words: Sequence[str], known: set[str]) -> dict[str, str]:
    """Rule -> its first phrase in `words`, of the rules that have one there. `known`: the set of `words`."""
    index = _index()
    hits = known & index.keys()
    if not hits:
        return {}
    phrases = [phrase for word in hits for phrase in index[word] if not any(map(known.isdisjoint, phrase.needs))]
    if not phrases:
        return {}
    text = f" {' '.join(words)} "
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


def compile_phrase(phrase: str) -> tuple[re.Pattern[str], tuple[frozenset[str], ...]]:
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
        optional = "?" in element
        parts.append(f"(?: (?:{'|'.join([*map(re.escape, words), *patterns])})){'?' if optional else ''}")
        if not optional and not patterns:
            needs.append(frozenset(words))
    if not needs:
        raise ValueError(f"phrase {phrase!r} has no word that must be there")
    return re.compile("".join(parts) + "(?= )"), tuple(
        sorted(needs, key=lambda words: (_frequency(words), sorted(words)))
    )


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
