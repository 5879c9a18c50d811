"""What a model's lineage says about its training data: every figure counted, with the note where it was read.

The notes name the artifact (kind and the first digits of its content hash) and the query. What the model saw comes
from its `seen.parquet`; kinds, licences and years of it from the corpus tables where these are at hand, else from the
manifests where those suffice. What was merely collected is kept apart under `collected.`.
"""

from collections import Counter
from collections.abc import Iterable
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from llavamed import artifact, storage
from llavamed.lineage import SEEN, at_hand, lineage, read_seen
from llavamed.storage import Json

# of the figures seen: name of the fact -> column of the corpus tables, and name of the manifests' histogram
COLUMNS = {"kinds": "modality", "licences": "licence", "years": "year", "languages": "language", "journals": "journal"}


@dataclass(frozen=True)
class Fact:
    """A value, and the notes it was read from."""

    value: Any
    source: str


Facts = dict[str, Fact]


def gather(model: Path) -> Facts:
    """All that is known of the data that `model` (the folder of a trained model) saw: name -> fact. A name that is
    missing is not known.

    Raises:
        InputError: the folder holds no trained model, or its `seen.parquet` is not the one that was published.
    """
    manifest = artifact.require(model, "model")
    line = lineage(manifest)
    seen = read_seen(model, manifest, ("image_sha256",))
    tables = at_hand(model, line)
    pairs = _pairs(seen, tables)
    return {
        **_of_model(line),
        **_of_seen(manifest, seen, pairs),
        **_of_figures(line, tables, seen, set(pairs.values())),
        **_of_collected(line),
    }


def name(manifest: Json) -> str:
    """How notes name an artifact."""
    return f"{manifest['kind']} {manifest['hash'][:12]}"


def _pairs(seen: list[Json], tables: list[tuple[Path, Json]]) -> dict[str, str]:
    """Conversation -> figure, of those seen. Without the tables: an id is the figure's, "_" and the set's name."""
    pairs = {row["id"]: row["id"].rpartition("_")[0] or row["id"] for row in seen}
    for folder, manifest in tables:
        if manifest["kind"] == "conversations":
            for row in storage.read_rows(folder, columns=["id", "pair_id"]):
                if row["id"] in pairs:
                    pairs[row["id"]] = row["pair_id"]
    return pairs


def _of_model(line: list[Json]) -> Facts:
    model = line[0]
    trained = [m for m in line if m["kind"] == "model" and SEEN in m["files"]]
    first = min(reversed(trained), key=lambda m: m["times"]["started"])
    facts = {
        "model.hash": Fact(model["hash"], f"{name(model)}: content hash"),
        "model.finished": Fact(_day(model["times"]["finished"]), f"{name(model)}: times.finished"),
        "training.first": Fact(
            _day(first["times"]["started"]), f"{name(first)}: times.started, the earliest of {len(trained)} trainings"
        ),
        "lineage": Fact([{"kind": m["kind"], "hash": m["hash"]} for m in line], f"{name(model)}: parents, to the root"),
    }
    bases = [m for m in line if m.get("backbone") and not m["parents"]]  # training passes the note on
    if bases:
        facts["base"] = Fact([m["backbone"] for m in bases], "; ".join(f"{name(m)}: backbone" for m in bases))
    return facts


def _of_seen(manifest: Json, seen: list[Json], pairs: dict[str, str]) -> Facts:
    """Counts of what was trained on: each record once, and with the passes over it."""
    records = {row["id"]: row for row in seen}  # seen in two stages: once
    image_tokens: dict[str, int] = {}
    for key, row in records.items():
        picture = row.get("image_sha256") or pairs[key]
        image_tokens[picture] = max(image_tokens.get(picture, 0), row["image_tokens"])
    counts = {
        "conversations": (len(records), "distinct id"),
        "images": (len(image_tokens), "distinct picture by image_sha256, else figure of the ids"),
        "text_tokens": (sum(row["text_tokens"] for row in records.values()), "sum of text_tokens over distinct id"),
        "image_tokens": (sum(image_tokens.values()), "sum of image_tokens over distinct picture"),
        "passes": (sum(row["times_seen"] for row in seen), "sum of times_seen"),
        "text_tokens_read": (
            sum(row["text_tokens"] * row["times_seen"] for row in seen),
            "sum of text_tokens x times_seen",
        ),
        "image_tokens_read": (
            sum(row["image_tokens"] * row["times_seen"] for row in seen),
            "sum of image_tokens x times_seen",
        ),
        "by_stage": (dict(sorted(Counter(row["stage"] for row in seen).items())), "rows by stage"),
    }
    return {f"seen.{key}": Fact(value, f"{name(manifest)}, {SEEN}: {query}") for key, (value, query) in counts.items()}


