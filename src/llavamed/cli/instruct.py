"""`llavamed instruct`: figures to conversations."""

from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Annotated

import typer

from llavamed.cli.options import CORES, AsJson, Force, Output, Quiet, Seed, Workers, hush, show
from llavamed.errors import InputError

instruct = typer.Typer(no_args_is_help=True, help="Figures to conversations.")


@instruct.command("align")
def instruct_align(
    corpus: Annotated[Path, typer.Argument(metavar="CORPUS", help="A corpus.")],
    output: Output,
    n: Annotated[int | None, typer.Option("-n", min=1, help="At most so many figures.", show_default="all")] = None,
    seed: Seed = 0,
    workers: Workers = CORES,
    force: Force = False,
    as_json: AsJson = False,
    quiet: Quiet = False,
) -> None:
    """Make the alignment set: "describe this image", answered by the caption.

    Example: `llavamed instruct align corpus -o alignment`
    """
    from llavamed.instruct.align import align

    hush(quiet)
    show(align(corpus, output, n=n, seed=seed, workers=workers, force=force), as_json)


@instruct.command("generate")
def instruct_generate(
    corpus: Annotated[Path, typer.Argument(metavar="CORPUS", help="A corpus.")],
    output: Output,
    teacher: Annotated[
        str,
        typer.Option(
            metavar="URL|local|template",
            help="An OpenAI-compatible server (key: OPENAI_API_KEY); a small model here; rules, no language model.",
        ),
    ] = "template",
    model: Annotated[str | None, typer.Option(help="The teacher's name on its server.", show_default=False)] = None,
    inline_mentions: Annotated[
        bool, typer.Option("--inline-mentions", help="It reads the sentences that cite the figure too.")
    ] = False,
    n: Annotated[
        int | None, typer.Option("-n", min=1, help="So many figures, the five domains in turn.", show_default="all")
    ] = None,
    seed: Seed = 0,
    per_article: Annotated[int, typer.Option(min=1, help="At most so many figures of an article.")] = 4,
    compound: Annotated[bool, typer.Option("--compound", help="Figures of several panels too.")] = False,
    max_tokens: Annotated[int, typer.Option(min=1, help="Longest answer; more for a teacher that reasons.")] = 1024,
    concurrency: Annotated[int, typer.Option(min=1, help="Answers asked for at once.")] = 8,
    timeout: Annotated[float, typer.Option(min=1, help="Seconds to wait for one.")] = 300,
    rpm: Annotated[float | None, typer.Option(min=0.001, help="Requests a minute.", show_default="no limit")] = None,
    tpm: Annotated[float | None, typer.Option(min=1, help="Tokens a minute.", show_default="no limit")] = None,
    price_in: Annotated[float | None, typer.Option(min=0, help="Of a million tokens sent.", show_default=False)] = None,
    price_out: Annotated[
        float | None, typer.Option(min=0, help="Of a million tokens received.", show_default=False)
    ] = None,
    dry_run: Annotated[
        bool, typer.Option("--dry-run", help="Ask about 32 figures, estimate the rest, show three prompts, stop.")
    ] = False,
    workers: Workers = CORES,
    force: Force = False,
    as_json: AsJson = False,
    quiet: Quiet = False,
) -> None:
    """Write conversations about figures.

    Example: `llavamed instruct generate corpus --teacher https://api.openai.com/v1 --model NAME -o out`
    """
    hush(quiet)
    if teacher == "template":
        from llavamed.instruct.template import generate_template

        if model or inline_mentions or n or dry_run:
            raise InputError("--teacher template asks nobody: leave --model, --inline-mentions, -n and --dry-run out")
        show(generate_template(corpus, output, seed=seed, workers=workers, force=force), as_json)
        return
    from llavamed.endpoint import Endpoint
    from llavamed.instruct.draw import Wanted
    from llavamed.instruct.price import Prices
    from llavamed.instruct.teacher import generate

    if teacher != "local" and "://" not in teacher:
        raise InputError(f"--teacher {teacher} is unknown: name the URL of a server, local or template")
    if (model is None) == (teacher != "local"):
        raise InputError("--model NAME: what the teacher is called on its server (local has but one)")
    at_once = 1 if teacher == "local" else concurrency
    with _server(teacher, model or "") as (url, name):
        result = generate(
            corpus, output, Endpoint(url, name, at_once, timeout, rpm, tpm), mentions=inline_mentions,
            wanted=Wanted(n, seed, per_article, compound), max_tokens=max_tokens, prices=Prices(price_in, price_out),
            dry_run=dry_run, force=force,
        )  # fmt: skip
    if not as_json:
        for number, messages in enumerate(result.pop("prompts", []), 1):
            for message in messages:
                print(f"--- prompt {number}: {message['role']} ---\n{message['content']}\n")
    show(result, as_json)


@contextmanager
def _server(teacher: str, model: str) -> Iterator[tuple[str, str]]:
    """The teacher's URL and name."""
    if teacher == "local":
        from llavamed.instruct.local import local_server

        with local_server(CORES) as server:
            yield server
    else:
        yield teacher, model


@instruct.command("clean")
def instruct_clean(
    folder: Annotated[Path, typer.Argument(metavar="SET", help="Conversations.")],
    output: Output,
    corpus: Annotated[
        Path | None,
        typer.Option(metavar="CORPUS", help="The captions that the answers were made from.", show_default="no check"),
    ] = None,
    workers: Workers = CORES,
    force: Force = False,
    as_json: AsJson = False,
    quiet: Quiet = False,
) -> None:
    """Clean a set of conversations: drop or repair turns, without asking a teacher.

    Example: `llavamed instruct clean conversations --corpus corpus -o cleaned`
    """
    from llavamed.instruct.clean.again import clean_set

    hush(quiet)
    show(clean_set(folder, output, corpus=corpus, workers=workers, force=force), as_json)


@instruct.command("show")
def instruct_show(
    folder: Annotated[Path, typer.Argument(metavar="DIR", help="Conversations.")],
    output: Annotated[
        Path | None, typer.Option("-o", "--output", help="The page to write.", show_default="DIR.html")
    ] = None,
    seed: Seed = 0,
) -> None:
    """Show conversations: tables here, and a page with pictures beside them.

    Example: `llavamed instruct show conversations -o conversations.html`
    """
    from rich.console import Console

    from llavamed.instruct.show import show as show_set

    parts, page = show_set(folder, page=output, seed=seed)
    Console().print(*parts, sep="\n")
    print(f"page: {page}")
