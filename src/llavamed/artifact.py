"""What every step writes: a folder with its data, and a manifest that says what is in it and where it came from.

While a step works, everything is under `DIR/.job/`; nothing stands under its final name until all of it is there.
The manifest is renamed into place last. No manifest = not finished. See docs/design.md for the contract.
"""

import json
import os
import platform
import shutil
from collections.abc import Callable, Iterable, Sequence
from dataclasses import dataclass, field
from datetime import UTC, datetime
from functools import partial
from importlib.metadata import PackageNotFoundError, version
from pathlib import Path
from typing import Any

import pyarrow as pa
from filelock import FileLock, Timeout

from llavamed import __version__, croissant
from llavamed.console import progress
from llavamed.engine import map_shards
from llavamed.errors import InputError
from llavamed.manifest import canonical, describe, seal
from llavamed.manifest import content_hash as content_hash
from llavamed.manifest import parent as parent
from llavamed.manifest import read_manifest as read_manifest
from llavamed.manifest import refuse_other as refuse_other
from llavamed.manifest import require as require
from llavamed.storage import (
    PART,
    Json,
    settle,
    write_json,
    write_table,
    write_text,
)

Tables = dict[str, list[Json] | pa.Table]  # "data/train" -> rows
ANSWERS = "answers.jsonl"  # what a server was paid for: beside the data and no part of it, so that no run deletes it
CARD = "README.md"
LIBRARIES = ("pyarrow", "lxml", "pillow", "torch", "transformers")


@dataclass
class Job:
    """A step at work on one folder. `manifest` is set when there is nothing left to do."""

    folder: Path
    kind: str
    settings: Json
    inputs: Json
    parents: list[Json]
    manifest: Json | None = None
    started: str = ""
    shard_files: dict[str, Json] = field(default_factory=dict)
    lock: FileLock | None = None

    @property
    def work(self) -> Path:
        """State that a killed run leaves for the next one."""
        return self.folder / ".job"

    @property
    def out(self) -> Path:
        """Where the step writes; `publish` moves all of it to `folder`."""
        return self.work / "out"


def start(
    folder: Path,
    kind: str,
    settings: Json,
    *,
    inputs: Json | None = None,
    parents: Iterable[Path] = (),
    force: bool = False,
    needs_bytes: int = 0,
) -> Job:
    """Open `folder` for a step that makes a `kind` out of `parents` (artifacts) and `inputs` (name -> fingerprint).

    The same call again finds the finished artifact (`job.manifest`), or goes on where a killed one stopped.

    Raises:
        InputError: the folder holds something else, or the same step with other settings and not `force`; another
            run is writing to it; a parent is not a finished artifact; the disk has not `needs_bytes` free.
    """
    job = Job(folder, kind, json.loads(canonical(settings)), inputs or {}, [parent(path) for path in parents])
    want = _request(job)
    manifest = folder / "manifest.json"
    ours = manifest.exists() or (job.work / "job.json").exists()
    if folder.exists() and not folder.is_dir():
        raise InputError(f"{folder} is a file: name a folder with -o")
    if folder.exists() and not ours and any(p.name not in (".job", ANSWERS) for p in folder.iterdir()):
        raise InputError(f"{folder} holds other files: name a new or empty folder with -o")
    if (job.work / "manifest.json").exists():  # a run was killed while publishing
        _take_lock(job)
        _move_into_place(job)
        _release(job)
    elif (job.work / "replaced.json").exists() and manifest.exists():  # ... or while clearing up after it
        shutil.rmtree(job.work)
    if manifest.exists():
        found = read_manifest(folder)
        difference = _difference(found["request"], want)
        if not difference:
            job.manifest = found
            return job
        if not force:
            raise InputError(
                f"{folder} was made otherwise ({difference}): name another folder, or --force to replace it"
            )
    _take_lock(job)
    try:
        _open_work(job, want, force, needs_bytes)
    except BaseException:
        _release(job)
        raise
    return job


