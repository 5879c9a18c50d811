"""`llavamed model | train | chat`: a model made, trained and asked."""

from pathlib import Path
from typing import Annotated

import typer

from llavamed.cli.options import AsJson, Device, Force, Output, Quiet, Seed, hush, show
from llavamed.errors import InputError

model = typer.Typer(no_args_is_help=True, help="Vision tower + projector + language model.")


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


@model.command("import")
def model_import(
    source: Annotated[
        Path, typer.Argument(metavar="SRC", help="A LLaVA-Med or LLaVA checkpoint in its authors' layout.")
    ],
    output: Output,
    vision_tower: Annotated[
        Path | None,
        typer.Option(metavar="DIR", help="The CLIP model it names, if it does not hold it.", show_default=False),
    ] = None,
    prompt: Annotated[
        str | None,
        typer.Option(help="`v0`, `v1` or `mistral`: what it was tuned with.", show_default="by its layout"),
    ] = None,
    force: Force = False,
    as_json: AsJson = False,
    quiet: Quiet = False,
) -> None:
    """Turn a published LLaVA-Med or LLaVA checkpoint into one that the other commands read.

    Example: `llavamed model import llava-med-v1.5-mistral-7b -o assistant`
    """
    from llavamed.model.legacy import import_model

    hush(quiet)
    show(import_model(source, output, vision_tower=vision_tower, prompt=prompt, force=force), as_json)


@model.command("show")
def model_show(
    folder: Annotated[Path, typer.Argument(metavar="MODEL", help="A model.")], as_json: AsJson = False
) -> None:
    """Tell a model's parts, memory, licence and who can serve it, and whether its vision tower looks trained.

    Example: `llavamed model show assistant`
    """
    from llavamed.model.inspect import describe

    show(describe(folder), as_json)


def train(
    recipe: Annotated[Path, typer.Argument(metavar="RECIPE", help="A recipe: YAML.")],
    stage: Annotated[str, typer.Option(help="`align`, `instruct` or `finetune`, as the recipe has it.")],
    model: Annotated[Path, typer.Option(help="The model to start from.")],
    data: Annotated[Path, typer.Option(help="The conversations to train on.")],
    output: Annotated[Path | None, typer.Option("-o", "--output", help="Folder to write.", show_default=False)] = None,
    plan: Annotated[bool, typer.Option("--plan", help="Only tell memory and hours; nothing is loaded.")] = False,
    tensorboard: Annotated[
        Path | None, typer.Option(metavar="DIR", help="Write events for TensorBoard.", show_default=False)
    ] = None,
    device: Device = "auto",
    force: Force = False,
    as_json: AsJson = False,
    quiet: Quiet = False,
) -> None:
    """Train one stage. Started by `torchrun -m llavamed train`, several processes train together (docs/clusters.md).

    Example: `llavamed train recipes/tiny.yaml --stage align --model backbone --data alignment -o aligned`
    """
    from llavamed.recipe import read_recipe

    hush(quiet)
    if plan:
        from llavamed.cli.plan import show_plan

        show_plan(model, data, read_recipe(recipe).stage(stage), as_json)
        return
    if output is None:
        raise InputError("name the folder to write with -o, or ask for --plan")
    from llavamed.train.loop import train
    from llavamed.train.parallel import first, joined, together

    with joined():
        settings = together(lambda: read_recipe(recipe).stage(stage))
        result = train(model, data, output, settings, force=force, device=device, board=tensorboard)
    if first():
        show(result, as_json)


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
