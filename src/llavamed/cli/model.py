"""`llavamed model | train | chat`: a model made, trained and asked."""

from pathlib import Path
from typing import Annotated, Any

import typer

from llavamed.cli.options import AsJson, Device, Force, Output, Quiet, Seed, hush, show
from llavamed.errors import InputError

model = typer.Typer(no_args_is_help=True, help="Vision tower + projector + language model.")


@model.command("build")
def model_build(
    output: Output,
    backbone: Annotated[
        str | None, typer.Argument(metavar="BACKBONE", help="`smol` or `tiny`; or name its parts.", show_default=False)
    ] = None,
    vision_tower: Annotated[
        str | None,
        typer.Option(metavar="SRC", help="A folder, hub:OWNER/NAME@REVISION or `dinov2-small`.", show_default=False),
    ] = None,
    language_model: Annotated[
        str | None,
        typer.Option(metavar="SRC", help="A folder, hub:OWNER/NAME@REVISION or `smollm2-135m`.", show_default=False),
    ] = None,
    projector: Annotated[str, typer.Option(help="`mlp2x_gelu` or `linear`, between two parts.")] = "mlp2x_gelu",
    image_size: Annotated[
        int | None,
        typer.Option(
            help="Side of the picture the model sees, in pixels.", show_default="84 for BACKBONE, else the tower's"
        ),
    ] = None,
    seed: Seed = 0,
    force: Force = False,
    as_json: AsJson = False,
    quiet: Quiet = False,
) -> None:
    """Compose a vision tower, a new projector and a language model into a LLaVA checkpoint.

    Example: `llavamed model build smol -o backbone`
    """
    from llavamed.model.build import build, compose

    hush(quiet)
    common: dict[str, Any] = {"seed": seed, "force": force}
    if backbone and not (vision_tower or language_model):
        show(build(backbone, output, image_size=image_size or 84, **common), as_json)
    elif vision_tower and language_model and not backbone:
        common |= {"projector": projector, "image_size": image_size}
        show(compose(vision_tower, language_model, output, **common), as_json)
    else:
        raise InputError("name a backbone, or both --vision-tower and --language-model")


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


@model.command("export")
def model_export(
    source: Annotated[Path, typer.Argument(metavar="MODEL", help="A model.")],
    output: Output,
    force: Force = False,
    as_json: AsJson = False,
    quiet: Quiet = False,
) -> None:
    """Write a model as a folder for transformers and, where its tower allows, vLLM, with a card. No model is in memory.

    Example: `llavamed model export assistant -o published`
    """
    from llavamed.model.export import export

    hush(quiet)
    show(export(source, output, force=force), as_json)


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

    with joined(device):
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
