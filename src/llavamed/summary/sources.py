"""Facts of whose data the model saw: the source data sets with their shares, and what AI wrote of it."""

import re
from collections.abc import Iterable, Iterator
from dataclasses import dataclass, replace
from functools import cache

import numpy as np
import pyarrow as pa
import pyarrow.compute as pc
import yaml

from llavamed import storage
from llavamed.corpus import builtin
from llavamed.lineage import SEEN, name
from llavamed.storage import Json
from llavamed.summary.collected import collected
from llavamed.summary.fact import Fact, Facts, day, names
from llavamed.summary.register import NOT_KNOWN, Numbers, Register, Step, coded, corpora_of, key_of
from llavamed.summary.seen import by_value

# How a figure's `source` looks -> what it was read from.
_FORMS = {
    r"\.parquet#\d+$": ("parquet", "Parquet of images and captions"),
    r"\.jsonl?#\d+$": ("llava", "LLaVA JSON with images"),
    r"\.tar(\.\w+)?/": ("webdataset", "WebDataset of images and captions"),
    r"\.(n?xml|tar|tgz|tar\.\w+)$": ("folder", "articles in a folder of the user's"),
}
_PICTURES = ("folder", "pictures with captions in a folder of the user's")


@dataclass(frozen=True)
class Origin:
    """A source data set. `first`, `latest`: YYYY-MM-DD of acquisition, as the manifests tell; "" where they do not."""

    name: str
    kind: str
    version: str
    link: str | None = None
    first: str = ""
    latest: str = ""


def facts(found: Register) -> Facts:
    """`seen.sources` and `seen.synthetic`; each only where it is known of every record."""
    made: Facts = {}
    where = f"{name(found.model)}, {SEEN}"
    origins, origin = _of_records(found)
    if not (origin == NOT_KNOWN).any():
        corpora = f"; {names(found.figures.corpora)}, data: source, collected, licence" if found.figures.corpora else ""
        made["seen.sources"] = Fact(_sources(found, origins, origin), f"{where}: distinct id, by source{corpora}")
    synthetic = _synthetic(found)
    if synthetic is not None:
        sets = names(step.data for step in found.steps)
        made["seen.synthetic"] = Fact(synthetic, f"{where}: distinct id; {sets}: teacher, prompt_hash, models, times")
    return made


def _sources(found: Register, origins: list[Origin], origin: Numbers) -> list[Json]:
    """Of each origin what it gave. A picture that two have is counted with the first."""
    seen, figures = found.seen, found.figures
    once = seen.once
    order = np.lexsort((origin, seen.picture[once]))
    pictures = seen.picture[once][order]
    first = origin[order][np.r_[True, pictures[1:] != pictures[:-1]][: len(pictures)]]  # of each picture
    tokens = seen.text_tokens[once]
    of_row = _figure_origins(found, origin)
    days, licences = figures.text("collected"), figures.column("licence")
    told = []
    for index, source in enumerate(origins):
        rows = np.flatnonzero(of_row == index)
        spans = pc.min_max(days.take(pa.array(rows))).as_py()
        images, text = int((first == index).sum()), int(tokens[origin == index].sum())
        told.append(
            {
                "name": source.name,
                "kind": source.kind,
                "version": source.version,
                "link": source.link,
                "first": spans["min"] or source.first or None,
                "latest": spans["max"] or source.latest or None,
                "licences": by_value(licences.take(pa.array(rows))),
                "images": images,
                "text_tokens": text,
                "share_images": images / max(1, len(first)),
                "share_text": text / max(1, int(tokens.sum())),
            }
        )
    return sorted(told, key=lambda entry: (-entry["images"], entry["name"], entry["version"]))


def _figure_origins(found: Register, origin: Numbers) -> Numbers:
    """The origin of each row of the figures, by that of a record about it."""
    of_figure = np.full(len(found.seen.pairs), NOT_KNOWN)
    of_figure[found.seen.figure[found.seen.once]] = origin
    return of_figure[found.figures.number]


