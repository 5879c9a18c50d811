"""Figures of any source -> the corpus: the table of figures, chosen, without copies."""

from collections import Counter
from collections.abc import Iterator, Sequence
from dataclasses import replace
from functools import partial
from pathlib import Path

from llavamed import artifact, storage
from llavamed.artifact import Tables
from llavamed.cards import dataset_card
from llavamed.corpus import copies, record, test_sets
from llavamed.corpus.choose import Choice, read_opt_out
from llavamed.corpus.entry import Entry
from llavamed.corpus.problem import Problem
from llavamed.corpus.schema import EXCLUDED, FIGURES, SPLITS, TEXT
from llavamed.corpus.sources import Item, entries, list_sources, settle
from llavamed.errors import InputError
from llavamed.storage import Json

SHARD = 256  # figures, about
_SCHEMAS = {"data": FIGURES, "excluded": EXCLUDED}
_COUNTED = ("licence", "year", "language", "journal", "split", "collected")


def build(
    sources: list[Path],
    folder: Path,
    *,
    images: Path | None = None,
    max_side: int = 1024,
    panels: str = "keep",
    choice: Choice | None = None,
    opt_out: Path | None = None,
    duplicates: str = "exact",
    against: Sequence[Path] = (),
    workers: int = 1,
    engine: str = "local",
    force: bool = False,
) -> Json:
    """Read the figures of `sources` into a corpus.

    `images`: the folder of the pictures that a CSV or JSON among the sources names, where it is not beside it.
    `choice`: which are taken; `opt_out`: a list of what must not be (`choose.read_opt_out`). `duplicates`: see
    `copies.MODES`. `against`: test sets (`test_sets.files_of`) whose pictures must not be in it. `panels`: keep, or
    split: a row for each panel of a compound figure.

    Returns `{articles, articles_excluded: {reason: n}, figures: {in, kept, excluded: {reason: n}}, images, artifact,
    hash}`: articles that `choice` takes by their text, figures, and distinct images. The same content for any number of
    `workers`.

    Raises:
        InputError: a source is missing, unfinished or holds nothing to read; a list or a test set cannot be read; what
            `artifact.start` raises.
    """
    folder, choice = Path(folder), choice or Choice()
    items, files, parents = list_sources([Path(source) for source in sources], images, folder)
    _check_apart(folder, files)
    inputs = {"sources": storage.fingerprint(files)} if files else {}
    if opt_out:
        choice = replace(choice, opt_out=read_opt_out(opt_out))
        inputs["opt_out"] = storage.sha256_file(opt_out)
    tests = test_sets.files_of(against)
    if tests:
        inputs["against"] = storage.fingerprint(tests)
    settings = {"max_side": max_side, "panels": panels, "duplicates": duplicates, **choice.settings()}
    needs = sum(path.stat().st_size for _, path in files)
    job = artifact.start(folder, "corpus", settings, inputs=inputs, parents=parents, force=force, needs_bytes=needs)
    manifest = job.manifest
    if manifest is None:
        table = job.work / "against.parquet" if tests else None
        if table:
            _read_tests(job, table, tests, max_side, workers)
        read = partial(_shard, options=record.Options(max_side, panels == "split", choice, table))
        shards = [*_shards(settle(items))]
        facts = artifact.run_shards(
            job, read, shards, _SCHEMAS, workers=workers, engine=engine, reads=sources, label="corpus"
        )
        manifest = _publish(job, facts, copies.leave_out(job, duplicates))
    articles, figures = manifest["counts"]["articles"], manifest["counts"]["figures"]
    return {
        "articles": articles["kept"],
        "articles_excluded": articles["excluded"],
        "figures": {name: figures[name] for name in ("in", "kept", "excluded")},
        "images": manifest["images"],
        "artifact": str(folder),
        "hash": manifest["hash"],
    }


def _check_apart(folder: Path, files: Sequence[tuple[str, Path]]) -> None:
    """Raises InputError: what was written would be read."""
    place = folder.resolve()
    if any(path.resolve().is_relative_to(place) for _, path in files):
        raise InputError(f"{folder} lies inside a source and would be read itself: name a folder elsewhere with -o")


def _read_tests(job: artifact.Job, table: Path, files: list[tuple[str, Path]], max_side: int, workers: int) -> None:
    try:
        test_sets.write(table, files, max_side, workers)
    except InputError:
        artifact.abandon(job)
        raise


def _shards(items: list[Item]) -> Iterator[list[Item]]:
    """Items in order, together about SHARD figures."""
    shard: list[Item] = []
    for item in items:
        shard.append(item)
        if sum(item.figures for item in shard) >= SHARD:
            yield shard
            shard = []
    if shard:
        yield shard


