"""Figures in, conversations out: what every way of writing conversations shares."""

import hashlib
from bisect import bisect_right
from collections import Counter
from collections.abc import Callable, Mapping, Sequence
from functools import partial
from itertools import accumulate
from pathlib import Path
from typing import TYPE_CHECKING, Any, TypeVar

import pyarrow as pa
import pyarrow.parquet as pq

from llavamed import artifact, storage
from llavamed.cards import dataset_card
from llavamed.corpus.schema import KINDS, SPLITS
from llavamed.instruct.against import fingerprint
from llavamed.instruct.schema import CONVERSATIONS, DROPPED, EXCLUDED
from llavamed.storage import Json

if TYPE_CHECKING:
    from llavamed.instruct.clean import Victim

Turns = list[tuple[str, str]]  # question, answer
Writer = Callable[[Json], Turns]  # a figure's row -> its conversation
Cleaner = Callable[[Turns, Json], "tuple[Turns, list[Victim]]"]  # a conversation, its figure -> what is kept, dropped
Describer = Callable[[Json, Turns], Json]  # a figure, what is kept of its conversation -> columns of its record
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


class Pictures:
    """The pictures in a file of a corpus, by row; a row group is in memory at a time."""

    def __init__(self, path: Path) -> None:
        self._file = pq.ParquetFile(path)
        about = self._file.metadata
        self._begins = [0, *accumulate(about.row_group(i).num_rows for i in range(about.num_row_groups))]
        self._group, self._held = -1, pa.chunked_array([], pa.null())

    def __getitem__(self, row: int) -> Json:
        """As the table has it: {bytes, path}."""
        group = bisect_right(self._begins, row) - 1
        if group != self._group:
            self._group, self._held = group, self._file.read_row_group(group, columns=["image"])["image"]
        return self._held[row - self._begins[group]].as_py() or {"bytes": b"", "path": None}

    def __enter__(self) -> "Pictures":
        return self

    def __exit__(self, *_: object) -> None:
        self._file.close()


def open_set(
    corpus: Path,
    folder: Path,
    name: str,
    settings: Json,
    prompts: Path,
    force: bool,
    against: Sequence[Path] = (),
) -> artifact.Job:
    """Open `folder` for the set of conversations `name`, written from `corpus` and the data file `prompts`.

    `against`: the evaluation sets whose figures are not in it.

    Raises:
        InputError: `corpus` is not a finished corpus, one of `against` no evaluation set, or `folder` holds something
            else.
    """
    parent = artifact.require(corpus, "corpus")
    size = sum(file["bytes"] for path, file in parent["files"].items() if path.startswith("data/"))
    settings = {"set": name, **settings, "prompt_hash": storage.sha256_file(prompts)}
    inputs = {"against": fingerprint(against)} if against else {}
    return artifact.start(
        folder, "conversations", settings, inputs=inputs, parents=[corpus], force=force, needs_bytes=size
    )


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
    describe: Describer | None = None,
    schema: pa.Schema = CONVERSATIONS,
    finish: Callable[[Path], None] | None = None,
    **more: Any,
) -> Json:
    """Write a conversation for every figure of `corpus`, one shard per file of its data, and publish them.

    `writers`: a file's path within the corpus -> what writes the conversations of its figures. A writer may raise
    Excluded; whatever else it raises excludes the figure with the reason "error". `text` says in the card how the
    conversations were made. `clean` says which turns are kept; the others, and those with no turn left, are excluded by
    rule. A figure is given to all of these without its picture. `describe` tells more of a record, in columns of
    `schema`. `finish` may add files to the folder that it is given. `more`: what else the manifest holds.
    """
    write = partial(_write_shard, corpus, job.settings, teacher, clean, describe)
    schemas = {"data": schema, "excluded": DROPPED if clean else EXCLUDED}
    label = job.settings["set"]
    facts = artifact.run_shards(job, write, sorted(writers.items()), schemas, workers=workers, label=label)
    if finish:
        finish(job.out)
    splits = facts.get("splits", {})
    whole: Json = {}
    for split in splits.values():
        whole = artifact.add(whole, split)
    kept, excluded = whole.get("conversations", 0), facts.get("excluded", {})
    counts = {"conversations": {"in": kept + sum(excluded.values()), "kept": kept, "excluded": excluded}}
    if clean:
        turns, dropped = whole.get("turns", 0), facts.get("dropped", {})
        counts["turns"] = {"in": turns + sum(dropped.values()), "kept": turns, "excluded": dropped}
    card = dataset_card(f"Conversations: {job.settings['set']}", f"{text}\n\n{splits_table(splits)}", splits)
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
    corpus: Path,
    settings: Json,
    teacher: str,
    clean: Cleaner | None,
    describe: Describer | None,
    item: tuple[str, Writer],
) -> tuple[artifact.Tables, Json]:
    shard, writer = item
    tables: artifact.Tables = {"excluded/conversations": []}
    facts: Json = {}
    with Pictures(corpus / shard) as pictures:
        for row, figure in enumerate(_words(corpus / shard)):
            about = {name: figure[name] for name in ("pair_id", "split")}
            record = {"id": f"{figure['pair_id']}_{settings['set']}", **about}
            try:
                turns = writer(figure)
                by = {"teacher": teacher, "prompt_hash": settings["prompt_hash"]}
                if clean:
                    turns, victims = clean(turns, figure)
                by |= describe(figure, turns) if describe else {}
                if clean:
                    told = record | {"source": shard, "teacher": teacher, "prompt_hash": by["prompt_hash"]}
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
            record |= {"image": pictures[row], "domain": figure["domain"], "conversations": _said(turns), **by}
            tables.setdefault(f"data/{figure['split']}", []).append(record)
            facts = artifact.add(facts, {"splits": {figure["split"]: count(figure, turns)}})
    return tables, facts


def _words(path: Path) -> list[Json]:
    """The rows of a corpus's file, without their pictures."""
    names = [name for name in pq.read_schema(path).names if name != "image"]
    rows: list[Json] = pq.read_table(path, columns=names).to_pylist()
    return rows


def _said(turns: Turns) -> list[Json]:
    said = []
    for index, (question, answer) in enumerate(turns):
        said.append({"from": "human", "value": question if index else f"<image>\n{question}"})
        said.append({"from": "gpt", "value": answer})
    return said


def count(figure: Json, turns: Turns) -> Json:
    """What one conversation adds to the counts of its split. `figure`: `modality` and HISTOGRAMS."""
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


def splits_table(splits: Json) -> str:
    """What a card says of the splits."""
    lines = ["| split | conversations | turns | words |", "| --- | ---: | ---: | ---: |"]
    for name in (split for split in SPLITS if split in splits):
        s = splits[name]
        lines.append(f"| {name} | {s['conversations']:,} | {s['turns']:,} | {s['words']:,} |")
    return "\n".join(lines)