def _open_work(job: Job, want: Json, force: bool, needs_bytes: int) -> None:
    description = job.work / "job.json"
    if description.exists():
        found = json.loads(description.read_text())
        difference = _difference(found["request"], want)
        if difference and not force:
            raise InputError(
                f"{job.folder} holds an unfinished run made otherwise ({difference}): name another folder, or --force "
                "to start it anew"
            )
        if difference:
            _clear(job.work)
        else:
            job.started = found["started"]
    free = shutil.disk_usage(job.folder).free
    if free < needs_bytes:
        raise InputError(
            f"{job.folder}: the disk has {free / 1e9:.1f} GB free and the step needs about {needs_bytes / 1e9:.1f} GB: "
            "free some space or choose another disk"
        )
    job.out.mkdir(parents=True, exist_ok=True)
    for part in job.out.rglob(f".*{PART}"):  # what a killed run was writing
        part.unlink()
    if not job.started:
        job.started = _now()
        write_json(description, {"request": want, "started": job.started})


def run_shards(
    job: Job,
    function: Callable[[Any], tuple[Tables, Json]],
    shards: Sequence[Any],
    schemas: dict[str, pa.Schema],
    *,
    workers: int = 1,
    engine: str = "local",
    reads: Sequence[Path] = (),
    label: str = "",
) -> Json:
    """Run `function(shard) -> (tables, facts)` once per shard, writing each table to `NAME-<shard>.parquet`.

    `schemas` maps the first part of a table's name ("data", "excluded") to its schema. `facts` are nested
    dictionaries of numbers; their sum over all shards is returned. A shard already written is not run again.
    `engine`: see `map_shards`. `reads`: the files or folders that the shards are read from.

    Raises:
        InputError: a machine of the cluster does not see the job's folder, or one of `reads`.
    """
    records = job.work / "shards"
    records.mkdir(exist_ok=True)
    done = {int(path.stem) for path in records.glob("*.json")}
    waiting = [(index, shard) for index, shard in enumerate(shards) if index not in done]
    write = partial(_write_shard, function, job.work, job.started, reads, schemas)
    with progress(label or job.kind, len(shards), "shards", done=len(done)) as advance:
        for _ in map_shards(write, waiting, workers, engine):
            advance()
    facts: Json = {}
    for index in range(len(shards)):
        record = json.loads((records / f"{index:05d}.json").read_text())
        job.shard_files.update(record["files"])
        facts = add(facts, record["facts"])
    return facts


def _write_shard(
    function: Callable[[Any], tuple[Tables, Json]],
    work: Path,
    started: str,
    reads: Sequence[Path],
    schemas: dict[str, pa.Schema],
    item: tuple[int, Any],
) -> None:
    _check_shared(work, started, reads)
    index, shard = item
    tables, facts = function(shard)
    files = {}
    for name, rows in sorted(tables.items()):
        if rows:
            path = f"{name}-{index:05d}.parquet"
            write_table(work / "out" / path, rows, schemas[name.split("/")[0]])
            files[path] = describe(work / "out" / path)
    write_json(work / "shards" / f"{index:05d}.json", {"files": files, "facts": facts})


def _check_shared(work: Path, started: str, reads: Sequence[Path]) -> None:
    """A worker on another machine must see the same folders; else it would call every file there unreadable."""
    description = work / "job.json"
    hidden = [path for path in reads if not path.exists()]
    if not description.exists() or json.loads(description.read_text())["started"] != started:
        hidden = [work.parent]
    if hidden:
        raise InputError(f"{hidden[0]} is not seen by {platform.node()}: put it on storage that all machines share")


def publish(
    job: Job,
    *,
    counts: Json,
    histograms: Json | None = None,
    models: Sequence[Json] = (),
    card: str | Callable[[Json], str] = "",
    **more: Any,
) -> Json:
    """Give everything under `job.out` its final name, the manifest last, and return the manifest.

    `counts`: record kind -> {in, kept, excluded: {reason: n}}, in = kept + excluded. `histograms`: name -> {value: n}.
    `models`: the models that made data: {name, version, prompt_hash}. `card`: the text of README.md, or what makes it
    of the manifest.
    """
    for name, count in counts.items():
        if count["in"] != count["kept"] + sum(count["excluded"].values()):
            raise RuntimeError(f"{job.folder}: {name} do not add up: {count}")
    names = sorted(p.relative_to(job.out).as_posix() for p in job.out.rglob("*") if p.is_file())
    files = {name: job.shard_files.get(name) or describe(job.out / name) for name in names}
    manifest = {
        "format": 1,
        "kind": job.kind,
        "hash": content_hash(job.kind, files),
        "files": files,
        "settings": job.settings,
        "request": _request(job),
        "counts": counts,
        "histograms": histograms or {},
        "models": list(models),
        "versions": _versions(),
        "times": {"started": job.started, "finished": _now()},
        "parents": job.parents,
        **more,
    }
    if text := card if isinstance(card, str) else card(manifest):
        write_text(job.out / CARD, text)
        files[CARD] = describe(job.out / CARD)
    if text and job.kind in croissant.KINDS:  # no part of the content, as the card
        write_json(job.out / croissant.NAME, croissant.croissant(job.out, manifest, text))
        files[croissant.NAME] = describe(job.out / croissant.NAME)
    manifest["sha256"] = seal(json.loads(json.dumps(manifest)))  # as it will be read: keys are text
    write_json(job.work / "manifest.json", manifest)
    _move_into_place(job)
    _release(job)
    return manifest


