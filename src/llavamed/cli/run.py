"""`llavamed run`: the whole path."""

from pathlib import Path
from typing import Annotated

import typer

from llavamed.cli.options import CORES, AsJson, Device, Force, Output, Quiet, Workers, hush, show


def run(
    recipe: Annotated[Path, typer.Argument(metavar="RECIPE", help="A recipe: YAML.")],
    output: Output,
    articles: Annotated[
        list[Path] | None,
        typer.Option(metavar="SRC", help="Your articles instead of the recipe's; may be given again."),
    ] = None,
    workers: Workers = CORES,
    device: Device = "auto",
    force: Force = False,
    as_json: AsJson = False,
    quiet: Quiet = False,
) -> None:
    """Do the whole path: articles, corpus, conversations, training, scores, summary, report.html.

    Example: `llavamed run recipes/demo.yaml -o runs/demo`
    """
    from llavamed.recipe import read_recipe
    from llavamed.run import run

    hush(quiet)
    result = run(read_recipe(recipe), output, articles=articles, workers=workers, device=device, force=force)
    if as_json:
        show(result, as_json)
    else:
        print(f"report: {result['report']}")
