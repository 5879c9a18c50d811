"""`llavamed evaluate`: a model's answers, and what they are worth."""

from pathlib import Path
from typing import Annotated, Any, Literal

import typer

from llavamed.cli.options import AsJson, Device, Force, Output, Quiet, hush, show
from llavamed.errors import InputError

evaluate = typer.Typer(no_args_is_help=True, help="A model's scores, with their controls.")

Split = Annotated[str, typer.Option(help="The split to ask about.")]
Language = Annotated[str, typer.Option(help="Of a benchmark in several languages.")]
Lenient = Annotated[bool, typer.Option("--allow-missing", help="Score what there is; the score says of how many.")]


@evaluate.command("vqa")
def vqa(
    model: Annotated[
        Path, typer.Argument(metavar="MODEL", help="A model: ours, any of transformers, or its name at --endpoint.")
    ],
    data: Annotated[Path, typer.Argument(metavar="DATA", help="Conversations with a held-out split, or a benchmark.")],
    output: Output,
    split: Split = "test",
    language: Language = "en",
    max_new_tokens: Annotated[int, typer.Option(min=1, help="Longest answer, in tokens.")] = 32,
    batch_size: Annotated[int, typer.Option(min=1, help="Questions at once.")] = 32,
    limit: Annotated[int | None, typer.Option(min=1, help="At most so many questions.", show_default="all")] = None,
    controls: Annotated[
        Literal["all", "blank", "none"], typer.Option(help="Ask with grey pictures too; all: with other ones as well.")
    ] = "all",
    allow_missing: Lenient = False,
    device: Device = "auto",
    workers: Annotated[int, typer.Option("--workers", min=1, help="Processes, each with the model.")] = 1,
    endpoint: Annotated[
        str, typer.Option(metavar="URL", help="An OpenAI-compatible server. Key: OPENAI_API_KEY.", show_default=False)
    ] = "",
    force: Force = False,
    as_json: AsJson = False,
    quiet: Quiet = False,
) -> None:
    """Ask questions with their pictures, with grey ones and with other ones, and score the answers.

    Example: `llavamed evaluate vqa assistant conversations -o scores`
    """
    from llavamed.evaluate.vqa import evaluate

    hush(quiet)
    result = evaluate(
        model, data, output, split=split, language=language, max_new_tokens=max_new_tokens, batch_size=batch_size,
        limit=limit, controls=controls, allow_missing=allow_missing, device=device,
        workers=workers, endpoint=endpoint, force=force,
    )  # fmt: skip
    _print(result, as_json)


@evaluate.command("score")
def score(
    predictions: Annotated[
        Path, typer.Argument(metavar="PREDICTIONS", help="Answers: JSON lines of question_id and text, JSON, CSV.")
    ],
    references: Annotated[Path, typer.Argument(metavar="REFERENCES", help="A benchmark, or questions of your own.")],
    match: Annotated[
        Literal["id", "question", "position"], typer.Option(help="What an answer and its question share.")
    ] = "id",
    output: Annotated[
        Path | None, typer.Option("-o", "--output", help="Folder to write.", show_default="print only")
    ] = None,
    against: Annotated[Path | None, typer.Option(metavar="FILE", help="Another model's answers.")] = None,
    blank: Annotated[Path | None, typer.Option(metavar="FILE", help="The answers to blank pictures.")] = None,
    shuffled: Annotated[Path | None, typer.Option(metavar="FILE", help="The answers to other pictures.")] = None,
    model: Annotated[
        Path | None,
        typer.Option(
            metavar="DIR", help="The model that answered, for its lineage.", show_default="as PREDICTIONS tells"
        ),
    ] = None,
    split: Split = "test",
    language: Language = "en",
    allow_missing: Lenient = False,
    force: Force = False,
    as_json: AsJson = False,
) -> None:
    """Score answers that stand in a file, by LLaVA-Med's rules and by strict ones.

    Example: `llavamed evaluate score answers.jsonl vqa_rad --against others.jsonl -o scores`
    """
    from llavamed.evaluate.score import score

    result = score(
        predictions, references, output, match=match, split=split, language=language, against=against, blank=blank,
        shuffled=shuffled, model=model, allow_missing=allow_missing, force=force,
    )  # fmt: skip
    _print(result, as_json)


