"""`llavamed model | train | evaluate | chat`: a model made, trained, scored and asked."""

from pathlib import Path
from typing import Annotated

import typer

from llavamed.cli.options import AsJson, Device, Force, Output, Quiet, Seed, hush, show

model = typer.Typer(no_args_is_help=True, help="Vision tower + projector + language model.")
evaluate = typer.Typer(no_args_is_help=True, help="A model's scores, with their controls.")


@model.command("build")
def model_build(
    backbone: Annotated[str, typer.Argument(metavar="BACKBONE", help="`smol` or `tiny`.")],
    output: Output,
    image_size: Annotated[int, typer.Option(help="Side of the picture the model sees, in pixels.")] = 84,
    seed: Seed = 0,
    force: Force = False,
    as_json: AsJson = False,
    quiet: Quiet = False,
) -> None:
    """Compose a vision tower, a new projector and a language model into a LLaVA checkpoint.

    Example: `llavamed model build smol -o backbone`
    """
    from llavamed.model.build import build

    hush(quiet)
    show(build(backbone, output, image_size=image_size, seed=seed, force=force), as_json)


def train(
    recipe: Annotated[Path, typer.Argument(metavar="RECIPE", help="A recipe: YAML.")],
    stage: Annotated[str, typer.Option(help="`align` (projector) or `instruct` (projector + language model).")],
    model: Annotated[Path, typer.Option(help="The model to start from.")],
    data: Annotated[Path, typer.Option(help="The conversations to train on.")],
    output: Output,
    device: Device = "auto",
    force: Force = False,
    as_json: AsJson = False,
    quiet: Quiet = False,
) -> None:
    """Train one stage.

    Example: `llavamed train recipes/tiny.yaml --stage align --model backbone --data alignment -o aligned`
    """
    from llavamed.recipe import read_recipe
    from llavamed.train.loop import train

    hush(quiet)
    settings = read_recipe(recipe).stage(stage)
    show(train(model, data, output, settings, force=force, device=device), as_json)


@evaluate.command("vqa")
def evaluate_vqa(
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


def chat(
    model: Annotated[Path, typer.Argument(metavar="MODEL", help="A model.")],
    image: Annotated[Path, typer.Argument(metavar="IMAGE", help="JPEG, PNG, TIFF or DICOM.")],
    question: Annotated[
        str | None, typer.Option("-q", "--question", help="Ask this and end.", show_default=False)
    ] = None,
    max_new_tokens: Annotated[int, typer.Option(min=1, help="Longest answer, in tokens.")] = 256,
    device: Device = "auto",
) -> None:
    """Talk about a picture. Research use only.

    Example: `llavamed chat assistant scan.dcm`
    """
    from llavamed.serve.terminal import chat as talk

    talk(model, image, question=question, max_new_tokens=max_new_tokens, device=device)
