"""Rows dealt out over ranks."""

from hypothesis import given
from hypothesis import strategies as st

from llavamed.train.parallel import deal


@given(st.lists(st.integers(1, 4096), min_size=1, max_size=40), st.integers(1, 9))
def test_every_row_counts_once_and_every_rank_computes_as_many(lengths, ranks):
    dealt = deal(lengths, ranks)
    assert len(dealt) == ranks
    assert {len(rows) for rows in dealt} == {-(-len(lengths) // ranks)}
    assert sorted(row for rows in dealt for row, counts in rows if counts) == list(range(len(lengths)))
    assert dealt == deal(lengths, ranks)


@given(st.lists(st.integers(1, 4096), min_size=1, max_size=40), st.integers(1, 9), st.randoms())
def test_in_no_other_order_do_ranks_wait_less(lengths, ranks, chooser):
    """Ranks in lockstep take as long as the longest row of each round."""
    rounds = zip(*deal(lengths, ranks), strict=True)
    took = sum(max(lengths[row] for row, _ in rows) for rows in rounds)
    other = chooser.sample(lengths, len(lengths))
    assert took <= sum(max(other[i : i + ranks]) for i in range(0, len(other), ranks))


def test_a_rank_with_nothing_left_computes_the_shortest_row_for_nothing():
    assert deal([5, 9, 7], 2) == [[(1, True), (0, True)], [(2, True), (0, False)]]
