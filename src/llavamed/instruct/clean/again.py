"""Clean a set of conversations that exists: nobody is asked, records keep their ids."""

from collections import Counter, defaultdict
from collections.abc import Iterable
from functools import partial
from itertools import accumulate, chain
from pathlib import Path

import pyarrow as pa
import pyarrow.parquet as pq

from llavamed import artifact, storage
from llavamed.cards import dataset_card
from llavamed.errors import InputError
from llavamed.instruct.clean import MEANING, Victim, clean_turns, rules_hash, turn_key
from llavamed.instruct.schema import CONVERSATIONS, DROPPED
from llavamed.instruct.write import Turns
from llavamed.storage import Json

MARK = "<image>"
TOLD = ("id", "pair_id", "teacher", "prompt_hash", "split")  # of a record, beside the turns that are left out
NOTHING: tuple[str, list[str]] = ("", [])  # no caption, no mentions
EMPTY = "no_turn_left"
COMPARED = "leaks are looked for in the captions and mentions of the corpus"
NOT_COMPARED = "no corpus was given: of leaks only those that no picture ever shows were looked for"
CARD = """Cleaned: turns that break a rule were left out, or lost a clause about their text. No word was added."""

Pairs = dict[Path, list[str]]  # file -> the figure of each of its records
Sources = dict[str, tuple[str, list[str]]]  # pair_id -> caption, mentions
Said = list[dict[str, str]]  # a conversation as tables have it


def clean_set(folder: Path, output: Path, *, corpus: Path | None = None, workers: int = 1, force: bool = False) -> Json:
    """Write the conversations of `folder` to `output`, without the turns that break a rule of `MEANING`.

    `corpus` holds the captions and mentions that the answers were made from. Returns `{conversations, turns:
    {in, kept, excluded}, repaired, without_caption, leaks, artifact, hash}`; `leaks` says what was compared.

    Raises:
        InputError: `folder` is no finished set of conversations, or the alignment set, whose answers are captions;
            `corpus` is no corpus; `output` holds something else.
    """
    parent = artifact.require(folder, "conversations")
    if parent["settings"].get("set") == "alignment":
        raise InputError(f"{folder}: the answers of an alignment set are captions, which cleaning would leave out")
    if corpus:
        artifact.require(corpus, "corpus")
    size = sum(file["bytes"] for path, file in parent["files"].items() if path.startswith("data/"))
    settings = {"set": "cleaned", "rules_hash": rules_hash(), "compared": corpus is not None}
    parents = [folder, *([corpus] if corpus else [])]
    job = artifact.start(output, "conversations", settings, parents=parents, force=force, needs_bytes=size)
    if job.manifest is None:
        job.manifest = _write(job, folder, corpus, workers)
    counts = job.manifest["counts"]
    leaks = {"leaks": COMPARED if corpus else NOT_COMPARED, "without_caption": job.manifest["without_caption"]}
    return {
        **counts,
        "repaired": job.manifest["repaired"],
        **leaks,
        "artifact": str(output),
        "hash": job.manifest["hash"],
    }


def _write(job: artifact.Job, folder: Path, corpus: Path | None, workers: int) -> Json:
    pairs = {path: _read(path, ["pair_id"])["pair_id"].to_pylist() for path in storage.tables(folder)}
    sources = _sources(pairs, corpus) if corpus else {}
    before = _said_before(pairs, sources)
    shards = []
    for path, here in pairs.items():
        own = {pair: sources[pair] for pair in {*here} & sources.keys()}
        shards.append((path, own, before[path]))
    write = partial(_write_shard, folder)
    schemas = {"data": CONVERSATIONS, "excluded": DROPPED}
    facts = artifact.run_shards(job, write, shards, schemas, workers=workers, label="cleaning")
    counts = {}
    for name in ("conversations", "turns"):
        kept, excluded = facts.get(f"{name}_kept", 0), facts.get(f"{name}_excluded", {})
        counts[name] = {"in": kept + sum(excluded.values()), "kept": kept, "excluded": excluded}
    splits = facts.get("splits", {})
    histograms = {"split": {name: split["conversations"] for name, split in splits.items()}}
    card = dataset_card("Conversations: cleaned", f"{CARD}\n\n{_table(counts['turns']['excluded'])}", splits)
    return artifact.publish(
        job, counts=counts, histograms=histograms, card=card, splits=splits, repaired=facts.get("repaired", 0),
        without_caption=facts.get("without_caption", 0),
    )  # fmt: skip


def clean_row(row: Json, source: tuple[str, list[str]], said: Iterable[str] = ()) -> tuple[Turns, list[Victim], int]:
    """The turns of a record that are kept, those dropped, and how many were repaired. Arguments of `clean_turns`."""
    turns, wrong = turns_of(row["conversations"])
    if wrong:
        return [], [Victim(n, *turn, "format", wrong) for n, turn in enumerate(turns, 1)], 0
    kept, victims = clean_turns(turns, *source, said)
    return kept, victims, 0 if kept == turns else sum(turn not in turns for turn in kept)


def turns_of(said: Said | None) -> tuple[Turns, str]:
    """The turns of a conversation, without the mark of the picture, and what is wrong with its format, or ""."""
    parts = said or []
    values = [part["value"] or "" for part in parts]
    n = len(parts) // 2
    if parts and [part["from"] for part in parts] == ["human", "gpt"] * n:
        marks = [MARK in value for value in values]
        once = marks[0] and not any(marks[1:]) and values[0].count(MARK) == 1
        texts = [value.replace(MARK, "").strip() for value in values]
        wrong = "" if once else "the mark of the picture does not stand once, in the first question"
        return list(zip(texts[::2], texts[1::2], strict=True)), wrong
    turns: Turns = []
    for part, value in zip(parts, values, strict=True):
        text = value.replace(MARK, "").strip()
        if part["from"] == "gpt" and turns and not turns[-1][1]:
            turns[-1] = (turns[-1][0], text)
        else:
            turns.append((text, "") if part["from"] != "gpt" else ("", text))
    return turns or [("", "")], "human and gpt do not take turns"


