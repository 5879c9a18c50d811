"""`llavamed instruct`: figures to conversations."""

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
    teacher: Annotated[str, typer.Option(help="`template`: rules, no language model.")] = "template",
    seed: Seed = 0,
    workers: Workers = CORES,
    force: Force = False,
    as_json: AsJson = False,
    quiet: Quiet = False,
) -> None:
    """Write conversations about figures.

    Example: `llavamed instruct generate corpus --teacher template -o conversations`
    """
    from llavamed.instruct.template import generate_template

    if teacher != "template":
        raise InputError(f"--teacher {teacher} is unknown: the teacher there is so far is template")
    hush(quiet)
    show(generate_template(corpus, output, seed=seed, workers=workers, force=force), as_json)
