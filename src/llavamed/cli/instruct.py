"""`llavamed instruct`: figures to conversations."""

import json
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import TYPE_CHECKING, Annotated, Any, Literal

import typer

from llavamed.cli.options import CORES, AsJson, Force, Output, Quiet, Seed, Workers, hush, show
from llavamed.errors import InputError

if TYPE_CHECKING:
    from llavamed.endpoint import Endpoint

instruct = typer.Typer(no_args_is_help=True, help="Figures to conversations.")

Corpus = Annotated[Path, typer.Argument(metavar="CORPUS", help="A corpus.")]
Against = Annotated[
    list[Path] | None,
    typer.Option(
        metavar="SET",
        help="An evaluation set whose figures must not be in it: images, Parquet, JSON with pair_id, or a folder of "
        "such. Repeatable.",
        show_default=False,
    ),
]
Model = Annotated[str | None, typer.Option(help="The teacher's name on its server.", show_default=False)]
PerArticle = Annotated[int, typer.Option(min=1, help="At most so many figures of an article.")]
Compound = Annotated[bool, typer.Option("--compound", help="Figures of several panels too.")]
MaxTokens = Annotated[int, typer.Option(min=1, help="Longest answer; more for a teacher that reasons.")]
Concurrency = Annotated[int, typer.Option(min=1, help="Answers asked for at once.")]
Timeout = Annotated[float, typer.Option(min=1, help="Seconds to wait for one.")]
Rpm = Annotated[float | None, typer.Option(min=0.001, help="Requests a minute.", show_default="no limit")]
Tpm = Annotated[float | None, typer.Option(min=1, help="Tokens a minute.", show_default="no limit")]
PriceIn = Annotated[float | None, typer.Option(min=0, help="Of a million tokens sent.", show_default=False)]
PriceOut = Annotated[float | None, typer.Option(min=0, help="Of a million tokens received.", show_default=False)]
DryRun = Annotated[
    bool,
    typer.Option(
        "--dry-run",
        help="Ask about up to 32 figures, which the server charges; show three prompts and an estimate of all; stop.",
    ),
]


@instruct.command("align")
def instruct_align(
    corpus: Corpus,
    output: Output,
    n: Annotated[int | None, typer.Option("-n", min=1, help="At most so many figures.", show_default="all")] = None,
    by_domain: Annotated[bool, typer.Option("--by-domain", help="Of -n, the five domains in turn.")] = False,
    against: Against = None,
    seed: Seed = 0,
    workers: Workers = CORES,
    force: Force = False,
    as_json: AsJson = False,
    quiet: Quiet = False,
) -> None:
    """Make the alignment set: "describe this image", answered by the caption.

    Example: `llavamed instruct align corpus -o alignment`

    Example: `llavamed instruct align corpus -o alignment -n 500000 --by-domain --against vqa_rad`
    """
    from llavamed.instruct.align import align

    hush(quiet)
    result = align(
        corpus, output, n=n, by_domain=by_domain, against=against or (), seed=seed, workers=workers, force=force
    )
    show(result, as_json)


