"""Asking a teacher about the figures that are drawn, with an estimate before, and nothing paid for twice.

Every reply is in `answers.jsonl` in the folder before the next is asked for, and stays there: not after a kill, not for
more figures, not with `force` is anything asked for again.
"""

import heapq
from collections import Counter
from collections.abc import Callable, Collection, Iterable, Iterator, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path

from llavamed import artifact, storage
from llavamed.console import console
from llavamed.endpoint import Endpoint, ask
from llavamed.errors import InputError, Unfinished
from llavamed.instruct import price
from llavamed.instruct.draw import COLUMNS, Drawn, Wanted, read
from llavamed.instruct.price import Estimate, Prices
from llavamed.instruct.prompts import COLUMNS as WORDS
from llavamed.instruct.write import Excluded, place
from llavamed.journal import Journal
from llavamed.request import Outcome, Request, outcome_of
from llavamed.storage import Json

SHOWN = 3  # prompts, of a dry run
# Why a figure is not asked about -> what may give more.
_MORE = {"compound": "--compound", "article_full": "a larger --per-article"}


@dataclass(frozen=True)
class Choice:
    """The figures of a corpus that are asked about."""

    corpus: Path
    drawn: dict[str, Drawn]
    wanted: Wanted

    def __len__(self) -> int:
        return sum(len(drawn.taken) for drawn in self.drawn.values())

    def __iter__(self) -> Iterator[Json]:
        """Their rows, with the columns that say which they are and what is written about them."""
        for path in storage.tables(self.corpus):
            if not len(self.drawn[path.name].taken):
                continue
            for figure in read(path, sorted({*COLUMNS, *WORDS})):
                try:
                    self.drawn[path.name].check(figure, self.wanted)
                except Excluded:
                    continue
                yield figure

    def left(self) -> Counter[str]:
        """How many figures are not asked about, by reason."""
        reasons: Counter[str] = Counter()
        for path in storage.tables(self.corpus):
            for figure in read(path, COLUMNS):
                try:
                    self.drawn[path.name].check(figure, self.wanted)
                except Excluded as error:
                    reasons[error.reason] += 1
        return reasons


@dataclass(frozen=True)
class Asked(Collection[Request]):
    """One request about each chosen figure, made when its turn comes, so that memory does not grow with them.

    `request`: a figure's row -> what is asked. `check`: what is wrong with a reply. `label`: of the progress.
    """

    choice: Choice
    request: Callable[[Json], Request]
    check: Callable[[str], str]
    label: str

    def __len__(self) -> int:
        return len(self.choice)

    def __contains__(self, request: object) -> bool:
        return any(request == one for one in self)

    def __iter__(self) -> Iterator[Request]:
        return map(self.request, self.choice)

    def reply(self, figure: Json, model: str, book: Journal) -> str:
        """What `model` replied about a figure, by the journal.

        Raises Excluded: the server refused to answer, or the reply could not be read.
        """
        outcome = outcome_of(self.request(figure), model, book, self.check)
        if outcome.reason:
            raise Excluded(outcome.reason, outcome.detail)
        return outcome.text


def ask_teacher(
    job: artifact.Job, endpoint: Endpoint, asked: Sequence[Asked], prices: Prices, dry_run: bool = False
) -> Json:
    """Ask all that `asked` holds and the journal of the job's folder does not.

    First about a sample, from which it is estimated what all will take; a dry run ends there. Returns `{tokens:
    {prompt, completion}, version, not_taken, estimate}`, of a dry run `{requests, answered, estimate, prompts}`. What
    does not end well, and a dry run, leaves the folder free, but for the journal.

    Raises:
        InputError: there is no figure to ask about, or what `ask` refuses.
        Unfinished: some were not answered. What was answered is kept.
    """
    journal = journal_of(job.folder)
    try:
        if not any(map(len, asked)):
            raise InputError(f"{asked[0].choice.corpus} has no figure to ask about: it needs a caption, one plot (or "
                             "--compound), with -n one of the five domains, and to be of the --split")  # fmt: skip
        estimate = sum((_sample(journal, endpoint, one, prices) for one in asked), Estimate(0, 0, 0, 0))
        _say(estimate, prices)
        if dry_run:
            return _dry(job, endpoint, asked, estimate, prices)
        outcomes = (outcome for one in asked for outcome in _ask(journal, endpoint, one, one))
        return _tell(outcomes) | {"estimate": estimate.describe(Prices())}
    except (InputError, Unfinished):
        artifact.abandon(job)  # what was answered is in the journal
        _forget_if_empty(job.folder)
        raise


