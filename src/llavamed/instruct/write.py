"""Figures in, conversations out: what every way of writing conversations shares."""

import hashlib
from collections import Counter
from collections.abc import Callable, Mapping, Sequence
from functools import partial
from pathlib import Path
from typing import TYPE_CHECKING, Any, TypeVar

import pyarrow.parquet as pq

from llavamed import artifact, storage
from llavamed.cards import dataset_card
from llavamed.corpus.schema import KINDS, SPLITS
from llavamed.instruct.schema import CONVERSATIONS, DROPPED, EXCLUDED
from llavamed.storage import Json

if TYPE_CHECKING:
    from llavamed.instruct.clean import Victim

Turns = list[tuple[str, str]]  # question, answer
Writer = Callable[[Json], Turns]  # a figure's row -> its conversation
Cleaner = Callable[[Turns, Json], "tuple[Turns, list[Victim]]"]  # a conversation, its figure -> what is kept, dropped
Option = TypeVar("Option")
HISTOGRAMS = ("licence", "year", "language", "journal")  # of the figures, besides the kind of image


class Excluded(Exception):
    """This figure gets no conversation: (reason, detail)."""

    def __init__(self, reason: str, detail: str = "") -> None:
        super().__init__(reason, detail)
        self.reason, self.detail = reason, detail


def place(*key: object) -> float:
    """A number in [0, 1) that `key` alone decides: other records change nothing."""
    text = "\0".join(str(part) for part in key)
    return int.from_bytes(hashlib.sha256(text.encode()).digest()[:6]) / 2**48


def draw(options: Sequence[Option], *key: object) -> Option:
    """One of `options`, by `place(*key)`."""
    return options[int(place(*key) * len(options))]


def kind_of(figure: Json) -> str | None:
    """The figure's kind of image, a key of KINDS, or None where none is known or several are equally likely.

    Of several, the surest is taken, but not where the caption tells of several pictures.
    """
    first, *others = [entry for entry in figure["modality"] or [] if entry["name"] in KINDS] or [None]
    if first is None or first["name"] == "other":
        return None
    sure = not others or (figure["single_plot"] and first["confidence"] > others[0]["confidence"])
    return str(first["name"]) if sure else None


def open_set(corpus: Path, folder: Path, name: str, settings: Json, prompts: Path, force: bool) -> artifact.Job:
    """Open `folder` for the set of conversations `name`, written from `corpus` and the data file `prompts`.

    Raises:
        InputError: `corpus` is not a finished corpus, or `folder` holds something else.
    """
    parent = artifact.require(corpus, "corpus")
    size = sum(file["bytes"] for path, file in parent["files"].items() if path.startswith("data/"))
    settings = {"set": name, **settings, "prompt_hash": storage.sha256_file(prompts)}
    return artifact.start(folder, "conversations", settings, parents=[corpus], force=force, needs_bytes=size)


def write_set(
    job: artifact.Job,
    corpus: Path,
    writers: Mapping[str, Writer],
    *,
    teacher: str,
    models: list[Json],
    text: str,
    workers: int,
    clean: Cleaner | None = None,
    **more: Any,
) -> Json:
    """Write a conversation for every figure of `corpus`, one shard per file of its data, and publish them.

    `writers`: a file's path within the corpus -> what writes the conversations of its figures. A writer may raise
    Excluded; whatever else it raises excludes the figure with the reason "error". `text` says in the card how the
    conversations were made. `clean` says which turns are kept; the others, and those with no turn left, are excluded by
    rule. `more`: what else the manifest holds.
    """
    write = partial(_write_shard, corpus, job.settings, teacher, clean)
    schemas = {"data": CONVERSATIONS, "excluded": DROPPED if clean else EXCLUDED}
    label = job.settings["set"]
    facts = artifact.run_shards(job, write, sorted(writers.items()), schemas, workers=workers, label=label)
    splits = facts.get("splits", {})
    whole: Json = {}
    for split in splits.values():
        whole = artifact.add(whole, split)
    kept, excluded = whole.get("conversations", 0), facts.get("excluded", {})
    counts = {"conversations": {"in": kept + sum(excluded.values()), "kept": kept, "excluded": excluded}}
    if clean:
        turns, dropped = whole.get("turns", 0), facts.get("dropped", {})
        counts["turns"] = {"in": turns + sum(dropped.values()), "kept": turns, "excluded": dropped}
    card = dataset_card(f"Conversations: {job.settings['set']}", f"{text}\n\n{_table(splits)}", splits)
    histograms = whole.get("histograms", {}) | {"split": {name: s["conversations"] for name, s in splits.items()}}
    return artifact.publish(job, counts=counts, histograms=histograms, models=models, card=card, splits=splits, **more)