@instruct.command("generate")
def instruct_generate(
    corpus: Corpus,
    output: Output,
    teacher: Annotated[
        str,
        typer.Option(
            metavar="URL|local|template",
            help="An OpenAI-compatible server (key: OPENAI_API_KEY); a small model here; rules, no language model.",
        ),
    ] = "template",
    model: Model = None,
    inline_mentions: Annotated[
        bool, typer.Option("--inline-mentions", help="It reads the sentences that cite the figure too.")
    ] = False,
    n: Annotated[
        int | None, typer.Option("-n", min=1, help="So many figures, the five domains in turn.", show_default="all")
    ] = None,
    against: Against = None,
    seed: Seed = 0,
    per_article: PerArticle = 4,
    compound: Compound = False,
    max_tokens: MaxTokens = 1024,
    concurrency: Concurrency = 8,
    timeout: Timeout = 300,
    rpm: Rpm = None,
    tpm: Tpm = None,
    price_in: PriceIn = None,
    price_out: PriceOut = None,
    dry_run: DryRun = False,
    workers: Workers = CORES,
    force: Force = False,
    as_json: AsJson = False,
    quiet: Quiet = False,
) -> None:
    """Write conversations about figures.

    Example: `llavamed instruct generate corpus --teacher https://api.openai.com/v1 --model NAME -n 10000 -o 10k`

    Example: `llavamed instruct generate corpus --teacher URL --model NAME -n 60000 --inline-mentions -o 60k-im
    --against vqa_rad --against qa50.jsonl`
    """
    hush(quiet)
    if teacher == "template":
        from llavamed.instruct.template import generate_template

        if model or inline_mentions or n or dry_run or against:
            raise InputError(
                "--teacher template asks nobody: leave --model, --inline-mentions, -n, --against and --dry-run out"
            )
        show(generate_template(corpus, output, seed=seed, workers=workers, force=force), as_json)
        return
    from llavamed.instruct.draw import Wanted
    from llavamed.instruct.price import Prices
    from llavamed.instruct.teacher import generate

    with _endpoint(teacher, model, (concurrency, timeout, rpm, tpm), "URL of a server, local or template") as endpoint:
        result = generate(
            corpus, output, endpoint, mentions=inline_mentions, wanted=Wanted(n, seed, per_article, compound),
            against=against or (), max_tokens=max_tokens, prices=Prices(price_in, price_out), dry_run=dry_run,
            workers=workers, force=force,
        )  # fmt: skip
    _show_asked(result, as_json)


@instruct.command("evaluation")
def instruct_evaluation(
    corpus: Corpus,
    output: Output,
    teacher: Annotated[
        str,
        typer.Option(
            metavar="URL|local", help="An OpenAI-compatible server (key: OPENAI_API_KEY); a small model here."
        ),
    ],
    model: Model = None,
    n: Annotated[int, typer.Option("-n", min=1, help="So many figures, the five domains in turn.")] = 50,
    split: Annotated[str, typer.Option(help="The split that they are of.")] = "test",
    against: Against = None,
    seed: Seed = 0,
    per_article: PerArticle = 1,
    compound: Compound = False,
    max_tokens: MaxTokens = 1024,
    concurrency: Concurrency = 8,
    timeout: Timeout = 300,
    rpm: Rpm = None,
    tpm: Tpm = None,
    price_in: PriceIn = None,
    price_out: PriceOut = None,
    dry_run: DryRun = False,
    workers: Workers = CORES,
    force: Force = False,
    as_json: AsJson = False,
    quiet: Quiet = False,
) -> None:
    """Write an evaluation set: held-out figures, questions about them, the teacher's answers as reference.

    Example: `llavamed instruct evaluation corpus -o chat50 --teacher https://api.openai.com/v1 --model NAME`

    Then: `llavamed evaluate chat answers.jsonl --questions chat50/data/questions.jsonl --judge URL --model NAME -o out`
    """
    from llavamed.instruct.draw import Wanted
    from llavamed.instruct.evaluation_set import make_evaluation_set
    from llavamed.instruct.price import Prices

    hush(quiet)
    with _endpoint(teacher, model, (concurrency, timeout, rpm, tpm), "URL of a server, or local") as endpoint:
        result = make_evaluation_set(
            corpus, output, endpoint, wanted=Wanted(n, seed, per_article, compound, split=split),
            against=against or (), max_tokens=max_tokens, prices=Prices(price_in, price_out), dry_run=dry_run,
            workers=workers, force=force,
        )  # fmt: skip
    _show_asked(result, as_json)


