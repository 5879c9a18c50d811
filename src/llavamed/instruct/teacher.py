"""A language model as teacher: it reads what is written about a figure, and writes a conversation about the picture.

Every reply is in `answers.jsonl` in the folder before the next is asked for, and stays there, so that nothing is paid
for twice: not after a kill, not for more figures, not with `force`.
"""

import heapq
from collections import Counter
from collections.abc import Collection, Iterable, Iterator
from dataclasses import asdict, dataclass
from functools import partial
from pathlib import Path

from llavamed import artifact, storage
from llavamed.console import console
from llavamed.endpoint import Endpoint, Outcome, Request, ask, outcome_of
from llavamed.errors import InputError, Unfinished
from llavamed.instruct import price
from llavamed.instruct.clean import Victim, clean_turns, rules_hash
from llavamed.instruct.draw import COLUMNS, Drawn, Wanted, draw_figures, read
from llavamed.instruct.price import Prices
from llavamed.instruct.prompts import COLUMNS as WORDS
from llavamed.instruct.prompts import Prompt, problem, read_turns
from llavamed.instruct.write import Excluded, Turns, Writer, open_set, place, result, write_set
from llavamed.journal import Journal
from llavamed.storage import Json

VERSION = "1"  # of the rules by which replies are read
SHOWN = 3  # prompts, of a dry run

CARD = """Conversations about pictures that a language model wrote, from the figure's caption{mentions}: **it did not
see the picture**. What it says may be wrong, and what the words left out is missing. Turns that break a rule of
cleaning were left out, or lost a clause about their text. Each caption keeps its article's licence; the terms of the
model's maker hold for what it wrote. For research use only, never for medical advice."""


@dataclass(frozen=True)
class Plan:
    """What is asked: of which figures of a corpus, in which words, for at most how many tokens an answer."""

    corpus: Path
    drawn: dict[str, Drawn]
    wanted: Wanted
    prompt: Prompt
    max_tokens: int

    def request(self, figure: Json) -> Request:
        """What is asked about a figure."""
        return self.prompt.request(figure, self.max_tokens)


class _Requests(Collection[Request]):
    """What is sent, made when its turn comes, so that memory does not grow with it."""

    def __init__(self, plan: Plan) -> None:
        self.plan = plan
        self.size = sum(len(drawn.taken) for drawn in plan.drawn.values())

    def __len__(self) -> int:
        return self.size

    def __contains__(self, request: object) -> bool:
        return any(request == one for one in self)

    def __iter__(self) -> Iterator[Request]:
        plan = self.plan
        for path in storage.tables(plan.corpus):
            for figure in read(path, sorted({*COLUMNS, *WORDS})):
                try:
                    plan.drawn[path.name].check(figure, plan.wanted)
                except Excluded:
                    continue
                yield plan.request(figure)


