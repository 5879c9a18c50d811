"""Which figures get a conversation: drawn by hash, the five domains in turn, few of one article."""

from array import array
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np
import pyarrow.parquet as pq

from llavamed import storage
from llavamed.corpus.schema import DOMAINS
from llavamed.instruct.write import Excluded, place
from llavamed.storage import Json

COLUMNS = ["pair_id", "pmcid", "pmid", "fig_caption", "domain", "single_plot"]
Places = np.ndarray[Any, np.dtype[np.float64]]


@dataclass(frozen=True)
class Wanted:
    """What is asked for. `n`: so many figures, those of the five domains in turn; None: all, of every kind.

    `per_article`: at most so many of one article. `compound`: figures of several panels too.
    """

    n: int | None = None
    seed: int = 0
    per_article: int = 4
    compound: bool = False

    def place(self, pair_id: str) -> float:
        """The figure's place in the order in which figures are drawn."""
        return place("take", self.seed, pair_id)


@dataclass(frozen=True)
class Drawn:
    """Of one file of a corpus, the sorted places of the figures that are taken, and of those whose article was full."""

    taken: Places
    full: Places

    def check(self, figure: Json, wanted: Wanted) -> None:
        """Raises Excluded: the figure gets no conversation."""
        if reason := unfit(figure, wanted):
            raise Excluded(reason)
        where = wanted.place(figure["pair_id"])
        if not _holds(self.taken, where):
            raise Excluded("article_full" if _holds(self.full, where) else "not_drawn")


def unfit(figure: Json, wanted: Wanted) -> str:
    """Why the figure is not among those that are drawn from; empty if it is."""
    if not (figure["fig_caption"] or "").strip():
        return "no_caption"
    if not (figure["single_plot"] or wanted.compound):
        return "compound"
    return "other_kind" if wanted.n is not None and _domain(figure) < 0 else ""


def draw_figures(corpus: Path, wanted: Wanted) -> dict[str, Drawn]:
    """What is taken of each file, by its name. A larger `n` takes the same figures and more.

    Of an article the first `per_article` by place stay. Then the first of each domain are taken, then the second, ...
    """
    places, articles, domains, files = array("d"), array("q"), array("b"), array("l")
    names = storage.tables(corpus)
    for index, path in enumerate(names):
        for figure in read(path, COLUMNS):
            if not unfit(figure, wanted):
                places.append(wanted.place(figure["pair_id"]))
                articles.append(int(place(_article(figure)) * 2**48))
                domains.append(_domain(figure))
                files.append(index)
    where, file, domain = np.array(places), np.array(files), np.array(domains)
    full = _rank(np.array(articles), where) >= wanted.per_article
    taken = ~full
    if wanted.n is not None:
        left = np.flatnonzero(taken)
        order = np.lexsort((domain[left], _rank(domain[left], where[left])))
        taken[left[order[wanted.n :]]] = False
    return {
        path.name: Drawn(np.sort(where[taken & (file == index)]), np.sort(where[full & (file == index)]))
        for index, path in enumerate(names)
    }


def read(path: Path, columns: list[str]) -> Iterator[Json]:
    """The rows of one file."""
    with pq.ParquetFile(path) as file:
        for batch in file.iter_batches(batch_size=storage.ROWS_IN_GROUP, columns=columns):
            yield from batch.to_pylist()


def _rank(groups: Any, places: Places) -> Any:
    """How many of its group come before each."""
    order = np.lexsort((places, groups))
    ranks, sorted_ = np.empty(len(order), int), groups[order]
    begins = np.flatnonzero(np.r_[True, sorted_[1:] != sorted_[:-1]][: len(order)])
    sizes = np.diff(np.r_[begins, len(order)])
    ranks[order] = np.arange(len(order)) - np.repeat(begins, sizes)
    return ranks


def _article(figure: Json) -> str:
    return str(figure["pmcid"] or figure["pmid"] or figure["pair_id"].rpartition("_")[0] or figure["pair_id"])


def _domain(figure: Json) -> int:
    flags = figure["domain"] or {}
    return next((index for index, name in enumerate(DOMAINS) if flags.get(name)), -1)


def _holds(places: Places, where: float) -> bool:
    index = int(np.searchsorted(places, where))
    return index < len(places) and bool(places[index] == where)
