"""Counts and histograms of manifests, computed again from the tables: by another road than the steps took."""

from collections import Counter
from collections.abc import Callable, Iterator
from importlib.util import find_spec
from pathlib import Path
from typing import Any

import pyarrow as pa
import pyarrow.compute as pc
import pyarrow.parquet as pq

from llavamed import storage
from llavamed.console import progress
from llavamed.errors import InputError
from llavamed.lineage import SEEN, name
from llavamed.storage import Json
from llavamed.summary.register import corpora_of, key_of, read
from llavamed.summary.seen import by_kind, by_value
from llavamed.summary.tokens import count_tokens

Folders = dict[tuple[str, str], Path]  # kind and content hash -> where an artifact lies
_FIGURE = ("licence", "year", "language", "journal", "modality")  # histograms of a set, of its figures
MANIFEST = "manifest.json"
_MARK = "<image>"


def recount(folders: Folders, manifests: dict[Path, Json], notes: list[Json]) -> Iterator[tuple[Path, str, str]]:
    """(folder, file, how it and the tables differ), of every artifact in `manifests`.

    `notes`: is told what cannot be counted again, as `[{path, what}]`.
    """
    waiting = [(folder, m) for folder, m in manifests.items() if m["kind"] in _COUNTERS]
    with progress("counting again", len(waiting), "artifacts") as advance:
        for folder, manifest in waiting:
            try:
                counted = _COUNTERS[manifest["kind"]](folder, manifest, folders, notes)
                for part, values in counted.items():
                    for said in _differences(manifest.get(part), values, part):
                        yield folder, MANIFEST, said
            except InputError as error:
                yield folder, SEEN if manifest["kind"] == "model" else MANIFEST, str(error)
            except (pa.ArrowException, OSError, KeyError) as error:
                yield folder, MANIFEST, f"its tables cannot be counted: {' '.join(str(error).split())}"
            advance()


def _differences(said: Any, counted: Any, where: str) -> Iterator[str]:
    if isinstance(counted, dict):
        theirs = said if isinstance(said, dict) else {}
        for key in _keys(theirs, counted):
            yield from _differences(theirs.get(key), counted.get(key), f"{where}.{key}")
    elif (said or 0) != (counted or 0):
        yield f"{where} is {said or 0} in the manifest and {counted or 0} by the tables"


def _keys(said: Json, counted: Json) -> list[str]:
    """What is compared: where values are counted, those that only one side has too."""
    if counted and not all(isinstance(n, int) for n in counted.values()):
        return [*counted]
    return [*counted, *(key for key in said if key not in counted and isinstance(said[key], int))]


def _corpus(folder: Path, manifest: Json, folders: Folders, notes: list[Json]) -> Json:
    wanted = manifest["histograms"].keys()
    table = read(folder, {*wanted, "modality", "sha256", "pair_id", "panel"})
    counted: Json = {"histograms": {}, "counts": _figures(folder, table, manifest)}
    for histogram in wanted:
        if histogram in ("modality", "kinds"):
            counted["histograms"][histogram] = by_kind(table["modality"].combine_chunks(), histogram == "modality")
        elif histogram == "flags":
            counted["histograms"][histogram] = by_value(pc.list_flatten(table["flags"]).combine_chunks())
        elif histogram in table.column_names:
            counted["histograms"][histogram] = by_value(table[histogram].combine_chunks())
    if "images" in manifest:
        counted["images"] = pc.count_distinct(table["sha256"]).as_py()
    return counted


def _figures(folder: Path, table: pa.Table, manifest: Json) -> Json:
    """Figures kept and left out, by reason: a `<fig>` counts once, whatever rows it makes."""
    left = read(folder, ("pair_id", "panel", "reason"), part="excluded")
    parts = [part.filter(pc.not_equal(part["pair_id"], "")) for part in (table, left) if len(part)]  # no articles
    rows: Counter[str] = Counter()
    for part in parts:
        rows.update(by_value(part["reason"].combine_chunks()) if "reason" in part.column_names else {"": len(part)})
    counted = {"figures": _count(_of_panels(parts) if any(map(_has_panels, parts)) else rows)}
    return counted | ({"panels": _count(rows)} if "panels" in manifest["counts"] else {})


