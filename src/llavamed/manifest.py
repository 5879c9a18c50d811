"""An artifact's manifest: what is in the folder, where it came from, and the hashes that say whether it still is so."""

import hashlib
import json
from collections.abc import Sequence
from pathlib import Path
from typing import Any

from llavamed.errors import InputError
from llavamed.storage import Json, sha256_file

_MADE_BY = {  # kind -> commands
    "articles": ("corpus fetch",),
    "corpus": ("corpus build",),
    "conversations": ("instruct generate",),
    "model": ("train", "model build", "model import"),
    "delta": ("delta make",),
    "scores": ("evaluate vqa", "evaluate score"),
    "judgements": ("evaluate chat",),
}
_IN_RUN = {"model": "assistant"}  # of a run, where the folder is not called by its kind


def read_manifest(folder: Path, *kinds: str) -> Json:
    """The manifest of a finished artifact. `kinds`: which are wanted, for the message where there is none.

    Raises:
        InputError: there is none, or it cannot be read.
    """
    path = folder / "manifest.json"
    if not folder.is_dir():
        raise InputError(f"{folder} does not exist: name the folder of a finished step")
    if not path.exists():
        refuse_other(folder, *kinds)
        raise InputError(f"{folder} is no finished llavamed artifact (no manifest.json): {_remedy(kinds)}")
    try:
        manifest = json.loads(path.read_text(encoding="utf-8"))
    except ValueError as error:
        raise InputError(f"{path} is damaged ({error}): run the step again with --force") from None
    if not isinstance(manifest, dict) or not {"kind", "hash", "files", "request", "parents"} <= manifest.keys():
        raise InputError(f"{path} is not a llavamed manifest: name the folder of a finished step")
    return manifest


def require(folder: Path, *kinds: str) -> Json:
    """The manifest of `folder`, which must be one of `kinds`.

    Raises:
        InputError: it is something else.
    """
    manifest = read_manifest(folder, *kinds)
    if manifest["kind"] not in kinds:
        wanted = f"{' or '.join(kinds)}: {_remedy(kinds)}"
        raise InputError(f"{folder} is of kind {manifest['kind']}; this step reads {wanted}")
    return manifest


def refuse_other(folder: Path, *kinds: str) -> None:
    """For a folder that need not be ours. Raises InputError: it is of another kind, not finished, or a run."""
    if (folder / "manifest.json").exists():
        require(folder, *kinds)
        return
    if (folder / ".job").is_dir():
        raise InputError(
            f"{folder} is not finished: its step is at work or was interrupted: start the same command again"
        )
    for kind in kinds or _MADE_BY:
        step = folder / _IN_RUN.get(kind, kind)
        if (step / "manifest.json").exists():
            raise InputError(f"{folder} is a run: name {step}" + ("" if kinds else ", or another folder in it"))


def _remedy(kinds: Sequence[str]) -> str:
    commands = [f"`llavamed {command}`" for kind in kinds for command in _MADE_BY.get(kind, ())]
    return f"make one with {' or '.join(commands)}" if commands else "run the step that writes it"


def parent(folder: Path) -> Json:
    """What a child embeds: the parent's whole manifest and the SHA-256 of its canonical JSON."""
    manifest = read_manifest(folder)
    return {"sha256": digest(manifest), "manifest": manifest}


def digest(manifest: Json) -> str:
    """SHA-256 of a manifest's canonical JSON, as its children note it."""
    return hashlib.sha256(canonical(manifest)).hexdigest()


def seal(manifest: Json) -> str:
    """SHA-256 of a manifest without its own `sha256`, which holds this: it shows where one was edited by hand."""
    rest = {key: value for key, value in manifest.items() if key != "sha256"}
    return digest(rest)


def edits(manifest: Json, where: str = "manifest.json", sha256: str = "") -> list[Json]:
    """Where a manifest, or one that it embeds at any depth, was edited since it was published: `[{path, what}]`.

    The innermost place alone: those around it changed with it. `sha256`: what the child notes of it.
    """
    inner = [
        edit
        for index, entry in enumerate(manifest["parents"])
        for edit in edits(entry["manifest"], f"{where}:parents[{index}]", entry["sha256"])
    ]
    if inner:
        return inner
    sealed = manifest.get("sha256")  # none in those of earlier versions
    same = sealed in (None, seal(manifest)) and (not sha256 or sha256 == digest(manifest))
    return [] if same else [{"path": where, "what": "changed"}]


def content_hash(kind: str, files: dict[str, Json]) -> str:
    """SHA-256 over `sha256sum`-style lines, sorted by path, of the files that are content.

    Content: `data/` and `excluded/`, or of a model or delta its weights, tokenizer and configuration. For a data set,
    `find data excluded -type f | LC_ALL=C sort | xargs sha256sum | sha256sum` gives the same.
    """
    if kind in ("model", "delta"):
        names = [n for n in files if n.endswith((".safetensors", ".json", ".jinja", ".model", ".txt"))]
    else:
        names = [n for n in files if n.startswith(("data/", "excluded/"))]
    lines = "".join(f"{files[name]['sha256']}  {name}\n" for name in sorted(names))
    return hashlib.sha256(lines.encode()).hexdigest()


def describe(path: Path) -> Json:
    """SHA-256 and size of a file."""
    return {"sha256": sha256_file(path), "bytes": path.stat().st_size}


def canonical(value: Any) -> bytes:
    """The same JSON for the same value, whatever the order of its keys."""
    return json.dumps(value, sort_keys=True, separators=(",", ":"), ensure_ascii=False, default=str).encode()
