"""`llavamed trace`: the register behind a summary: every article a model saw, what was used of it, and its credit."""

import csv
import io
from collections import Counter, defaultdict
from collections.abc import Iterable, Sequence
from pathlib import Path
from typing import Any

import numpy as np
import pyarrow as pa

from llavamed import storage
from llavamed.errors import InputError
from llavamed.lineage import name
from llavamed.storage import Json
from llavamed.summary.fact import names
from llavamed.summary.register import ABOUT, NOT_KNOWN, Numbers, Register, coded, register

_ABOUT = ("pmcid", "pmid", "doi", "version", "title", "journal", "publisher")
ARTICLES = pa.schema(
    [
        ("article", pa.string()),  # its PMCID, else its DOI, else what the ids of its figures begin with
        *((column, pa.string()) for column in _ABOUT),
        ("year", pa.int32()),
        *((column, pa.list_(pa.string())) for column in ("licences", "licence_urls")),
        ("figures", pa.int64()),  # seen in training
        ("conversations", pa.int64()),  # distinct records seen
        ("text_tokens", pa.int64()),  # of these, each counted once
        ("stages", pa.list_(pa.string())),  # that saw them
        ("credit", pa.string()),
    ]
)
NAMES = ("articles.csv", "articles.parquet", "attribution.txt")
# What a licence asks of those who use the work: the longest beginning of its code counts. No legal advice.
_TERMS = {
    "CC0": "Given to the public domain: no credit is asked for.",
    "PDM": "In the public domain: no credit is asked for.",
    "CC-BY": "Credit is asked for, with the licence's address and what was changed.",
    "CC-BY-SA": "Credit is asked for, and the same licence for what is made of it.",
    "CC-BY-ND": "Credit is asked for; changed works may not be passed on.",
    "CC-BY-NC": "Credit is asked for; not for commercial use.",
    "CC-BY-NC-SA": "Credit is asked for; not for commercial use, and the same licence for what is made of it.",
    "CC-BY-NC-ND": "Credit is asked for; not for commercial use, and changed works may not be passed on.",
    "MIT": "The copyright notice is to be kept.",
    "BSD": "The copyright notice is to be kept.",
    "TDM": "For text mining alone.",
    "other": "Under terms of its own, which its page states.",
}
_NO_LICENCE = "No licence was found: none may be assumed."


def trace(model: Path, *, data: Sequence[Path] = (), output: Path | None = None) -> Json:
    """Every article that `model` saw: to `output` as `NAMES`, and in sum.

    Returns `{articles, figures, conversations, text_tokens, not_traced, licences: {code: articles}, stages: {stage:
    articles}, not_at_hand: [artifact], files}`; `not_traced`: conversations seen whose article no table at hand tells.

    Raises:
        InputError: no corpus of the lineage is at hand, `output` is a file, or what `register` refuses.
    """
    if output and output.exists() and not output.is_dir():
        raise InputError(f"{output} is a file: name a folder with -o")
    found = register(model, data, ABOUT)
    require_corpus(found)
    rows = articles(found)
    if output:
        storage.write_text(output / NAMES[0], as_csv(rows))
        storage.write_table(output / NAMES[1], rows, ARTICLES)
        storage.write_text(output / NAMES[2], attribution(rows, found))
    traced = sum(row["conversations"] for row in rows)
    return {
        "articles": len(rows),
        "figures": sum(row["figures"] for row in rows),
        "conversations": traced,
        "text_tokens": sum(row["text_tokens"] for row in rows),
        "not_traced": len(found.seen.ids) - traced,
        "licences": _counted(code for row in rows for code in row["licences"] or ["unknown"]),
        "stages": _counted(stage for row in rows for stage in row["stages"]),
        "not_at_hand": [name(m) for m in found.absent],
        "files": [str(output / file) for file in NAMES] if output else [],
    }


def require_corpus(found: Register) -> None:
    """Raises InputError: no table at hand tells of a figure's article."""
    if not found.figures.corpora:
        gone = [m for m in found.absent if m["kind"] == "corpus"]
        what = f"{names(gone)} is not at hand" if gone else "the lineage has no corpus"
        raise InputError(f"{found.folder}: {what}: name the folder of its data with --data")


