"""`llavamed impact`: what of a lineage a withdrawal touches: figures, conversations, checkpoints; and how much."""

import csv
from collections.abc import Collection, Iterator, Sequence
from pathlib import Path
from typing import Any

import numpy as np
import pyarrow as pa
import pyarrow.compute as pc

from llavamed.corpus.choose import article_of, keys_of, read_key, read_opt_out
from llavamed.errors import InputError
from llavamed.lineage import lineage, name
from llavamed.storage import Json
from llavamed.summary.register import Numbers, Register, coded, key_of, read, register
from llavamed.summary.trace import require_corpus

_IDS = ("pmcid", "pmid", "doi", "publisher")
_NAMES = ["pair_id", "fig_id", "panel"]
_COPIES = ("duplicate_image", "near_duplicate_image")
# Columns of lists of retractions, in lower case: Retraction Watch's first.
_DOI = ("originalpaperdoi", "original_paper_doi", "doi")
_PMID = ("originalpaperpubmedid", "original_paper_pubmed_id", "pmid", "pubmed_id")
_PMCID = ("pmcid", "pmc")
_NATURE = "retractionnature"


def read_dois(path: Path) -> frozenset[str]:
    """The keys (`choose.keys_of`) of a list of DOIs, one a line. Raises InputError: one is none; as `read_opt_out`."""
    keys = read_opt_out(path)
    for key in sorted(keys):
        if not key.startswith("doi:") or key.endswith("/"):
            raise InputError(f"{path}: {key.partition(':')[2] or key} is no DOI: --opt-out takes other entries too")
    return keys


def read_retractions(path: Path) -> frozenset[str]:
    """The keys of retracted articles: of a CSV with a column of DOIs or PMIDs, as Retraction Watch's; or of a list as
    `choose.read_opt_out` reads one. Of Retraction Watch's rows, those that are retractions.

    Raises:
        InputError: it cannot be read, or names no article.
    """
    try:
        with path.open(encoding="utf-8-sig", newline="") as stream:
            head = [cell.strip().lower() for cell in next(csv.reader(stream), [])]
            if not {*_DOI, *_PMID, *_PMCID} & {*head} or len(head) < 2:
                return read_opt_out(path)
            rows = [dict(zip(head, row, strict=False)) for row in csv.reader(stream)]
    except (OSError, UnicodeDecodeError, csv.Error) as error:
        raise InputError(f"{path}: the list of retractions cannot be read ({error}): name a CSV in UTF-8") from None
    keys = frozenset(key for row in rows if row.get(_NATURE, "retraction").lower() == "retraction" for key in _of(row))
    if not keys:
        raise InputError(f"{path}: no row names an article by DOI, PMID or PMCID: see docs/trace.md")
    return keys


def _of(row: dict[str, str]) -> Iterator[str]:
    doi, pmid, pmcid = (
        next((row[name].strip().lower() for name in names if row.get(name, "").strip()), "")
        for names in (_DOI, _PMID, _PMCID)
    )
    if "10." in doi:
        yield read_key(doi, "doi")
    if pmid.isdigit() and pmid != "0":
        yield f"pmid:{pmid}"
    if pmcid.removeprefix("pmc").isdigit():
        yield f"pmc{pmcid.removeprefix('pmc')}"


def impact(model: Path, keys: Collection[str], *, data: Sequence[Path] = ()) -> Json:
    """What a model's lineage loses with the articles that `keys` name (`choose.keys_of`, or "pmid:1").

    Returns `{entries, not_found: [key], articles: [{article, doi, title, keys}], figures: [pair_id], conversations:
    [id], steps: [{artifact, records, touched, of, share}], checkpoints: [{model, stage, touched, counts: {name:
    {touched, of, share}}}], untouched, copies: [pair_id], notes, not_at_hand}`. figures, conversations: what a rebuild
    without the articles lacks, of the tables at hand. `untouched`: the youngest checkpoint that saw none of it.
    `copies`: figures of other articles that were left out since a touched one has the same picture.

    Raises:
        InputError: no corpus of the lineage is at hand, or what `register` refuses.
    """
    found = register(model, data)
    require_corpus(found)
    wanted = {*keys}
    articles: dict[str, Json] = {}
    steps: list[Json] = []
    touched = pa.array([], pa.string())
    for folder, manifest in [(f, m) for f, m in reversed(found.found) if m["kind"] == "corpus"]:
        table = read(folder, ("pair_id", "fig_id", "panel", "hosts", "title", *_IDS), (*_IDS, "title"))
        rows = _matching(table, wanted, articles)
        steps.append(_share(len(rows), len(table)) | {"artifact": name(manifest), "records": "figures"})
        touched = pc.unique(pa.concat_arrays([touched, table["pair_id"].take(pa.array(rows)).combine_chunks()]))
    conversations: list[str] = []
    for folder, manifest in [(f, m) for f, m in reversed(found.found) if m["kind"] == "conversations"]:
        table = read(folder, ("id", "pair_id"))
        hit = table.filter(pc.is_in(table["pair_id"], value_set=touched))["id"].to_pylist()
        conversations += hit
        steps.append(_share(len(hit), len(table)) | {"artifact": name(manifest), "records": "conversations"})
    checkpoints = [*_checkpoints(found, touched)]
    matched = {key for article in articles.values() for key in article["keys"]}
    return {
        "entries": len(wanted),
        "not_found": sorted(wanted - matched),
        "articles": sorted(articles.values(), key=lambda article: article["article"]),
        "figures": sorted(touched.to_pylist()),
        "conversations": sorted(dict.fromkeys(conversations)),
        "steps": steps,
        "checkpoints": checkpoints,
        "untouched": _untouched(found, checkpoints),
        "copies": _copies(found, {*touched.to_pylist()}),
        "notes": _notes(found, conversations),
        "not_at_hand": [name(m) for m in found.absent],
    }


