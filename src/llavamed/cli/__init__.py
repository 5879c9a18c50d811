"""The command line: one thin command per step. Parsing and printing, no logic."""

import errno
import sys

import typer

from llavamed.cli.benchmark import benchmark
from llavamed.cli.corpus import corpus
from llavamed.cli.delta import delta
from llavamed.cli.evaluate import evaluate
from llavamed.cli.instruct import instruct
from llavamed.cli.model import chat, model, train
from llavamed.cli.run import run
from llavamed.cli.summary import summary
from llavamed.cli.trace import impact, trace, verify
from llavamed.errors import Failed, InputError, Unfinished

app = typer.Typer(
    no_args_is_help=True,
    add_completion=False,
    pretty_exceptions_enable=False,
    rich_markup_mode=None,  # plain: rich and its Markdown would take half of the time to start
    help="From open biomedical articles to a vision-language assistant, with proof of what it was trained on. "
    "Research use only: never medical advice.",
)
for name, group in {
    "corpus": corpus,
    "instruct": instruct,
    "model": model,
    "delta": delta,
    "benchmark": benchmark,
    "evaluate": evaluate,
    "summary": summary,
}.items():
    app.add_typer(group, name=name)
for command in (train, chat, verify, trace, impact, run):
    app.command()(command)


def main() -> None:
    """Run the command line. Exit 0 done, 1 the work failed, 2 the call was wrong."""
    try:
        app()
    except InputError as error:
        _fail(str(error))
    except (Failed, Unfinished) as error:
        _fail(str(error), 1)
    except KeyboardInterrupt:
        print("stopped: run the same command again to go on", file=sys.stderr)
        sys.exit(130)
    except OSError as error:
        if error.errno not in (errno.ENOSPC, errno.EACCES, errno.EROFS, errno.EDQUOT):
            raise
        remedy = "check the folder's permissions" if error.errno in (errno.EACCES, errno.EROFS) else "free some space"
        _fail(f"{error.filename or 'write'}: {error.strerror}: {remedy} and run the same command again")


def _fail(message: str, code: int = 2) -> None:
    print(f"error: {message}", file=sys.stderr)
    sys.exit(code)
