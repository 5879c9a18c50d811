"""Folders with odd names in them, links, and things that are no files."""

import random

from packages import cite, encoded, fig, jats, pixels

from hostile import Where

ARTICLE = jats(f"<p>{cite(1)}</p>{fig(1)}")
IMAGE = encoded(pixels(1, 16), "JPEG")
ODD = [
    "a\nb",
    "-rf",
    "--help",
    "$(touch x)",
    "`x`",
    "a;b",
    "\udcff\udcfe",
    "x" * 240,
    "\u202egpj",
    "e\u0301",
    "\U0001f600",
    "%2e%2e",
    "~",
    "*",
    "a b",
    "'",
    '"',
    "\\",
    "con",
    "a" + "." * 50,
    "PMC" + "9" * 200,
    "PMC٣",
    "PMC77.99999999999999",
    "..a",
    "\x01",
    "nul",
    "{}",
    "[x]",
    "%s%n",
]


def _named(rng: random.Random, where: Where) -> dict:
    name, folder = rng.choice(ODD), rng.choice(["", "d/", rng.choice(ODD)[:80] + "/", "d/" * 100])
    return {
        "PMC77.nxml": ARTICLE,
        f"{folder}{name}.nxml": ARTICLE,
        f"{folder}g1.jpg": IMAGE,
        f"{folder}{name}.jpg": IMAGE,
    }


def _links(rng: random.Random, where: Where) -> dict:
    target = rng.choice(
        [
            ".",
            "..",
            "/",
            str(where.canary),
            "/dev/zero",
            "/dev/stdin",
            "nowhere",
            "loop",
            "PMC77.nxml",
            "/proc/self/mem",
        ]
    )
    name = rng.choice(["loop", "g1.jpg", "g1.tif", "PMC78.nxml", "PMC78.tar.gz", "d/g1.jpg", "d"])
    return {"PMC77.nxml": ARTICLE, name: ("link", target)}


def _special(rng: random.Random, where: Where) -> dict:
    name = rng.choice(["PMC78.nxml", "PMC78.tar.gz", "g1.jpg", "g1.tif", "d/x.xml"])
    return {"PMC77.nxml": ARTICLE, name: ("fifo", "")}


def _folders(rng: random.Random, where: Where) -> dict:
    """Folders where files are expected."""
    name = rng.choice(["PMC78.nxml", "g1.jpg", "PMC78.tar.gz", ".hidden", "manifest.json", "data"])
    return {"PMC77.nxml": ARTICLE, f"{name}/x.txt": b"x", f"{name}/PMC79.nxml": ARTICLE}


def _crowd(rng: random.Random, where: Where) -> dict:
    suffix = rng.choice(["jpg", "txt", "nxml"])
    n = {"nxml": 200}.get(suffix, 3000)
    return {"PMC77.nxml": ARTICLE} | {f"g{k}.{suffix}": ARTICLE if suffix == "nxml" else IMAGE for k in range(n)}


def _same(rng: random.Random, where: Where) -> dict:
    """Names that differ in case only, or by suffix."""
    return {
        f"{name}": ARTICLE for name in ("PMC77.nxml", "pmc77.NXML", "PMC77.xml", "PMC77.1.nxml", "x/PMC77.nxml")
    } | {f"g1.{suffix}": IMAGE for suffix in ("jpg", "JPG", "Jpg", "tif", "gif", "jpg.jpg", "jpg.bak")}


MAKERS = {"named": _named, "links": _links, "special": _special, "folders": _folders, "crowd": _crowd, "same": _same}
