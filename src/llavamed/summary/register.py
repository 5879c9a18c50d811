"""What a model saw, joined to figures and articles: the one place that facts, trace and impact read from.

Columns of the tables are read, their pictures never; what is long is held once and pointed at by number, so that a
million figures fit in memory.
"""

from collections.abc import Iterable, Sequence
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass
from functools import cached_property, partial
from pathlib import Path
from typing import Any

import numpy as np
import pyarrow as pa
import pyarrow.compute as pc
import pyarrow.parquet as pq

from llavamed import artifact, storage
from llavamed.corpus.choose import article_of
from llavamed.errors import InputError
from llavamed.lineage import SEEN, at_hand, check, lineage, seen_table
from llavamed.storage import Json

Numbers = np.ndarray[Any, np.dtype[Any]]
Made = tuple[str, str]  # by which teacher, with which prompt (its hash)
NOT_KNOWN = -1
_THREADS, _FILES = 4, 256  # that read, and that are put together at a time
# Columns of a figure, those that repeat as dictionaries; and what a register of articles tells besides.
_REPEAT = ("pmcid", "doi", "version", "journal", "publisher", "language", "article_type", "licence", "source",
           "collected")  # fmt: skip
_OTHER = ("pair_id", "fig_id", "panel", "year", "hosts", "modality", "domain")
ABOUT = ("pmid", "title", "licence_url")


@dataclass(frozen=True)
class Step:
    """A training of the lineage: its stage, and the set of conversations that it read."""

    stage: str
    model: Json
    data: Json


@dataclass(frozen=True)
class Seen:
    """`seen.parquet`, a row a record and stage, as numbers [rows].

    record, figure, picture: of the record, of its figure in `pairs`, of its picture. stage: in `stages`. step: in the
    register's `steps`; made: in `makers`; NOT_KNOWN where that is not known.
    """

    ids: pa.Array  # of records, by their number
    pairs: pa.Array  # `pair_id` of figures, by their number
    stages: list[str]
    makers: list[Made]
    record: Numbers
    figure: Numbers
    picture: Numbers
    stage: Numbers
    step: Numbers
    made: Numbers
    times: Numbers
    text_tokens: Numbers
    image_tokens: Numbers

    @cached_property
    def once(self) -> Numbers:
        """The last row of each record, by the record's number."""
        last = np.zeros(len(self.ids), np.int64)
        last[self.record] = np.arange(len(self.record))
        return last

    def tokens_of_pictures(self, rows: Numbers) -> int:
        """The image tokens of those rows' pictures, each picture once."""
        order = np.lexsort((self.image_tokens[rows], self.picture[rows]))
        pictures = self.picture[rows][order]
        last = np.flatnonzero(np.r_[pictures[1:] != pictures[:-1], True][: len(pictures)])
        return int(self.image_tokens[rows][order][last].sum())


@dataclass(frozen=True)
class Figures:
    """The figures seen that a corpus at hand holds, each once.

    `table`: the columns of `_REPEAT` and `_OTHER` that the corpora have. number: of each row, in `Seen.pairs`; corpus:
    in `corpora`, of which `table` has rows.
    """

    table: pa.Table
    number: Numbers
    corpus: Numbers
    corpora: list[Json]

    def column(self, name: str) -> pa.Array:
        """One column, whole; nulls where no corpus has it."""
        if name not in self.table.column_names:
            return pa.nulls(len(self.table), pa.string())
        return self.table[name].combine_chunks()

    def text(self, name: str) -> pa.Array:
        """One column of text, not as a dictionary."""
        return self.column(name).cast(pa.string())

    @cached_property
    def article(self) -> tuple[pa.Array, Numbers]:
        """(articles, the number of each row's): PMCID, else DOI, else what the figures' ids begin with."""
        none = pa.scalar(None, pa.string())
        words = [self.text(name) for name in ("pmcid", "doi")]
        keys = pc.coalesce(*(pc.if_else(pc.equal(word, ""), none, word) for word in words))
        empty = np.flatnonzero(keys.is_null().to_numpy(zero_copy_only=False))
        if len(empty):
            names = [name for name in ("pair_id", "fig_id", "panel") if name in self.table.column_names]
            rows = self.table.select(names).take(pa.array(empty)).to_pylist()
            ids = [row["pair_id"][: len(article_of(row))] for row in rows]
            keys = pc.replace_with_mask(keys, keys.is_null(), pa.array(ids, pa.string()))
        return coded(keys)


@dataclass(frozen=True)
class Register:
    """What a model saw. `found`: the data sets at hand; `absent`: manifests of those that are not, and are needed."""

    folder: Path
    model: Json
    line: list[Json]
    steps: list[Step]
    found: list[tuple[Path, Json]]
    absent: list[Json]
    seen: Seen
    figures: Figures


