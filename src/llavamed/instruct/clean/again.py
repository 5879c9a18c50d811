"""Clean a set of conversations that exists: nobody is asked, records keep their ids."""

from collections import Counter, defaultdict
from collections.abc import Iterable, Iterator
from functools import partial
from itertools import accumulate, chain, islice
from pathlib import Path

import pyarrow as pa
import pyarrow.parquet as pq

from llavamed import artifact, storage
from llavamed.cards import dataset_card
from llavamed.errors import InputError
from llavamed.instruct.clean import MEANING, Victim, clean_turns, drop, rules_hash, source_of, turn_key
from llavamed.instruct.clean.many import judge_all
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


def _cleaned(
    table: pa.Table, rows: list[Json], sources: Sources, before: dict[int, set[str]]
) -> Iterator[tuple[Turns, list[Victim], int]]:
    """What `clean_row` gives for each row of a table, all turns judged at once."""
    read = [*_turns_in(table["conversations"].combine_chunks())]
    texts = [source_of(*sources.get(row["pair_id"], NOTHING)) for row in rows]
    turns = [turn for turns, _ in read for turn in turns]
    judged = iter(judge_all(turns, [text for (turns, _), text in zip(read, texts, strict=True) for _ in turns]))
    for number, ((turns, wrong), text) in enumerate(zip(read, texts, strict=True)):
        own = [*islice(judged, len(turns))]
        yield _left_out(turns, wrong) if wrong else _counted(turns, drop(turns, own, text, before.get(number, ())))


def clean_row(row: Json, source: tuple[str, list[str]], said: Iterable[str] = ()) -> tuple[Turns, list[Victim], int]:
    """The turns of a record that are kept, those dropped, and how many were repaired. Arguments of `clean_turns`."""
    turns, wrong = turns_of(row["conversations"])
    return _left_out(turns, wrong) if wrong else _counted(turns, clean_turns(turns, *source, said))


def _left_out(turns: Turns, wrong: str) -> tuple[Turns, list[Victim], int]:
    return [], [Victim(n, *turn, "format", wrong) for n, turn in enumerate(turns, 1)], 0


def _counted(turns: Turns, cleaned: tuple[Turns, list[Victim]]) -> tuple[Turns, list[Victim], int]:
    kept, victims = cleaned
    return kept, victims, 0 if kept == turns else sum(turn not in turns for turn in kept)


def turns_of(said: Said | None) -> tuple[Turns, str]:
    """The turns of a conversation, without the mark of the picture, and what is wrong with its format, or ""."""
    parts = said or []
    return _turns([part["from"] for part in parts], [part["value"] for part in parts])


def _turns_in(said: pa.ListArray) -> Iterator[tuple[Turns, str]]:
    """`turns_of` each conversation of a table."""
    parts = said.flatten()
    roles, values = (iter(parts.field(name).to_pylist()) for name in ("from", "value"))
    for n in said.value_lengths().fill_null(0).to_pylist():
        yield _turns([*islice(roles, n)], [*islice(values, n)])


def _turns(roles: list[str], values: list[str]) -> tuple[Turns, str]:
    values = [value or "" for value in values]
    n, marks = len(roles) // 2, "\0".join(values).count(MARK)
    first = [value.replace(MARK, "") for value in values[:1]]
    rest = values[1:] if marks < 2 and first != values[:1] else [value.replace(MARK, "") for value in values[1:]]
    texts = [value.strip() for value in first + rest]
    if roles and roles == ["human", "gpt"] * n:
        once = marks == 1 and MARK in values[0]
        wrong = "" if once else "the mark of the picture does not stand once, in the first question"
        return list(zip(texts[::2], texts[1::2], strict=True)), wrong
    turns: Turns = []
    for role, text in zip(roles, texts, strict=True):
        if role == "gpt" and turns and not turns[-1][1]:
            turns[-1] = (turns[-1][0], text)
        else:
            turns.append((text, "") if role != "gpt" else ("", text))
    return turns or [("", "")], "human and gpt do not take turns"


