"""Facts of what the model was trained on: counted in `seen.parquet`, and of its figures in the corpora's tables."""

from collections import Counter
from collections.abc import Iterable
from typing import Any

import numpy as np
import pyarrow as pa
import pyarrow.compute as pc

from llavamed.corpus.schema import DOMAINS
from llavamed.lineage import SEEN, name
from llavamed.storage import Json
from llavamed.summary.fact import Fact, Facts, names
from llavamed.summary.register import Figures, Register, Seen, coded, corpora_of, key_of

# of the figures seen: name of the fact -> column of the corpus tables, and name of the manifests' histogram
COLUMNS = {"kinds": "modality", "licences": "licence", "years": "year", "languages": "language", "journals": "journal",
           "publishers": "publisher", "article_types": "article_type", "versions": "version"}  # fmt: skip


def facts(found: Register) -> Facts:
    """What is under `seen.`, besides sources and synthetic data."""
    needed = {key_of(corpus) for step in found.steps for corpus in corpora_of(step.data)}
    at_hand = found.figures.corpora and not any(key_of(m) in needed for m in found.absent)
    return {
        **_counted(found),
        **(_from_tables(found.figures) if at_hand else _from_manifests(found)),
    }


def by_value(column: pa.Array) -> dict[str, int]:
    """How often each value stands in a column, the most first; an empty cell counts as unknown."""
    counts: Counter[str] = Counter()
    for entry in pc.value_counts(column).to_pylist():
        counts[str(entry["values"] or "unknown")] += entry["counts"]
    return dict(sorted(counts.items(), key=lambda item: (-item[1], item[0])))


def _counted(found: Register) -> Facts:
    """Counts of what was trained on: each record once, and with the passes over it."""
    seen = found.seen
    once = seen.once
    counts: dict[str, tuple[Any, str]] = {
        "conversations": (len(once), "distinct id"),
        "images": (_distinct(seen.picture[once]), "distinct picture by image_sha256, else figure of the ids"),
        "text_tokens": (int(seen.text_tokens[once].sum()), "sum of text_tokens over distinct id"),
        "image_tokens": (seen.tokens_of_pictures(once), "sum of image_tokens over distinct picture"),
        "passes": (int(seen.times.sum()), "sum of times_seen"),
        "text_tokens_read": (int((seen.text_tokens * seen.times).sum()), "sum of text_tokens x times_seen"),
        "image_tokens_read": (int((seen.image_tokens * seen.times).sum()), "sum of image_tokens x times_seen"),
        "by_stage": (dict(sorted(Counter(seen.stages[n] for n in seen.stage.tolist()).items())), "rows by stage"),
        "by_stage_counts": (
            {stage: _of_stage(seen, number) for number, stage in sorted(enumerate(seen.stages), key=lambda e: e[1])},
            "of each stage: distinct id, distinct picture, tokens of these, and the sum of times_seen",
        ),
    }
    where = f"{name(found.model)}, {SEEN}"
    return {f"seen.{key}": Fact(value, f"{where}: {query}") for key, (value, query) in counts.items()}


def _of_stage(seen: Seen, stage: int) -> dict[str, int]:
    rows = np.flatnonzero(seen.stage == stage)
    last = rows[np.sort(len(rows) - 1 - np.unique(seen.record[rows][::-1], return_index=True)[1])]
    return {
        "conversations": len(last),
        "images": _distinct(seen.picture[last]),
        "text_tokens": int(seen.text_tokens[last].sum()),
        "image_tokens": seen.tokens_of_pictures(last),
        "passes": int(seen.times[rows].sum()),
    }


