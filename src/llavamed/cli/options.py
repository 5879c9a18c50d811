"""The options that commands share, and how a result is printed."""

import json
import os
import sys
from pathlib import Path
from typing import Annotated, Any, Literal

import typer

Output = Annotated[Path, typer.Option("-o", "--output", help="Folder to write.", show_default=False)]
AsJson = Annotated[bool, typer.Option("--json", help="Print the result as one JSON object on stdout.")]
Quiet = Annotated[bool, typer.Option("--quiet", help="No progress.")]
Force = Annotated[bool, typer.Option("--force", help="Replace what the folder holds, if made otherwise.")]
Seed = Annotated[int, typer.Option("--seed", help="Seed of every random choice.")]
Workers = Annotated[int, typer.Option("--workers", min=1, help="Processes.", show_default="one a core")]
Engine = Annotated[Literal["local", "ray"], typer.Option("--engine", help="`ray`: on a Ray cluster (RAY_ADDRESS).")]
Device = Annotated[str, typer.Option("--device", help="auto, cpu, cuda or mps.")]
CORES = len(os.sched_getaffinity(0)) if hasattr(os, "sched_getaffinity") else os.cpu_count() or 1


def hush(quiet: bool) -> None:
    """No progress, if `quiet`."""
    from llavamed.console import console

    console.quiet = quiet


def show(result: dict[str, Any], as_json: bool) -> None:
    """The result of a step: JSON for programs, else a small table."""
    if as_json:
        print(json.dumps(result, ensure_ascii=False))
        return
    rows = {key.replace("_", " "): _outer(value) for key, value in result.items()}
    if not sys.stdout.isatty():  # a line each, whole, for those who search or copy
        width = max(map(len, rows), default=0)
        print("\n".join(f"{key:{width}}  {value}" for key, value in rows.items()))
        return
    from rich.console import Console
    from rich.table import Table

    table = Table(show_header=False, box=None, padding=(0, 2, 0, 0))
    table.add_column()
    table.add_column(overflow="fold")  # a hash is shown whole
    for row in rows.items():
        table.add_row(*row)
    Console(markup=False).print(table)


def _outer(value: Any) -> str:
    text = _short(value)
    return text[1:-1] if isinstance(value, dict) and value else text


def _short(value: Any) -> str:
    if isinstance(value, dict):
        return "(" + ", ".join(f"{k} {_short(v)}" for k, v in value.items()) + ")" if value else "none"
    if isinstance(value, list | tuple):
        return ", ".join(map(_short, value)) or "none"
    return f"{value:.4g}" if isinstance(value, float) else f"{value:,}" if type(value) is int else str(value)
