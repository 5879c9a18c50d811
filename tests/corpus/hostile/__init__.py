"""Hostile inputs, made from a seed: `make(n)` is the nth, a folder.

The first TOTAL have an article file at least; the SOURCES behind them are lists, tables and shards of pictures.
"""

import os
import random
from collections.abc import Callable
from dataclasses import dataclass, field
from pathlib import Path

TOTAL, SOURCES = 2000, 600
CANARY = "CANARY-7f3a"  # stands in a file outside every input; must never be in what is written


@dataclass
class Where:
    """Addresses that the inputs point to, and that nobody may follow."""

    canary: Path = Path("/nowhere/canary.txt")
    outside: Path = Path("/nowhere/outside")
    url: str = "http://127.0.0.1:9"


Files = dict[str, bytes | tuple[str, str]]
Maker = Callable[[random.Random, Where], Files | tuple[Files, int]]


@dataclass
class Input:
    """`files`: path below the folder -> bytes, or ("link", target), or ("fifo", "")."""

    n: int
    kind: str
    files: Files = field(default_factory=dict)
    records: int = 1  # at least so many must be accounted for

    @property
    def name(self) -> str:
        """For messages."""
        return f"{self.n}-{self.kind}"


def make(n: int, where: Where) -> Input:
    """The nth of TOTAL + SOURCES: kinds in turn, each time another seed."""
    from hostile import archives, lists, names, pictures, scans, shards, xml

    makers: dict[str, Maker] = xml.MAKERS | archives.MAKERS | pictures.MAKERS | names.MAKERS
    if n >= TOTAL:
        makers = lists.MAKERS | shards.MAKERS | scans.MAKERS
    kind = list(makers)[n % len(makers)]
    made = makers[kind](random.Random(n), where)
    return Input(n, kind, *made) if isinstance(made, tuple) else Input(n, kind, made)


def write(hostile: Input, folder: Path) -> None:
    """The files of an input, below `folder`."""
    for name, content in hostile.files.items():
        path = folder / name
        path.parent.mkdir(parents=True, exist_ok=True)
        if isinstance(content, bytes):
            path.write_bytes(content)
        elif content[0] == "link":
            path.symlink_to(content[1])
        else:
            os.mkfifo(path)


def flip(data: bytes, rng: random.Random) -> bytes:
    """Some bytes changed."""
    changed = bytearray(data)
    for _ in range(rng.choice([1, 3, 10, 100])):
        changed[rng.randrange(len(changed))] = rng.randrange(256)
    return bytes(changed)


def cut(data: bytes, rng: random.Random) -> bytes:
    """The end missing."""
    return data[: rng.randrange(len(data))]


def splice(data: bytes, rng: random.Random) -> bytes:
    """A piece of itself written over or into itself."""
    begin, place = rng.randrange(len(data)), rng.randrange(len(data))
    piece = data[begin : begin + rng.randrange(1, 400)] * rng.choice([1, 2, 50])
    return data[:place] + piece + data[place + rng.choice([0, len(piece)]) :]
