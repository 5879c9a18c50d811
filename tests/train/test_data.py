"""The order of examples, and the learning rate."""

from collections import Counter

import pytest
from hypothesis import given
from hypothesis import strategies as st

from llavamed.train.data import rate, schedule


@given(st.lists(st.integers(1, 300), min_size=1, max_size=80), st.integers(1, 9), st.integers(1, 4), st.integers(0, 9))
def test_each_epoch_shows_every_example_once(lengths, batch_size, epochs, seed):
    steps = schedule(lengths, batch_size, epochs, seed)
    assert Counter(i for step in steps for i in step) == dict.fromkeys(range(len(lengths)), epochs)
    assert all(1 <= len(step) <= batch_size for step in steps)
    assert steps == schedule(lengths, batch_size, epochs, seed)


def test_little_is_padded_and_the_order_follows_the_seed():
    lengths = [10 + 7 * n % 90 for n in range(256)]
    steps = schedule(lengths, 8, 1, 0)
    computed = sum(len(step) * max(lengths[i] for i in step) for step in steps)
    assert sum(lengths) / computed > 0.95
    assert steps != schedule(lengths, 8, 1, 1)
    assert steps != sorted(steps)


def test_the_rate_rises_then_falls_as_a_cosine():
    rates = [rate(step, 100, 2.0, 0.1) for step in range(100)]
    assert rates[0] == pytest.approx(0.2)
    assert rates[9] == rates[10] == max(rates) == 2.0
    assert rates[55] == pytest.approx(1.0)
    assert 0 < rates[-1] < 0.001
    assert rate(0, 1, 2.0, 0.0) == 2.0
