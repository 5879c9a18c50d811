"""Where a part of a model comes from: a folder, the Hugging Face hub at a pinned revision, or a package."""

import hashlib
import re
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from llavamed import storage
from llavamed.errors import InputError
from llavamed.model import towers
from llavamed.model.backbones import PARTS, Part
from llavamed.model.tensors import SUFFIX, weight_files

_HUB = "hub:"
# What is read of a repository: its .bin files only where it has no safetensors.
_FILES = ("*.json", "*.jinja", "tokenizer.model", "README.md", "LICENSE*", "*.safetensors")
# Settings under which a checkpoint is more than weights for classes that transformers has.
_REFUSED = {
    "auto_map": "needs code of its own, which is never run",
    "quantization_config": "is quantised, and cannot be trained on as it is",
}


@dataclass(frozen=True)
class Source:
    """A folder, or a part that a package carries. `name`, `place`: what manifests and cards call it and where it is."""

    name: str
    place: str
    folder: Path = Path()
    part: Part | None = None

    def about(self, role: str) -> dict[str, Any]:
        """What manifests, cards and summaries tell of it; `files`: SHA-256 of each file of weights."""
        if self.part:
            return vars(self.part).copy()
        weights = {path.name for path in weight_files(self.folder)}
        files = hashes(self.folder)
        return {
            "role": role,
            "name": self.name,
            "licence": licence(self.folder),
            "source": self.place,
            "sha256": digest(files),
            "files": {name: value for name, value in files.items() if name in weights},
            "note": "As it is; its terms of use hold on.",
        }


def find(text: str) -> Source:
    """What `text` names: a folder, hub:OWNER/NAME@REVISION, or a part of `backbones.PARTS`.

    Raises:
        InputError: nothing of these; a revision that is no commit; a repository that cannot be had.
    """
    if text.startswith(_HUB):
        return _from_hub(text)
    if text in PARTS:
        return Source(PARTS[text].name, PARTS[text].source, part=PARTS[text])
    folder = Path(text)
    if not folder.is_dir():
        raise InputError(
            f"{text} is no folder: name one, {_HUB}OWNER/NAME@REVISION, or a part that packages carry: "
            f"{', '.join(sorted(PARTS))}"
        )
    name = folder.resolve().name
    return Source(name, f"folder {name}", folder)


def check(source: Source) -> None:
    """A folder must hold weights for a class that `transformers` has.

    Raises:
        InputError: it needs code of its own, or is quantised.
    """
    for path in (source.folder / "config.json", source.folder / "tokenizer_config.json"):
        found = {} if source.part else towers.read_json(path, needed=False)
        for key, why in _REFUSED.items():
            if found.get(key):
                raise InputError(f"{path} has {key}: this checkpoint {why}: name another")


def hashes(folder: Path) -> dict[str, str]:
    """SHA-256 by name of a checkpoint's weights, configuration and tokenizer."""
    paths = {*weight_files(folder), *(path for end in ("json", "model", "jinja") for path in folder.glob(f"*.{end}"))}
    return {path.name: storage.sha256_file(path) for path in sorted(paths)}


def digest(files: dict[str, str]) -> str:
    """One hash of all."""
    lines = "".join(f"{value}  {name}\n" for name, value in sorted(files.items()))
    return hashlib.sha256(lines.encode()).hexdigest()


def licence(folder: Path) -> str:
    """What the head of a folder's card states."""
    card = folder / "README.md"
    text = card.read_text("utf-8", errors="replace") if card.exists() else ""
    head = re.match(r"---\n(.*?)\n---", text, re.DOTALL)
    told = re.search(r"(?m)^license:\s*(\S+)", head[1]) if head else None
    return told[1] if told else "not stated"


def _from_hub(text: str) -> Source:
    named = re.fullmatch(r"hub:([\w.-]+/[\w.-]+)@([0-9a-f]{40})", text)
    if named is None:
        raise InputError(
            f"{text}: write hub:OWNER/NAME@REVISION, the revision as its commit (40 hexadecimal digits), so that it "
            "stays what it is"
        )
    from huggingface_hub import snapshot_download

    try:
        for files in (_FILES, (*_FILES, "*.bin")):
            folder = Path(snapshot_download(named[1], revision=named[2], allow_patterns=list(files)))
            if any(folder.glob(f"*{SUFFIX}")):
                break
    except (OSError, ValueError) as error:
        why = " ".join(str(error).split())
        raise InputError(f"{text} cannot be had ({why}): connect to the hub, or name a local folder") from None
    return Source(f"{named[1]}@{named[2]}", f"https://huggingface.co/{named[1]}/tree/{named[2]}", folder)