def messages(turns: Turns) -> Said:
    """Turns as tables have them; the first question has the mark of the picture."""
    said = [{"from": who, "value": text} for turn in turns for who, text in zip(("human", "gpt"), turn, strict=True)]
    said[0]["value"] = f"{MARK}\n{said[0]['value']}"
    return said


def _write_shard(folder: Path, shard: tuple[Path, Sources, dict[int, set[str]]]) -> tuple[artifact.Tables, Json]:
    path, sources, before = shard
    tables: artifact.Tables = defaultdict(list)
    dropped: Counter[str] = Counter()
    chosen: dict[str, list[int]] = defaultdict(list)
    said: dict[str, list[list[str]]] = defaultdict(list)
    repairs = 0
    source = path.relative_to(folder).as_posix()
    table = _read(path)
    rows = table.select(TOLD).to_pylist()
    cleaned = _cleaned(table, rows, sources, before)
    for number, (row, (kept, victims, repaired)) in enumerate(zip(rows, cleaned, strict=True)):
        repairs += repaired
        if victims or not kept:
            text = row | {"source": source}
            tables["excluded/turns"] += [text | victim._asdict() for victim in victims]
            dropped.update(victim.reason for victim in victims)
        if kept:
            chosen[row["split"]].append(number)
            said[row["split"]].append([part for turn in kept for part in turn])
        else:
            reasons = ", ".join(sorted({victim.reason for victim in victims}))
            tables["excluded/conversations"].append(text | {"reason": EMPTY, "detail": reasons})
    for split, numbers in chosen.items():
        part = table if len(numbers) == len(table) else table.take(numbers)
        tables[f"data/{split}"] = _with_said(part, said[split])
    empty = len(tables["excluded/conversations"])
    splits = {split: _count(parts) for split, parts in said.items()}
    return dict(tables), {
        "splits": splits,
        "conversations_kept": sum(count["conversations"] for count in splits.values()),
        "conversations_excluded": {EMPTY: empty} if empty else {},
        "turns_kept": sum(count["turns"] for count in splits.values()),
        "turns_excluded": dropped,
        "repaired": repairs,
        "without_caption": sum(row["pair_id"] not in sources for row in rows),
    }


def _with_said(table: pa.Table, said: list[list[str]]) -> pa.Table:
    """Rows of a set with what is said replaced: questions and answers in turn. Nothing else leaves Arrow."""
    values = [part for first, *others in said for part in (f"{MARK}\n{first}", *others)]
    column = CONVERSATIONS.field("conversations").type
    turns = pa.StructArray.from_arrays([["human", "gpt"] * (len(values) // 2), values], fields=[*column.value_type])
    ends = pa.array([0, *accumulate(map(len, said))], pa.int32())
    held = {name: table[name] for name in table.column_names}
    held["conversations"] = pa.ListArray.from_arrays(ends, turns, type=column)
    nothing = pa.nulls(len(table))
    return pa.table({name: held.get(name, nothing) for name in CONVERSATIONS.names}).cast(CONVERSATIONS)


def _count(said: list[list[str]]) -> Json:
    """Of conversations, each its questions and answers, what a manifest tells of their split."""
    parts = [*chain.from_iterable(said)]
    words, characters = len(" ".join(parts).split()), sum(map(len, parts))
    return {"conversations": len(said), "turns": len(parts) // 2, "words": words, "characters": characters}


def _sources(pairs: Pairs, corpus: Path) -> Sources:
    """Captions and mentions of the figures that conversations are about."""
    wanted = set(chain.from_iterable(pairs.values()))
    found: Sources = {}
    for path in storage.tables(corpus):
        table = _read(path, ["pair_id", "fig_caption", "in_text_mention"]).to_pydict()
        rows = zip(table["pair_id"], table["fig_caption"], table["in_text_mention"], strict=True)
        found |= {pair: (caption or "", mentions or []) for pair, caption, mentions in rows if pair in wanted}
    return found


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
