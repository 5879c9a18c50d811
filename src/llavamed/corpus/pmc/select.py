"""Which versions are wanted: by a list of ids, by a search, or by an inventory of the bucket."""

import json
import re
from collections.abc import Iterable
from pathlib import Path
from typing import Any, NamedTuple

import numpy as np
import pyarrow as pa
import pyarrow.compute as pc
import pyarrow.csv
import pyarrow.parquet as pq

from llavamed.console import progress
from llavamed.corpus.pmc.store import BUCKET, Bucket
from llavamed.corpus.problem import Problem, printable
from llavamed.errors import InputError

Json = dict[str, Any]
Part = tuple[int, int]  # k of n
INVENTORIES = f"inventory-reports/{BUCKET}/metadata/"
_MANIFEST_BYTES, _FILE_BYTES = 50_000_000, 5_000_000_000
_ID = re.compile(r"PMC(\d{1,10})(?:\.(\d{1,4}))?", re.I)
_ADDRESS = re.compile(r"https?://\S*/(PMC\d+(?:\.\d+)?)/?", re.I)
_DATE = re.compile(r"\d{4}-\d\d-\d\d(T\d\d-\d\dZ)?")
_FIELDS = ["Bucket", "Key", "LastModifiedDate", "ETag"]
_CONVERTER = "convert it with PMC's ID converter, https://pmc.ncbi.nlm.nih.gov/tools/idconv/"
SELECTION = pa.schema([("pmcid", pa.int64()), ("version", pa.int32()), ("etag", pa.string())])


class Wanted(NamedTuple):
    """A version, or with `version` 0 the newest of an article. `source`: as the user wrote it; `etag`: if known."""

    pmcid: int
    version: int
    source: str
    etag: str = ""


class Line(NamedTuple):
    """A line that is no id, and why."""

    source: str
    problem: Problem


def read_ids(path: Path) -> tuple[list[Wanted], list[Line]]:
    """The ids in a file: one a line, or the first column of a CSV; `#` begins a comment.

    Raises:
        InputError: the file cannot be read, or holds no PMCID.
    """
    try:
        lines = path.read_text(encoding="utf-8-sig", errors="replace").splitlines()
    except OSError as error:
        raise InputError(f"{path}: the list of ids cannot be read ({error.strerror}): name a text file") from None
    wanted, bad, seen = [], [], set()
    for number, line in enumerate(lines):
        text = printable(re.split(r"[,;\t]", line.partition("#")[0])[0].strip().strip("\"'").strip())
        if not text or (number == 0 and re.fullmatch(r"(?i)(pmc|pm|article|accession)?[ _-]?ids?|accession", text)):
            continue
        match = _ADDRESS.fullmatch(text)
        match = _ID.fullmatch(match[1] if match else text)
        if match is None:
            bad.append(Line(text[:200], Problem("not_a_pmcid", _why(text))))
            continue
        key = (int(match[1]), int(match[2] or 0))
        if key in seen:
            bad.append(Line(text, Problem("duplicate", "listed before")))
        else:
            seen.add(key)
            wanted.append(Wanted(*key, text))
    if not wanted:
        raise InputError(f"{path} holds no PMCID: write one a line, as PMC123 or PMC123.2")
    return sorted(wanted), bad


def _why(text: str) -> str:
    if re.search(r"10\.\d{4,}", text):
        return f"a DOI cannot be looked up in the bucket: {_CONVERTER}"
    if re.fullmatch(r"(?i)(pmid:?\s*)?\d+(\.\d+)?", text):
        return f"a number alone may be a PMID, which the bucket does not know: write PMC123, or {_CONVERTER}"
    return "no PMCID: write PMC123 or PMC123.2"


def part_of(text: str) -> Part | None:
    """K/N as numbers; None for "".

    Raises:
        InputError: it is not written so.
    """
    if not text:
        return None
    match = re.fullmatch(r"(\d{1,6})/(\d{1,6})", text)
    if not match or not 1 <= int(match[1]) <= int(match[2]):
        raise InputError(f"--part {text}: write K/N with K from 1 to N, as 2/8")
    return int(match[1]), int(match[2])


def in_part(wanted: Iterable[Wanted], part: Part | None) -> list[Wanted]:
    """Those of the k-th of n parts: the remainder of the PMCID's number tells."""
    return [row for row in wanted if part is None or row.pmcid % part[1] == part[0] - 1]


def check_date(date: str) -> None:
    """Raises InputError: `date` names no inventory."""
    if date != "latest" and not _DATE.fullmatch(date):
        raise InputError(f"--inventory {date}: write a day as 2026-01-18, or `latest`")


