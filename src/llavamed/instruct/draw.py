"""Which figures get a conversation: drawn by hash, the five domains in turn, few of one article, none of a test set."""

from array import array
from collections.abc import Iterator, Sequence
from dataclasses import dataclass, field
from itertools import groupby
from pathlib import Path
from typing import Any

import numpy as np
import pyarrow.parquet as pq

from llavamed import artifact, storage
from llavamed.corpus.schema import DOMAINS
from llavamed.instruct import against as test
from llavamed.instruct.against import Against
from llavamed.instruct.write import Excluded, Pictures, place
from llavamed.storage import Json

COLUMNS = ["pair_id", "pmcid", "pmid", "fig_caption", "domain", "single_plot", "split"]
Places = np.ndarray[Any, np.dtype[np.float64]]


@dataclass(frozen=True)
class Wanted:
    """What is asked for. `n`: so many figures; None: all, of every kind.

    `in_turn`: the n figures are those of the five domains in turn; else whatever comes first. `per_article`: at most so
    many of one article (None: all). `compound`: figures of several panels too. `split`: of this one alone.
    """

    n: int | None = None
    seed: int = 0
    per_article: int | None = 4
    compound: bool = False
    in_turn: bool = True
    split: str | None = None

    def place(self, pair_id: str) -> float:
        """The figure's place in the order in which figures are drawn."""
        return place("take", self.seed, pair_id)


@dataclass(frozen=True)
class Drawn:
    """Of one file of a corpus, the sorted places of the figures that are taken, and of those whose article was full.

    `tested`: the places of those found in an evaluation set -> which picture or name of it.
    """

    taken: Places
    full: Places
    tested: dict[float, str] = field(default_factory=dict)

    def check(self, figure: Json, wanted: Wanted) -> None:
        """Raises Excluded: the figure gets no conversation."""
        if reason := unfit(figure, wanted):
            raise Excluded(reason)
        where = wanted.place(figure["pair_id"])
        if where in self.tested:
            raise Excluded(test.REASON, self.tested[where])
        if not _holds(self.taken, where):
            raise Excluded("article_full" if _holds(self.full, where) else "not_drawn")


def unfit(figure: Json, wanted: Wanted) -> str:
    """Why the figure is not among those that are drawn from; empty if it is."""
    if not (figure["fig_caption"] or "").strip():
        return "no_caption"
    if wanted.split not in (None, figure["split"]):
        return "other_split"
    if not (figure["single_plot"] or wanted.compound):
        return "compound"
    return "other_kind" if wanted.n is not None and wanted.in_turn and _domain(figure) < 0 else ""


def draw_figures(corpus: Path, wanted: Wanted, against: Against | None = None) -> dict[str, Drawn]:
    """What is taken of each file, by its name. A larger `n` takes the same figures and more.

    Figures that `against` holds are left out, and then: of an article the first `per_article` by place stay; the first
    of each domain are taken, then the second, ...; or, not `in_turn`, the first of all.
    """
    names = storage.tables(corpus)
    pool = _Pool(names)
    for index, path in enumerate(names):
        for row, figure in enumerate(read(path, [*COLUMNS, *test.COLUMNS] if against else COLUMNS)):
            if not unfit(figure, wanted):
                pool.add(figure, index, row, wanted, against)
    return pool.draw(wanted, against)


def read_against(job: artifact.Job, corpus: Path, sources: Sequence[Path], workers: int) -> Against | None:
    """The evaluation sets in `sources`, or None, to compare `corpus` with; a table of them is kept while `job` works.

    Raises:
        InputError: a file cannot be read, or nothing can be compared.
    """
    if not sources:
        return None
    side = artifact.read_manifest(corpus)["settings"]["max_side"]
    table = job.work / f"against-{job.inputs['against'][:16]}.parquet"
    return test.read_against(sources, table, side, workers)


class _Pool:
    """The figures that are drawn from, a few numbers each."""

    def __init__(self, files: list[Path]) -> None:
        self.files = files
        self.place, self.article, self.domain = array("d"), array("q"), array("b")
        self.file, self.row, self.phash = array("l"), array("l"), array("Q")
        self.unhashed: set[int] = set()  # without a perceptual hash
        self.tested: dict[int, str] = {}

    def add(self, figure: Json, file: int, row: int, wanted: Wanted, against: Against | None) -> None:
        """Take in the figure in that row of a file."""
        number = len(self.place)
        self.place.append(wanted.place(figure["pair_id"]))
        self.article.append(int(place(_article(figure)) * 2**48))
        self.domain.append(_domain(figure))
        self.file.append(file)
        if against:
            self.row.append(row)
            self.phash.append(int(figure["phash"] or "0", 16))
            if not figure["phash"]:
                self.unhashed.add(number)
            if where := against.holds(figure):
                self.tested[number] = where

    def draw(self, wanted: Wanted, against: Against | None) -> dict[str, Drawn]:
        """What is taken of each file. Pictures are looked at only where it matters and where their hashes are near."""
        where, articles, domains = np.array(self.place), np.array(self.article), np.array(self.domain)
        left = np.ones(len(where), bool)
        left[list(self.tested)] = False
        looked = ~left
        while True:
            taken, full = _choose(where, articles, domains, left, wanted)
            if not against:
                break
            # Besides those that are taken, those that keep others of their article out.
            matter = (taken | np.isin(articles, articles[full]) & left & ~full) & ~looked
            if not matter.any():
                break
            looked |= matter
            for number, found in self._look(np.flatnonzero(matter).tolist(), against):
                self.tested[number], left[number] = found, False
        drawn = {}
        for path, begin, end in self._spans():
            own = where[begin:end]
            drawn[path.name] = Drawn(np.sort(own[taken[begin:end]]), np.sort(own[full[begin:end]]), {})
        for number, found in self.tested.items():
            drawn[self.files[self.file[number]].name].tested[self.place[number]] = found
        return drawn

    def _look(self, numbers: list[int], against: Against) -> Iterator[tuple[int, str]]:
        """Those that are too close to a picture of an evaluation set, with which."""
        near = [n for n in numbers if n in self.unhashed or against.may_hold(self.phash[n])]
        for index, own in groupby(near, lambda number: self.file[number]):
            with Pictures(self.files[index]) as pictures:
                for number in own:
                    if found := against.looks_like(pictures[self.row[number]]["bytes"]):
                        yield number, found

    def _spans(self) -> Iterator[tuple[Path, int, int]]:
        """Each file with the place of its first figure here, and of the next file's."""
        begins = np.searchsorted(np.array(self.file), range(len(self.files) + 1)).tolist()
        yield from zip(self.files, begins, begins[1:], strict=False)


def _choose(where: Places, articles: Any, domains: Any, left: Any, wanted: Wanted) -> tuple[Any, Any]:
    """Of all figures, which are taken, and which were left out since their article was full."""
    full = np.zeros(len(where), bool)
    if wanted.per_article is not None:
        full[left] = _rank(articles[left], where[left]) >= wanted.per_article
    taken = left & ~full
    if wanted.n is not None:
        rest = np.flatnonzero(taken)
        turn = _rank(domains[rest], where[rest]) if wanted.in_turn else where[rest]
        order = np.lexsort((domains[rest], turn))
        taken[rest[order[wanted.n :]]] = False
    return taken, full


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