def _matching(table: pa.Table, keys: set[str], articles: dict[str, Json]) -> Numbers:
    """The rows of a corpus whose article is among `keys`; the articles are added to `articles`."""
    codes = [coded(table[column]) for column in _IDS]
    codes.append(coded(pc.binary_join(table["hosts"].combine_chunks(), " ")))  # a list of domains, as one text
    if any(key.startswith("article:") for key in keys):
        rows = table.select([column for column in _NAMES if column in table.column_names]).to_pylist()
        codes.append(coded(pa.array(map(article_of, rows), pa.string())))
    both = np.zeros(len(table), np.int64)
    for values, number in codes:
        both = np.unique(both * (len(values) + 1) + number + 1, return_inverse=True)[1]
    _, first, group = np.unique(both, return_index=True, return_inverse=True)
    hit = np.zeros(len(first), bool)
    for index, row in enumerate(table.take(pa.array(first)).to_pylist()):
        own = [*keys_of(row), *([f"pmid:{row['pmid']}"] if row["pmid"] else [])]
        if by := [key for key in own if key in keys]:
            hit[index] = True
            article = row["pmcid"] or row["doi"] or row["pair_id"][: len(article_of(row))]
            told = {"article": article, "doi": row["doi"], "title": row["title"], "keys": []}
            known = articles.setdefault(article, told)["keys"]
            known += [key for key in by if key not in known]
    return np.flatnonzero(hit[group])


def _checkpoints(found: Register, touched: pa.Array) -> Iterator[Json]:
    """Of each trained model of the lineage, the earliest first, how much of what it saw is touched."""
    seen = found.seen
    figure = pc.is_in(seen.pairs, value_set=touched).to_numpy(zero_copy_only=False)
    own = figure[seen.figure]  # of each row
    for step in found.steps:
        before = {key_of(m) for m in lineage(step.model)}
        known = [n for n, other in enumerate(found.steps) if key_of(other.model) in before]
        rows = np.isin(seen.step, known)
        if step is found.steps[-1]:
            rows[:] = True  # the last one saw what no step is known for, too
        counts = {
            what: _share(part, whole) for what, part, whole in _both(_amounts(found, rows & own), _amounts(found, rows))
        }
        yield {
            "model": name(step.model),
            "stage": step.stage,
            "touched": counts["conversations"]["touched"] > 0,
            "counts": counts,
        }


def _amounts(found: Register, rows: Any) -> dict[str, int]:
    seen = found.seen
    at = np.flatnonzero(rows)
    last = at[len(at) - 1 - np.unique(seen.record[at][::-1], return_index=True)[1]]  # of each record
    return {
        "conversations": len(last),
        "images": len(np.unique(seen.picture[last])),
        "text_tokens": int(seen.text_tokens[last].sum()),
        "image_tokens": seen.tokens_of_pictures(last),
        "passes": int(seen.times[at].sum()),
        "text_tokens_read": int((seen.text_tokens * seen.times)[at].sum()),
    }


def _both(part: dict[str, int], whole: dict[str, int]) -> Iterator[tuple[str, int, int]]:
    yield from ((what, part[what], whole[what]) for what in whole)


def _untouched(found: Register, checkpoints: list[Json]) -> str | None:
    bad = {checkpoint["model"] for checkpoint in checkpoints if checkpoint["touched"]}
    models = [m for m in found.line if m["kind"] == "model" and not {name(a) for a in lineage(m)} & bad]
    return name(models[0]) if models else None


def _copies(found: Register, touched: set[str]) -> list[str]:
    """Figures that were left out as copies of a touched one: a rebuild has them."""
    copies = []
    for folder, _ in [(f, m) for f, m in found.found if m["kind"] == "corpus"]:
        table = read(folder, ("pair_id", "reason", "detail"), part="excluded")
        if len(table):
            table = table.filter(pc.is_in(table["reason"], value_set=pa.array(_COPIES)))
            for row in table.to_pylist():
                of = row["detail"].removeprefix("the same as ").removeprefix("like ").rpartition(": ")
                if (of[0] or of[2]) in touched and row["pair_id"] not in touched:
                    copies.append(row["pair_id"])
    return sorted({*copies})


def _notes(found: Register, conversations: list[str]) -> list[str]:
    planned = [m for m in found.line if m["kind"] == "conversations" and m["settings"].get("set") == "template"]
    notes = []
    if planned and conversations:
        notes.append(
            f"{name(planned[0])}: its yes or no questions are planned over each split, so a rebuild may ask other "
            "figures otherwise; it loses no other record"
        )
    drawn = [m for m in found.line if m["kind"] == "conversations" and m["settings"].get("n")]
    notes += [f"{name(m)}: {m['settings']['n']:,} figures were drawn: a rebuild draws others in place of those lost"
              for m in drawn if conversations]  # fmt: skip
    return notes


def _share(touched: int, of: int) -> Json:
    return {"touched": touched, "of": of, "share": touched / of if of else 0.0}