@evaluate.command("chat")
def chat(
    answers: Annotated[
        Path | None, typer.Argument(metavar="[ANSWERS]", help="The model's answers: question_id and text.")
    ] = None,
    questions: Annotated[
        Path | None, typer.Option(help="Questions with caption, mentions and reference answers.", show_default=False)
    ] = None,
    captions: Annotated[
        Path | None, typer.Option(help="The figures' captions, if the questions hold none.", show_default=False)
    ] = None,
    judge: Annotated[
        str | None,
        typer.Option(metavar="URL", help="An OpenAI-compatible server. Key: OPENAI_API_KEY.", show_default=False),
    ] = None,
    model: Annotated[str | None, typer.Option(help="The judge's name on its server.", show_default=False)] = None,
    answered_by: Annotated[
        Path | None, typer.Option(metavar="DIR", help="The model that answered, for its lineage.", show_default=False)
    ] = None,
    output: Annotated[Path | None, typer.Option("-o", "--output", help="Folder to write.", show_default=False)] = None,
    judgements: Annotated[
        Path | None, typer.Option(help="Count these again (folder or file): no judge, no key.", show_default=False)
    ] = None,
    max_tokens: Annotated[int, typer.Option(min=1, help="Longest verdict; more for a judge that reasons.")] = 256,
    concurrency: Annotated[int, typer.Option(min=1, help="Verdicts asked for at once.")] = 8,
    timeout: Annotated[float, typer.Option(min=1, help="Seconds to wait for one.")] = 300,
    rpm: Annotated[float | None, typer.Option(min=0.001, help="Requests a minute.", show_default="no limit")] = None,
    tpm: Annotated[float | None, typer.Option(min=1, help="Tokens a minute.", show_default="no limit")] = None,
    allow_missing: Annotated[bool, typer.Option("--allow-missing", help="Judge what has an answer.")] = False,
    force: Force = False,
    as_json: AsJson = False,
    quiet: Quiet = False,
) -> None:
    """Have a language model judge a model's visual chat, each pair of answers in both orders.

    Example: `llavamed evaluate chat answers.jsonl --questions questions.jsonl --judge URL --model NAME -o judgements`

    Count a published result again: `llavamed evaluate chat --judgements judgements`
    """
    from llavamed.endpoint import Endpoint
    from llavamed.evaluate.chat import evaluate_chat, recount
    from llavamed.evaluate.relative import table

    hush(quiet)
    if judgements is not None:
        if answers or questions or judge or output:
            raise InputError("--judgements counts what is there: leave the other arguments out")
        result = recount(judgements)
    elif answers and questions and judge and model and output:
        endpoint = Endpoint(judge, model, concurrency, timeout, rpm, tpm)
        result = evaluate_chat(
            answers, questions, output, judge=endpoint, captions=captions, answered_by=answered_by,
            max_tokens=max_tokens, allow_missing=allow_missing, force=force,
        )  # fmt: skip
    else:
        raise InputError("evaluate chat needs ANSWERS, --questions, --judge, --model and -o; or --judgements alone")
    if as_json:
        show(result, as_json)
    else:
        from rich.console import Console

        Console().print(table(result))


@evaluate.command("report")
def report(
    scores: Annotated[list[Path], typer.Argument(metavar="DIR...", help="Folders of scores.")],
    output: Annotated[
        Path, typer.Option("-o", "--output", help=".html or .md, or a folder for both.", show_default=False)
    ],
    as_json: AsJson = False,
) -> None:
    """Models by benchmarks on one page: published scores, controls, where models differ, errors by type.

    Example: `llavamed evaluate report scores others -o report`
    """
    from llavamed.evaluate.report import report

    show(report(scores, output), as_json)


def _print(result: dict[str, Any], as_json: bool) -> None:
    if as_json:
        show(result, as_json)
        return
    from rich.console import Console

    from llavamed.evaluate.tables import compared, table

    Console().print(table(result), compared(result) or "")
