"""Which figures get a conversation."""

from collections import Counter
from itertools import pairwise

import pytest

from llavamed import storage
from llavamed.corpus.schema import DOMAINS
from llavamed.instruct.draw import Wanted, draw_figures
from llavamed.instruct.write import Excluded
from small_corpus import figure, figures, write_corpus


def drawn(corpus, **wanted):
    """pair_id -> "" or the reason."""
    wanted = Wanted(**wanted)
    found, files = {}, draw_figures(corpus, wanted)
    for path in storage.tables(corpus):
        for row in storage.read_rows(corpus):
            if row["split"] == path.name.split("-")[0]:
                try:
                    files[path.name].check(row, wanted)
                    found[row["pair_id"]] = ""
                except Excluded as error:
                    found.setdefault(row["pair_id"], error.reason)
    return found


def taken(corpus, **wanted):
    return {pair for pair, reason in drawn(corpus, **wanted).items() if not reason}


def domain(row):
    return next((name for name in DOMAINS if row["domain"][name]), None)


def test_the_domains_come_in_turn_and_the_rare_one_runs_out(corpus):
    rows = {row["pair_id"]: row for row in storage.read_rows(corpus)}
    there = Counter(domain(row) for row in rows.values() if row["fig_caption"])
    assert not there["gross"]
    few = Counter(domain(rows[pair]) for pair in taken(corpus, n=8))
    assert few == {"chest_xray": 2, "ct_scan": 2, "histology": 2, "mri": 2}
    many = Counter(domain(rows[pair]) for pair in taken(corpus, n=64))
    rest = 64 - there["chest_xray"] - there["histology"]
    assert many["chest_xray"] == there["chest_xray"] < 16
    assert sum(many.values()) == 64
    assert abs(many["ct_scan"] - many["mri"]) <= 1 or many["mri"] == there["mri"]
    assert many["ct_scan"] + many["mri"] + many["histology"] == rest + there["histology"]


def test_more_takes_the_same_and_more(corpus):
    sizes = [taken(corpus, n=n) for n in (1, 5, 20, 60, 1000)]
    assert [len(s) for s in sizes[:4]] == [1, 5, 20, 60]
    assert all(small < large for small, large in pairwise(sizes))
    assert taken(corpus, n=20, seed=1) != sizes[2]
    assert sizes[4] < taken(corpus), "without n, every kind"


def test_reasons(corpus):
    assert drawn(corpus, n=5)["1900_F900"] == "no_caption"
    assert drawn(corpus, n=5)["1902_F902"] == "other_kind"
    assert drawn(corpus)["1902_F902"] == ""
    assert Counter(drawn(corpus, n=5).values())["not_drawn"] > 50


def test_few_of_one_article_whatever_their_kind(tmp_path):
    rows = figures("train", 0, 48)
    for row in rows:
        row["pmcid"] = "PMC1" if row["pair_id"] < "1024" else None  # the others by their pair_id
    corpus = write_corpus(tmp_path / "corpus", [("train", rows)])
    found = drawn(corpus, per_article=3)
    assert Counter(found.values()) == {"": 24 + 3, "article_full": 21}
    assert taken(corpus, per_article=3) < taken(corpus, per_article=4)


def test_figures_of_several_panels_only_if_asked_for(tmp_path):
    row = figure(1, "train", "ct", "Scans.") | {"single_plot": False}
    corpus = write_corpus(tmp_path / "corpus", [("train", [row])])
    assert drawn(corpus) == {"1001_F1": "compound"}
    assert drawn(corpus, compound=True) == {"1001_F1": ""}


@pytest.mark.parametrize("n", [None, 5])
def test_a_corpus_with_nothing_to_draw(tmp_path, n):
    corpus = write_corpus(tmp_path / "corpus", [("train", [figure(1, "train", "ct", "")])])
    assert drawn(corpus, n=n) == {"1001_F1": "no_caption"}
