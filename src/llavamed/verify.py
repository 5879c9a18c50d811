"""`llavamed verify`: is a lineage still what was published? Files are hashed again; tables may be counted again."""

import os
import time
from collections.abc import Callable, Sequence
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path

from llavamed import artifact
from llavamed.console import progress
from llavamed.lineage import at_hand, differs, lineage, name
from llavamed.manifest import content_hash, describe, edits
from llavamed.storage import Json

MB = 10**6
_THREADS = 4  # hashing lets others run


def rehash(folder: Path, advance: Callable[[int], None] = lambda size: None) -> list[Json]:
    """Hash an artifact's files and the manifests embedded in its own: `[{path, what}]`, empty when all is as published.

    `advance`: is told the bytes of each file that was hashed.

    Raises:
        InputError: it is no finished artifact.
    """
    manifest = artifact.read_manifest(folder)
    problems = []
    there = [name for name in manifest["files"] if (folder / name).is_file()]
    with ThreadPoolExecutor(_THREADS) as pool:
        found = dict(zip(there, pool.map(lambda name: _described(folder / name, advance), there), strict=True))
    for file, description in manifest["files"].items():
        if file not in found:
            problems.append({"path": file, "what": "missing"})
        elif found[file] != description:
            problems.append({"path": file, "what": "changed"})
    if content_hash(manifest["kind"], manifest["files"]) != manifest["hash"]:
        problems.append({"path": "manifest.json", "what": "content hash does not follow from the file hashes"})
    return problems + edits(manifest)


def verify(target: Path, *, data: Sequence[Path] = (), recount: bool = False) -> Json:
    """Check an artifact, or every artifact in the folder of a run, and all of its lineage that lies beside it or in
    `data`. Paths in the result are relative to `target`.

    `recount`: compute counts and histograms again from the tables, and compare them with the manifests.

    Returns `{ok, problems: [{path, what}], notes: [{path, what}], artifacts, files, bytes, seconds}`; a note is no
    failure: what is not at hand, or cannot be counted from what is.

    Raises:
        InputError: `target` holds no finished artifact, or one of `data` nothing of the lineage.
    """
    begun = time.monotonic()
    own = [target] if (target / "manifest.json").exists() else _artifacts_in(target)
    manifests = {folder.resolve(): artifact.read_manifest(folder) for folder in own or [target]}
    embedded = [ancestor for manifest in manifests.values() for ancestor in lineage(manifest)]
    problems: list[Json] = []
    for folder, there in at_hand(own[0], embedded, data, kinds=[m["kind"] for m in embedded]):
        manifests.setdefault(folder.resolve(), there)
        if what := _said_otherwise(there, embedded):
            problems.append(_at({"path": "manifest.json", "what": what}, folder.resolve(), target))
    known = {(m["kind"], m["hash"]) for m in manifests.values()}
    absent = {name(m): m for m in embedded if (m["kind"], m["hash"]) not in known}
    notes = [{"path": place, "what": "not at hand: its files were not looked at"} for place in absent]
    size = sum(file["bytes"] for manifest in manifests.values() for file in manifest["files"].values())
    with progress("hashing", max(1, size // MB), "MB") as advance:
        counted = _Megabytes(advance)
        for folder in manifests:
            problems += [_at(problem, folder, target) for problem in rehash(folder, counted)]
    if recount:
        from llavamed.summary.recount import recount as count_again

        tables = {(m["kind"], m["hash"]): folder for folder, m in manifests.items()}
        for folder, file, what in count_again(tables, manifests, notes):
            problems.append(_at({"path": file, "what": what}, folder, target))
    problems = [*{(problem["path"], problem["what"]): problem for problem in problems}.values()]
    return {
        "ok": not problems,
        "problems": problems,
        "notes": notes,
        "artifacts": len(manifests),
        "files": sum(len(manifest["files"]) for manifest in manifests.values()),
        "bytes": size,
        "seconds": round(time.monotonic() - begun, 1),
    }


def _artifacts_in(folder: Path) -> list[Path]:
    return [path.parent for path in sorted(folder.glob("*/manifest.json"))]


def _said_otherwise(there: Json, embedded: list[Json]) -> str:
    """How a manifest differs from what a child embeds of the same content; "" if it does not."""
    same = (m for m in embedded if (m["hash"], m["request"]) == (there["hash"], there["request"]))
    for other in same:
        part = differs(there, other)
        if part and not edits(other):  # else it is the child's that was changed
            return f"changed: {part} are not those that it was used with"
    return ""


def _at(problem: Json, folder: Path, target: Path) -> Json:
    place = os.path.relpath(folder, target.resolve())
    return problem if place == "." else problem | {"path": f"{place}/{problem['path']}"}


def _described(path: Path, advance: Callable[[int], None]) -> Json:
    found = describe(path)
    advance(found["bytes"])
    return found


class _Megabytes:
    """Bytes, told on as whole megabytes."""

    def __init__(self, advance: Callable[..., None]) -> None:
        self.advance, self.bytes = advance, 0

    def __call__(self, size: int) -> None:
        whole = (self.bytes + size) // MB - self.bytes // MB
        self.bytes += size
        if whole:
            self.advance(whole)
