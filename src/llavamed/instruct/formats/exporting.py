"""A set of conversations -> files that other tools read, with pictures beside them."""

import hashlib
import json
from collections.abc import Iterable, Iterator
from dataclasses import dataclass
from functools import partial
from pathlib import Path
from typing import Any

import pyarrow.parquet as pq

from llavamed import artifact, storage
from llavamed.cards import dataset_card
from llavamed.corpus.jats import file_name
from llavamed.corpus.schema import SPLITS
from llavamed.instruct.formats.importing import LAYOUTS
from llavamed.instruct.formats.layout import Layout, as_it_was, list_of
from llavamed.instruct.formats.messages import LLAMA_FACTORY
from llavamed.storage import Json

COLUMNS = ("id", "pair_id", "domain", "conversations", "teacher", "record")
FORMATS = ("llava", "messages")
PICTURES = "images"  # the folder of pictures, beside the files
PLAIN = "llama_factory.jsonl"
INFO = "dataset_info.json"  # where LLaMA-Factory looks for what a file is
_ENCODER = json.JSONEncoder(ensure_ascii=False)
_TAGS = {"role_tag": "role", "content_tag": "content", "user_tag": "user", "assistant_tag": "assistant"}
_TAGS |= {"system_tag": "system"}


def export_set(
    folder: Path, output: Path, *, form: str | None = None, pictures: bool = True, force: bool = False
) -> Json:
    """Write the conversations of `folder` to `output`, a file for each split, in order.

    `form`: one of FORMATS; None: the layout that the set was imported from, else llava. Returns `{format,
    conversations, files: {split: path}, pictures, artifact, hash}`.

    Raises:
        InputError: `folder` is no finished set of conversations, or `output` holds something else.
    """
    parent = artifact.require(folder, "conversations")
    given = _layout_of(parent)
    layout = LAYOUTS[form or given["name"]]
    size = sum(file["bytes"] for path, file in parent["files"].items() if path.startswith("data/")) if pictures else 0
    settings = {"format": layout.name, "as_imported": form is None, "pictures": pictures}
    job = artifact.start(output, "export", settings, parents=[folder], force=force, needs_bytes=size)
    if job.manifest is None:
        job.manifest = _write(job, folder, layout, given if form is None else {}, pictures)
    files = {split: str(output / name) for split, name in job.manifest["written"].items()}
    told = {"format": layout.name, "conversations": job.manifest["counts"]["conversations"]["kept"], "files": files}
    told |= {"pictures": job.manifest["pictures"]}
    return told | {"artifact": str(output), "hash": job.manifest["hash"]}


def _layout_of(manifest: Json) -> Json:
    """The layout that a set, or what it was made from, was imported from; LLaVA's where there is none."""
    if "layout" in manifest:
        found: Json = manifest["layout"]
        return found
    sets = [entry["manifest"] for entry in manifest["parents"] if entry["manifest"]["kind"] == "conversations"]
    return _layout_of(sets[0]) if sets else {"name": "llava"}


def _write(job: artifact.Job, folder: Path, layout: Layout, given: Json, pictures: bool) -> Json:
    data, form = job.out / "data", _FORMS.get(layout.name, _Form())
    lines = given.get("lines", form.lines)
    beside = _Pictures(data / PICTURES, form.prefix, pictures)
    name, written, n = f"{{}}.{'jsonl' if lines else 'json'}", {}, 0
    for split in (split for split in SPLITS if storage.has_rows(folder, split)):
        path = data / name.format(split)
        told = partial(_told, folder, split, layout, beside)
        if given.get("lists"):
            n += _write_lists(path, told(), given["lists"])
        else:
            n += _write_records(path, told(), lines)
        written[split] = f"data/{path.name}"
        if form.plain:
            _write_records(data / f"{split}.{PLAIN}", _plain(folder, split, beside), lines=True)
    if form.plain:
        storage.write_json(data / INFO, {split: _described(f"{split}.{PLAIN}") for split in written})
    counts = {"conversations": {"in": n, "kept": n, "excluded": {}}}
    loaded = () if given.get("lists") else written
    card = dataset_card(f"Conversations: {layout.name}", form.card, loaded, f"data/{name}")
    return artifact.publish(job, counts=counts, card=card, written=written, pictures=len(beside.written))


