"""`llavamed verify | trace | impact`: a lineage checked, listed, and asked what a withdrawal touches."""

from pathlib import Path
from typing import Annotated, Any

import typer

from llavamed.cli.options import AsJson, Quiet, hush, show

Model = Annotated[Path, typer.Argument(metavar="MODEL", help="A trained model, or the folder of a run.")]
Data = Annotated[
    list[Path] | None,
    typer.Option("--data", help="Where the model's data lie, if not beside it; may be repeated.", show_default=False),
]


def verify(
    target: Annotated[Path, typer.Argument(metavar="MODEL_OR_RUN", help="Any finished artifact, or a run's folder.")],
    recount: Annotated[bool, typer.Option("--recount", help="Count the tables again, too.")] = False,
    data: Data = None,
    quiet: Quiet = False,
    as_json: AsJson = False,
) -> None:
    """Hash an artifact and its lineage again: what is missing, changed, or no longer at hand.

    Example: `llavamed verify assistant --recount`
    """
    from llavamed.console import console
    from llavamed.verify import verify as check

    hush(quiet)
    found = check(target, data=data or [], recount=recount)
    for note in found["notes"]:
        console.print(f"{note['path']}: {note['what']}", highlight=False, markup=False)
    console.print(
        f"{found['artifacts']:,} artifacts, {found['files']:,} files, {found['bytes'] / 1e6:,.0f} MB in "
        f"{found['seconds']:,} s",
        highlight=False,
    )
    if as_json:
        show({key: found[key] for key in ("ok", "problems")}, as_json)
    else:
        for problem in found["problems"]:
            print(f"{target}: {problem['path']}: {problem['what']}")
        print("as published" if found["ok"] else "not as published")
    raise typer.Exit(0 if found["ok"] else 1)


def trace(
    target: Model,
    output: Annotated[
        Path | None, typer.Option("-o", "--output", help="Folder for the whole register.", show_default=False)
    ] = None,
    data: Data = None,
    as_json: AsJson = False,
) -> None:
    """List every article that a model saw, with licence, credit, and what was made of it.

    Example: `llavamed trace assistant -o register`
    """
    from llavamed.lineage import model_in
    from llavamed.summary.trace import trace as register

    found = register(model_in(target), data=data or [], output=output)
    if as_json:
        show(found, as_json)
        return
    for title, what in (("licence", "licences"), ("stage", "stages")):
        _table(f"Articles by {title}", (title, "articles"), [*found.pop(what).items()])
    show(found, as_json)


def impact(
    target: Model,
    dois: Annotated[Path | None, typer.Option(help="A file of DOIs, one a line.", show_default=False)] = None,
    retractions: Annotated[
        Path | None, typer.Option(help="Retraction Watch's CSV, or a list of DOIs or PMCIDs.", show_default=False)
    ] = None,
    opt_out: Annotated[
        Path | None, typer.Option(help="A list as `corpus build --opt-out` takes.", show_default=False)
    ] = None,
    data: Data = None,
    as_json: AsJson = False,
) -> None:
    """Say which figures, conversations and checkpoints a withdrawal of articles touches, and how much of each.

    Example: `llavamed impact assistant --opt-out opted-out.txt`
    """
    from llavamed.corpus.choose import read_opt_out
    from llavamed.errors import InputError
    from llavamed.lineage import model_in
    from llavamed.summary.impact import impact as touched
    from llavamed.summary.impact import read_dois, read_retractions

    given = [(read_dois, dois), (read_retractions, retractions), (read_opt_out, opt_out)]
    lists = [(read, path) for read, path in given if path]
    if len(lists) != 1:
        raise InputError("which articles? give one of --dois FILE, --retractions FILE, --opt-out FILE")
    [(read, path)] = lists
    found = touched(model_in(target), read(path), data=data or [])
    if as_json:
        show(found, as_json)
        return
    rows = [(step["artifact"], step["records"], *_part(step)) for step in found["steps"]]
    _table("Data sets", ("artifact", "records", "touched", "of", "share"), rows)
    for checkpoint in found["checkpoints"]:
        rows = [(what.replace("_", " "), *_part(count)) for what, count in checkpoint["counts"].items()]
        _table(f"{checkpoint['model']} ({checkpoint['stage']})", ("seen", "touched", "of", "share"), rows)
    show({key: _few(found[key]) for key in ("articles", "figures", "conversations", "not_found", "untouched", "copies",
                                            "notes", "not_at_hand")}, as_json)  # fmt: skip


def _part(count: dict[str, Any]) -> tuple[Any, ...]:
    return count["touched"], count["of"], f"{100 * count['share']:.3g} %"


def _few(value: Any) -> Any:
    """The first of a long list; --json has all."""
    if not isinstance(value, list):
        return value or "none"
    words = [entry["article"] if isinstance(entry, dict) else str(entry) for entry in value]
    more = f" and {len(words) - 5:,} more (--json lists them)" if len(words) > 5 else ""
    return f"{len(words):,}: {', '.join(words[:5])}{more}" if words else "none"


def _table(title: str, header: tuple[str, ...], rows: list[tuple[Any, ...]]) -> None:
    from rich.console import Console

    from llavamed.console import table

    Console().print(table(title, header, rows))
