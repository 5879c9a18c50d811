"""Examples to steps, and steps to rows in which a picture's tokens stand once.

A row is one sequence without padding. A figure in it is a prefix (system text and picture), then the rest of each of
its conversations as a branch, which sees the prefix and itself and nothing of the others:

    token     a a P P P | b b b | c c | a a P P P | d d d
    position  0 1 2 3 4 | 5 6 7 | 5 6 | 0 1 2 3 4 | 5 6 7
    figure    0 ----------------------- 1 ---------------
    branch    0 0 0 0 0 | 1 1 1 | 2 2 | 0 0 0 0 0 | 1 1 1

What a token computes is what it would with its conversation alone, so loss and gradients are the same; the prefix is
computed once instead of once a conversation.
"""

import random
from collections.abc import Hashable, Sequence
from dataclasses import dataclass
from itertools import groupby
from typing import NamedTuple

from llavamed.train.tokens import Example

Figure = tuple[int, ...]  # indices of examples with one prefix, which is computed once for them


class Lengths(NamedTuple):
    """Of an example, in tokens: what it may share, the rest, and how many carry loss."""

    prefix: int
    rest: int
    labelled: int


def steps(keys: Sequence[Hashable], batch_size: int, epochs: int, seed: int) -> list[list[Figure]]:
    """The steps of all epochs: `batch_size` examples each, those of one key next to each other.

    keys: of each example; only examples of equal keys share a prefix. Keys and the examples of each are shuffled anew
    in each epoch, by the seed alone. A step's end may part the examples of a key; an epoch's last step may be short.
    """
    chooser = random.Random(seed)  # noqa: S311
    alike: dict[Hashable, list[int]] = {}
    for index, key in enumerate(keys):
        alike.setdefault(key, []).append(index)
    groups = list(alike.values())
    made = []
    for _ in range(epochs):
        chooser.shuffle(groups)
        order = []
        for group in groups:
            chooser.shuffle(group)
            order += group
        for start in range(0, len(order), batch_size):
            parts = groupby(order[start : start + batch_size], key=lambda index: keys[index])
            made.append([tuple(part) for _, part in parts])
    return made


def rows(step: Sequence[Figure], lengths: Sequence[Lengths], row_tokens: int) -> list[list[Figure]]:
    """The rows of a step: of at most `row_tokens` tokens, or one longer example alone. Longest figures first, each into
    the first row with room for it (first-fit decreasing). A figure longer than a row is cut, its prefix repeated."""
    figures = [part for figure in step for part in _cut(figure, lengths, row_tokens)]
    sizes = {figure: tokens(figure, lengths) for figure in figures}
    made: list[list[Figure]] = []
    room: list[int] = []
    for figure in sorted(figures, key=lambda figure: -sizes[figure]):
        place = next((n for n, left in enumerate(room) if left >= sizes[figure]), len(made))
        if place == len(made):
            made.append([])
            room.append(row_tokens)
        made[place].append(figure)
        room[place] -= sizes[figure]
    return made


def tokens(figure: Figure, lengths: Sequence[Lengths]) -> int:
    """How many tokens a figure takes: its prefix, and what is left of each example."""
    return lengths[figure[0]].prefix + sum(lengths[index].rest for index in figure)


def pairs(figure: Figure, lengths: Sequence[Lengths]) -> int:
    """How many pairs of tokens of a figure see each other, a token and itself included."""
    prefix, rests = lengths[figure[0]].prefix, [lengths[index].rest for index in figure]
    return prefix * (prefix + 1) // 2 + sum(rest * prefix + rest * (rest + 1) // 2 for rest in rests)


def _cut(figure: Figure, lengths: Sequence[Lengths], row_tokens: int) -> list[Figure]:
    parts: list[list[int]] = []
    left = -1
    for index in figure:
        if lengths[index].rest > left:
            parts.append([])
            left = row_tokens - lengths[index].prefix
        parts[-1].append(index)
        left -= lengths[index].rest
    return [tuple(part) for part in parts]


@dataclass(frozen=True)
class Row:
    """A row as lists. `sources[i]` is the token from whose output `targets[i]` is predicted; `shape`: for each figure
    the lengths of its prefix and of its branches; `examples`: for each figure one of its examples."""

    ids: list[int]
    positions: list[int]
    sources: list[int]
    targets: list[int]
    shape: list[tuple[int, tuple[int, ...]]]
    examples: list[int]

    def __len__(self) -> int:
        return len(self.ids)


def lay_out(figures: Sequence[Figure], examples: Sequence[Example]) -> Row:
    """The tokens of `figures` as one sequence."""
    row = Row([], [], [], [], [], [figure[0] for figure in figures])
    for figure in figures:
        start = examples[figure[0]].start
        row.ids.extend(start)
        row.positions.extend(range(len(start)))
        end = len(row.ids) - 1  # of the prefix: it predicts the first token of each branch
        for index in figure:
            before = len(row.ids) - 1
            row.ids.extend(examples[index].rest)
            row.positions.extend(range(len(start), len(start) + len(examples[index].rest)))
            for n, (token, said) in enumerate(zip(examples[index].rest, examples[index].said, strict=True)):
                if said:
                    row.sources.append(before + n if n else end)
                    row.targets.append(token)
        row.shape.append((len(start), tuple(len(examples[index].rest) for index in figure)))
    return row
