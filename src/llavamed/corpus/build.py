"""Articles -> the table of figures."""

import re
from collections.abc import Iterator
from functools import partial
from pathlib import Path

import pyarrow.parquet as pq

from llavamed import artifact
from llavamed.artifact import Json, Tables
from llavamed.cards import dataset_card
from llavamed.corpus import jats
from llavamed.corpus.images import MAX_BYTES, VECTORS, Picture, find, picture
from llavamed.corpus.modality import domain_of, modality_of
from llavamed.corpus.problem import Problem
from llavamed.corpus.schema import EXCLUDED, FIGURES, SPLITS, split_of
from llavamed.corpus.sources import Item, Package, list_sources, mark_duplicates, read

SHARD = 32  # article files
_SCHEMAS = {"data": FIGURES, "excluded": EXCLUDED}
_TEXT = EXCLUDED.names[:-3]
# "(A)", "a)", "(b–d)", "A:" or "left panel": a caption that tells of several pictures.
_LETTERS = r"[a-h](?:\s?[-–,&/]\s?[a-h]|\s(?:and|to)\s[a-h])*"
_PANELS = re.compile(
    rf"[(\[]\s*{_LETTERS}\s*[)\],;:]|(?:^|[.;:,]\s)[a-h]\)\s|(?:^|[.;]\s)(?-i:[A-H])[:.,]?\s(?=(?-i:[A-Z]))"
    r"|\b(?:panels?|(?:top|bottom|upper|lower|left|right|middle) (?:panel|row|column|image|picture)s?)\b"
    r"|[(\[](?:left|right|top|bottom)[)\]]",
    re.IGNORECASE,
)


def build(sources: list[Path], folder: Path, *, max_side: int = 1024, workers: int = 1, force: bool = False) -> Json:
    """Read the articles in `sources` (package folders, archives, XML files, or folders of them) into a corpus.

    Returns `{articles, articles_excluded: {reason: n}, figures: {in, kept, excluded: {reason: n}}, images, artifact,
    hash}`: articles read, figures, and distinct images. The same content for any number of `workers`.

    Raises:
        InputError: a source is missing, holds no article or is unfinished; what `artifact.start` raises.
    """
    items, files, parents = list_sources([Path(source) for source in sources])
    folder = Path(folder)
    inputs = {"sources": artifact.fingerprint(files)} if files else {}
    settings = {"max_side": max_side}
    needs = sum(path.stat().st_size for _, path in files)
    job = artifact.start(folder, "corpus", settings, inputs=inputs, parents=parents, force=force, needs_bytes=needs)
    manifest = job.manifest
    if manifest is None:
        items = mark_duplicates(items)
        shards = [items[i : i + SHARD] for i in range(0, len(items), SHARD)]
        facts = artifact.run_shards(
            job, partial(_shard, max_side=max_side), shards, _SCHEMAS, workers=workers, label="corpus"
        )
        manifest = _publish(job, facts)
    articles, figures = manifest["counts"]["articles"], manifest["counts"]["figures"]
    return {
        "articles": articles["kept"],
        "articles_excluded": articles["excluded"],
        "figures": figures,
        "images": manifest["images"],
        "artifact": str(folder),
        "hash": manifest["hash"],
    }


def _publish(job: artifact.Job, facts: Json) -> Json:
    if not any((job.out / "data").glob("*.parquet")):
        artifact.write_table(job.out / "data" / "train-00000.parquet", [], FIGURES)
    hashes: set[str] = set()
    for path in artifact.tables(job.out):
        hashes.update(pq.read_table(path, columns=["sha256"])["sha256"].to_pylist())
    counts = {name: _count(facts.get("counts", {}).get(name, {})) for name in ("articles", "figures")}
    splits = [split for split in SPLITS if artifact.has_rows(job.out, split)]
    figures = counts["figures"]
    text = (
        f"{figures['kept']:,} figures of {counts['articles']['kept']:,} open articles, with caption, the sentences "
        "that cite them, licence and kind of image. Each figure is under its article's licence: see `licence`, "
        "`licence_url`.\n\n"
        f"Left out: {sum(figures['excluded'].values()):,} figures; `excluded/` holds their text and the reason."
    )
    return artifact.publish(
        job,
        counts=counts,
        histograms=facts.get("histograms", {}),
        card=dataset_card("Figures of biomedical articles", text, splits),
        images=len(hashes),
    )


def _count(outcomes: dict[str, int]) -> Json:
    """Outcome -> n, to {in, kept, excluded}; the outcome of what is kept is ""."""
    excluded = {reason: n for reason, n in outcomes.items() if reason}
    return {"in": sum(outcomes.values()), "kept": outcomes.get("", 0), "excluded": excluded}


