"""Files of a source: which there are, how old, and that a name in a list leads to none outside."""

import os
import re
import stat
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from datetime import UTC, datetime
from pathlib import Path

from llavamed.console import progress
from llavamed.corpus.problem import Problem, printable

MAX_RECORD = 32_000_000  # bytes of one record's text
PART = 256  # figures in an item
_LONG = 20_000_000  # bytes of a file that takes over a second to list


def day(path: Path) -> str:
    """When a file was last changed, YYYY-MM-DD in UTC."""
    return datetime.fromtimestamp(path.stat().st_mtime, UTC).date().isoformat()


def below(root: Path, wanted: Callable[[str], bool]) -> Iterator[str]:
    """The files below `root` whose name is wanted, in order, as POSIX paths. Hidden ones and links are passed over.

    Raises:
        OSError: a folder cannot be listed: what is in it would be lost.
    """
    for folder, folders, files in os.walk(root, onerror=refuse):
        folders[:] = sorted(name for name in folders if not name.startswith("."))
        for name in sorted(files):
            path = Path(folder, name)
            if wanted(name) and not name.startswith(".") and is_plain(path):
                yield path.relative_to(root).as_posix()


def refuse(error: OSError) -> None:
    """What `os.walk` does with a folder that it cannot list."""
    raise error


def outside(name: str) -> bool:
    """Whether a POSIX or Windows path in a list or an archive may lead out of its folder."""
    path = name.replace("\\", "/")
    return path.startswith("/") or ".." in path.split("/") or re.match(r"[A-Za-z]:", path) is not None


def inside(root: Path, name: str) -> Path | None:
    """The file that a list in `root` names; None if there is none.

    Raises:
        Problem: path_outside: the name, or a link that it follows, leads out of the folder.
    """
    if outside(name):
        raise Problem("path_outside", f"{name} points outside {printable(root.name)}")
    try:
        path = root / name.replace("\\", "/")
        if not path.is_file():
            return None
        if not path.resolve().is_relative_to(root.resolve()):
            raise Problem("path_outside", f"{name} is a link that points outside {printable(root.name)}")
    except (OSError, ValueError):  # too long, or with a NUL in it
        return None
    return path


def is_plain(path: Path) -> bool:
    """Whether a path is a file: no link, and nothing that would be waited for, as a pipe."""
    return stat.S_ISREG(path.lstat().st_mode)


@contextmanager
def listing(path: Path) -> Iterator[Callable[[int], None]]:
    """Shows how far a long file is listed. Yields `reached(byte)`."""
    size = path.stat().st_size
    done = 0
    with progress(f"list {printable(path.name)}", size if size > _LONG else 0, "bytes") as advance:

        def reached(place: int) -> None:
            nonlocal done
            advance(min(place, size) - done)
            done = min(place, size)

        yield reached
        reached(size)