def articles(found: Register) -> list[Json]:
    """A row of `ARTICLES` for each article and version, those of which most figures were seen first."""
    seen, figures = found.seen, found.figures
    known, article = figures.article
    versions, version = coded(figures.column("version"))
    _, first, group = np.unique(article * (len(versions) + 1) + version + 1, return_index=True, return_inverse=True)
    row_of = np.full(len(seen.pairs), NOT_KNOWN)
    row_of[figures.number] = np.arange(len(figures.number))
    once = row_of[seen.figure[seen.once]]  # of each record
    traced = once != NOT_KNOWN
    of_record = group[once[traced]]
    counts = np.bincount(of_record, minlength=len(first))
    tokens = np.bincount(of_record, seen.text_tokens[seen.once][traced], minlength=len(first)).astype(np.int64)
    every = row_of[seen.figure]
    stages = _lists(group[every[every != NOT_KNOWN]], seen.stage[every != NOT_KNOWN], seen.stages)
    licences, urls = (_lists(group, *_words(figures.column(column))) for column in ("licence", "licence_url"))
    used = np.bincount(group, minlength=len(first))
    place = pa.array(first)
    about = {column: figures.text(column).take(place).to_pylist() for column in _ABOUT}
    years = figures.column("year").take(place).to_pylist()
    rows = []
    for index in range(len(first)):
        row = {"article": known[int(article[first[index]])].as_py()}
        row |= {column: values[index] for column, values in about.items()}
        row |= {"year": years[index], "licences": licences[index], "licence_urls": urls[index]}
        row |= {"figures": int(used[index]), "conversations": int(counts[index]), "text_tokens": int(tokens[index])}
        rows.append(row | {"stages": stages[index], "credit": credit(row)})
    return sorted(rows, key=lambda row: (-row["figures"], row["article"], row["version"] or ""))


def credit(article: Json) -> str:
    """One line that says which work it is, where its page names the authors, and under which licence."""
    issue = " ".join(filter(None, [article["journal"], f"({article['year']})" if article["year"] else ""]))
    ids = [f"https://doi.org/{article['doi']}" if article["doi"] else "", article["pmcid"] or ""]
    version = f"version {article['version']}" if article["version"] else ""
    licence = ", ".join([*article["licences"], *article["licence_urls"]]) or "no licence found"
    title = f"“{article['title']}”" if article["title"] else article["article"]
    parts = [title, issue, article["publisher"], ", ".join(filter(None, [*ids, version])), f"Licence: {licence}"]
    return " ".join(". ".join(str(part).strip(" .") for part in parts if part).split()) + "."


def as_csv(rows: Iterable[Json]) -> str:
    """The same table as CSV; lists joined by "; "."""
    text = io.StringIO()
    writer = csv.writer(text, lineterminator="\n")
    writer.writerow(ARTICLES.names)
    for row in rows:
        values = (row[column] for column in ARTICLES.names)
        writer.writerow(["; ".join(value) if isinstance(value, list) else value for value in values])
    return text.getvalue()


def attribution(rows: Iterable[Json], found: Register) -> str:
    """The credits, by licence, with what each licence asks for."""
    sides = [m["settings"]["max_side"] for m in found.line if m["kind"] == "corpus" and "max_side" in m["settings"]]
    changed = f"Figures were scaled to at most {max(sides)} pixels a side" if sides else "Figures were scaled"
    by_licence: dict[str, list[str]] = defaultdict(list)
    for row in rows:
        for code in row["licences"] or ["unknown"]:
            by_licence[code].append(row["credit"])
    lines = [
        f"Articles that {name(found.model)} was trained on. {changed}; captions were made into conversations.",
        "Its page, at the DOI or in PubMed Central by the PMCID, names the authors of each article.",
    ]
    for code, credits in sorted(by_licence.items()):
        lines += ["", f"{code}: {len(credits):,} articles. {terms(code)}", "", *credits]
    return "\n".join(lines) + "\n"


def terms(code: str) -> str:
    """What a licence asks for, in a sentence."""
    family = max((begin for begin in _TERMS if code == begin or code.startswith(f"{begin}-")), key=len, default="")
    return _TERMS.get(family, _NO_LICENCE)


def _words(column: pa.Array) -> tuple[Numbers, list[str]]:
    values, number = coded(column)
    return number, [str(value) for value in values.to_pylist()]


def _lists(group: Numbers, value: Numbers, words: list[str]) -> dict[int, list[str]]:
    """Of each group its distinct values, in order."""
    found: dict[int, list[str]] = defaultdict(list)
    known = value != NOT_KNOWN
    for both in np.unique(group[known] * max(1, len(words)) + value[known]).tolist():
        found[both // len(words)].append(words[both % len(words)])
    return defaultdict(list, {key: sorted(filter(None, values)) for key, values in found.items()})


def _counted(values: Iterable[Any]) -> dict[str, int]:
    return dict(sorted(Counter(values).items(), key=lambda item: (-item[1], item[0])))