def find_inventory(bucket: Bucket, date: str) -> tuple[str, Json]:
    """The inventory of `date` (YYYY-MM-DD, or "latest"): its name and its manifest.

    Raises:
        InputError: the date is none, or the bucket has no inventory of that day.
        Problem, Failed: as `Client.read`.
    """
    check_date(date)
    names = sorted(entry.key.removeprefix(INVENTORIES).rstrip("/") for entry in bucket.list(INVENTORIES, "/"))
    names = [name for name in names if _DATE.match(name)]
    for name in reversed(names):
        if date != "latest" and not name.startswith(date):
            continue
        try:
            manifest = json.loads(bucket.get(f"{INVENTORIES}{name}/manifest.json", _MANIFEST_BYTES).data)
            [(file["key"], file.get("MD5checksum")) for file in manifest["files"]]
        except Problem as problem:
            if problem.reason != "missing":  # else it is being written: the one before
                raise
        except (ValueError, KeyError, TypeError, AttributeError) as error:
            raise InputError(
                f"the inventory {name} has no manifest that can be read ({error!r}): name another"
            ) from None
        else:
            return name, manifest
    there = f"those from {names[0]} to {names[-1]}" if names else "none"
    raise InputError(f"the bucket holds no inventory of {date} ({there}; PMC keeps 30 days): name another day")


def read_inventory(bucket: Bucket, manifest: Json, part: Part | None, folder: Path) -> tuple[pa.Table, Json]:
    """The newest version of each article of `part`, by PMCID, as SELECTION; and `{rows, versions, newest}` counted.

    The files of the inventory are kept in `folder` until the caller removes it.

    Raises:
        InputError: a file of the inventory is not as the manifest says, or cannot be read.
        Failed: as `Client.save`.
    """
    schema = [name.strip() for name in str(manifest.get("fileSchema") or ", ".join(_FIELDS)).split(",")]
    tables, rows = [SELECTION.empty_table()], 0
    folder.mkdir(exist_ok=True)
    with progress("inventory", len(manifest["files"]), "files") as advance:
        for number, file in enumerate(manifest["files"]):
            path = folder / f"{number:05d}.csv.gz"
            try:
                md5 = str(file.get("MD5checksum") or "")
                if not path.exists():
                    bucket.save(str(file["key"]), path, _FILE_BYTES, md5)
                for batch in _batches(path, schema):
                    rows += batch.num_rows
                    tables.append(_versions(batch, part))
            except (Problem, pa.ArrowException, OSError, EOFError) as error:
                if isinstance(error, OSError) and error.errno is not None:
                    raise
                path.unlink(missing_ok=True)
                raise InputError(f"{file['key']} of the inventory cannot be read ({error}): name another day") from None
            advance()
    table = pa.concat_tables(tables)
    order = np.lexsort((table["version"].to_numpy(), table["pmcid"].to_numpy()))
    pmcids = table["pmcid"].to_numpy()[order]
    last = np.append(pmcids[1:] != pmcids[:-1], True)[: len(pmcids)]
    newest = table.take(order[last])
    return newest, {"rows": rows, "versions": len(table), "newest": len(newest)}


def _batches(path: Path, schema: list[str]) -> Iterable[pa.RecordBatch]:
    text = {name: pa.string() for name in schema}
    batches: Iterable[pa.RecordBatch] = pyarrow.csv.open_csv(
        path,
        read_options=pyarrow.csv.ReadOptions(column_names=schema),
        convert_options=pyarrow.csv.ConvertOptions(include_columns=["Key", "ETag"], column_types=text),
    )
    return batches


def _versions(batch: pa.RecordBatch, part: Part | None) -> pa.Table:
    """The rows of metadata records, of `part` alone."""
    keys = pc.replace_substring(batch["Key"], "%2F", "/")
    found = pc.extract_regex(keys, r"^metadata/PMC(?P<pmcid>\d{1,10})\.(?P<version>\d{1,4})\.json$")
    table = pa.table(
        {
            "pmcid": pc.cast(pc.struct_field(found, "pmcid"), pa.int64()),
            "version": pc.cast(pc.struct_field(found, "version"), pa.int32()),
            "etag": pc.ascii_lower(pc.utf8_trim(batch["ETag"], '"')),
        }
    ).filter(pc.is_valid(found))
    if part is not None:
        table = table.filter(pa.array(table["pmcid"].to_numpy() % part[1] == part[0] - 1))
    return table.cast(SELECTION)


def selected(path: Path) -> list[Wanted]:
    """The versions in a stored SELECTION."""
    table = pq.read_table(path)
    columns = (table[name].to_pylist() for name in ("pmcid", "version", "etag"))
    return [
        Wanted(pmcid, version, f"PMC{pmcid}.{version}", etag or "")
        for pmcid, version, etag in zip(*columns, strict=True)
    ]
