"""`llavamed benchmark`: sets of visual questions with answers."""

from pathlib import Path
from typing import Annotated

import typer

from llavamed.cli.options import AsJson, Force, Output, Quiet, hush, show

Source = Annotated[
    Path,
    typer.Argument(
        metavar="SRC",
        help="VQA-RAD, SLAKE or PathVQA as published, Parquet of them, LLaVA JSON, or a CSV, JSON or JSON lines with "
        "image, question, answer.",
    ),
]
Images = Annotated[
    Path | None, typer.Option(metavar="DIR", help="The pictures, where they are elsewhere.", show_default="beside it")
]
Language = Annotated[str, typer.Option(metavar="L", help="Of a benchmark in several: en, zh.")]
AllowMissing = Annotated[bool, typer.Option("--allow-missing", help="Pictures may be missing or broken.")]
benchmark = typer.Typer(no_args_is_help=True, help="Sets of visual questions with answers.")


@benchmark.command("list")
def benchmark_list(as_json: AsJson = False) -> None:
    """The published benchmarks: versions, sizes, licences, and how they differ.

    Example: `llavamed benchmark list`
    """
    from llavamed.evaluate.benchmarks.known import listed, table

    if as_json:
        show(listed(), as_json)
    else:
        from rich.console import Console

        Console().print(table())


@benchmark.command("check")
def benchmark_check(
    source: Source,
    images: Images = None,
    language: Language = "en",
    allow_missing: AllowMissing = False,
    allow_overlap: Annotated[
        bool, typer.Option("--allow-overlap", help="Test and training may share pictures and questions.")
    ] = False,
    as_json: AsJson = False,
    quiet: Quiet = False,
) -> None:
    """Count a benchmark, tell its version, and find what is missing or shared between test and training.

    Ends with 1 if anything is not as it should be.

    Example: `llavamed benchmark check slake --allow-missing`
    """
    from llavamed.evaluate.benchmarks.check import check, table

    hush(quiet)
    result = check(source, language=language, images=images, allow_missing=allow_missing, allow_overlap=allow_overlap)
    if as_json:
        show(result, as_json)
    else:
        from rich.console import Console

        Console().print(table(result))
    raise typer.Exit(0 if result["ok"] else 1)


@benchmark.command("convert")
def benchmark_convert(
    source: Source,
    output: Output,
    images: Images = None,
    language: Language = "en",
    allow_missing: AllowMissing = False,
    force: Force = False,
    as_json: AsJson = False,
    quiet: Quiet = False,
) -> None:
    """Write a benchmark as a data set: to evaluate on, or to fine-tune on with `train`.

    Example: `llavamed benchmark convert vqa_rad -o benchmark`
    """
    from llavamed.evaluate.benchmarks.convert import convert

    hush(quiet)
    result = convert(source, output, language=language, images=images, allow_missing=allow_missing, force=force)
    show(result, as_json)