def pause(job: Job) -> None:
    """Let go of the folder; what is done is kept for the next run."""
    _release(job)


def abandon(job: Job) -> None:
    """Nothing was made: leave the folder free for a call that is right."""
    _release(job)
    shutil.rmtree(job.work, ignore_errors=True)
    if not any(job.folder.iterdir()):
        job.folder.rmdir()


def _move_into_place(job: Job) -> None:
    """Replace what the folder held by what the job made. Killed anywhere, it can be called again."""
    final, replaced = job.folder / "manifest.json", job.work / "replaced.json"
    if not replaced.exists():
        if final.exists():
            os.replace(final, replaced)
        else:
            write_json(replaced, {"files": {}})
    new = json.loads((job.work / "manifest.json").read_text())
    for name in json.loads(replaced.read_text())["files"].keys() - new["files"].keys():
        (job.folder / name).unlink(missing_ok=True)
    for name in new["files"]:
        source, target = job.out / name, job.folder / name
        if source.exists():
            target.parent.mkdir(parents=True, exist_ok=True)
            os.replace(source, target)
    settle(job.work / "manifest.json", final)
    shutil.rmtree(job.work)


def add(left: Json, right: Json) -> Json:
    """The sum of two nested dictionaries of numbers, keys sorted."""
    total: Json = {}
    for key in sorted(left.keys() | right.keys()):
        a, b = left.get(key), right.get(key)
        if isinstance(a, dict) or isinstance(b, dict):
            total[key] = add(a or {}, b or {})
        else:
            total[key] = (a or 0) + (b or 0)
    return total


def _request(job: Job) -> Json:
    """What makes two runs the same: kind, settings, inputs and the content of the parents."""
    parents = [entry["manifest"]["hash"] for entry in job.parents]
    return {"kind": job.kind, "settings": job.settings, "inputs": job.inputs, "parents": parents}


def _difference(found: Json, want: Json) -> str:
    """Empty if equal, else the first few differences in words."""
    if found == want:
        return ""
    if found["kind"] != want["kind"]:
        return f"it holds a {found['kind']}, not a {want['kind']}"
    notes = []
    for part in ("settings", "inputs"):
        for key in sorted(found[part].keys() | want[part].keys()):
            before, now = found[part].get(key), want[part].get(key)
            if before != now:
                notes.append(f"{key}: {before} -> {now}" if part == "settings" else f"{key} changed")
    if found["parents"] != want["parents"]:
        notes.append("the data it was made from changed")
    return ", ".join(notes[:3])


def _take_lock(job: Job) -> None:
    job.work.mkdir(parents=True, exist_ok=True)
    job.lock = FileLock(job.work / "lock")
    try:
        job.lock.acquire(timeout=0)
    except Timeout:
        raise InputError(f"{job.folder}: another run is writing here: wait for it, or name another folder") from None


def _release(job: Job) -> None:
    if job.lock is not None:
        job.lock.release()
    if job.work.exists() and not (job.work / "job.json").exists():
        shutil.rmtree(job.work)


def _clear(work: Path) -> None:
    for path in work.iterdir():
        if path.is_dir():
            shutil.rmtree(path)
        elif path.name != "lock":
            path.unlink()


def _versions() -> Json:
    found = {"llavamed": __version__}
    for name in LIBRARIES:
        try:
            found[name] = version(name)
        except PackageNotFoundError:
            continue
    return found


def _now() -> str:
    return datetime.now(UTC).isoformat(timespec="seconds")
