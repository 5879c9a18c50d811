"""Many turns judged at once, with the same result as one by one, in less time.

A word becomes bits, once: which lists it is on, which pairs of words it begins or ends that phrases have. What a text
could break is then asked of the bits of its words, with NumPy, and only those rules are looked at that are in doubt.
"""

from collections.abc import Iterator, Sequence
from functools import cache
from typing import Any

import numpy as np
import numpy.typing as npt

from llavamed.instruct.clean import (
    LANGUAGE,
    LEAK,
    MARKS,
    MEANING,
    SPEECH,
    WHOLE,
    Judged,
    find_broken,
    form,
    judge_fully,
    leak,
    phrases,
)
from llavamed.instruct.clean.phrases import ENDS
from llavamed.instruct.write import Turns

_BORDER = "\0"  # a word of its own, before, between and after texts
_HIDDEN = phrases.ON_NEVER | phrases.ON_DIGITS | phrases.ON_UNSEEN | phrases.ON_DRUGS
_COUNTED = phrases.ON_NUMBERS | phrases.ON_UNITS
_KINDS = 8  # of words that are on no list: what ON_DRUGS, ON_DIGITS and ON_LONG make of them
_IS_END, _IS_BORDER = 1 << 14, 1 << 15  # bits beside those of the lists
_SIGN, _NAME, _OTHER = 1, 2, 4  # of a word as it is written: it has a sign of formats, may be a name, is the border
_REMEMBERED = 200_000  # words

_NOTHING = phrases.read("")

Array = npt.NDArray[Any]
Read = tuple[str, list[str], int]  # a text, its words, which rules it could break


def judge_all(turns: Turns, sources: Sequence[str]) -> list[Judged]:
    """What `judge` and `turn_key` give for each turn. `sources`: what each was made from, or ""."""
    simple = [all(text.isascii() and _BORDER not in text for text in turn) for turn in turns]
    texts = [text if fine else "" for turn, fine in zip(turns, simple, strict=True) for text in turn]
    joined = f" {_BORDER} ".join(["", *texts, ""])
    words = phrases.split(joined)
    classes = np.fromiter(map(_CLASS.__getitem__, words), np.int32, len(words))
    bits = _bits()[classes]
    borders = np.flatnonzero(bits & _IS_BORDER)
    doubts = _in_words(bits, borders[:-1])
    for n in _said_so(words, classes, borders):
        doubts[n] |= SPEECH
    for n, own in _as_written(texts, sources, joined.split()):
        doubts[n] |= own
    places, doubtful = borders.tolist(), doubts.tolist()
    found = []
    for n, (turn, source, fine) in enumerate(zip(turns, sources, simple, strict=True)):
        start, middle, end = places[2 * n : 2 * n + 3]
        read = (
            (turn[0], words[start + 1 : middle], doubtful[2 * n]),
            (turn[1], words[middle + 1 : end], doubtful[2 * n + 1]),
        )
        found.append(_judge(*read, source) if fine else judge_fully(*turn, source))
    return found


def _judge(asked: Read, said: Read, source: str) -> Judged:
    """`judge_fully` of a question and an answer, each with its words and what is in doubt."""
    broken = {}
    if doubt := asked[2] | said[2]:
        first, second = (phrases.text_of(text, words) if own else _NOTHING for text, words, own in (asked, said))
        broken = find_broken(first, second, source, doubt & ~WHOLE)
    if wrong := form.find_degenerate(asked[1], *said[:2], said[2] & WHOLE > 0):
        every = broken | {"degenerate": wrong}
        broken = {rule: every[rule] for rule in MEANING if rule in every}
    return broken, " ".join((*asked[1], "|", *said[1]))


def _in_words(bits: Array, starts: Array) -> Array:
    """What the words of texts leave in doubt, besides phrases."""
    has = np.bitwise_or.reduceat(bits, starts)
    foreign = np.add.reduceat((bits & phrases.ON_FOREIGN) > 0, starts, dtype=np.int32) > 1
    hidden = ((has & _HIDDEN) > 0) | ((has & _COUNTED) == _COUNTED)
    found: Array = LANGUAGE * foreign | LEAK * hidden | WHOLE * ((has & phrases.ON_LONG) > 0)
    return found


