"""Has a model seen the benchmark? Its lineage, compared with the benchmark's pictures and questions.

What a model was trained on stands in its `seen.parquet`, by hash: so a copied or published model can be asked too. Only
what llavamed trained is recorded: what the base models had seen before is not known.
"""

import hashlib
from collections import defaultdict
from collections.abc import Iterable, Sequence
from contextlib import suppress
from pathlib import Path

import pyarrow.parquet as pq

from llavamed import artifact, storage
from llavamed.console import console
from llavamed.corpus.images import picture
from llavamed.corpus.near import unit
from llavamed.corpus.problem import Problem
from llavamed.corpus.test_sets import ALIKE
from llavamed.errors import InputError
from llavamed.evaluate.benchmarks.known import published
from llavamed.evaluate.benchmarks.read import language_of
from llavamed.evaluate.looks import Look, look, near
from llavamed.evaluate.questions import Question
from llavamed.lineage import SEEN, at_hand, lineage, read_seen
from llavamed.storage import Json
from llavamed.train.seen import question_key

_TEXT = {"same": "yes", "other": "no", "unknown": "not known"}
_HASHES = ("image_sha256", "image_phash", "questions")
BASE = "What the base models had seen before is not known."


def contamination(model: Path | None, questions: Sequence[Question]) -> Json:
    """What `model` (None: an endpoint, a file of answers) was trained on, of the pictures and questions of a benchmark.

    `{lineage: known or unknown, why, records, not_compared, pictures: {n, same, alike, perhaps}, questions: {n, text,
    with_picture}, seen: [ids of questions whose picture was seen], repeated: [ids seen with their picture], sentence}`.

    `same`: the same file, or what a corpus of the lineage makes of it. `alike`: it looks like one that was seen, by the
    rule of `corpus build --against`; `perhaps`: by perceptual hash alone, where the data do not lie beside the model.
    `text`: the question's words were in training, about whatever picture; `with_picture`: about this one.
    `not_compared`: records of a training that noted no hashes.

    Raises:
        InputError: `model` is an artifact, but no model.
    """
    if model is None or not (model / "manifest.json").is_file():
        return UNKNOWN
    manifest = artifact.require(model, "model")
    if SEEN not in manifest["files"]:
        return _unknown(f"the model was not trained here: it has no {SEEN}")
    try:
        seen = read_seen(model, manifest, _HASHES)
    except InputError:
        return _unknown(f"the model's {SEEN} is missing or was changed since training")
    console.print("comparing the questions with what the model was trained on", highlight=False)
    line = lineage(manifest)
    known = [row for row in seen if row.get("image_sha256") and row.get("image_phash")]
    pictures = {question.pair_id: question.image for question in questions if question.image}
    same, alike, perhaps = _pictures(pictures, known, model, line)
    by_picture: dict[str, set[str]] = defaultdict(set)  # of training: the questions asked about it
    for row in known:
        by_picture[row["image_sha256"]].update(row["questions"] or ())
    asked = set().union(*by_picture.values()) if by_picture else set()
    repeated = [
        q.id
        for q in questions
        if any(question_key(q.question) in by_picture[d] for d in (*same.get(q.pair_id, ()), *alike.get(q.pair_id, ())))
    ]
    found: Json = {
        "lineage": "known",
        "why": "",
        "records": len(seen),
        "not_compared": len(seen) - len(known),
        "pictures": {"n": len(pictures), "same": len(same), "alike": len(alike), "perhaps": len(perhaps)},
        "questions": {
            "n": len(questions),
            "text": sum(question_key(q.question) in asked for q in questions),
            "with_picture": len(repeated),
        },
        "seen": [q.id for q in questions if q.pair_id in same or q.pair_id in alike],
        "repeated": repeated,
    }
    return found | {"sentence": _sentence(found)}


def answered(scores: Path) -> Path | None:
    """The model that gave the answers in `scores`, if that is an artifact which names it and the model lies beside."""
    if not (scores / "manifest.json").is_file():
        return None
    manifest = artifact.read_manifest(scores)
    while manifest["kind"] == "scores":  # they may be of scores
        parents = [entry["manifest"] for entry in manifest["parents"]]
        known = [p for p in parents if p["kind"] == "model"] or [p for p in parents if p["kind"] == "scores"]
        if len(known) != 1:  # nobody is named, or several are
            return None
        manifest = known[0]
    with suppress(InputError):  # a folder beside it is damaged
        return next((folder for folder, _ in at_hand(scores, [manifest], kinds=("model",))), None)
    return None


