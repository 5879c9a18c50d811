"""Facts of what the steps before training took in, kept and left out, whether or not a model saw it."""

from collections import Counter
from collections.abc import Callable, Iterable

from llavamed import artifact
from llavamed.lineage import name
from llavamed.storage import Json
from llavamed.summary.fact import Fact, Facts, names
from llavamed.summary.seen import COLUMNS

# What was removed: name of the fact -> reasons of the manifests' counts.
REMOVED = {
    "opt_outs": ("opt_out",),
    "retracted": ("retracted",),
    "duplicates": ("duplicate_article", "duplicate_figure", "duplicate_image", "near_duplicate_image"),
    "in_test_set": ("in_test_set",),
    "licence": ("licence",),
}
# ... -> whether a step looked for it, so that none is a count too.
_LOOKED_FOR: dict[str, Callable[[Json], bool]] = {
    "opt_outs": lambda m: "opt_out" in m["request"].get("inputs", {}),
    "retracted": lambda m: "licences" in m["settings"],  # as every choice of articles or figures
    "duplicates": lambda m: "duplicates" in m["settings"],
    "in_test_set": lambda m: "against" in m["request"].get("inputs", {}),
    "licence": lambda m: m["settings"].get("licences", "all") != "all",
}
_RECORDS = ("versions", "figures", "conversations")  # an article's figures are counted, the article not again


def facts(line: list[Json]) -> Facts:
    """What is under `collected.` and `removed.`, `cleaning` and `made_by`."""
    return {**_corpora([m for m in line if m["kind"] == "corpus"]), **_acquired(line), **_steps(line), **_removed(line)}


def _corpora(corpora: list[Json]) -> Facts:
    if not corpora:
        return {}
    facts: Facts = {}
    sides = [m["settings"]["max_side"] for m in corpora if "max_side" in m["settings"]]
    if sides:
        facts["collected.max_side"] = Fact(max(sides), f"{names(corpora)}: settings.max_side")
    figures = sum(m["counts"]["figures"]["kept"] for m in corpora)
    facts["collected.figures"] = Fact(figures, f"{names(corpora)}: counts.figures.kept")
    for fact, key in COLUMNS.items():
        total: Json = {}
        for m in corpora:
            total = artifact.add(total, m["histograms"].get(key, {}))
        if total:
            facts[f"collected.{fact}"] = Fact(total, f"{names(corpora)}: histograms.{key}")
    return facts


def _acquired(line: list[Json]) -> Facts:
    facts: Facts = {}
    for which, pick in (("latest", max), ("earliest", min)):
        dates = [(m, date) for m in line for date in collected(m, which)]
        if dates:
            facts[f"collected.{which}"] = _extreme(which, pick, dates)
    articles = [m for m in line if m["kind"] == "articles" and m.get("sources")]
    if articles:
        sources = [source for m in articles for source in m["sources"]]
        facts["collected.sources"] = Fact(sources, f"{names(articles)}: sources")
    updated = [m for m in articles if m.get("updates")]
    if updated:
        facts["collected.ongoing"] = Fact(True, f"{names(updated)}: updates since it was first fetched")
    return facts


def _extreme(which: str, pick: Callable[..., str], dates: list[tuple[Json, str]]) -> Fact:
    found = pick(date for _, date in dates)
    notes = names(m for m, date in dates if date == found)
    return Fact(found, f"{notes}: collected, the {which} of {len(dates)} dates")


def collected(manifest: Json, which: str = "latest") -> list[str]:
    """The days (YYYY-MM-DD) on which an artifact's raw material was acquired; of a span the `which` one."""
    extra = manifest.get("collected", {}).get(which)
    days = [day for day in manifest["histograms"].get("collected", {}) if day != "unknown"]
    return [*days, *([extra] if extra else [])]


def _steps(line: list[Json]) -> Facts:
    steps = [
        {"step": " ".join(filter(None, (name(m), m["settings"].get("set")))), "records": records, **count}
        for m in reversed(line)
        for records, count in m["counts"].items()
    ]
    return {
        "cleaning": Fact(steps, "counts of each step in the lineage"),
        "made_by": Fact([model for m in line for model in m["models"]], f"{names(line)}: models"),
    }


def _removed(line: list[Json]) -> Facts:
    """What was left out before training, by reason; a step that leaves out none of a kind says nothing of it."""
    facts: Facts = {}
    for fact, reasons in REMOVED.items():
        found = [
            (m, f"counts.{records}.excluded.{reason}", n)
            for m in line for records, count in m["counts"].items() if records in _RECORDS
            for reason, n in count["excluded"].items() if reason in reasons
        ]  # fmt: skip
        looked = [m for m in line if _LOOKED_FOR[fact](m)]
        if found:
            facts[f"removed.{fact}"] = _sum(found)
        elif looked:
            facts[f"removed.{fact}"] = Fact(0, f"{names(looked)}: counts, none of them {' or '.join(reasons)}")
    by_rule: Counter[str] = Counter()
    turns = [(m, m["counts"]["turns"]["excluded"]) for m in line if "turns" in m["counts"]]
    for _, excluded in turns:
        by_rule.update(excluded)
    if turns:
        where = f"{names(m for m, _ in turns)}: counts.turns.excluded"
        facts["removed.turns"] = Fact(by_rule.total(), where)
        facts["removed.turns_by_rule"] = Fact(dict(sorted(by_rule.items())), where)
    tags: Counter[str] = Counter()
    dropped = [m for m in line if m.get("identifying_tags_dropped")]
    for m in dropped:
        tags.update(m["identifying_tags_dropped"])
    if dropped:
        where = f"{names(dropped)}: identifying_tags_dropped"
        facts["removed.dicom_tags"] = Fact(tags.total(), where)
        facts["removed.dicom_tags_by_name"] = Fact(dict(sorted(tags.items())), where)
    return facts


def _sum(found: Iterable[tuple[Json, str, int]]) -> Fact:
    parts = [*found]
    return Fact(sum(n for _, _, n in parts), "; ".join(f"{name(m)}: {query} {n:,}" for m, query, n in parts))
