"""Scores of answers to visual questions: as the field's papers compute them, and strictly.

Paper mode repeats LLaVA-Med's scorer, quirks included, so that its numbers can be compared (its text normalisation is
that of the VQA v2 evaluation). Strict mode mends what the quirks spoil and gives every figure an interval.
"""

import math
import re
from collections import Counter
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from fractions import Fraction

import numpy as np

from llavamed.evaluate.closed import NUMBERS, asserted

OPEN, CLOSED = "open", "closed"
NAMES = ("open_recall", "open_precision", "open_f1", "exact_match", "closed_accuracy")
RESAMPLES = 2000
SEED = 0
_AT_ONCE = 2_000_000  # draws held in memory

Interval = list[float]  # value, low, high

_MARKS = ';/[]"{}()=+\\_-><@`,?!'
_NUMBERS = {"none": "0"} | NUMBERS
_ARTICLES = {"a", "an", "the"}
_WITH_APOSTROPHES = (
    "ain't aren't can't could've couldn't couldn't've didn't doesn't don't hadn't hadn't've hasn't haven't he'd "
    "he'd've he's how'd how'll how's isn't it'd it'd've it'll ma'am might've mightn't mightn't've must've mustn't "
    "needn't not've o'clock oughtn't 'ow's'at shan't she'd've should've shouldn't shouldn't've somebody'd've "
    "somebody'll somebody's someone'd someone'd've someone'll someone's something'd something'd've something'll "
    "that's there'd there'd've there're there's they'd they'd've they'll they're they've 'twas wasn't we'd've "
    "we've weren't what'll what're what's what've when's where'd where's where've who'd who'd've who'll who's "
    "who've why'll why're why's won't would've wouldn't wouldn't've y'all y'all'd've y'all'll you'd you'd've "
    "you'll you're you've"
)
# With one apostrophe missing -> whole; the last entry is the original table's slip, kept.
_CONTRACTIONS = {
    word[:n] + word[n + 1 :]: word for word in _WITH_APOSTROPHES.split() for n, mark in enumerate(word) if mark == "'"
} | {"somebody'd": "somebodyd"}


@dataclass(frozen=True)
class Item:
    """An answer to score. `kind`: open or closed. `group`: the picture; answers about one picture are resampled
    together."""

    id: str
    question: str
    reference: str
    answer: str
    kind: str
    options: tuple[str, ...] = ()
    group: str = ""


def normalise(text: str) -> str:
    """The VQA v2 evaluation's text processing, quirks kept: marks, full stops, numbers, articles, contractions."""
    original = text = text.lower()
    digits = re.search(r"\d,\d", original)
    for mark in _MARKS:
        drop = digits or f"{mark} " in original or f" {mark}" in original
        text = text.replace(mark, "" if drop else " ")
    text = re.sub(r"\.(?!\d)", "", text, count=32)
    words = [_NUMBERS.get(word, word) for word in text.lower().split()]
    return " ".join(_CONTRACTIONS.get(word, word) for word in words if word not in _ARTICLES).replace(",", "")


def token_scores(answer: str, reference: str, overlap: Callable[[int, int], int]) -> tuple[float, float, float]:
    """Recall, precision and F1 of the answer's words; `overlap(in answer, in reference)` counts a shared word."""
    said, wanted = _count(answer), _count(reference)
    shared = sum(overlap(said[word], wanted[word]) for word in said.keys() & wanted.keys())
    if not shared:
        return 0.0, 0.0, 0.0
    if overlap is min:
        extra, missing = said.total() - shared, wanted.total() - shared
    else:
        extra = sum(n for word, n in said.items() if word not in wanted)
        missing = sum(n for word, n in wanted.items() if word not in said)
    recall, precision = shared / (shared + missing), shared / (shared + extra)
    return recall, precision, 2 * recall * precision / (recall + precision)


def paper_scores(item: Item) -> dict[str, float]:
    """One item by the reference's rules, in its corrected version: a closed miss counts as 0 and is not left out."""
    answer, reference = normalise(item.answer), normalise(item.reference)
    if item.kind == CLOSED:
        return {"closed_accuracy": float(("yes" in answer or "no" in answer) and reference in answer)}
    said, wanted = _count(answer), _count(reference)
    recall, precision, f1 = token_scores(answer, reference, lambda in_answer, _: in_answer)
    exact = len(said.keys() & wanted.keys()) / said.total() if said else 0.0
    return {"open_recall": recall, "open_precision": precision, "open_f1": f1, "exact_match": exact}


