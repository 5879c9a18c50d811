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
FULL = (errno.ENOSPC, errno.EDQUOT)
REMEDIES = dict.fromkeys(FULL, "free some space")
REMEDIES |= dict.fromkeys((errno.EACCES, errno.EPERM, errno.EROFS), "check the folder's permissions")
REMEDIES |= dict.fromkeys(
    (errno.ENOENT, errno.ENOTDIR, errno.EEXIST, errno.EISDIR, errno.ENAMETOOLONG), "name another path"
)


def main() -> None:
    """Run the command line. Exit 0 done, 1 the work failed, 2 the call was wrong."""
    try:
        app()
    except InputError as error:
        _fail(str(error))
    except (Failed, Unfinished) as error:
        _fail(str(error), 1)
    except SystemExit as end:
        if end.code == 130:  # what typer makes of Ctrl-C
            print("stopped: run the same command again to go on", file=sys.stderr)
        raise
    except OSError as error:
        remedy = REMEDIES.get(error.errno or 0)
        if not remedy:
            raise
        _fail(f"{error.filename or 'write'}: {error.strerror}: {remedy} and run the same command again")


def _fail(message: str, code: int = 2) -> None:
    print(f"error: {message}", file=sys.stderr)
    sys.exit(code)
