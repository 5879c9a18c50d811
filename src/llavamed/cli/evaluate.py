"""`llavamed evaluate`: a model's answers, and what they are worth."""

from pathlib import Path
from typing import Annotated

import typer

from llavamed.cli.options import AsJson, Device, Force, Output, Quiet, hush, show

evaluate = typer.Typer(no_args_is_help=True, help="A model's scores, with their controls.")


@evaluate.command("vqa")
def vqa(
    model: Annotated[Path, typer.Argument(metavar="MODEL", help="A model.")],
    data: Annotated[Path, typer.Argument(metavar="DATA", help="Conversations with a held-out split.")],
    output: Output,
    split: Annotated[str, typer.Option(help="The split to ask about.")] = "test",
    max_new_tokens: Annotated[int, typer.Option(min=1, help="Longest answer, in tokens.")] = 32,
    batch_size: Annotated[int, typer.Option(min=1, help="Questions at once.")] = 8,
    limit: Annotated[int | None, typer.Option(min=1, help="At most so many questions.", show_default="all")] = None,
    device: Device = "auto",
    force: Force = False,
    as_json: AsJson = False,
    quiet: Quiet = False,
) -> None:
    """Ask held-out questions with the picture and with a blank one, and score the answers.

    Example: `llavamed evaluate vqa assistant conversations -o scores`
    """
    from llavamed.evaluate.vqa import evaluate, table

    hush(quiet)
    result = evaluate(
        model, data, output, split=split, max_new_tokens=max_new_tokens, batch_size=batch_size, limit=limit,
        device=device, force=force,
    )  # fmt: skip
    if as_json:
        show(result, as_json)
    else:
        from rich.console import Console

        Console().print(table(result))
