"""Where a model comes from, as its manifest and its `seen.parquet` tell."""

from collections.abc import Sequence
from pathlib import Path

import pyarrow as pa
import pyarrow.parquet as pq

from llavamed import artifact, storage
from llavamed.errors import InputError
from llavamed.storage import Json

SEEN = "seen.parquet"
SEEN_COLUMNS = ("id", "stage", "times_seen", "text_tokens", "image_tokens")


def lineage(manifest: Json) -> list[Json]:
    """The manifest and all its ancestors', each once, the youngest first."""
    line, known = [], set()
    waiting = [manifest]
    while waiting:
        current = waiting.pop(0)
        key = (current["kind"], current["hash"])
        if key not in known:
            known.add(key)
            line.append(current)
            waiting += [entry["manifest"] for entry in current["parents"]]
    return line


def read_seen(model: Path, manifest: Json, more: Sequence[str] = ()) -> list[Json]:
    """The rows of the model's `seen.parquet`. `more`: columns that are read where they are there.

    Raises:
        InputError: there is none, or it is not the one that was published.
    """
    path = model / SEEN
    if SEEN not in manifest["files"]:
        raise InputError(f"{model} is a model that was not trained (no {SEEN}): name one that `llavamed train` wrote")
    if not path.is_file() or storage.sha256_file(path) != manifest["files"][SEEN]["sha256"]:
        raise InputError(f"{path} is missing or was changed since training: restore it, or train again with --force")
    try:
        there = [name for name in more if name in pq.read_schema(path).names]
        rows: list[Json] = pq.read_table(path, columns=[*SEEN_COLUMNS, *there]).to_pylist()
    except (pa.ArrowInvalid, KeyError) as error:
        raise InputError(f"{path} does not hold the columns {', '.join(SEEN_COLUMNS)}: {error}") from None
    return rows


def at_hand(model: Path, line: list[Json]) -> list[tuple[Path, Json]]:
    """The lineage's data sets whose tables lie beside the model: folders with the same content hash."""
    wanted = {(m["kind"], m["hash"]) for m in line if m["kind"] in ("corpus", "conversations")}
    found = []
    for path in sorted(model.resolve().parent.glob("*/manifest.json")):
        manifest = artifact.read_manifest(path.parent)
        key = (manifest["kind"], manifest["hash"])
        if key in wanted:
            wanted.remove(key)
            found.append((path.parent, manifest))
    return found
