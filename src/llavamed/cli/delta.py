"""`llavamed delta`: weights as their difference from a base model."""

from pathlib import Path
from typing import Annotated

import typer

from llavamed.cli.options import AsJson, Force, Output, Quiet, hush, show

delta = typer.Typer(no_args_is_help=True, help="Weights as their difference from a base model.")
Base = Annotated[Path, typer.Option(help="The base: a checkpoint in safetensors or .bin files.")]


@delta.command("make")
def delta_make(
    base: Base,
    target: Annotated[Path, typer.Option(help="The model to publish, in safetensors.")],
    output: Output,
    force: Force = False,
    as_json: AsJson = False,
    quiet: Quiet = False,
) -> None:
    """Write the bits in which a model differs from its base. No model is ever in memory.

    Example: `llavamed delta make --base llama-7b --target assistant -o assistant-delta`
    """
    from llavamed.model.delta import make

    hush(quiet)
    show(make(base, target, output, force=force), as_json)


@delta.command("apply")
def delta_apply(
    base: Base,
    delta: Annotated[Path, typer.Option(help="What `delta make` wrote, or an additive delta as LLaVA-Med's.")],
    output: Output,
    force: Force = False,
    as_json: AsJson = False,
    quiet: Quiet = False,
) -> None:
    """Make the model again, bit for bit, from its base and a delta. Another base is refused.

    Example: `llavamed delta apply --base llama-7b --delta assistant-delta -o assistant`
    """
    from llavamed.model.delta import apply

    hush(quiet)
    show(apply(base, delta, output, force=force), as_json)
