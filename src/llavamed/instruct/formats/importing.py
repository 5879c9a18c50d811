"""A file of conversations -> a set: pictures read, roles checked, nothing lost."""

from collections import Counter
from collections.abc import Iterator
from functools import partial
from pathlib import Path
from typing import NamedTuple

from llavamed import artifact, storage
from llavamed.cards import dataset_card
from llavamed.corpus import images
from llavamed.corpus.modality import domain_of
from llavamed.corpus.problem import Problem, printable
from llavamed.corpus.schema import SPLITS, split_of
from llavamed.corpus.sources import columns, spans
from llavamed.corpus.sources.llava import find_picture, picture_folders
from llavamed.errors import InputError
from llavamed.instruct.clean.again import MARK, Said, turns_of
from llavamed.instruct.formats.chat_eval import ANSWERS, CAPTIONS, QUESTIONS
from llavamed.instruct.formats.layout import Layout, Told, kept
from llavamed.instruct.formats.llava import LLAVA
from llavamed.instruct.formats.messages import MESSAGES
from llavamed.instruct.schema import CONVERSATIONS, NOT_IMPORTED
from llavamed.instruct.write import HISTOGRAMS, count, splits_table
from llavamed.storage import Json

LAYOUTS = {layout.name: layout for layout in (MESSAGES, LLAVA, QUESTIONS, ANSWERS, CAPTIONS)}
ARTICLE = "article"  # the split that a hash of the article decides
CARD = """Conversations that were imported from {name}: their words are others', under terms of their own, which are not
known here. {pictures}"""


class Item(NamedTuple):
    """Some records of a file. `name`: of the list they stand in; `first`: the number of the first, from 1."""

    name: str
    first: int
    spans: list[int]
    ids: dict[int, str]  # of records whose id an earlier one has: number -> id


class Plan(NamedTuple):
    """How a file is read. `folders`: where its pictures are; none where no picture is wanted."""

    path: Path
    layout: Layout
    folders: tuple[Path, ...]
    split: str
    teacher: str
    max_side: int


def import_set(
    path: Path,
    folder: Path,
    *,
    beside: Path | None = None,
    pictures: bool = True,
    split: str | None = None,
    teacher: str = "",
    max_side: int = 1024,
    workers: int = 1,
    force: bool = False,
) -> Json:
    """Read a file of conversations (see LAYOUTS) into the set `folder`.

    `beside`: the folder of its pictures, where they are not beside the file; `pictures=False`: none is read, and such
    a set cannot be trained on. `split`: of all records, or ARTICLE; else what the layout has. `teacher`: who wrote the
    answers.
    Returns `{layout, conversations: {in, kept, excluded}, turns, splits, artifact, hash}`.

    Raises:
        InputError: the file cannot be read, holds no such record or none that can be kept; `folder` holds something
            else.
    """
    layout = recognise(path)
    split = split or layout.split
    if split not in (*SPLITS, ARTICLE):
        raise InputError(f"--split {split}: name one of {', '.join((*SPLITS, ARTICLE))}")
    if beside and not beside.is_dir():
        raise InputError(f"--images {beside} is no folder: name the one that holds the pictures")
    plan = Plan(path, layout, picture_folders(path, beside) if pictures else (), split, teacher, max_side)
    items, named = _items(plan)
    settings = {"set": "imported", "layout": layout.name, "pictures": pictures, "split": split, "teacher": teacher}
    settings |= {"max_side": max_side}
    inputs = {"file": storage.sha256_file(path)}
    if named:
        inputs["pictures"] = storage.fingerprint(named.items())
    job = artifact.start(folder, "conversations", settings, inputs=inputs, force=force)
    if job.manifest is None:
        job.manifest = _write(job, plan, items, workers)
    splits = job.manifest["splits"]
    return {
        "layout": layout.name,
        "conversations": job.manifest["counts"]["conversations"],
        "turns": sum(part["turns"] for part in splits.values()),
        "splits": {name: part["conversations"] for name, part in splits.items()},
        "artifact": str(folder),
        "hash": job.manifest["hash"],
    }


def recognise(path: Path) -> Layout:
    """The layout of a file, by the first record that is of one.

    Raises:
        InputError: it is none of them.
    """
    if not path.is_file():
        raise InputError(f"{path} is no file: name one of JSON or JSON lines")
    for record in _records(path):
        found = next((layout for layout in LAYOUTS.values() if isinstance(record, dict) and layout.knows(record)), None)
        if found:
            return found
    raise InputError(
        f"{path} holds no record of conversations ({', '.join(LAYOUTS)}), as JSON or JSON lines: docs/formats.md shows "
        "what each looks like"
    )


def _records(path: Path) -> Iterator[object]:
    """The records of a file that can be read; None for each other."""
    if not path.stat().st_size:
        return
    with path.open("rb") as stream:
        for _, _, places in spans.parts(path):
            for begin, end in zip(places[::2], places[1::2], strict=True):
                try:
                    yield spans.record(stream, begin, end)
                except Problem:
                    yield None


