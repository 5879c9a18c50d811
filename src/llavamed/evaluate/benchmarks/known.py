"""The published benchmarks: which versions circulate, how large they are, how they differ, and what to know of them.

Counts of VQA-RAD's two JSON files and of SLAKE, and all hashes, were counted on the files; the rest is as their authors
or LLaVA-Med's paper (arXiv 2306.00890) state it.
"""

import hashlib
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass

from rich import box
from rich.console import Group, RenderableType
from rich.table import Table

from llavamed.evaluate.metrics import CLOSED, OPEN
from llavamed.evaluate.questions import Question


@dataclass(frozen=True)
class Split:
    """How large a split is. None: not known. `hash`: see `text_hash`."""

    questions: int
    open: int | None = None
    closed: int | None = None
    images: int | None = None
    hash: str | None = None


@dataclass(frozen=True)
class Version:
    """One of the versions of a benchmark that circulate. `language`: of those in several.

    `warning`: belongs beside every score of a model that was fine-tuned on it.
    """

    name: str
    splits: Mapping[str, Split]
    note: str = ""
    warning: str = ""
    language: str = "en"


@dataclass(frozen=True)
class Benchmark:
    """`licence`: as stated, not verified. `columns`: of its own layout, which no other has."""

    key: str
    title: str
    licence: str
    source: str
    paper: str
    versions: tuple[Version, ...]
    columns: frozenset[str]


_VQA_RAD = Benchmark(
    "vqa_rad",
    "VQA-RAD",
    "CC0-1.0",
    "https://osf.io/89kps/",
    "https://doi.org/10.1038/sdata.2018.251",
    (
        Version(
            "3,515 pairs, two JSON",
            {
                "train": Split(
                    3064, 1241, 1823, 314, "9383599b9ac806e7450ceae8ccc7de42859594e9ee377112fb84b1b432af2064"
                ),
                "test": Split(451, 179, 272, 203, "d030ae17f13781855bb407d2dc81187e95cf98151a6a3d8f08206600036d85a7"),
            },
            "trainset.json, testset.json, with framed questions in training; 21 closed test answers are not yes or no",
            "all 203 test images are training images, and 14 test questions repeat a training image and question",
        ),
        Version(
            "2,248 pairs, one JSON",
            {"train": Split(1797, 770, 1027, 313), "test": Split(451, 179, 272, 203)},
            "as its authors published it, without the framed questions; `phrase_type` tells the test questions",
            "202 of the 203 test images are training images, and one test question repeats one of training",
        ),
        Version(
            "2,244 pairs, Parquet",
            {"train": Split(1793), "test": Split(451, 200, 251, 203)},
            "no answer types: yes and no are closed, the other 21 closed questions are open; lower case",
            "nearly all test images are training images",
        ),
    ),
    frozenset({"image_name", "image_organ", "phrase_type"}),
)
_SLAKE = Benchmark(
    "slake",
    "SLAKE",
    "CC-BY-4.0",
    "https://www.med-vqa.com/slake/",
    "https://arxiv.org/abs/2102.09542",
    (
        Version(
            "English",
            {
                "train": Split(
                    4919, 2976, 1943, 450, "050dd4100bf3bba6a07d3b308ca4710248bdd84fa595977fd2d3a2134ed2140c"
                ),
                "validation": Split(
                    1053, 631, 422, 96, "5166145ee29e0675adb18c8e9d32216c1e834b8ae1fb9ecd5e9836e64778d2f7"
                ),
                "test": Split(1061, 645, 416, 96, "28fe9339947920469ee89482c821b5b5a917f7f6d07bdbdb3af8aa23989ca10d"),
            },
            "the splits share no image",
        ),
        Version(
            "Chinese",
            {
                "train": Split(
                    4916, 2978, 1938, 450, "5d5243f92da747c9e61947eb5af1f06666d6bf704972b829e3555ea8599c5bf1"
                ),
                "validation": Split(
                    1046, 624, 422, 96, "97c095fe80b7d2a5cd23c0321e07596983a20c73f9db46728f7b7ae7db312a7f"
                ),
                "test": Split(1033, 613, 420, 96, "7e639cd6f96645bb779b0ea8db160b42ae5eddcdaf808f998323c87bdd90c22f"),
            },
            "split otherwise: 72 of the 96 English test images are in its training split",
            language="zh",
        ),
    ),
    frozenset({"img_name", "q_lang", "content_type"}),
)
_PATHVQA = Benchmark(
    "pathvqa",
    "PathVQA",
    "MIT",
    "https://github.com/UCSD-AI4H/PathVQA",
    "https://arxiv.org/abs/2003.10286",
    (
        Version(
            "32,795 pairs, pickles",
            {
                "train": Split(19755, images=2599),
                "validation": Split(6279),
                "test": Split(6761, 3370, 3391, 858),
            },
            "a few questions stand twice in a split",
        ),
        Version(
            "32,632 pairs, Parquet",
            {"train": Split(19654), "validation": Split(6259), "test": Split(6719, images=858)},
            "each picture, question and answer once; no answer types: yes and no are closed",
        ),
    ),
    frozenset({"img_id", "sent", "label"}),
)
BENCHMARKS = {benchmark.key: benchmark for benchmark in (_VQA_RAD, _SLAKE, _PATHVQA)}