def register(
    model: Path, data: Sequence[Path] = (), more: Sequence[str] = (), manifest: Json | None = None
) -> Register:
    """Read what `model` saw. `data`: where its data sets are, besides beside it (`lineage.at_hand`). `more`: columns of
    figures besides those of the facts. `manifest`: that of a model which is not published yet.

    Raises:
        InputError: the folder holds no trained model; its `seen.parquet` or a manifest was changed; one of `data` holds
            nothing of the lineage.
    """
    manifest = manifest or artifact.require(model, "model")
    check(model, manifest)
    line = lineage(manifest)
    found = at_hand(model, line, data)
    steps = steps_of(line)
    needed = [m for m in line if m["kind"] == "conversations" and any(key_of(m) == key_of(s.data) for s in steps)]
    needed += [*{key_of(c): c for m in needed for c in corpora_of(m)}.values()]
    there = {key_of(m) for _, m in found}
    seen = _seen(seen_table(model, manifest, ("image_sha256",)), steps, found)
    corpora = [(folder, m) for folder, m in found if m["kind"] == "corpus" and storage.tables(folder)]
    return Register(
        model, manifest, line, steps, found, [m for m in needed if key_of(m) not in there], seen,
        figures_of(corpora, seen.pairs, more),
    )  # fmt: skip


def key_of(manifest: Json) -> tuple[str, str]:
    """What tells artifacts apart."""
    return manifest["kind"], manifest["hash"]


def steps_of(line: list[Json]) -> list[Step]:
    """The trainings of a lineage, the earliest first."""
    steps = []
    for model in reversed(line):
        data = [entry["manifest"] for entry in model["parents"] if entry["manifest"]["kind"] == "conversations"]
        if model["kind"] == "model" and SEEN in model["files"] and data:
            steps.append(Step(str(model["settings"].get("name", "")), model, data[0]))
    return steps


def corpora_of(conversations: Json) -> list[Json]:
    """The corpora that a set of conversations was made from: not those behind them."""
    found: list[Json] = []
    for entry in conversations["parents"]:
        parent = entry["manifest"]
        found += [parent] if parent["kind"] == "corpus" else corpora_of(parent)
    return found


def coded(values: pa.Array | pa.ChunkedArray) -> tuple[pa.Array, Numbers]:
    """(distinct values, the number of each one's); NOT_KNOWN for nulls."""
    if isinstance(values, pa.ChunkedArray):
        values = values.combine_chunks()
    if pa.types.is_dictionary(values.type):
        return values.dictionary, _filled(values.indices)
    found = values.dictionary_encode()
    return found.dictionary, _filled(found.indices)


def read(folder: Path, columns: Iterable[str], repeat: Sequence[str] = (), part: str = "data") -> pa.Table:
    """Those of the columns that an artifact's table has; those in `repeat` as dictionaries.

    There are tens of thousands of files of a hundred rows: each is closed at once, and few pieces are held.

    Raises:
        InputError: a file of the table cannot be read.
    """
    paths = storage.tables(folder, part)
    if not paths:
        return pa.table({})
    there = [name for name in columns if name in _file(paths[0], ()).schema_arrow.names]
    one = partial(_columns, columns=there, repeat=repeat)
    groups = []
    with ThreadPoolExecutor(_THREADS) as pool:
        for begin in range(0, len(paths), _FILES):
            table = pa.concat_tables(pool.map(one, paths[begin : begin + _FILES]), promote_options="default")
            groups.append(table.unify_dictionaries().combine_chunks())
    return pa.concat_tables(groups, promote_options="default").unify_dictionaries()


def _columns(path: Path, columns: list[str], repeat: Sequence[str]) -> pa.Table:
    with _file(path, repeat) as file:
        try:
            return file.read(columns=columns, use_threads=False)
        except (pa.ArrowException, OSError) as error:
            raise _unreadable(path, error) from None


def _file(path: Path, repeat: Sequence[str]) -> pq.ParquetFile:
    try:
        return pq.ParquetFile(path, read_dictionary=list(repeat), pre_buffer=False, memory_map=True)
    except (pa.ArrowException, OSError) as error:
        raise _unreadable(path, error) from None


def _unreadable(path: Path, error: Exception) -> InputError:
    said = " ".join(str(error).split())[:200]
    return InputError(f"{path} cannot be read ({said}): restore it, or make its data set again with --force")


