"""A language model as teacher: it reads what is written about a figure, and writes a conversation about the picture."""

from collections.abc import Sequence
from functools import partial
from pathlib import Path

from llavamed import artifact, storage
from llavamed.endpoint import Endpoint
from llavamed.errors import InputError
from llavamed.instruct.asking import Asked, Choice, ask_teacher, journal_of, say_if_fewer
from llavamed.instruct.clean import Victim, clean_turns, rules_hash
from llavamed.instruct.draw import Drawn, Wanted, draw_figures, read_against
from llavamed.instruct.price import Prices
from llavamed.instruct.prompts import Prompt, problem, read_turns
from llavamed.instruct.write import Turns, Writer, open_set, result, write_set
from llavamed.journal import Journal
from llavamed.storage import Json

VERSION = "1"  # of the rules by which replies are read

CARD = """Conversations about pictures that a language model wrote, from the figure's caption{mentions}: **it did not
see the picture**. What it says may be wrong, and what the words left out is missing. Turns that break a rule of
cleaning were left out, or lost a clause about their text. Each caption keeps its article's licence; the terms of the
model's maker hold for what it wrote. For research use only, never for medical advice."""


def generate(
    corpus: Path,
    folder: Path,
    endpoint: Endpoint,
    *,
    mentions: bool = False,
    wanted: Wanted | None = None,
    against: Sequence[Path] = (),
    max_tokens: int = 1024,
    prices: Prices | None = None,
    dry_run: bool = False,
    workers: int = 1,
    force: bool = False,
) -> Json:
    """Write conversations on the figures of `corpus` to `folder`, as the model behind `endpoint` writes them.

    `mentions`: it reads the sentences that cite the figure too; a figure without any is asked about as without
    `mentions`. `against`: no figures of these evaluation sets. `dry_run`: ask about a sample alone, estimate what all
    would take, and write no set.
    Returns `{conversations: {in, kept, excluded}, turns, dropped_turns: {rule: n}, splits, tokens: {prompt,
    completion}, estimate, price if stated, artifact, hash}`, of a dry run `{requests, answered, estimate, prompts}`.

    Raises:
        InputError: `corpus` is not a finished corpus or has no figure to ask about, one of `against` is no evaluation
            set, `folder` holds something else, or what `ask` refuses.
        Unfinished: some were not answered. What was answered is kept.
    """
    wanted, prices, prompt = wanted or Wanted(), prices or Prices(), Prompt(mentions)
    job = open_set(
        corpus, folder, "instruct_im" if mentions else "instruct", settings_of(endpoint, wanted, max_tokens, mentions),
        prompt.path, force, against,
    )  # fmt: skip
    if job.manifest is None:
        choice = choose(job, corpus, wanted, against, workers)
        asked = Asked(choice, partial(prompt.request, max_tokens=max_tokens), problem, "conversations")
        told = ask_teacher(job, endpoint, [asked], prices, dry_run)
        if dry_run:
            say_if_fewer(wanted, len(choice), choice.left())
            return told
        model = {"name": endpoint.model, "version": told["version"], "endpoint": endpoint.base,
                 "prompt_hash": prompt.hash, "not_taken": told["not_taken"]}  # fmt: skip
        text = CARD.format(mentions=" and the sentences that cite it" if mentions else "")
        book = Journal(journal_of(folder))
        job.manifest = write_set(
            job, corpus, _writers(asked, endpoint.model, book), teacher=endpoint.model, models=[model], text=text,
            workers=1, clean=clean, describe=lambda figure, turns: {"prompt_hash": prompt.of(figure).hash},
            tokens=told["tokens"], estimate=told["estimate"],
        )  # fmt: skip
        book.close()
    return told_of(job.manifest, folder, prices, wanted)


def settings_of(endpoint: Endpoint, wanted: Wanted, max_tokens: int, mentions: bool) -> Json:
    """What makes two sets the same, besides the corpus and the prompt."""
    settings: Json = {"teacher": endpoint.model, "max_tokens": max_tokens, "version": VERSION}
    settings |= {"rules_hash": rules_hash(), "n": wanted.n, "seed": wanted.seed}
    settings |= {"per_article": wanted.per_article, "compound": wanted.compound}
    return settings | ({"uncited_prompt_hash": Prompt(False).hash} if mentions else {})


def choose(job: artifact.Job, corpus: Path, wanted: Wanted, against: Sequence[Path], workers: int) -> Choice:
    """The figures that are asked about.

    Raises:
        InputError: a file of `against` cannot be read, or nothing can be compared.
    """
    try:
        return Choice(corpus, draw_figures(corpus, wanted, read_against(job, corpus, against, workers)), wanted)
    except InputError:
        artifact.abandon(job)
        raise


def told_of(manifest: Json, folder: Path, prices: Prices, wanted: Wanted) -> Json:
    """What a command prints. Says where there are fewer than `wanted`."""
    tokens, counts = manifest["tokens"], manifest["counts"]["conversations"]
    say_if_fewer(wanted, counts["kept"], counts["excluded"])
    cost = prices.of((tokens["prompt"], tokens["completion"]))
    told = {"dropped_turns": manifest["counts"]["turns"]["excluded"], "tokens": tokens}
    told |= {"estimate": manifest["estimate"]} | ({} if cost is None else {"price": cost})
    return told | result(manifest, folder)


def clean(turns: Turns, figure: Json) -> tuple[Turns, list[Victim]]:
    """The turns that break no rule, beside what the figure's authors wrote, and the others."""
    return clean_turns(turns, figure["fig_caption"] or "", figure["in_text_mention"] or [])


def _writers(asked: Asked, model: str, book: Journal) -> dict[str, Writer]:
    choice = asked.choice
    return {
        path.relative_to(choice.corpus).as_posix(): partial(
            write_one, drawn=choice.drawn[path.name], asked=asked, model=model, book=book
        )
        for path in storage.tables(choice.corpus)
    }


def write_one(figure: Json, *, drawn: Drawn, asked: Asked, model: str, book: Journal) -> Turns:
    """The figure's turns, from the teacher's reply in `book`. Raises Excluded: it is not drawn, or has no reply."""
    drawn.check(figure, asked.choice.wanted)
    return read_turns(asked.reply(figure, model, book))