def _of_records(found: Register) -> tuple[list[Origin], Numbers]:
    """(origins, the number of that of each record): by its figure's row, else by its set where that has but one."""
    seen, figures = found.seen, found.figures
    known: dict[Origin, int] = {}
    of_figure = np.full(len(seen.pairs), NOT_KNOWN)
    files, file = coded(figures.column("source"))
    for index, corpus in enumerate(figures.corpora):
        rows = np.flatnonzero(figures.corpus == index)
        of_file = _of_files(files, np.unique(file[rows]), _behind(corpus), known)
        of_figure[figures.number[rows]] = of_file[file[rows]]
    origin = of_figure[seen.figure[seen.once]]
    for index, step in enumerate(found.steps):
        whole = {*map(_whole, _roots(step.data))}
        mine = (seen.step[seen.once] == index) & (origin == NOT_KNOWN)
        if len(whole) == 1 and mine.any():
            origin[mine] = known.setdefault(whole.pop(), len(known))
    used, origin = np.unique(origin, return_inverse=True)
    if len(used) and used[0] == NOT_KNOWN:
        used, origin = used[1:], origin - 1
    return [[*known][n] for n in used.tolist()], origin


def _of_files(files: pa.Array, numbers: Numbers, roots: list[Json], known: dict[Origin, int]) -> Numbers:
    """The number of the origin of each of `files`; the last one is that of figures whose file is not known."""
    found = np.full(len(files) + 1, NOT_KNOWN)
    if len(roots) == 1 and not _packages(roots[0]):
        first = files[int(numbers[-1])].as_py() if len(numbers) and numbers[-1] != NOT_KNOWN else ""
        return np.full(len(files) + 1, known.setdefault(_of_file(roots[0], first), len(known)))
    for number in numbers.tolist():
        source = files[number].as_py() if number != NOT_KNOWN else ""
        held = [m for m in roots if f"data/{source}" in m["files"]] or [m for m in roots if m["kind"] == "corpus"]
        held = roots if len(roots) == 1 else held
        if len(held) == 1:
            found[number] = known.setdefault(_of_file(held[0], source), len(known))
    return found


def _behind(corpus: Json) -> list[Json]:
    """What a corpus was read from: artifacts of articles, and a corpus where it was given other files itself."""
    found = [corpus] if "sources" in corpus["request"].get("inputs", {}) else []
    for entry in corpus["parents"]:
        parent = entry["manifest"]
        found += _behind(parent) if parent["kind"] == "corpus" else [parent]
    return [*{key_of(m): m for m in found}.values()]


def _roots(conversations: Json) -> list[Json]:
    """What a set was made from in the end; a set that was imported, itself."""
    found = [root for corpus in corpora_of(conversations) for root in _behind(corpus)]
    sets = [entry["manifest"] for entry in conversations["parents"] if entry["manifest"]["kind"] == "conversations"]
    return found or [root for parent in sets for root in _roots(parent)] or [conversations]


def _of_file(root: Json, source: str) -> Origin:
    """Whose a figure is that was read from the file `source` of `root`."""
    whole = _whole(root)
    if package := _packages(root).get(source.partition("/")[0]):
        return replace(whole, name=package["package"], version=package["version"], link=package["url"])
    if root["kind"] == "corpus":
        kind, words = next((form for pattern, form in _FORMS.items() if re.search(pattern, source)), _PICTURES)
        return replace(whole, kind=kind, name=words)
    return whole


def _whole(root: Json) -> Origin:
    """A root of the lineage as one source."""
    about = (root.get("sources") or [{}])[0]
    inputs, made = root["request"].get("inputs", {}), day(root["times"]["finished"])
    first, latest = min(collected(root, "earliest"), default=""), max(collected(root), default="")
    if "bucket" in about:
        how = about.get("inventory") or (f"search {about['query']!r}" if "query" in about else "a list of PMCIDs")
        return Origin("PubMed Central articles, PMC Cloud Service", "bucket", how, about["endpoint"], first, latest)
    if "package" in about:
        several = len(root["sources"]) > 1
        title = "the built-in articles, with pictures of Python packages" if several else about["package"]
        version = f"llavamed {root['versions']['llavamed']}" if several else about["version"]
        return Origin(title, "package", version, None if several else about["url"], first, latest)
    if "benchmark" in root:
        judged = root["benchmark"]
        title = f"benchmark {judged.get('benchmark') or root['settings'].get('set')}"
        return Origin(title, "benchmark", judged.get("version") or "not known", None, made, made)
    if "layout" in root:
        title = f"conversations imported as {root['layout']['name']}"
        return Origin(title, "import", inputs["file"][:12], None, made, made)
    if root["kind"] == "corpus":
        return Origin("files of the user's", "folder", inputs.get("sources", "")[:12], None, first, latest)
    return Origin(f"{root['kind']} of the user's", "folder", root["hash"][:12], None, first, latest)