@dataclass(frozen=True)
class _Form:
    """How files of a layout are written. `prefix`: of a picture's name. `plain`: for LLaMA-Factory too."""

    lines: bool = False
    prefix: str = ""
    plain: bool = False
    card: str = f"Records name pictures as they are called in `data/{PICTURES}/`."


_FORMS = {
    "messages": _Form(
        True, f"{PICTURES}/", True,
        f"`data/SPLIT.jsonl` for TRL, `data/SPLIT.{PLAIN}` with `data/{INFO}` for LLaMA-Factory. Names of pictures are "
        "relative to `data/`.",
    )
}  # fmt: skip


class _Pictures:
    """The pictures beside the files, each once, called as its figure's id."""

    def __init__(self, folder: Path, prefix: str, write: bool) -> None:
        self.folder, self.prefix, self.write = folder, prefix, write
        self.written: dict[str, bytes] = {}  # name -> SHA-256

    def put(self, row: Json) -> tuple[str, str]:
        """(the name of a row's picture in the files if it was written; what it is usually called)."""
        image = row["image"]
        if not image:
            return "", ""
        suffix = Path(image["path"] or "").suffix or ".jpg"
        name = f"{file_name(row['pair_id'])}{suffix}"
        if not self.write or not image["bytes"]:
            return "", self.prefix + name
        digest = hashlib.sha256(image["bytes"]).digest()
        if self.written.get(name, digest) != digest:  # another picture of the figure
            name = f"{file_name(row['id'])}-{digest.hex()[:8]}{suffix}"
        if name not in self.written:
            self.folder.mkdir(parents=True, exist_ok=True)
            (self.folder / name).write_bytes(image["bytes"])
            self.written[name] = digest
        return self.prefix + name, self.prefix + name


def _rows(folder: Path, split: str, pictures: bool) -> Iterator[Json]:
    """The rows of a split, without the bytes of pictures if these are not wanted."""
    columns = [*COLUMNS, "image" if pictures else "image.path"]
    for path in sorted((folder / "data").glob(f"{split}-*.parquet")):
        with pq.ParquetFile(path) as file:
            held = [name for name in columns if name != "record" or "record" in file.schema_arrow.names]
            for batch in file.iter_batches(batch_size=storage.ROWS_IN_GROUP, columns=held):
                yield from batch.to_pylist()


def _told(folder: Path, split: str, layout: Layout, beside: _Pictures) -> Iterator[tuple[Json, Json]]:
    """Each row, and its record in the layout."""
    for row in _rows(folder, split, beside.write):
        yield row, as_it_was(layout, row, *beside.put(row))


def _plain(folder: Path, split: str, beside: _Pictures) -> Iterator[tuple[Json, Json]]:
    """Each row, and its record as LLaMA-Factory reads it."""
    for row in _rows(folder, split, beside.write):
        yield row, as_it_was(LLAMA_FACTORY, row, *beside.put(row))


def _described(name: str) -> Json:
    """What LLaMA-Factory must know of a file."""
    columns = {"messages": "messages", "images": "images"}
    return {"file_name": name, "formatting": "sharegpt", "columns": columns, "tags": _TAGS}


def _write_records(path: Path, told: Iterable[tuple[Json, Json]], lines: bool) -> int:
    """Records as lines, or as one list with a record on each line; how many."""
    path.parent.mkdir(parents=True, exist_ok=True)
    begin, between, end = (b"", b"\n", b"\n") if lines else (b"[\n", b",\n", b"\n]\n")
    n = 0
    with path.open("wb") as stream:
        stream.write(begin)
        for n, (_, record) in enumerate(told, 1):
            stream.write((between if n > 1 else b"") + _json(record))
        stream.write(end)
    return n


def _write_lists(path: Path, told: Iterable[tuple[Json, Json]], names: list[str]) -> int:
    """Records in the lists that they stood in, by name; how many."""
    lists: dict[str, list[bytes]] = {name: [] for name in names}
    for row, record in told:
        lists.setdefault(list_of(row), []).append(_json(record))
    path.parent.mkdir(parents=True, exist_ok=True)
    parts = (_json(name) + b": [\n" + b",\n".join(records) + b"\n]" for name, records in lists.items())
    path.write_bytes(b"{\n" + b",\n".join(parts) + b"\n}\n")
    return sum(map(len, lists.values()))


def _json(value: Any) -> bytes:
    try:
        return _ENCODER.encode(value).encode()
    except UnicodeEncodeError:  # half of a pair of surrogates
        return json.dumps(value).encode()