def _from_tables(figures: Figures) -> Facts:
    where = f"{names(figures.corpora)}, data: rows whose pair_id was seen"
    columns = {fact: figures.column(column) for fact, column in COLUMNS.items() if column != "modality"}
    modality = figures.column("modality")
    found = {"kinds": Fact(by_kind(modality), f"{where}, by {COLUMNS['kinds']}")}
    found |= {fact: Fact(by_value(values), f"{where}, by {COLUMNS[fact]}") for fact, values in columns.items()}
    found["clinical_photos"] = Fact(_clinical_photos(modality), f"{where}, any of whose modality is clinical_photo")
    found["articles"] = Fact(len(figures.article[0]), f"{where}, distinct article")
    found["figures_found"] = Fact(len(figures.table), where)
    domain = figures.column("domain")
    if pa.types.is_struct(domain.type):
        sums = {key: pc.sum(pc.struct_field(domain, key)).as_py() or 0 for key in DOMAINS}
        found["domains"] = Fact(sums, f"{where}, by domain")
    if hosts := _hosts(figures.column("hosts")):
        found["hosts"] = Fact(hosts, f"{where}, by hosts: a figure counts once for each")
    return {f"seen.{key}": fact for key, fact in found.items()}


def by_kind(modality: pa.Array, first: bool = True) -> dict[str, int]:
    """Figures by kind of image: the `first` of each, which is the surest, or all that it shows."""
    if not pa.types.is_list(modality.type):
        return {"unknown": len(modality)} if len(modality) else {}
    lengths, names = _entries(modality)
    chosen = (np.cumsum(lengths) - lengths)[lengths > 0]
    counts = Counter(by_value(names.take(pa.array(chosen)) if first else names))
    if empty := int((lengths == 0).sum()):
        counts["unknown"] += empty
    return dict(sorted(counts.items(), key=lambda item: (-item[1], item[0])))


def _clinical_photos(modality: pa.Array) -> int:
    if not pa.types.is_list(modality.type):
        return 0
    lengths, names = _entries(modality)
    photo = pc.equal(names, "clinical_photo").fill_null(False).to_numpy(zero_copy_only=False)
    return _distinct(np.repeat(np.arange(len(modality)), lengths)[photo])


def _entries(modality: pa.Array) -> tuple[Any, pa.Array]:
    """(how many kinds each figure has, their names one after another)."""
    lengths = pc.list_value_length(modality).fill_null(0).to_numpy(zero_copy_only=False)
    return lengths, pc.struct_field(modality.flatten(), "name")


def _hosts(hosts: pa.Array) -> dict[str, int]:
    if not pa.types.is_list(hosts.type):
        return {}
    lengths = pc.list_value_length(hosts).fill_null(0).to_numpy(zero_copy_only=False)
    names, number = coded(hosts.flatten())
    pairs = np.unique(np.repeat(np.arange(len(hosts)), lengths) * max(1, len(names)) + number)
    counts = Counter(names.take(pa.array(pairs % max(1, len(names)))).to_pylist())
    return dict(sorted(counts.items(), key=lambda item: (-item[1], item[0])))


def _from_manifests(found: Register) -> Facts:
    """Without tables: a set whose training part is exactly the figures seen has their histograms in its manifest."""
    seen = found.seen
    for manifest in (m for m in found.line if m["kind"] == "conversations"):
        part = manifest.get("splits", {}).get("train")
        if not isinstance(part, dict):
            continue
        ids = pc.binary_join_element_wise(seen.pairs, str(manifest["settings"].get("set")), "_")
        if part.get("conversations") == len(seen.pairs) and pc.all(pc.is_in(ids, value_set=seen.ids)).as_py():
            where = (
                f"{name(manifest)}: histograms of the train split, all of whose {len(seen.pairs):,} figures were seen"
            )
            return {f"seen.{fact}": Fact(values, f"{where}, {key}") for fact, key, values in _histograms(part)}
    return {}


def _histograms(part: Json) -> Iterable[tuple[str, str, dict[str, int]]]:
    histograms = part.get("histograms", {})
    return ((fact, key, histograms[key]) for fact, key in COLUMNS.items() if key in histograms)


def _distinct(numbers: Any) -> int:
    return len(np.unique(numbers))
