"""Which figures a corpus takes: the rules of a build, and why a figure does not meet them."""

import re
from collections.abc import Collection, Iterable
from dataclasses import dataclass, field, fields
from pathlib import Path
from typing import Any

from llavamed.corpus.licences import allows
from llavamed.corpus.problem import Problem
from llavamed.errors import InputError

Json = dict[str, Any]


@dataclass(frozen=True)
class Choice:
    """The rules. An empty one lets everything through; a fact that is not known does not meet a rule about it.

    `licences`: commercial, open or all (`licences.POLICIES`). `years`: first and last. `kinds`: of image, one of them.
    `single`: no compound figures. `min_side`: pixels of the picture's short side. `opt_out`: see `read_opt_out`.
    """

    licences: str = "all"
    years: tuple[int, int] | None = None
    article_types: tuple[str, ...] = ()
    languages: tuple[str, ...] = ()
    kinds: tuple[str, ...] = ()
    single: bool = False
    min_side: int = 0
    opt_out: frozenset[str] = field(default=frozenset(), repr=False)

    def settings(self) -> Json:
        """The rules, without the list of what was opted out."""
        return {field.name: getattr(self, field.name) for field in fields(self) if field.name != "opt_out"}

    def refuses_text(self, text: Json) -> Problem | None:
        """Why a figure with these text columns is left out, before its picture is read."""
        if text.get("retracted"):
            return Problem("retracted", "; ".join(text.get("notices") or ()))
        if self.opt_out and (key := next((key for key in keys_of(text) if key in self.opt_out), "")):
            return Problem("opt_out", key)
        licence = text.get("licence") or "none-stated"
        if not allows(self.licences, licence):
            return Problem("licence", licence)
        year = text.get("year")
        if self.years and not (year and self.years[0] <= year <= self.years[1]):
            return Problem("year", str(year or "not known"))
        for name, wanted in (("article_type", self.article_types), ("language", self.languages)):
            if wanted and text.get(name) not in wanted:
                return Problem(name, text.get(name) or "not known")
        return None

    def refuses_picture(self, row: Json) -> Problem | None:
        """Why a figure is left out, once its picture is read."""
        if min(row["width"], row["height"]) < self.min_side:
            return Problem("too_small", f"{row['width']} x {row['height']} pixels")
        names = [entry["name"] for entry in row["modality"]]
        if self.kinds and not set(names) & set(self.kinds):
            return Problem("kind", ", ".join(names) or "not known")
        if self.single and not row["single_plot"]:
            return Problem("compound")
        return None


def years_of(text: str) -> tuple[int, int] | None:
    """ "2015-2020", "2015-", "-2020" or "2015" as first and last year; None for "".

    Raises:
        InputError: it is none of these.
    """
    match = re.fullmatch(r"\s*(\d{4})?\s*([-–])?\s*(\d{4})?\s*", text)
    if not text.strip():
        return None
    if not match or not (match[1] or match[3]) or (match[1] and match[3] and not match[2]):
        raise InputError(f"--years {text}: write 2015-2020, 2015-, -2020 or 2015")
    first, last = int(match[1] or 0), int(match[3] or (9999 if match[2] else match[1]))
    if first > last:
        raise InputError(f"--years {text}: the first year comes after the last: write {last}-{first}")
    return first, last


def list_of(text: str, option: str, known: Collection[str] = (), form: str = "") -> tuple[str, ...]:
    """The words of "a, b", sorted. `form`: a regular expression that each has.

    Raises:
        InputError: one is not `known`, where that is given, or of another form.
    """
    words = sorted({word.strip() for word in text.split(",") if word.strip()})
    for word in words:
        if known and word not in known:
            raise InputError(f"{option} {word} is unknown: there are {', '.join(known)}")
        if form and not re.fullmatch(form, word):
            raise InputError(f"{option} {word} would take nothing: see --help for how they are written")
    return tuple(words)


def read_opt_out(path: Path) -> frozenset[str]:
    """The keys of an opt-out list: one entry a line, `#` begins a comment.

    An entry is a DOI (or its address), the prefix of DOIs ("10.1016/"), a PMCID, a domain ("example.org", with all
    below it), "publisher: NAME", or "article: ID": what the `pair_id` of its figures begins with, where it has neither
    DOI nor PMCID.

    Raises:
        InputError: the file cannot be read, or a line is none of these.
    """
    try:
        lines = path.read_text(encoding="utf-8-sig").splitlines()
    except (OSError, UnicodeDecodeError) as error:
        why = error.strerror if isinstance(error, OSError) else "it is not in UTF-8"
        raise InputError(f"{path}: the opt-out list cannot be read ({why}): name a text file in UTF-8") from None
    keys = set()
    for number, line in enumerate(lines, start=1):
        entry = line.partition("#")[0].strip().strip(",").strip()
        if entry:
            keys.add(read_key(entry, f"{path}, line {number}"))
    return frozenset(keys)


def read_key(entry: str, where: str) -> str:
    """An entry of an opt-out list as the key that `keys_of` gives. Raises InputError: it is none; `where` it stands."""
    lower = " ".join(entry.lower().split())
    for kind in ("publisher", "article"):
        if lower.startswith(f"{kind}:"):
            return f"{kind}:{lower.removeprefix(f'{kind}:').strip()}"
    doi = lower[lower.find("10.") :] if lower.startswith(("http", "doi")) and "10." in lower else lower
    if re.match(r"10\.\d{4,}(\.\d+)*(/|$)", doi):
        return f"doi:{doi}" if "/" in doi else f"doi:{doi}/"
    if lower.removeprefix("pmc").isdigit():
        return f"pmc{lower.removeprefix('pmc')}"
    host = lower.removeprefix("domain:").strip().removeprefix("https://").removeprefix("http://").strip("/")
    if re.fullmatch(r"([\w-]+\.)+[a-z][\w-]*", host):
        return f"host:{host.removeprefix('www.')}"
    raise InputError(
        f"{where}: {entry!r} is no DOI, PMCID, domain or publisher: write one as 10.1000/x, PMC123, example.org, "
        "publisher: NAME or article: ID"
    )


def keys_of(text: Json) -> Iterable[str]:
    """What a figure's article is known by, as an opt-out list may name it."""
    doi = (text.get("doi") or "").lower()
    if doi:
        yield f"doi:{doi}"
        yield f"doi:{doi.partition('/')[0]}/"
    if text.get("pmcid"):
        yield text["pmcid"].lower()
    if text.get("pair_id"):
        yield f"article:{article_of(text)}"
    if text.get("publisher"):
        yield f"publisher:{' '.join(text['publisher'].lower().split())}"
    for host in text.get("hosts") or ():
        parts = host.split(".")
        yield from (f"host:{'.'.join(parts[i:])}" for i in range(len(parts) - 1))


def article_of(text: Json) -> str:
    """What a figure's `pair_id` says of its article, in lower case: all of it but the figure's id and the panel's."""
    article: str = text["pair_id"].lower()
    for part in (text.get("panel"), text.get("fig_id")):
        article = article.removesuffix(f"_{part}".lower()) if part else article
    return article