def beside(model: Path | None, questions: Sequence[Question], split: str, language: str, source: Path) -> Json:
    """What stands beside every score: `{published, contamination, n_questions}`.

    `published`: see `known.published`. `n_questions`: of how many, also where a converted benchmark left some out.
    """
    there = (source / "manifest.json").is_file() and artifact.read_manifest(source).get("benchmark")
    total = there["splits"].get(split, {}).get("questions", 0) if there else 0
    return {
        "published": published(questions, split, language_of(source, language)),
        "contamination": contamination(model, questions),
        "n_questions": max(total, len(questions)),
    }


def sentences(result: Json) -> str:
    """The same in words, a line each; empty for scores that were made without."""
    version = result.get("published") or {}
    lines = []
    if version:
        lines.append(f"{version['benchmark']}, {version['version']}; text as published: {_TEXT[version['text']]}.")
    if version.get("warning"):
        lines.append(f"Known of it: {version['warning']}.")
    if "contamination" in result:
        lines.append(result["contamination"]["sentence"])
    return "\n".join(lines)


def _unknown(why: str) -> Json:
    return {"lineage": "unknown", "why": why, "sentence": f"Contamination: unknown ({why})."}


UNKNOWN = _unknown("nothing tells what the model was trained on")


def _sentence(found: Json) -> str:
    pictures, questions = found["pictures"], found["questions"]
    said = (
        f"Contamination: of {pictures['n']:,} pictures {pictures['same']:,} were seen in training"
        f" and {pictures['alike']:,} look like one that was"
        if pictures["n"]
        else "Contamination: no picture is at hand to compare"
    )
    if pictures["perhaps"]:
        said += f" ({pictures['perhaps']:,} more may: by hash alone)"
    said += (
        f"; of {questions['n']:,} questions {questions['with_picture']:,} were seen with their picture and "
        f"{questions['text']:,} word for word with any."
    )
    if found["not_compared"]:
        said += f" {found['not_compared']:,} of {found['records']:,} records trained on have no hash to compare."
    return f"{said} {BASE}"


Found = dict[str, list[str]]  # a picture of the benchmark, by name -> SHA-256 of pictures of training


def _pictures(
    pictures: dict[str, bytes], known: Sequence[Json], model: Path, line: list[Json]
) -> tuple[Found, Found, Found]:
    """Those that are the same, look alike, or perhaps do."""
    trained = {row["image_sha256"]: row for row in known}
    sides = sorted({m["settings"]["max_side"] for m in line if m["kind"] == "corpus" and "max_side" in m["settings"]})
    looks: dict[str, Look] = {}
    for name, data in pictures.items():
        with suppress(Problem):  # it cannot be asked about either
            looks[name] = look(data)
    names, digests = list(looks), list(trained)
    close: Found = defaultdict(list)
    for a, b in near([x.phash for x in looks.values()], [int(trained[d]["image_phash"], 16) for d in digests]):
        close[names[a]].append(digests[b])
    same: Found = {}
    for name, data in pictures.items():
        own = [hashlib.sha256(data).hexdigest()]
        if close.get(name):
            own += [picture(data, "", side).sha256 for side in sides]
        if hits := [digest for digest in own if digest in trained]:
            same[name] = hits
    rest = {name: candidates for name, candidates in close.items() if name not in same}
    sketches = _sketches({d: trained[d]["id"] for ds in rest.values() for d in ds}, model, line)
    alike: Found = {}
    perhaps: Found = {}
    for name, candidates in rest.items():
        own_sketch = unit([looks[name].sketch])[0]
        there = [d for d in candidates if d in sketches]
        hits = [d for d in there if float(unit([sketches[d]])[0] @ own_sketch) >= ALIKE]
        if hits:
            alike[name] = hits
        elif len(there) < len(candidates):
            perhaps[name] = [d for d in candidates if d not in sketches]
    return same, alike, perhaps


def _sketches(wanted: dict[str, str], model: Path, line: list[Json]) -> dict[str, bytes]:
    """Of pictures seen (SHA-256 -> a record's id): their sketches, if the conversations lie beside the model."""
    found: dict[str, bytes] = {}
    if not wanted:
        return found
    with suppress(InputError):  # a folder beside it is damaged
        for folder, manifest in at_hand(model, line):
            if manifest["kind"] == "conversations":
                for data in _images(folder, set(wanted.values())):
                    digest = hashlib.sha256(data).hexdigest()
                    if digest in wanted and digest not in found:
                        with suppress(Problem):
                            found[digest] = look(data).sketch
    return found


def _images(folder: Path, ids: set[str]) -> Iterable[bytes]:
    for path in storage.tables(folder):
        table = pq.read_table(path, columns=["id", "image"], filters=[("id", "in", ids)])
        for row in table.to_pylist():
            yield (row["image"] or {}).get("bytes") or b""
