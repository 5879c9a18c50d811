"""`llavamed summary | verify`: what a model was trained on."""

from pathlib import Path
from typing import Annotated

import typer

from llavamed.cli.options import AsJson, show

summary = typer.Typer(no_args_is_help=True, help="The public training-data summary.")


@summary.command("write")
def summary_write(
    target: Annotated[Path, typer.Argument(metavar="RUN_OR_MODEL", help="A run's folder, or a model.")],
    output: Annotated[Path, typer.Option("-o", "--output", help="The Markdown file to write; JSON goes beside it.")],
    profile: Annotated[
        Path | None, typer.Option(help="YAML with what no machine knows: name, contact, dates.", show_default=False)
    ] = None,
    as_json: AsJson = False,
) -> None:
    """Write the training-data summary of a model, computed from its lineage.

    Example: `llavamed summary write runs/demo -o summary.md`
    """
    from llavamed.summary.write import write

    show(write(target, output, profile=profile), as_json)


def verify(
    folder: Annotated[Path, typer.Argument(metavar="DIR", help="Any finished artifact.")], as_json: AsJson = False
) -> None:
    """Hash an artifact's files again, and check the manifests of its parents.

    Example: `llavamed verify assistant`
    """
    from llavamed import artifact

    problems = artifact.verify(folder)
    if as_json:
        show({"ok": not problems, "problems": problems}, as_json)
    else:
        for problem in problems:
            print(f"{folder}: {problem['path']}: {problem['what']}")
        print("not as published" if problems else "as published")
    raise typer.Exit(1 if problems else 0)
