"""Steps and rows: everything once, nothing cut, the same whatever the rows."""

from collections import Counter
from itertools import pairwise

from hypothesis import given
from hypothesis import strategies as st

from llavamed.train.packing import Lengths, lay_out, rows, steps, tokens
from llavamed.train.tokens import Example

keyed = st.lists(st.integers(0, 6), min_size=1, max_size=60)
lengths_of = st.binary(min_size=60, max_size=60).map(lambda some: [Lengths(20, 1 + one % 70, 1) for one in some])


@given(keyed, st.integers(1, 9), st.integers(1, 3), st.integers(0, 9))
def test_each_epoch_shows_every_example_once(keys, batch_size, epochs, seed):
    made = steps(keys, batch_size, epochs, seed)
    shown = [index for step in made for figure in step for index in figure]
    for epoch in range(epochs):
        part = shown[epoch * len(keys) : (epoch + 1) * len(keys)]
        assert sorted(part) == list(range(len(keys)))
        changes = sum(keys[a] != keys[b] for a, b in pairwise(part))
        assert changes == len(set(keys)) - 1, "those of a key stand together"
    assert all(len({keys[index] for index in figure}) == 1 for step in made for figure in step)
    assert all(len({keys[figure[0]] for figure in step}) == len(step) for step in made)
    assert {sum(map(len, step)) for step in made} <= {batch_size, len(keys) % batch_size}
    assert made == steps(keys, batch_size, epochs, seed)


def test_the_order_follows_the_seed_and_changes_with_the_epoch():
    first, second = steps(range(64), 64, 2, 0)
    assert first != second
    assert steps(range(64), 64, 1, 1) != [first]
    assert [figure[0] for figure in first] != sorted(figure[0] for figure in first)


@given(keyed, lengths_of, st.integers(24, 300), st.integers(1, 20))
def test_rows_hold_a_step_and_no_more_than_they_may(keys, lengths, row_tokens, batch_size):
    for step in steps(keys, batch_size, 1, 0):
        made = rows(step, lengths, row_tokens)
        parts = [figure for row in made for figure in row]
        assert Counter(i for part in parts for i in part) == Counter(i for figure in step for i in figure)
        assert all(len({keys[index] for index in part}) == 1 for part in parts)
        for row in made:
            size = sum(tokens(figure, lengths) for figure in row)
            assert size <= row_tokens or list(map(len, row)) == [1]
        if row_tokens >= sum(tokens(figure, lengths) for figure in step):
            assert len(made) == 1
            assert sorted(parts) == sorted(step)


def example(prefix, *rest):
    return Example("x", tuple(prefix), [token for token, _ in rest], bytes(said for _, said in rest), 2)


def test_a_row_token_by_token():
    examples = [
        example([1, 9, 9], (10, False), (11, True), (12, True)),
        example([1, 9, 9], (20, True), (21, True)),
        example([2, 9], (30, False), (31, True)),
    ]
    row = lay_out([(0, 1), (2,)], examples)
    assert row.ids == [1, 9, 9, 10, 11, 12, 20, 21, 2, 9, 30, 31]
    assert row.positions == [0, 1, 2, 3, 4, 5, 3, 4, 0, 1, 2, 3]
    assert list(zip(row.sources, row.targets, strict=True)) == [(3, 11), (4, 12), (2, 20), (6, 21), (10, 31)]
    assert row.shape == [(3, (3, 2)), (2, (2,))]
    assert row.examples == [0, 2]