def text_hash(pairs: Iterable[tuple[str, str]]) -> str:
    """SHA-256 over the sorted lines "question<tab>answer", in lower case with plain spaces.

    The same for every copy of the same questions, whatever file they are in.
    """
    lines = sorted("\t".join(" ".join(text.lower().split()) for text in pair) for pair in pairs)
    return hashlib.sha256("".join(f"{line}\n" for line in lines).encode()).hexdigest()


def version_of(splits: Mapping[str, Split], language: str = "en", key: str = "") -> tuple[Benchmark, Version] | None:
    """The version that has a set's splits: by their hashes, else by their counts; only of the benchmark `key`, if any.

    A set may have fewer splits than the version, but none that differs.
    """
    candidates = [
        (benchmark, version)
        for benchmark in BENCHMARKS.values()
        for version in benchmark.versions
        if key in ("", benchmark.key) and (version.language == language) and splits.keys() <= version.splits.keys()
    ]
    for same in (_same_hash, _same_counts):
        found = [c for c in candidates if splits and all(same(split, c[1].splits[n]) for n, split in splits.items())]
        if found:
            return found[0]
    return None


def published(questions: Sequence[Question], split: str, language: str) -> dict[str, str] | None:
    """Which published version all the questions of a split are: `{benchmark, version, text, warning}`, or None.

    `text`: same, other or unknown, as in `check.judge`.
    """
    kinds = [question.kind for question in questions]
    text = text_hash((question.question, question.reference) for question in questions)
    size = Split(len(kinds), kinds.count(OPEN), kinds.count(CLOSED), None, text)
    found = version_of({split: size}, language)
    if found is None:
        return None
    benchmark, version = found
    known = version.splits[split].hash
    same = "unknown" if known is None else "same" if known == text else "other"
    return {"benchmark": benchmark.title, "version": version.name, "text": same, "warning": version.warning}


def _same_counts(found: Split, known: Split) -> bool:
    counts = ("questions", "open", "closed")
    return all(getattr(known, count) in (None, getattr(found, count)) for count in counts)


def _same_hash(found: Split, known: Split) -> bool:
    return known.hash is not None and found.hash == known.hash and _same_counts(found, known)


def table() -> Group:
    """The benchmarks for the terminal."""
    parts: list[RenderableType] = []
    for benchmark in BENCHMARKS.values():
        title = f"{benchmark.title} ({benchmark.licence}, as stated; {benchmark.source})"
        shown = Table(title=title, box=box.SIMPLE_HEAD, pad_edge=False, title_justify="left")
        shown.add_column("version")
        shown.add_column("split")
        for heading in ("questions", "open", "closed", "images"):
            shown.add_column(heading, justify="right")
        for version in benchmark.versions:
            name = version.name
            for split, size in version.splits.items():
                counts = ("?" if n is None else f"{n:,}" for n in (size.questions, size.open, size.closed, size.images))
                shown.add_row(name, split, *counts)
                name = ""
        said = (
            (version.name, "; ".join(filter(None, (version.note, version.warning)))) for version in benchmark.versions
        )
        parts += [shown, *(f"{name}: {note}." for name, note in said if note), ""]
    return Group(*parts)


def listed() -> dict[str, object]:
    """The benchmarks as JSON: `{benchmarks: [{key, title, licence, source, paper, versions: [...]}]}`."""
    return {
        "benchmarks": [
            {
                **{name: getattr(b, name) for name in ("key", "title", "licence", "source", "paper")},
                "versions": [
                    {
                        **{name: getattr(v, name) for name in ("name", "language", "note", "warning")},
                        "splits": {name: dict(split.__dict__) for name, split in v.splits.items()},
                    }
                    for v in b.versions
                ],
            }
            for b in BENCHMARKS.values()
        ]
    }
