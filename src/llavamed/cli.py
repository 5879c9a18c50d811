"""The command line: one thin command per step. Parsing and printing, no logic."""

import errno
import json
import os
import sys
from pathlib import Path
from typing import Annotated, Any

import typer

from llavamed.errors import InputError

app = typer.Typer(
    no_args_is_help=True,
    add_completion=False,
    pretty_exceptions_enable=False,
    rich_markup_mode="markdown",
    help="From open biomedical articles to a vision-language assistant, with proof of what it was trained on. "
    "Research use only: never medical advice.",
)
corpus_app = typer.Typer(no_args_is_help=True, help="Articles to figures.")
instruct_app = typer.Typer(no_args_is_help=True, help="Figures to conversations.")
model_app = typer.Typer(no_args_is_help=True, help="Vision tower + projector + language model.")
evaluate_app = typer.Typer(no_args_is_help=True, help="A model's scores, with their controls.")
summary_app = typer.Typer(no_args_is_help=True, help="The public training-data summary.")
app.add_typer(corpus_app, name="corpus")
app.add_typer(instruct_app, name="instruct")
app.add_typer(model_app, name="model")
app.add_typer(evaluate_app, name="evaluate")
app.add_typer(summary_app, name="summary")

Output = Annotated[Path, typer.Option("-o", "--output", help="Folder to write.", show_default=False)]
AsJson = Annotated[bool, typer.Option("--json", help="Print the result as one JSON object on stdout.")]
Quiet = Annotated[bool, typer.Option("--quiet", help="No progress.")]
Force = Annotated[bool, typer.Option("--force", help="Replace what the folder holds, if made otherwise.")]
Seed = Annotated[int, typer.Option("--seed", help="Seed of every random choice.")]
Workers = Annotated[int, typer.Option("--workers", min=1, help="Processes.", show_default="one a core")]
Device = Annotated[str, typer.Option("--device", help="auto, cpu, cuda or mps.")]
CORES = len(os.sched_getaffinity(0)) if hasattr(os, "sched_getaffinity") else os.cpu_count() or 1


def main() -> None:
    """Run the command line. Exit 0 done, 1 the work failed, 2 the call was wrong."""
    try:
        app()
    except InputError as error:
        _fail(str(error))
    except KeyboardInterrupt:
        print("stopped: run the same command again to go on", file=sys.stderr)
        sys.exit(130)
    except OSError as error:
        if error.errno not in (errno.ENOSPC, errno.EACCES, errno.EROFS, errno.EDQUOT):
            raise
        remedy = "check the folder's permissions" if error.errno in (errno.EACCES, errno.EROFS) else "free some space"
        _fail(f"{error.filename or 'write'}: {error.strerror}: {remedy} and run the same command again")


def _fail(message: str) -> None:
    print(f"error: {message}", file=sys.stderr)
    sys.exit(2)


def _quiet(quiet: bool) -> None:
    from llavamed.console import console

    console.quiet = quiet


def _print(result: dict[str, Any], as_json: bool) -> None:
    """The result of a step: JSON for programs, else a small table."""
    if as_json:
        print(json.dumps(result, ensure_ascii=False))
        return
    from rich.console import Console
    from rich.table import Table

    table = Table(show_header=False, box=None, padding=(0, 2, 0, 0))
    for key, value in result.items():
        if isinstance(value, dict):
            value = ", ".join(f"{k} {_short(v)}" for k, v in value.items()) or "none"
        table.add_row(key.replace("_", " "), _short(value))
    Console().print(table)


def _short(value: Any) -> str:
    if isinstance(value, dict):
        return "(" + ", ".join(f"{k} {_short(v)}" for k, v in value.items()) + ")"
    return f"{value:.4g}" if isinstance(value, float) else f"{value:,}" if type(value) is int else str(value)


@corpus_app.command("build")
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

    _quiet(quiet)
    _print(build(sources, output, max_side=max_side, workers=workers, force=force), as_json)


@corpus_app.command("sample")
def corpus_sample(output: Output, force: Force = False, as_json: AsJson = False, quiet: Quiet = False) -> None:
    """Write the built-in articles, with real images out of packages of the Python index.

    Example: `llavamed corpus sample -o articles`
    """
    from llavamed.corpus.builtin import sample

    _quiet(quiet)
    _print(sample(output, force=force), as_json)