@contextmanager
def _endpoint(
    teacher: str, model: str | None, limits: tuple[int, float, float | None, float | None], known: str
) -> Iterator["Endpoint"]:
    """Where the teacher is asked. `limits`: how many at once, seconds to wait, requests and tokens a minute."""
    from llavamed.endpoint import Endpoint

    if teacher != "local" and "://" not in teacher:
        raise InputError(f"--teacher {teacher} is unknown: name the {known}")
    if (model is None) == (teacher != "local"):
        raise InputError("--model NAME: what the teacher is called on its server (local has but one)")
    at_once, seconds, requests, tokens = limits
    with _server(teacher, model or "") as (url, name):
        yield Endpoint(url, name, 1 if teacher == "local" else at_once, seconds, requests, tokens)


def _show_asked(result: dict[str, Any], as_json: bool) -> None:
    """The result of a step that asks a teacher; of a dry run the prompts before it, and the price last."""
    if not as_json and "prompts" in result:
        _show_prompts(result.pop("prompts"))
        price = result["estimate"].pop("price", None)
        result["price"] = "not stated: --price-in, --price-out" if price is None else f"about {price:,.4f}"
    show(result, as_json)


def _show_prompts(prompts: list[list[dict[str, str]]]) -> None:
    """Each prompt whole; what several have before their last message, once."""
    alike: dict[str, list[int]] = {}
    for number, messages in enumerate(prompts, 1):
        alike.setdefault(json.dumps(messages[:-1]), []).append(number)
    for numbers in alike.values():
        shared = f"prompt{'s' * (len(numbers) > 1)} {', '.join(map(str, numbers))}"
        *begin, _ = prompts[numbers[0] - 1]
        for name, message in [*((shared, m) for m in begin), *((f"prompt {n}", prompts[n - 1][-1]) for n in numbers)]:
            print(f"--- {name}: {message['role']} ---\n{message['content']}\n")


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


@instruct.command("import")
def instruct_import(
    file: Annotated[Path, typer.Argument(metavar="FILE", help="LLaVA's JSON, messages, or a published evaluation.")],
    output: Output,
    images: Annotated[
        Path | None, typer.Option(metavar="DIR", help="Its pictures.", show_default="beside the file")
    ] = None,
    no_images: Annotated[bool, typer.Option("--no-images", help="Read no pictures (no training on it).")] = False,
    split: Annotated[
        str | None,
        typer.Option(
            metavar="NAME", help="train, validation, test; article: by a hash of it.", show_default="as the file is for"
        ),
    ] = None,
    teacher: Annotated[str, typer.Option(help="Who wrote the answers.", show_default="not known")] = "",
    max_side: Annotated[int, typer.Option(min=1, help="Longest side of a picture in pixels.")] = 1024,
    workers: Workers = CORES,
    force: Force = False,
    as_json: AsJson = False,
    quiet: Quiet = False,
) -> None:
    """Read conversations from a file of another tool.

    Example: `llavamed instruct import llava.json --images pictures -o conversations`
    """
    from llavamed.instruct.formats.importing import import_set

    hush(quiet)
    if images and no_images:
        raise InputError("--images and --no-images: name one of them")
    result = import_set(
        file, output, beside=images, pictures=not no_images, split=split, teacher=teacher, max_side=max_side,
        workers=workers, force=force,
    )  # fmt: skip
    show(result, as_json)


@instruct.command("export")
def instruct_export(
    folder: Annotated[Path, typer.Argument(metavar="SET", help="Conversations.")],
    output: Output,
    form: Annotated[
        Literal["llava", "messages"] | None,
        typer.Option("--format", help="messages: for TRL and LLaMA-Factory.", show_default="as imported, else llava"),
    ] = None,
    no_images: Annotated[bool, typer.Option("--no-images", help="Write no pictures.")] = False,
    force: Force = False,
    as_json: AsJson = False,
    quiet: Quiet = False,
) -> None:
    """Write conversations as files that other tools read.

    Example: `llavamed instruct export conversations --format messages -o for-trl`
    """
    from llavamed.instruct.formats.exporting import export_set

    hush(quiet)
    show(export_set(folder, output, form=form, pictures=not no_images, force=force), as_json)


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
