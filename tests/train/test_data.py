"""The learning rate."""

import pytest

from llavamed.train.data import rate


def test_the_rate_rises_then_falls_as_a_cosine():
    rates = [rate(step, 100, 2.0, 0.1) for step in range(100)]
    assert rates[0] == pytest.approx(0.2)
    assert rates[9] == rates[10] == max(rates) == 2.0
    assert rates[55] == pytest.approx(1.0)
    assert 0 < rates[-1] < 0.001
    assert rate(0, 1, 2.0, 0.0) == 2.0