def _has_panels(table: pa.Table) -> bool:
    return "panel" in table.column_names and bool(pc.any(pc.not_equal(table["panel"], "")).as_py())


def _of_panels(parts: list[pa.Table]) -> Counter[str]:
    """What became of each figure: it is kept if one of its rows is; one that is there twice counts twice."""
    times: Counter[str] = Counter()
    outcome: dict[tuple[str, int], str] = {}
    for part in parts:
        reasons = part["reason"].to_pylist() if "reason" in part.column_names else [""] * len(part)
        for pair, panel, reason in zip(part["pair_id"].to_pylist(), part["panel"].to_pylist(), reasons, strict=True):
            times[pair] += 1
            outcome.setdefault((pair.removesuffix(f"_{panel}") if panel else pair, times[pair]), reason)
    return Counter(outcome.values())


def _count(outcomes: Counter[str]) -> Json:
    excluded = {reason: n for reason, n in outcomes.items() if reason}
    return {"in": outcomes.total(), "kept": outcomes[""], "excluded": excluded}


def _conversations(folder: Path, manifest: Json, folders: Folders, notes: list[Json]) -> Json:
    splits = manifest.get("splits", {})
    told: Json = {split: Counter() for split in splits}
    pairs: dict[str, list[str]] = {split: [] for split in splits}
    kept = turns = 0
    by_split: Counter[str] = Counter()
    for row in storage.read_rows(folder, columns=["pair_id", "split", "conversations"]):
        texts = [(part["value"] or "").replace(_MARK, "").strip() for part in row["conversations"] or []]
        kept, turns = kept + 1, turns + len(texts) // 2
        by_split[row["split"]] += 1
        if row["split"] in told:
            pairs[row["split"]].append(row["pair_id"])
            told[row["split"]].update(conversations=1, turns=len(texts) // 2, words=sum(len(t.split()) for t in texts),
                                      characters=sum(map(len, texts)))  # fmt: skip
    counts = {"conversations": {"kept": kept, "excluded": _left_out(folder, of_turns=False)}}
    if "turns" in manifest["counts"]:
        counts["turns"] = {"kept": turns, "excluded": _left_out(folder, of_turns=True)}
    counted: Json = {"counts": counts, "splits": {}, "histograms": {}}
    if "split" in manifest["histograms"]:
        counted["histograms"]["split"] = dict(by_split)
    for split, part in splits.items():  # those that were given by hand have numbers alone
        if isinstance(part, dict):
            counted["splits"][split] = {key: told[split][key] for key in part.keys() & told[split].keys()}
            counted["splits"][split] |= _of_figures(manifest, part, pairs[split], folders, notes)
    return counted


def _left_out(folder: Path, of_turns: bool) -> Json:
    found: Counter[str] = Counter()
    for path in storage.tables(folder, "excluded"):
        columns = [column for column in ("turn", "reason") if column in pq.read_schema(path).names]
        for row in pq.read_table(path, columns=columns).to_pylist():
            found[row["reason"]] += (row.get("turn") is not None) == of_turns
    return {reason: n for reason, n in found.items() if n}