@cache
def _articles() -> tuple[str, dict[str, str]]:
    """(SHA-256 of the list of built-in articles, the package of each by its id)."""
    listed = yaml.safe_load(builtin.SPECIFICATION.read_text(encoding="utf-8"))["articles"]
    return storage.sha256_file(builtin.SPECIFICATION), {article["id"]: article["package"] for article in listed}


def _packages(root: Json) -> dict[str, Json]:
    """Of the built-in articles, as this version has them: article -> the package of its pictures."""
    listed = root["request"].get("inputs", {}).get("builtin.yaml")
    if not listed or listed != _articles()[0]:
        return {}
    packages = {source["package"]: source for source in root["sources"]}
    return {article: packages[package] for article, package in _articles()[1].items()}


def _synthetic(found: Register) -> Json | None:
    """What of the conversations a model or a rule wrote. None: of some it is not known who did."""
    seen = found.seen
    once = seen.once
    models = {model["name"]: model for m in found.line for model in m["models"]}
    tokens = seen.text_tokens[once]
    wrote: dict[tuple[str, str, str], Json] = {}
    for rows, step, teacher, prompt in _by_teacher(found):
        if teacher is None:
            return None
        if teacher not in models:
            continue
        model, times = models[teacher], step.data["times"] if step else None
        days = [day(times["started"]), day(times["finished"])] if times else []
        entry = wrote.setdefault(
            (teacher, str(model.get("version", "")), prompt),
            {"name": teacher, "version": str(model.get("version", "")), "prompt_hash": prompt,
             "ai": model.get("ai", True), "first": None, "latest": None, "conversations": 0, "text_tokens": 0},
        )  # fmt: skip
        entry["first"] = min(filter(None, [entry["first"], *days]), default=None)
        entry["latest"] = max(filter(None, [entry["latest"], *days]), default=None)
        entry["conversations"] += len(rows)
        entry["text_tokens"] += int(tokens[rows].sum())
    teachers = sorted(wrote.values(), key=lambda entry: (-entry["conversations"], entry["name"], entry["prompt_hash"]))
    by_ai = [entry for entry in teachers if entry["ai"]]
    conversations = sum(entry["conversations"] for entry in by_ai)
    return {
        "conversations": conversations,
        "share": conversations / max(1, len(once)),
        "text_tokens": sum(entry["text_tokens"] for entry in by_ai),
        "teachers": teachers,
    }


def _by_teacher(found: Register) -> Iterator[tuple[Numbers, Step | None, str | None, str]]:
    """(records, their training, their teacher, its prompt): by the tables, else by the set's manifest. The teacher is
    "" where no model was at work, None where it is not known."""
    seen = found.seen
    made, step = seen.made[seen.once], seen.step[seen.once]
    for one in np.unique(step).tolist():
        own = found.steps[one] if one != NOT_KNOWN else None
        for maker in np.unique(made[step == one]).tolist():
            rows = np.flatnonzero((step == one) & (made == maker))
            if maker != NOT_KNOWN:
                teacher, prompt = seen.makers[maker]
                yield rows, own, teacher, prompt
                continue
            models = _models(own.data) if own else None
            if models is None or len(models) > 1:
                yield rows, own, None, ""
            else:
                yield rows, own, *((models[0]["name"], models[0].get("prompt_hash", "")) if models else ("", ""))


def _models(conversations: Json) -> list[Json]:
    """Who wrote a set; of one that was cleaned, the set before."""
    found: Iterable[Json] = conversations["models"]
    sets = [entry["manifest"] for entry in conversations["parents"] if entry["manifest"]["kind"] == "conversations"]
    return [*found] or [model for parent in sets for model in _models(parent)]
