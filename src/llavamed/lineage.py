"""Where a model comes from, as its manifest and its `seen.parquet` tell."""

from collections.abc import Iterator, Sequence
from pathlib import Path

import pyarrow as pa
import pyarrow.parquet as pq

from llavamed import artifact, storage
from llavamed.errors import InputError
from llavamed.manifest import digest, edits
from llavamed.storage import Json

SEEN = "seen.parquet"
SEEN_COLUMNS = ("id", "stage", "times_seen", "text_tokens", "image_tokens")
TABLES = ("corpus", "conversations")
_CONTENT = ("counts", "histograms", "models", "splits")  # equal in all manifests of one content


def name(manifest: Json) -> str:
    """How an artifact is called: its kind and the first digits of its content hash."""
    return f"{manifest['kind']} {manifest['hash'][:12]}"


def model_in(target: Path) -> Path:
    """`target`, or the model in it, where it is the folder of a run."""
    run = not (target / "manifest.json").exists() and (target / "assistant").is_dir()
    return target / "assistant" if run else target


def lineage(manifest: Json) -> list[Json]:
    """The manifest and all its ancestors', each once, the youngest first. A copy of a model, exported or made of a
    delta, may have the content of the one it was made from: both are there."""
    line, known = [], set()
    for current in _all(manifest):
        parents = [entry["manifest"]["hash"] for entry in current["parents"] if current["kind"] == "model"]
        key = (current["kind"], current["hash"], *parents)
        if key not in known:
            known.add(key)
            line.append(current)
    return line


def check(folder: Path, manifest: Json) -> None:
    """Raises InputError: the manifest, or one in it, was edited; it holds two manifests of one artifact that differ."""
    if found := edits(manifest):
        raise InputError(
            f"{folder}/{found[0]['path']} was edited since it was published: restore it (`llavamed verify {folder}` "
            "names all that changed), or run the step again with --force"
        )
    first: dict[tuple[str, str], Json] = {}  # by content, and how it was made: a copy of a model has its content too
    for current in _all(manifest):
        other = first.setdefault((current["hash"], digest(current["request"])), current)
        if part := differs(current, other):
            raise InputError(
                f"{folder}/manifest.json holds two versions of {name(current)}, which differ in {part}: make what "
                "was made from either again"
            )


def differs(one: Json, other: Json) -> str:
    """What two manifests of one content say differently of it; "" for nothing. They may be of different times."""
    return next((part for part in _CONTENT if one.get(part) != other.get(part)), "")


def read_seen(model: Path, manifest: Json, more: Sequence[str] = ()) -> list[Json]:
    """The rows of `seen_table`."""
    rows: list[Json] = seen_table(model, manifest, more).to_pylist()
    return rows


def seen_table(model: Path, manifest: Json, more: Sequence[str] = ()) -> pa.Table:
    """The model's `seen.parquet`. `more`: columns that are read where they are there.

    Raises:
        InputError: there is none, or it is not the one that was published.
    """
    path = model / SEEN
    if SEEN not in manifest["files"]:
        raise InputError(f"{model} is a model that was not trained (no {SEEN}): name one that `llavamed train` wrote")
    if not path.is_file() or storage.sha256_file(path) != manifest["files"][SEEN]["sha256"]:
        raise InputError(f"{path} is missing or was changed since training: restore it, or train again with --force")
    try:
        held = pq.read_schema(path).names
        if not {*SEEN_COLUMNS} <= {*held}:
            raise pa.ArrowInvalid(f"it has {', '.join(held)}")
        repeat = [name for name in ("stage", "image_sha256") if name in held]
        with pq.ParquetFile(path, read_dictionary=repeat, pre_buffer=False) as file:  # the file is long
            there = [name for name in more if name in held]
            return file.read(columns=[*SEEN_COLUMNS, *there], use_threads=False)
    except pa.ArrowInvalid as error:
        raise InputError(f"{path} does not hold the columns {', '.join(SEEN_COLUMNS)}: {error}") from None


def at_hand(
    model: Path, line: list[Json], data: Sequence[Path] = (), kinds: Sequence[str] = TABLES
) -> list[tuple[Path, Json]]:
    """The lineage's artifacts of these `kinds` that lie beside the model or in `data`: folders with the same content
    hash, each with the manifest that lies there. `data`: artifacts, or folders of them.

    Raises:
        InputError: one of `data` holds none of the lineage, or a manifest is damaged.
    """
    wanted = {(m["kind"], m["hash"]) for m in line if m["kind"] in kinds}
    found: dict[tuple[str, str], tuple[Path, Json]] = {}
    for place in (None, *data):
        there = [*_beside(model)] if place is None else [*_inside(place)]
        manifests = [(folder, artifact.read_manifest(folder)) for folder in there]
        own = {(m["kind"], m["hash"]): (folder, m) for folder, m in reversed(manifests)}
        if place is not None and not own.keys() & {(m["kind"], m["hash"]) for m in line}:
            raise InputError(f"{place} {_other(own, line)}")
        found |= {key: own[key] for key in own.keys() & wanted - found.keys()}
    return [found[key] for m in line if (key := (m["kind"], m["hash"])) in found]


def _other(there: dict[tuple[str, str], tuple[Path, Json]], line: list[Json]) -> str:
    """What is wrong with data that are not of the lineage."""
    for kind, hash_ in there:
        known = [name(m) for m in line if m["kind"] == kind]
        if known:
            return f"holds {kind} {hash_[:12]}, and the lineage another version, {' and '.join(known)}: name that one"
    return "holds no artifact of the lineage: name the folder of its corpus or conversations"


def _beside(model: Path) -> Iterator[Path]:
    yield from (path.parent for path in sorted(model.resolve().parent.glob("*/manifest.json")))


def _inside(place: Path) -> Iterator[Path]:
    """Raises InputError: there is no such folder."""
    if not place.is_dir():
        raise InputError(f"{place} does not exist: name a folder of data")
    if (place / "manifest.json").exists():
        yield place
    else:
        yield from (path.parent for path in sorted(place.glob("*/manifest.json")))


def _all(manifest: Json) -> Iterator[Json]:
    """The manifest and all that are embedded in it, breadth first."""
    waiting = [manifest]
    while waiting:
        current = waiting.pop(0)
        yield current
        waiting += [entry["manifest"] for entry in current["parents"]]