def _write(job: artifact.Job, plan: Plan, items: list[Item], workers: int) -> Json:
    facts = artifact.run_shards(
        job, partial(_shard, plan), items, {"data": CONVERSATIONS, "excluded": NOT_IMPORTED}, workers=workers,
        label="import",
    )  # fmt: skip
    splits, excluded = facts.get("splits", {}), facts.get("excluded", {})
    n = sum(part["conversations"] for part in splits.values())
    if not n:
        artifact.abandon(job)
        raise InputError(f"{plan.path}: no record could be kept ({_say(excluded)}){_advice(excluded)}")
    whole: Json = {}
    for part in splits.values():
        whole = artifact.add(whole, part)
    name = printable(plan.path.name)
    pictures = "" if plan.folders else "**Without pictures**: it can be read and exported, not trained on."
    text = f"{CARD.format(name=name, pictures=pictures).strip()}\n\n{splits_table(splits)}"
    histograms = whole["histograms"] | {"split": {split: part["conversations"] for split, part in splits.items()}}
    return artifact.publish(
        job,
        counts={"conversations": {"in": n + sum(excluded.values()), "kept": n, "excluded": excluded}},
        histograms=histograms,
        models=[{"name": teacher, "version": "", "prompt_hash": ""} for teacher in sorted(facts.get("teachers", {}))],
        card=dataset_card(f"Conversations: {name}", text, splits),
        splits=splits,
        layout={"name": plan.layout.name, "lines": spans.is_lines(plan.path), "lists": spans.names(plan.path)},
    )


def _say(excluded: dict[str, int]) -> str:
    return ", ".join(f"{n:,} {reason}" for reason, n in sorted(excluded.items(), key=lambda item: -item[1]))


def _advice(excluded: dict[str, int]) -> str:
    if {"image_missing", "no_image"} & excluded.keys():
        return ": name the folder of its pictures (--images), or leave pictures out (--no-images)"
    return ": mend the file"


def _items(plan: Plan) -> tuple[list[Item], dict[str, Path]]:
    """The records of a file in parts, with the ids of those that need another; the pictures that they name."""
    seen: Counter[str] = Counter()
    items = []
    named: dict[str, Path] = {}
    with plan.path.open("rb") as stream:
        for name, first, places in spans.parts(plan.path):
            ids = {}
            for number, (begin, end) in enumerate(zip(places[::2], places[1::2], strict=True), first):
                try:
                    told = _told(plan, _object(spans.record(stream, begin, end)))
                    path = find_picture(plan.folders, told.image) if plan.folders and told.image else None
                except Problem:
                    continue
                if path:
                    named[told.image] = path
                own = _id(told, number)
                while own in seen:  # "x" may be there twice, and "x_2" too
                    seen[own] += 1
                    ids[number] = own = f"{own}_{seen[own]}"
                seen[own] = 1
            items.append(Item(name, first, list(places), ids))
    return items, named


def _object(value: object) -> Json:
    """Raises Problem: a record is no object."""
    if not isinstance(value, dict):
        raise Problem("record_broken", "no object")
    return value


def _told(plan: Plan, record: Json) -> Told:
    """Raises Problem: the record is not of the layout."""
    if not plan.layout.knows(record):
        raise Problem("record_broken", f"not of the layout {plan.layout.name}")
    return plan.layout.read(record)


def _id(told: Told, number: int) -> str:
    return told.id or f"record_{number}"


def _shard(plan: Plan, item: Item) -> tuple[artifact.Tables, Json]:
    tables: artifact.Tables = {}
    facts: Json = {}
    with plan.path.open("rb") as stream:
        for number, (begin, end) in enumerate(zip(item.spans[::2], item.spans[1::2], strict=True), item.first):
            source = f"{printable(plan.path.name)}#{number}"
            try:
                row, figure = _row(plan, item, number, _object(spans.record(stream, begin, end)))
            except Problem as problem:
                stream.seek(begin)
                text = printable(stream.read(end - begin).decode("utf-8", "replace"))
                left = {"id": source, "source": source, "reason": problem.reason, "detail": problem.detail}
                tables.setdefault("excluded/conversations", []).append(left | {"record": text.strip()})
                facts = artifact.add(facts, {"excluded": {problem.reason: 1}})
                continue
            turns, _ = turns_of(row["conversations"])
            tables.setdefault(f"data/{row['split']}", []).append(row)
            teacher = {row["teacher"]: 1} if row["teacher"] not in (None, "caption") else {}
            facts = artifact.add(facts, {"splits": {row["split"]: count(figure, turns)}, "teachers": teacher})
    return tables, facts


def _row(plan: Plan, item: Item, number: int, record: Json) -> tuple[Json, Json]:
    """A record as a row, and what is known of its figure (`write.count`).

    Raises:
        Problem: it cannot be kept.
    """
    told = _told(plan, record)
    said = _checked(told)
    domain = told.domain or ({item.name: True} if item.name else None)
    stated = columns.kinds(domain)
    figure: Json = {"modality": stated, **dict.fromkeys(HISTOGRAMS)}
    row = {
        "id": item.ids.get(number, _id(told, number)),
        "pair_id": told.pair_id,
        "image": _picture(plan, told),
        "domain": domain_of(stated) if domain else None,
        "conversations": said,
        "teacher": plan.teacher or told.teacher or None,
        "split": split_of(told.pair_id.partition("_")[0]) if plan.split == ARTICLE else plan.split,
    }
    return row | {"record": kept(plan.layout, record, told, row, item.name)}, figure


def _checked(told: Told) -> Said:
    """The turns, the first with the mark of the picture, if there is one.

    Raises:
        Problem: format: roles out of order, or marks out of place.
    """
    said = told.said
    if not any(MARK in part["value"] for part in said):
        said = [{**said[0], "value": f"{MARK}\n{said[0]['value']}"}, *said[1:]]
    _, wrong = turns_of(said)
    if wrong:
        raise Problem("format", wrong)
    return said if told.image else told.said


def _picture(plan: Plan, told: Told) -> Json | None:
    """Raises Problem: no_image; image_missing; what `find_picture` and `images.picture` raise."""
    if not plan.folders:
        return None
    if not told.image:
        raise Problem("no_image", "the record names no picture")
    path = find_picture(plan.folders, told.image)
    if path is None:
        raise Problem("image_missing", told.image)
    picture = images.picture(images.load(path), told.pair_id, plan.max_side)
    return {"bytes": picture.data, "path": picture.path}