def _of_figures(manifest: Json, part: Json, pairs: list[str], folders: Folders, notes: list[Json]) -> Json:
    """The histograms of a split's figures, by the tables of the corpora that the set was made from."""
    corpora = corpora_of(manifest)
    if "histograms" not in part or not corpora or not manifest["settings"].get("set"):
        return {}
    gone = [corpus for corpus in corpora if key_of(corpus) not in folders]
    if gone:
        notes.append({"path": name(manifest), "what": f"{name(gone[0])} is not at hand: the histograms of its figures "
                      "were not counted again"})  # fmt: skip
        return {}
    wanted = part["histograms"].keys() & set(_FIGURE)
    values = pa.array(pairs, pa.string())
    counted: Json = {histogram: Counter() for histogram in wanted}
    times = Counter(pairs)
    for corpus in corpora:
        table = read(folders[key_of(corpus)], ("pair_id", *_FIGURE))
        table = table.filter(pc.is_in(table["pair_id"], value_set=values))
        for batch in table.to_batches(max_chunksize=storage.ROWS_IN_GROUP):
            for row in batch.to_pylist():
                row["modality"] = row["modality"][0]["name"] if row.get("modality") else None
                for histogram in wanted:
                    counted[histogram][str(row[histogram] or "unknown")] += times[row["pair_id"]]
    return {"histograms": {histogram: dict(count) for histogram, count in counted.items()}}


def _articles(folder: Path, manifest: Json, folders: Folders, notes: list[Json]) -> Json:
    table = folder / "versions.parquet"
    if not table.exists():
        notes.append({"path": name(manifest), "what": "it has no table of its articles to count again"})
        return {}
    rows = pq.read_table(table, columns=["licence", "year"])
    histograms = {column: by_value(rows[column].combine_chunks()) for column in ("licence", "year")}
    left = folder / "excluded" / "versions.parquet"
    reasons = by_value(pq.read_table(left, columns=["reason"])["reason"].combine_chunks()) if left.exists() else {}
    return {"histograms": histograms, "counts": {"versions": {"kept": len(rows), "excluded": reasons}}}


def _model(folder: Path, manifest: Json, folders: Folders, notes: list[Json]) -> Json:
    """What a training took in, and the tokens of the records that it noted, by the model's own tokenizer."""
    stage = manifest["settings"].get("name")
    if SEEN not in manifest["files"] or not stage:
        return {}
    seen = pq.read_table(folder / SEEN, columns=["id", "stage", "text_tokens", "image_tokens"])
    seen = seen.filter(pc.equal(seen["stage"], stage))
    excluded = Counter(row["reason"] for row in storage.read_rows(folder, "excluded", ["reason"]))
    counted: Json = {"counts": {"conversations": {"kept": len(seen), "excluded": dict(excluded)}}}
    sets = [entry["manifest"] for entry in manifest["parents"] if entry["manifest"]["kind"] == "conversations"]
    data = next((folders[key_of(m)] for m in sets if key_of(m) in folders), None)
    missing = "" if data else "its conversations are not at hand"
    if not any(file.startswith("tokenizer") for file in manifest["files"]):
        missing = "it has no tokenizer"
    elif find_spec("transformers") is None:
        missing = "transformers is not installed (pip install 'llavamed[train]')"
    if missing:
        notes.append({"path": name(manifest), "what": f"{missing}: no token was counted again"})
    elif data:
        _check_tokens(folder, data, seen)
    return counted


def _check_tokens(folder: Path, data: Path, seen: pa.Table) -> None:
    """Raises InputError: the tokenizer is unknown; some record is not in the set, or has other tokens than noted."""
    ids, text, image = (seen[column].to_pylist() for column in ("id", "text_tokens", "image_tokens"))
    found = count_tokens(folder, data, dict(zip(ids, image, strict=True)))
    wrong = [own for own, n in zip(ids, text, strict=True) if found.get(own) != n]
    if wrong:
        raise InputError(f"{len(wrong):,} of {len(ids):,} records have other text tokens by the tokenizer, {wrong[0]} "
                         "the first: restore the model and its conversations")  # fmt: skip


_COUNTERS: dict[str, Callable[[Path, Json, Folders, list[Json]], Json]] = {
    "corpus": _corpus, "conversations": _conversations, "articles": _articles, "model": _model,
}  # fmt: skip