def _said_so(words: list[str], classes: Array, borders: Array) -> Iterator[int]:
    """Texts that have the words of a phrase, two of them beside each other."""
    left, right, begin = _pairs()
    searched, places = [*phrases.pairs().values()], np.flatnonzero(begin[classes[:-1]])
    both = left[classes[places]] & right[classes[places + 1]]
    some = both.any(axis=1)
    places, both = places[some], both[some]
    hit, pair = np.nonzero(np.unpackbits(both.view(np.uint8), axis=1, bitorder="little"))
    texts = np.searchsorted(borders, places[hit], "right") - 1
    starts, ends = borders[texts].tolist(), borders[texts + 1].tolist()
    for n, start, end, number in zip(texts.tolist(), starts, ends, pair.tolist(), strict=True):
        own = words[start + 1 : end]
        for pattern, needs in searched[number]:
            for need in needs:
                if need.isdisjoint(own):
                    break
            else:
                if pattern.search(" ".join(("", *own, ""))):
                    yield n


def _as_written(texts: list[str], sources: Sequence[str], written: list[str]) -> Iterator[tuple[int, int]]:
    """Texts with a sign of a format, or with a name that is in the source, each with what is in doubt."""
    signs = np.fromiter(map(_SIGNS.__getitem__, written), np.uint8, len(written))
    borders, places = np.flatnonzero(signs & _OTHER), np.flatnonzero(signs & (_SIGN | _NAME))
    for place, n in zip(places.tolist(), (np.searchsorted(borders, places) - 1).tolist(), strict=True):
        source, word = sources[n // 2], written[place]
        if _SIGNS[word] & _SIGN:
            yield n, MARKS
        if source and leak.strip(word) in source:
            yield n, LEAK


class _Classes(dict[str, int]):
    """Word -> its class: a row of `_bits` and `_pairs`. Words that are on no list share a few."""

    def __missing__(self, word: str) -> int:
        if len(self) >= _REMEMBERED:
            self.clear()
        own = _own_class()
        self[word] = found = own[word] if word in own else len(own) + phrases.lists_of(word) // phrases.ON_DRUGS
        return found


class _Signs(dict[str, int]):
    """Word as it is written -> _SIGN, _NAME, _OTHER."""

    def __missing__(self, word: str) -> int:
        if len(self) >= _REMEMBERED:
            self.clear()
        own = _SIGN * form.has_sign(word) + _NAME * leak.may_be_name(word)
        self[word] = found = _OTHER if word == _BORDER else own
        return found


_CLASS, _SIGNS = _Classes(), _Signs()


@cache
def _own_class() -> dict[str, int]:
    """Words with a class of their own: those of lists and of pairs."""
    in_pairs = (words for pair in phrases.pairs() for words in pair)
    words = {_BORDER, *ENDS}.union(*(words for _, words in phrases.lists()), *in_pairs)
    return {word: n for n, word in enumerate(sorted(words))}


@cache
def _bits() -> Array:
    """Class -> the lists (ON_...) that its words are on, and whether these are ends of sentences or the border."""
    own = [phrases.lists_of(word) | _IS_END * (word in ENDS) | _IS_BORDER * (word == _BORDER) for word in _own_class()]
    return np.array([*own, *(n * phrases.ON_DRUGS for n in range(_KINDS))], np.uint16)


@cache
def _pairs() -> tuple[Array, Array, Array]:
    """Class -> the pairs that its words begin, and those that they end, 64 in a number; whether they begin any."""
    pairs = phrases.pairs()
    left = np.zeros((len(_bits()), -(-len(pairs) // 64)), np.uint64)
    right = np.zeros_like(left)
    for n, (first, second) in enumerate(pairs):
        column, bit = n // 64, np.uint64(1 << n % 64)
        left[[_own_class()[word] for word in first], column] |= bit
        right[[_own_class()[word] for word in second] or slice(None), column] |= bit
    return left, right, np.asarray(left.any(axis=1))