def generate(
    corpus: Path,
    folder: Path,
    endpoint: Endpoint,
    *,
    mentions: bool = False,
    wanted: Wanted | None = None,
    max_tokens: int = 1024,
    prices: Prices | None = None,
    dry_run: bool = False,
    force: bool = False,
) -> Json:
    """Write conversations on the figures of `corpus` to `folder`, as the model behind `endpoint` writes them.

    `mentions`: it reads the sentences that cite the figure too. `dry_run`: ask about a sample alone, estimate what all
    would take, and write no set.
    Returns `{conversations: {in, kept, excluded}, turns, dropped_turns: {rule: n}, splits, tokens: {prompt,
    completion}, estimate, price if stated, artifact, hash}`, of a dry run `{requests, answered, estimate, prompts}`.

    Raises:
        InputError: `corpus` is not a finished corpus or has no figure to ask about, `folder` holds something else, or
            what `ask` refuses.
        Unfinished: some were not answered. What was answered is kept.
    """
    wanted, prices, prompt = wanted or Wanted(), prices or Prices(), Prompt(mentions)
    settings = {"teacher": endpoint.model, "max_tokens": max_tokens, "version": VERSION, "rules_hash": rules_hash()}
    settings |= asdict(wanted)
    job = open_set(corpus, folder, "instruct_im" if mentions else "instruct", settings, prompt.path, force)
    if job.manifest is None:
        plan = Plan(corpus, draw_figures(corpus, wanted), wanted, prompt, max_tokens)
        requests = _Requests(plan)
        try:
            if not len(requests):
                raise InputError(f"{corpus} has no figure to ask about: a caption and one plot each, or --compound")
            estimated = _sample(folder, endpoint, requests, prices)
            if dry_run:
                shown = _first(requests, SHOWN)
                artifact.abandon(job)
                answered = _answered(folder, endpoint, requests)
                told = {"requests": len(requests), "answered": answered, "estimate": estimated.describe(prices)}
                return told | {"prompts": [request.messages for request in shown]}
            told = _tell(ask(endpoint, requests, _journal(folder), check=problem, label="conversations"))
        except (InputError, Unfinished):
            artifact.abandon(job)  # what was answered is in the journal
            _forget_if_empty(folder)
            raise
        model = {"name": endpoint.model, "version": told.pop("version"), "endpoint": endpoint.base,
                 "prompt_hash": prompt.hash, "not_taken": told.pop("not_taken")}  # fmt: skip
        text = CARD.format(mentions=" and the sentences that cite it" if mentions else "")
        book = Journal(_journal(folder))
        job.manifest = write_set(
            job, corpus, _writers(plan, endpoint.model, book), teacher=endpoint.model, models=[model], text=text,
            workers=1, clean=_clean, tokens=told["tokens"], estimate=estimated.describe(Prices()),
        )  # fmt: skip
        book.close()
    tokens = job.manifest["tokens"]
    cost = prices.of((tokens["prompt"], tokens["completion"]))
    told = {"dropped_turns": job.manifest["counts"]["turns"]["excluded"], "tokens": tokens}
    told |= {"estimate": job.manifest["estimate"]} | ({} if cost is None else {"price": cost})
    return told | result(job.manifest, folder)


def _sample(folder: Path, endpoint: Endpoint, requests: Collection[Request], prices: Prices) -> price.Estimate:
    """Ask about a sample, of which all answers are kept, and tell what all will take."""
    sample = _first(requests, price.SAMPLE)
    outcomes = list(ask(endpoint, sample, _journal(folder), check=problem, label="sample"))
    found = price.estimate(requests, sample, outcomes)
    told = found.describe(prices)
    cost = f", at a price of about {told['price']:,.2f}" if "price" in told else ""
    counted = f"by the server's count of {found.sample}" if found.sample else "guessed: the server counts no tokens"
    console.print(
        f"{found.requests:,} requests: about {found.prompt:,} tokens sent and {found.completion:,} received{cost} "
        f"({counted})", highlight=False, soft_wrap=True,
    )  # fmt: skip
    return found


def _first(requests: Iterable[Request], n: int) -> list[Request]:
    """The first `n` by hash."""
    return heapq.nsmallest(n, requests, key=lambda request: place("sample", request.id))


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


def _writers(plan: Plan, model: str, book: Journal) -> dict[str, Writer]:
    return {
        path.relative_to(plan.corpus).as_posix(): partial(
            write_one, drawn=plan.drawn[path.name], plan=plan, model=model, book=book
        )
        for path in storage.tables(plan.corpus)
    }


def _clean(turns: Turns, figure: Json) -> tuple[Turns, list[Victim]]:
    return clean_turns(turns, figure["fig_caption"] or "", figure["in_text_mention"] or [])


def write_one(figure: Json, *, drawn: Drawn, plan: Plan, model: str, book: Journal) -> Turns:
    """The figure's turns, from the teacher's reply in `book`.

    Raises Excluded: it is not drawn, the server refused to answer, or the reply could not be read.
    """
    drawn.check(figure, plan.wanted)
    outcome = outcome_of(plan.request(figure), model, book, problem)
    if outcome.reason:
        raise Excluded(outcome.reason, outcome.detail)
    return read_turns(outcome.text)


def _answered(folder: Path, endpoint: Endpoint, requests: Iterable[Request]) -> int:
    book = Journal(_journal(folder))
    try:
        return sum(outcome_of(request, endpoint.model, book, problem).replies > 0 for request in requests)
    finally:
        book.close()


def _journal(folder: Path) -> Path:
    return folder / artifact.ANSWERS


def _forget_if_empty(folder: Path) -> None:
    journal = _journal(folder)
    if journal.exists() and not journal.stat().st_size:
        journal.unlink()
    if folder.exists() and not any(folder.iterdir()):
        folder.rmdir()