def figures_of(corpora: Sequence[tuple[Path, Json]], pairs: pa.Array, more: Sequence[str] = ()) -> Figures:
    """The rows of `corpora` whose `pair_id` is in `pairs`: the first of each. `more`: see `register`."""
    taken = np.zeros(len(pairs), bool)
    parts, numbers, whose = [], [], []
    for index, (folder, _) in enumerate(corpora):
        table = read(folder, (*_OTHER, *_REPEAT, *more), (*_REPEAT, *more))
        number = _filled(pc.index_in(_whole(table["pair_id"]), value_set=pairs))
        rows = np.flatnonzero(number != NOT_KNOWN)
        rows = rows[~taken[number[rows]]]
        rows = np.sort(rows[np.unique(number[rows], return_index=True)[1]])
        taken[number[rows]] = True
        parts.append(table.take(pa.array(rows)))
        numbers.append(number[rows])
        whose.append(np.full(len(rows), index))
    none = np.zeros(0, np.int64)
    table = pa.concat_tables(parts, promote_options="default").unify_dictionaries() if parts else pa.table({})
    return Figures(table, np.concatenate([none, *numbers]), np.concatenate([none, *whose]), [m for _, m in corpora])


def _seen(table: pa.Table, steps: list[Step], found: list[tuple[Path, Json]]) -> Seen:
    """Without the tables, a record's id is the figure's, "_" and the set's name."""
    ids, record = coded(table["id"])
    stages, stage = coded(table["stage"])
    step, made = np.full(len(record), NOT_KNOWN), np.full(len(record), NOT_KNOWN)
    makers: list[Made] = []
    pictures = None
    if "image_sha256" in table.column_names:
        digests, pictures = coded(table["image_sha256"])
        table = table.drop_columns(["id", "stage", "image_sha256"])  # hashes are most of it
    names: list[pa.Array] = []  # of figures: those of each table, then those that the ids tell
    place = np.full(len(record), NOT_KNOWN)
    folders = {key_of(m): folder for folder, m in found}
    for index, own in enumerate(steps):
        rows = np.flatnonzero(np.isin(stage, [n for n, word in enumerate(stages.to_pylist()) if word == own.stage]))
        alone = sum(other.stage == own.stage for other in steps) == 1
        folder = folders.get(key_of(own.data))
        if folder is None or not storage.tables(folder):
            step[rows[step[rows] == NOT_KNOWN]] = index if alone else NOT_KNOWN
            continue
        part = read(folder, ("id", "pair_id", "teacher", "prompt_hash"), ("teacher", "prompt_hash"))
        where = _filled(pc.index_in(ids, value_set=_whole(part["id"])))[record[rows]]
        rows, where = rows[where != NOT_KNOWN], where[where != NOT_KNOWN]
        step[rows], place[rows] = index, where + sum(map(len, names))
        names.append(_whole(part["pair_id"]))
        kinds, by = _made(part)
        made[rows] = by[where] + len(makers)
        makers += kinds
    left = np.flatnonzero(place == NOT_KNOWN)
    place[left] = np.arange(len(left)) + sum(map(len, names))
    names.append(_figure_in(ids.take(pa.array(record[left]))))
    pairs, figure = coded(pa.chunked_array(names).take(pa.array(place)))
    picture = figure if pictures is None else np.where(pictures == NOT_KNOWN, figure + len(digests), pictures)
    times, text, image = (table[n].to_numpy() for n in ("times_seen", "text_tokens", "image_tokens"))
    return Seen(ids, pairs, stages.to_pylist(), makers, record, figure, picture, stage, step, made,
                times.astype(np.int64), text.astype(np.int64), image.astype(np.int64))  # fmt: skip


def _figure_in(ids: pa.Array) -> pa.Array:
    shorter = pc.replace_substring_regex(ids, "_[^_]*$", "")
    return pc.if_else(pc.equal(shorter, ""), ids, shorter)


def _made(table: pa.Table) -> tuple[list[Made], Numbers]:
    """(teachers with their prompts, the number of each row's)."""
    teachers, teacher = coded(table["teacher"])
    prompts, prompt = coded(table["prompt_hash"])
    both, number = np.unique(teacher * (len(prompts) + 1) + prompt + 1, return_inverse=True)
    words = [*teachers.to_pylist(), ""], [*prompts.to_pylist(), ""]  # the last, at NOT_KNOWN, is of nulls
    return [(words[0][b // (len(prompts) + 1)], words[1][b % (len(prompts) + 1) - 1]) for b in both], number


def _whole(column: pa.ChunkedArray) -> pa.Array:
    found = column.combine_chunks()
    return found.cast(pa.string()) if pa.types.is_dictionary(found.type) else found


def _filled(numbers: pa.Array) -> Numbers:
    found: Numbers = numbers.fill_null(NOT_KNOWN).to_numpy(zero_copy_only=False).astype(np.int64)
    return found