def _shard(items: list[Item], *, max_side: int) -> tuple[Tables, Json]:
    """The figures of some article files, kept and excluded, and their counts."""
    tables: Tables = {f"data/{split}": [] for split in SPLITS}
    tables |= {"excluded/figures": [], "excluded/articles": []}
    facts: Json = {"counts": {"articles": {}, "figures": {}}, "histograms": {}}
    for item in items:
        for record, problem in _records(item, max_side):
            what = "figures" if "fig_id" in record else "articles"
            outcome = facts["counts"][what]
            reason = problem.reason if problem else ""
            outcome[reason] = outcome.get(reason, 0) + 1
            if problem:
                row = {"source": item.name, "reason": problem.reason, "detail": problem.detail}
                tables[f"excluded/{what}"].append({**record, **row})
            elif what == "figures":
                tables[f"data/{record['split']}"].append(record)
                facts["histograms"] = artifact.add(facts["histograms"], _histograms(record, item))
    return tables, facts


def _histograms(record: Json, item: Item) -> Json:
    """One kept figure in each histogram; `modality`: its first, `collected`: when its article file was last changed."""
    modality = record["modality"][0]["name"] if record["modality"] else "unknown"
    values = {name: str(record[name] or "unknown") for name in ("licence", "year", "language", "journal", "split")}
    return {name: {value: 1} for name, value in (values | {"modality": modality, "collected": item.collected}).items()}


def _records(item: Item, max_side: int) -> Iterator[tuple[Json, Problem | None]]:
    """An item's articles (records without `fig_id`) and figures, each with the reason to leave it out, or None."""
    package = read(item)
    problem = package.problem
    if item.duplicate_of:
        problem = problem or Problem("duplicate_article", f"the same article as {item.duplicate_of}")
    if problem and not package.articles:
        yield {}, problem
    seen: set[str] = set()
    for name, data in package.articles.items():
        try:
            articles = jats.parse(data)
        except Problem as error:
            yield {}, problem or error
            continue
        for article in articles:
            ids = {x for x in (article.pmcid, article.pmid, article.doi) if x}
            again = (
                Problem("duplicate_article", f"the same article as another file of {item.name}") if ids & seen else None
            )
            seen |= ids
            yield from _article(article, item, package, name, problem or again, max_side)


def _article(
    article: jats.Article, item: Item, package: Package, name: str, problem: Problem | None, max_side: int
) -> Iterator[tuple[Json, Problem | None]]:
    about = {key: getattr(article, key) for key in _TEXT if hasattr(article, key)}
    yield {**about, "pair_id": None}, problem
    prefix = article.pmid or article.pmcid or article.doi or item.stem
    folder = name.rpartition("/")[0]
    split = split_of(article.pmcid or article.doi or item.stem)
    for figure in article.figures:
        pair_id = jats.file_name(f"{prefix}_{figure.fig_id}")
        text = about | {key: getattr(figure, key) for key in _TEXT if hasattr(figure, key)} | {"pair_id": pair_id}
        if problem:
            yield text, problem
            continue
        try:
            image = _picture(figure.graphics, package, folder, pair_id, max_side)
        except Problem as error:
            yield text, error
            continue
        yield text | _seen(image) | _said(figure) | {"split": split}, None


def _seen(image: Picture) -> Json:
    return {
        "image": {"bytes": image.data, "path": image.path},
        "width": image.width,
        "height": image.height,
        "sha256": image.sha256,
        "phash": image.phash,
    }


def _said(figure: jats.Figure) -> Json:
    """What the words tell of the picture. Panels are not looked for yet; `single_plot`: the caption names none."""
    modality = modality_of(figure.fig_caption, figure.in_text_mention)
    single = _PANELS.search(figure.fig_caption) is None
    return {"modality": modality, "domain": domain_of(modality), "panels": [], "single_plot": single}


def _picture(graphics: list[str], package: Package, folder: str, name: str, max_side: int) -> Picture:
    """The first usable image that a figure of an article in `folder` names.

    Raises:
        Problem: no_graphic, image_missing, vector_image, image_too_large, image_broken: why the first was not.
    """
    if not graphics:
        raise Problem("no_graphic")
    first: Problem | None = None
    for href in graphics:
        files = find(href, package.stems, folder)
        if not files:
            first = first or Problem("image_missing", href)
        for file in files:
            try:
                if file.lower().endswith(VECTORS):
                    raise Problem("vector_image", file)
                return picture(_bytes(package.images[file]), name, max_side)
            except Problem as error:
                first = first or Problem(error.reason, f"{file}: {error.detail}" if error.detail != file else file)
    raise first or Problem("image_missing", graphics[0])


def _bytes(content: bytes | Path) -> bytes:
    if isinstance(content, bytes):
        return content
    try:
        with content.open("rb") as stream:
            return stream.read(MAX_BYTES + 1)
    except OSError as error:
        raise Problem("image_broken", f"{error.strerror}") from None