def say_if_fewer(wanted: Wanted, kept: int, excluded: Mapping[str, int]) -> None:
    """Where there are fewer than were wanted, why, and what gives more. `excluded`: figures by reason."""
    if wanted.n is None or kept >= wanted.n:
        return
    if excluded.get("not_drawn"):
        why, more = "not every answer could be used (see excluded/)", ["a larger -n"]
    else:
        left = ", ".join(f"{reason} {n:,}" for reason, n in Counter(excluded).most_common())
        why = "the corpus has no more figures that may be asked about" + (f" ({left})" if left else "")
        more = [option for reason, option in _MORE.items() if excluded.get(reason)]
    told = f": {' or '.join(more)} may give more" if more else ""
    console.print(f"{kept:,} of the {wanted.n:,} wanted: {why}{told}", highlight=False, soft_wrap=True)


def journal_of(folder: Path) -> Path:
    """Where the replies are."""
    return folder / artifact.ANSWERS


def _ask(journal: Path, endpoint: Endpoint, asked: Asked, requests: Collection[Request]) -> Iterator[Outcome]:
    return ask(endpoint, requests, journal, check=asked.check, label=asked.label)


def _sample(journal: Path, endpoint: Endpoint, asked: Asked, prices: Prices) -> Estimate:
    """Ask about a sample, of which all answers are kept, and tell what all will take."""
    sample = _first(asked, price.SAMPLE)
    return price.estimate(asked, sample, list(_ask(journal, endpoint, asked, sample)))


def _first(requests: Iterable[Request], n: int) -> list[Request]:
    """The first `n` by hash."""
    return heapq.nsmallest(n, requests, key=lambda request: place("sample", request.id))


def _say(estimate: Estimate, prices: Prices) -> None:
    told = estimate.describe(prices)
    cost = f", at a price of about {told['price']:,.2f}" if "price" in told else ""
    counted = f"by the server's count of {estimate.sample}" if estimate.sample else "guessed: the server counts none"
    console.print(
        f"{estimate.requests:,} requests: about {estimate.prompt:,} tokens sent and {estimate.completion:,} received"
        f"{cost} ({counted})", highlight=False, soft_wrap=True,
    )  # fmt: skip


def _dry(job: artifact.Job, endpoint: Endpoint, asked: Sequence[Asked], estimate: Estimate, prices: Prices) -> Json:
    artifact.abandon(job)
    book = Journal(journal_of(job.folder))
    try:
        answered = sum(
            outcome_of(request, endpoint.model, book, one.check).replies > 0 for one in asked for request in one
        )
    finally:
        book.close()
    shown = [request for one in asked for request in _first(one, -(-SHOWN // len(asked)))][: max(SHOWN, len(asked))]
    told = {"requests": estimate.requests, "answered": answered, "estimate": estimate.describe(prices)}
    return told | {"prompts": [request.messages for request in shown]}


def _tell(outcomes: Iterable[Outcome]) -> Json:
    """What the manifest says of all outcomes: {tokens: {prompt, completion}, version, not_taken}."""
    tokens: Counter[str] = Counter(prompt=0, completion=0)
    names: set[str] = set()
    without: set[str] = set()
    for outcome in outcomes:
        tokens.update(prompt=outcome.tokens[0], completion=outcome.tokens[1])
        names.add(outcome.model)
        without.update(outcome.without)
    return {"tokens": dict(tokens), "version": ", ".join(sorted(names - {""})), "not_taken": sorted(without)}


def _forget_if_empty(folder: Path) -> None:
    journal = journal_of(folder)
    if journal.exists() and not journal.stat().st_size:
        journal.unlink()
    if folder.exists() and not any(folder.iterdir()):
        folder.rmdir()