def strict_scores(item: Item) -> dict[str, float]:
    """One item by our rules: shared words count min(in answer, in reference); exact match is equality once
    normalised; a closed answer is right if it asserts the option that the reference asserts."""
    if item.kind == CLOSED:
        expected = asserted(item.reference, item.options, item.question)
        if expected is None:  # "Not sure": no option, so only the same words are right
            return {"closed_accuracy": float(normalise(item.answer) == normalise(item.reference) != "")}
        return {"closed_accuracy": float(asserted(item.answer, item.options, item.question) == expected)}
    answer, reference = normalise(item.answer), normalise(item.reference)
    recall, precision, f1 = token_scores(answer, reference, min)
    exact = float(normalise(answer) == normalise(reference))
    return {"open_recall": recall, "open_precision": precision, "open_f1": f1, "exact_match": exact}


def paper(items: Sequence[Item]) -> dict[str, float | None]:
    """Means in per cent by the reference's rules; None where there is no such item."""
    columns = _columns(items, paper_scores)
    return {name: _per_cent(float(np.mean(values))) if len(values) else None for name, (values, _) in columns.items()}


def strict(items: Sequence[Item]) -> dict[str, Interval | None]:
    """Means in per cent by our rules, each with its 95 % interval; None where there is no such item."""
    columns = _columns(items, strict_scores)
    return {name: bootstrap(values, groups) if len(values) else None for name, (values, groups) in columns.items()}


def difference(items: Sequence[Item], others: Sequence[Item]) -> dict[str, Interval | None]:
    """Strict scores of `items` minus those of `others`, paired by id, each with its 95 % interval.

    What only one of them holds is left out; None where no pair is left.
    """
    by_id = {other.id: strict_scores(other) for other in others}
    both = [item for item in items if item.id in by_id]
    columns = _columns(both, lambda item: {n: v - by_id[item.id][n] for n, v in strict_scores(item).items()})
    return {name: bootstrap(values, groups) if len(values) else None for name, (values, groups) in columns.items()}


def mcnemar(items: Sequence[Item], others: Sequence[Item]) -> dict[str, float] | None:
    """McNemar's exact test of closed answers, paired by id: {only_this, only_other, p}; None without a closed pair.

    `only_this`: right here and wrong there. `p`: two-sided, binomial, of as uneven a split of the pairs that differ.
    """
    right = {item.id: strict_scores(item)["closed_accuracy"] for item in others if item.kind == CLOSED}
    pairs = [
        (strict_scores(item)["closed_accuracy"], right[item.id])
        for item in items
        if item.kind == CLOSED and item.id in right
    ]
    if not pairs:
        return None
    this, other = sum(a > b for a, b in pairs), sum(a < b for a, b in pairs)
    tail = sum(math.comb(this + other, k) for k in range(min(this, other) + 1))
    return {"only_this": this, "only_other": other, "p": min(1.0, float(Fraction(2 * tail, 2 ** (this + other))))}


def bootstrap(values: Sequence[float], groups: Sequence[str]) -> Interval:
    """Mean in per cent with its 95 % percentile interval over 2000 resamples of whole groups, seed fixed.

    Questions about one picture are not independent, so pictures are resampled, not questions.
    """
    _, place = np.unique(np.asarray(groups), return_inverse=True)
    sums, counts = np.bincount(place, weights=values), np.bincount(place).astype(float)
    random = np.random.default_rng(SEED)
    means, at_once = [], max(1, _AT_ONCE // len(sums))
    for start in range(0, RESAMPLES, at_once):
        drawn = random.integers(0, len(sums), (min(at_once, RESAMPLES - start), len(sums)))
        means.append(sums[drawn].sum(axis=1) / counts[drawn].sum(axis=1))
    low, high = np.percentile(np.concatenate(means), [2.5, 97.5])
    return [_per_cent(sums.sum() / counts.sum()), _per_cent(low), _per_cent(high)]


def _columns(
    items: Sequence[Item], score: Callable[[Item], dict[str, float]]
) -> dict[str, tuple[list[float], list[str]]]:
    columns: dict[str, tuple[list[float], list[str]]] = {name: ([], []) for name in NAMES}
    for item in items:
        for name, value in score(item).items():
            columns[name][0].append(value)
            columns[name][1].append(item.group or item.id)
    return columns


def _count(text: str) -> Counter[str]:
    return Counter(normalise(text).split())


def _per_cent(value: float) -> float:
    return round(100 * float(value), 6)