def _of_figures(line: list[Json], found: list[tuple[Path, Json]], seen: list[Json], figures: set[str]) -> Facts:
    corpora = [m for m in line if m["kind"] == "corpus"]
    tables = [(folder, m) for folder, m in found if m["kind"] == "corpus"]
    if corpora and len(tables) == len(corpora):
        return _from_tables(tables, figures)
    return _from_manifests(line, seen, figures)


def _from_tables(tables: list[tuple[Path, Json]], figures: set[str]) -> Facts:
    counts: dict[str, Counter[str]] = {fact: Counter() for fact in COLUMNS}
    articles, found = set(), set()
    columns = ["pair_id", "pmcid", "doi", "fig_id", *COLUMNS.values()]
    for folder, _ in tables:
        for row in storage.read_rows(folder, columns=columns):
            if row["pair_id"] in figures and row["pair_id"] not in found:
                found.add(row["pair_id"])
                articles.add(row["pmcid"] or row["doi"] or row["pair_id"].removesuffix(f"_{row['fig_id']}"))
                for fact, column in COLUMNS.items():
                    counts[fact][_value(row[column])] += 1
    where = f"{_names(m for _, m in tables)}, data: rows whose pair_id was seen"
    facts = {f"seen.{fact}": Fact(_sorted(count), f"{where}, by {COLUMNS[fact]}") for fact, count in counts.items()}
    facts["seen.articles"] = Fact(len(articles), f"{where}, distinct article")
    facts["seen.figures_found"] = Fact(len(found), where)
    return facts


def _from_manifests(line: list[Json], seen: list[Json], figures: set[str]) -> Facts:
    """Without tables: a set whose training part is exactly the figures seen has their histograms in its manifest."""
    ids = {row["id"] for row in seen}
    for manifest in (m for m in line if m["kind"] == "conversations"):
        part = manifest.get("splits", {}).get("train", {})
        written = {f"{figure}_{manifest['settings'].get('set')}" for figure in figures}
        if part.get("conversations") == len(figures) and written <= ids:
            where = f"{name(manifest)}: histograms of the train split, all of whose {len(figures):,} figures were seen"
            histograms = part["histograms"]
            return {
                f"seen.{fact}": Fact(histograms[key], f"{where}, {key}")
                for fact, key in COLUMNS.items()
                if key in histograms
            }
    return {}


def _of_collected(line: list[Json]) -> Facts:
    """What the steps before training took in, kept and left out, whether or not a model saw it."""
    facts: Facts = {}
    corpora = [m for m in line if m["kind"] == "corpus"]
    if corpora:
        sides = [m["settings"]["max_side"] for m in corpora if "max_side" in m["settings"]]
        if sides:
            facts["collected.max_side"] = Fact(max(sides), f"{_names(corpora)}: settings.max_side")
        figures = sum(m["counts"]["figures"]["kept"] for m in corpora)
        facts["collected.figures"] = Fact(figures, f"{_names(corpora)}: counts.figures.kept")
        for fact, key in COLUMNS.items():
            total: Json = {}
            for m in corpora:
                total = artifact.add(total, m["histograms"].get(key, {}))
            if total:
                facts[f"collected.{fact}"] = Fact(total, f"{_names(corpora)}: histograms.{key}")
    dates = [(m, date) for m in line for date in _collected(m)]
    if dates:
        latest = max(date for _, date in dates)
        notes = _names(m for m, date in dates if date == latest)
        facts["collected.latest"] = Fact(latest, f"{notes}: collected, the latest of {len(dates)} dates")
    articles = [m for m in line if m["kind"] == "articles" and m.get("sources")]
    if articles:
        sources = [source for m in articles for source in m["sources"]]
        facts["collected.sources"] = Fact(sources, f"{_names(articles)}: sources")
    steps = [
        {"step": " ".join(filter(None, (name(m), m["settings"].get("set")))), "records": records, **count}
        for m in reversed(line)
        for records, count in m["counts"].items()
    ]
    facts["cleaning"] = Fact(steps, "counts of each step in the lineage")
    facts["made_by"] = Fact([model for m in line for model in m["models"]], f"{_names(line)}: models")
    return facts


def _collected(manifest: Json) -> list[str]:
    """The days (YYYY-MM-DD) on which an artifact's raw material was acquired."""
    extra = manifest.get("collected", {}).get("latest")
    return [*manifest["histograms"].get("collected", {}), *([extra] if extra else [])]


def _value(value: Any) -> str:
    """What a cell counts as, by the corpus's rule: the first (surest) kind of image; an empty cell as unknown."""
    if isinstance(value, list):
        value = value[0]["name"] if value else None
    return str(value or "unknown")


def _sorted(count: Counter[str]) -> dict[str, int]:
    return dict(sorted(count.items(), key=lambda item: (-item[1], item[0])))


def _names(manifests: Iterable[Json]) -> str:
    return ", ".join(name(m) for m in manifests)


def _day(time: str) -> str:
    return time[:10]