@corpus_app.command("show")
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


@instruct_app.command("align")
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

    _quiet(quiet)
    _print(align(corpus, output, n=n, seed=seed, workers=workers, force=force), as_json)


@instruct_app.command("generate")
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
    _quiet(quiet)
    _print(generate_template(corpus, output, seed=seed, workers=workers, force=force), as_json)


@model_app.command("build")
def model_build(
    backbone: Annotated[str, typer.Argument(metavar="BACKBONE", help="`smol` or `tiny`.")],
    output: Output,
    image_size: Annotated[int, typer.Option(help="Side of the picture the model sees, in pixels.")] = 84,
    seed: Seed = 0,
    force: Force = False,
    as_json: AsJson = False,
    quiet: Quiet = False,
) -> None:
    """Compose a vision tower, a new projector and a language model into a LLaVA checkpoint.

    Example: `llavamed model build smol -o backbone`
    """
    from llavamed.model.build import build

    _quiet(quiet)
    _print(build(backbone, output, image_size=image_size, seed=seed, force=force), as_json)


@app.command("train")
def train_stage(
    recipe: Annotated[Path, typer.Argument(metavar="RECIPE", help="A recipe: YAML.")],
    stage: Annotated[str, typer.Option(help="`align` (projector) or `instruct` (projector + language model).")],
    model: Annotated[Path, typer.Option(help="The model to start from.")],
    data: Annotated[Path, typer.Option(help="The conversations to train on.")],
    output: Output,
    device: Device = "auto",
    force: Force = False,
    as_json: AsJson = False,
    quiet: Quiet = False,
) -> None:
    """Train one stage.

    Example: `llavamed train recipes/tiny.yaml --stage align --model backbone --data alignment -o aligned`
    """
    from llavamed.recipe import read_recipe
    from llavamed.train.loop import train

    _quiet(quiet)
    settings = read_recipe(recipe).stage(stage)
    _print(train(model, data, output, settings, force=force, device=device), as_json)


@evaluate_app.command("vqa")
def evaluate_vqa(
    model: Annotated[Path, typer.Argument(metavar="MODEL", help="A model.")],
    data: Annotated[Path, typer.Argument(metavar="DATA", help="Conversations with a held-out split.")],
    output: Output,
    split: Annotated[str, typer.Option(help="The split to ask about.")] = "test",
    max_new_tokens: Annotated[int, typer.Option(min=1, help="Longest answer, in tokens.")] = 32,
    batch_size: Annotated[int, typer.Option(min=1, help="Questions at once.")] = 8,
    limit: Annotated[int | None, typer.Option(min=1, help="At most so many questions.", show_default="all")] = None,
    device: Device = "auto",
    force: Force = False,
    as_json: AsJson = False,
    quiet: Quiet = False,
) -> None:
    """Ask held-out questions with the picture and with a blank one, and score the answers.

    Example: `llavamed evaluate vqa assistant conversations -o scores`
    """
    from llavamed.evaluate.vqa import evaluate, table

    _quiet(quiet)
    result = evaluate(
        model, data, output, split=split, max_new_tokens=max_new_tokens, batch_size=batch_size, limit=limit,
        device=device, force=force,
    )  # fmt: skip
    if as_json:
        _print(result, as_json)
    else:
        from rich.console import Console

        Console().print(table(result))


@app.command("chat")
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


@summary_app.command("write")
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

    _print(write(target, output, profile=profile), as_json)


@app.command("verify")
def verify(
    folder: Annotated[Path, typer.Argument(metavar="DIR", help="Any finished artifact.")], as_json: AsJson = False
) -> None:
    """Hash an artifact's files again, and check the manifests of its parents.

    Example: `llavamed verify assistant`
    """
    from llavamed import artifact

    problems = artifact.verify(folder)
    if as_json:
        _print({"ok": not problems, "problems": problems}, as_json)
    else:
        for problem in problems:
            print(f"{folder}: {problem['path']}: {problem['what']}")
        print("not as published" if problems else "as published")
    raise typer.Exit(1 if problems else 0)


@app.command("run")
def run_recipe(
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

    _quiet(quiet)
    result = run(read_recipe(recipe), output, articles=articles, workers=workers, device=device, force=force)
    if as_json:
        _print(result, as_json)
    else:
        print(f"report: {result['report']}")