def result(manifest: Json, folder: Path) -> Json:
    """What a command prints: `{conversations: {in, kept, excluded}, turns, splits, artifact, hash}`."""
    splits = manifest["splits"]
    return {
        "conversations": manifest["counts"]["conversations"],
        "turns": sum(split["turns"] for split in splits.values()),
        "splits": {name: split["conversations"] for name, split in splits.items()},
        "artifact": str(folder),
        "hash": manifest["hash"],
    }


def _write_shard(
    corpus: Path, settings: Json, teacher: str, clean: Cleaner | None, item: tuple[str, Writer]
) -> tuple[artifact.Tables, Json]:
    shard, writer = item
    tables: artifact.Tables = {"excluded/conversations": []}
    facts: Json = {}
    for figure in pq.read_table(corpus / shard).to_pylist():
        record = {
            "id": f"{figure['pair_id']}_{settings['set']}",
            "pair_id": figure["pair_id"],
            "split": figure["split"],
        }
        try:
            turns = writer(figure)
            if clean:
                turns, victims = clean(turns, figure)
                told = record | {"source": shard, "teacher": teacher, "prompt_hash": settings["prompt_hash"]}
                tables.setdefault("excluded/turns", []).extend(told | victim._asdict() for victim in victims)
                reasons = Counter(victim.reason for victim in victims)
                facts = artifact.add(facts, {"dropped": reasons})
                if not turns:
                    raise Excluded("no_turn_left", ", ".join(sorted(reasons)))
        except Exception as error:  # one bad record must not stop the others
            bad = error if isinstance(error, Excluded) else Excluded("error", f"{type(error).__name__}: {error}")
            record |= {"source": shard, "reason": bad.reason, "detail": bad.detail}
            tables["excluded/conversations"].append(record)
            facts = artifact.add(facts, {"excluded": {bad.reason: 1}})
            continue
        record |= {"image": figure["image"], "domain": figure["domain"], "conversations": _said(turns)}
        record |= {"teacher": teacher, "prompt_hash": settings["prompt_hash"]}
        tables.setdefault(f"data/{figure['split']}", []).append(record)
        facts = artifact.add(facts, {"splits": {figure["split"]: _count(figure, turns)}})
    return tables, facts


def _said(turns: Turns) -> list[Json]:
    said = []
    for index, (question, answer) in enumerate(turns):
        said.append({"from": "human", "value": question if index else f"<image>\n{question}"})
        said.append({"from": "gpt", "value": answer})
    return said


def _count(figure: Json, turns: Turns) -> Json:
    text = [part for turn in turns for part in turn]
    first = figure["modality"][0]["name"] if figure["modality"] else "unknown"  # as the corpus counts them
    values = {"modality": first, **{key: str(figure[key] or "unknown") for key in HISTOGRAMS}}
    return {
        "conversations": 1,
        "turns": len(turns),
        "words": sum(len(part.split()) for part in text),
        "characters": sum(map(len, text)),
        "histograms": {name: {value: 1} for name, value in values.items()},
    }


def _table(splits: Json) -> str:
    lines = ["| split | conversations | turns | words |", "| --- | ---: | ---: | ---: |"]
    for name in (split for split in SPLITS if split in splits):
        s = splits[name]
        lines.append(f"| {name} | {s['conversations']:,} | {s['turns']:,} | {s['words']:,} |")
    return "\n".join(lines)