def _shard(items: list[Item], *, options: record.Options) -> tuple[Tables, Json]:
    """The figures of some items, kept and excluded, and their counts: reason -> n, "" for what is kept."""
    tables: Tables = {}
    counts: dict[str, Counter[str]] = {name: Counter() for name in ("articles", "rows", "dropped")}
    for item in items:
        for entry in entries(item):
            about = {"source": entry.source or item.name, "collected": item.collected}
            about |= {key: entry.earlier[key] for key in about if entry.earlier}
            what = "articles" if entry.graphics is None else "figures"
            for row, problem in _rows(entry, options):
                counts["articles" if what == "articles" else "rows"][problem.reason if problem else ""] += 1
                if problem:
                    said = {"reason": problem.reason, "detail": problem.detail}
                    tables.setdefault(f"excluded/{what}", []).append(row | about | said)
                elif what == "figures":
                    tables.setdefault(f"data/{row['split']}", []).append(row | about)
            counts["dropped"].update(entry.dropped)
    return tables, {"counts": counts}


def _rows(entry: Entry, options: record.Options) -> Iterator[tuple[Json, Problem | None]]:
    if entry.graphics is None:
        text = dict.fromkeys(TEXT) | entry.text
        yield text, entry.problem or options.choice.refuses_text(text)
    else:
        yield from record.rows(entry, options)


def _publish(job: artifact.Job, facts: Json, lost: dict[str, int]) -> Json:
    found = facts.get("counts", {})
    outcomes, cut = _figures(job.out)
    counts = {"articles": _count(found.get("articles", {}), {}), "figures": _count(outcomes, {})}
    if cut or job.settings["panels"] == "split":
        counts["panels"] = _count(found.get("rows", {}), lost)
    if not storage.tables(job.out):
        storage.write_table(job.out / "data" / "train-00000.parquet", [], FIGURES)
    histograms, images = survey(job.out)
    splits = [split for split in SPLITS if storage.has_rows(job.out, split)]
    figures, articles = counts["figures"], counts["articles"]["kept"]
    whose = f" of {articles:,} articles" if articles else ""
    parts = f", cut into {counts['panels']['kept']:,} panels" if "panels" in counts else ""
    text = (
        f"{figures['kept']:,} figures{whose}{parts}, with caption, the sentences that cite them where there are any, "
        "licence and kind of image. Each is under a licence of its own: see `licence`, `licence_url`.\n\n"
        f"Left out: {sum(figures['excluded'].values()):,} figures; `excluded/` holds their text and the reason."
    )
    return artifact.publish(
        job,
        counts=counts,
        histograms=histograms,
        card=dataset_card("Biomedical figures with captions", text, splits),
        images=images,
        identifying_tags_dropped=found.get("dropped", {}),
    )


def _figures(folder: Path) -> tuple[Counter[str], bool]:
    """(reason -> figures without a row that is kept, "" -> those with one; whether some are cut into panels).

    A figure that is there twice counts twice.
    """
    outcomes: dict[tuple[str, int], str] = {}
    times: Counter[str] = Counter()
    cut = False
    for part, names in (("data", ["pair_id", "panel"]), ("excluded", ["pair_id", "panel", "reason"])):
        for row in storage.read_rows(folder, part, names):
            if row["pair_id"]:  # else an article
                times[row["pair_id"]] += 1
                figure = row["pair_id"].removesuffix(f"_{row['panel']}" if row["panel"] else "")
                outcomes.setdefault((figure, times[row["pair_id"]]), row.get("reason", ""))
                cut = cut or bool(row["panel"])
    return Counter(outcomes.values()), cut


def survey(folder: Path) -> tuple[Json, int]:
    """The histograms of a corpus's tables, and the number of distinct images.

    Figures by licence, year, language, journal, split, `collected`, kind of image (`modality`: the surest; `kinds`: all
    that a figure shows) and `flags`.
    """
    histograms: dict[str, Counter[str]] = {name: Counter() for name in (*_COUNTED, "modality", "kinds", "flags")}
    images: set[str] = set()
    for row in storage.read_rows(folder, columns=[*_COUNTED, "modality", "flags", "sha256"]):
        images.add(row["sha256"])
        names = [entry["name"] for entry in row["modality"] or []] or ["unknown"]
        for column in _COUNTED:
            histograms[column][str(row[column] or "unknown")] += 1
        histograms["modality"][names[0]] += 1
        histograms["kinds"].update(names)
        histograms["flags"].update(row["flags"] or [])
    return {name: dict(sorted(count.items())) for name, count in histograms.items()}, len(images)


def _count(outcomes: dict[str, int], lost: dict[str, int]) -> Json:
    """Outcome -> n, to {in, kept, excluded}; `lost`: reason -> n of those kept at first."""
    excluded = {reason: n for reason, n in outcomes.items() if reason}
    kept = outcomes.get("", 0) - sum(lost.values())
    return {"in": sum(outcomes.values()), "kept": kept, "excluded": artifact.add(excluded, lost)}
