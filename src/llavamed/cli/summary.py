"""`llavamed summary`: what a model was trained on."""

from pathlib import Path
from typing import Annotated

import typer

from llavamed.cli.options import AsJson, show

summary = typer.Typer(no_args_is_help=True, help="The public training-data summary.")
Target = Annotated[
    Path | None,
    typer.Argument(metavar="[RUN|MODEL|DATASET]", help="A run's folder, a model, or a data set.", show_default=False),
]
Form = Annotated[str, typer.Option("--form", help="combined, eu (Article 53(1)(d)) or ab2013 (California).")]
Stated = Annotated[
    Path | None, typer.Option(help="YAML with what no machine knows; `summary init` writes one.", show_default=False)
]


@summary.command("init")
def summary_init(
    output: Annotated[Path, typer.Option("-o", "--output", help="The YAML file to write.")],
    force: Annotated[bool, typer.Option("--force", help="Replace a file.")] = False,
) -> None:
    """Write an empty profile: each key with its meaning, the fields that it fills, an example.

    Example: `llavamed summary init -o profile.yaml`
    """
    from llavamed.summary.profile import init

    init(output, force=force)
    print(f"{output}: fill it in, then `llavamed summary write RUN --profile {output} -o summary.html`")


@summary.command("write")
def summary_write(
    output: Annotated[
        Path, typer.Option("-o", "--output", help="File to write: .md, .html, .docx or .json; JSON goes beside it.")
    ],
    target: Target = None,
    profile: Stated = None,
    form: Form = "combined",
    as_json: AsJson = False,
) -> None:
    """Write the training-data summary of a model, computed from its lineage; or of a data set, or from a profile alone.

    Example: `llavamed summary write runs/demo --form eu --profile profile.yaml -o summary.html`
    """
    from llavamed.summary.write import write

    show(write(target, output, profile=profile, form=form), as_json)


@summary.command("explain")
def summary_explain(
    target: Annotated[Path, typer.Argument(metavar="FILE|RUN|MODEL", help="A summary, or what one is written of.")],
    number: Annotated[str, typer.Argument(metavar="FIELD", help="Its number in the form, such as 1.3.1.A.")],
    profile: Stated = None,
    form: Form = "combined",
    as_json: AsJson = False,
) -> None:
    """Print how a value was made: the artifacts with their hashes, and the query.

    Example: `llavamed summary explain summary.json 1.3.1.A`
    """
    from llavamed.summary import explain

    found = explain.explain(explain.read(target, profile, form), number)
    if as_json:
        show(found, as_json)
    else:
        print(explain.shown(found))


@summary.command("check")
def summary_check(
    file: Annotated[Path, typer.Argument(metavar="FILE", help="A summary: its JSON, or a page with JSON beside it.")],
    as_json: AsJson = False,
) -> None:
    """Look for what is missing, stale, vague or contradicts itself. Exit 1 if there is any.

    Example: `llavamed summary check summary.json`
    """
    from datetime import UTC, datetime

    from llavamed.summary.check import check
    from llavamed.summary.explain import read_file

    problems = check(read_file(file), datetime.now(UTC).date())
    if as_json:
        show({"ok": not problems, "problems": problems}, as_json)
    elif problems:
        from rich.console import Console
        from rich.table import Table
        from rich.text import Text

        table = Table("field", "problem", "remedy", box=None, padding=(0, 2, 0, 0))
        for found in problems:
            table.add_row(*(Text(found[key]) for key in ("number", "what", "remedy")))
        Console().print(table)
    else:
        print("nothing is missing")
    raise typer.Exit(1 if problems else 0)


@summary.command("diff")
def summary_diff(
    old: Annotated[Path, typer.Argument(metavar="OLD", help="An earlier summary.")],
    new: Annotated[Path, typer.Argument(metavar="NEW", help="A later one, of the same form.")],
    as_json: AsJson = False,
) -> None:
    """Compare two summaries field by field.

    Example: `llavamed summary diff summary-1.json summary-2.json`
    """
    from llavamed.summary.diff import diff, shown
    from llavamed.summary.explain import read_file

    found = diff(read_file(old), read_file(new))
    if as_json:
        show({"differences": found}, as_json)
    else:
        print(shown(found))