def messages(turns: Turns) -> Said:
    """Turns as tables have them; the first question has the mark of the picture."""
    said = [{"from": who, "value": text} for turn in turns for who, text in zip(("human", "gpt"), turn, strict=True)]
    said[0]["value"] = f"{MARK}\n{said[0]['value']}"
    return said


def _write_shard(folder: Path, shard: tuple[Path, Sources, dict[int, set[str]]]) -> tuple[artifact.Tables, Json]:
    path, sources, before = shard
    tables: artifact.Tables = defaultdict(list)
    total: Counter[str] = Counter()
    dropped: Counter[str] = Counter()
    splits: dict[str, Counter[str]] = defaultdict(Counter)
    source = path.relative_to(folder).as_posix()
    table = _read(path)
    chosen: dict[str, list[int]] = defaultdict(list)
    said: dict[str, list[list[str]]] = defaultdict(list)
    for number, row in enumerate(table.select([*TOLD, "conversations"]).to_pylist()):
        kept, victims, repaired = clean_row(row, sources.get(row["pair_id"], NOTHING), before.get(number, ()))
        total["turns_kept"] += len(kept)
        total["repaired"] += repaired
        total["without_caption"] += row["pair_id"] not in sources
        if victims or not kept:
            text = {name: row[name] for name in TOLD} | {"source": source}
            tables["excluded/turns"] += [text | victim._asdict() for victim in victims]
            dropped.update(victim.reason for victim in victims)
        if not kept:
            reasons = ", ".join(sorted({victim.reason for victim in victims}))
            tables["excluded/conversations"].append(text | {"reason": EMPTY, "detail": reasons})
            continue
        parts = [part for turn in kept for part in turn]
        _count(splits[row["split"]], parts)
        chosen[row["split"]].append(number)
        said[row["split"]].append(parts)
    for split, numbers in chosen.items():
        rows = table if len(numbers) == len(table) else table.take(numbers)
        tables[f"data/{split}"] = _with_said(rows, said[split])
    empty = len(tables["excluded/conversations"])
    facts: Json = {**total, "turns_excluded": dropped, "splits": {name: {**count} for name, count in splits.items()}}
    facts["conversations_kept"] = sum(count["conversations"] for count in splits.values())
    return dict(tables), facts | {"conversations_excluded": {EMPTY: empty} if empty else {}}


def _with_said(table: pa.Table, said: list[list[str]]) -> pa.Table:
    """Rows of a set with what is said replaced: questions and answers in turn. Nothing else leaves Arrow."""
    values = [f"{MARK}\n{part}" if n == 0 else part for parts in said for n, part in enumerate(parts)]
    column = CONVERSATIONS.field("conversations").type
    turns = pa.StructArray.from_arrays([["human", "gpt"] * (len(values) // 2), values], fields=[*column.value_type])
    ends = pa.array([0, *accumulate(map(len, said))], pa.int32())
    held = {name: table[name] for name in table.column_names}
    held["conversations"] = pa.ListArray.from_arrays(ends, turns, type=column)
    nothing = pa.nulls(len(table))
    return pa.table({name: held.get(name, nothing) for name in CONVERSATIONS.names}).cast(CONVERSATIONS)


def _count(counts: Counter[str], parts: list[str]) -> None:
    """Add a conversation, its questions and answers, to the counts of its split."""
    text = " ".join(parts)
    counts["conversations"] += 1
    counts["turns"] += len(parts) // 2
    counts["words"] += len(text.split())
    counts["characters"] += len(text) - len(parts) + 1


def _sources(pairs: Pairs, corpus: Path) -> Sources:
    """Captions and mentions of the figures that conversations are about."""
    wanted = set(chain.from_iterable(pairs.values()))
    return {
        row["pair_id"]: (row["fig_caption"] or "", row["in_text_mention"] or [])
        for row in storage.read_rows(corpus, columns=["pair_id", "fig_caption", "in_text_mention"])
        if row["pair_id"] in wanted
    }


def _read(path: Path, columns: list[str] | None = None) -> pa.Table:
    """A table or some of its columns; `pq.read_table` takes twice as long for a small one."""
    with pq.ParquetFile(path) as file:
        return file.read(columns)


def _said_before(pairs: Pairs, sources: Sources) -> dict[Path, dict[int, set[str]]]:
    """Of pictures with several records: file -> row -> what was kept of the picture's records before it."""
    several = Counter(chain.from_iterable(pairs.values()))
    said: dict[str, set[str]] = {pair: set() for pair, n in several.items() if n > 1}
    found: dict[Path, dict[int, set[str]]] = {path: {} for path in pairs}
    for path in found if said else ():
        for number, row in enumerate(_read(path, ["pair_id", "conversations"]).to_pylist()):
            if row["pair_id"] in said:
                before = said[row["pair_id"]]
                kept, _, _ = clean_row(row, sources.get(row["pair_id"], NOTHING), before)
                found[path][number] = before
                said[row["pair_id"]] = before | {turn_key(*turn) for turn in kept}
    return found


def _table(excluded: dict[str, int]) -> str:
    lines: Iterable[str] = (f"| {rule} | {MEANING[rule]} | {n:,} |" for rule, n in sorted(excluded.items()))
    return "\n".join(("| rule | left out: a turn that | turns |", "| --- | --- | ---: |", *lines))
