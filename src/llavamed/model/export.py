"""A model as others load it: transformers' folder, vLLM's names where it has the tower, and a card. Files are read and
written in pieces; no model is in memory."""

import re
import shutil
from dataclasses import replace
from pathlib import Path

from llavamed import artifact
from llavamed.cards import model_head
from llavamed.errors import InputError
from llavamed.lineage import SEEN
from llavamed.model import sources, towers
from llavamed.model.inspect import SERVED, describe
from llavamed.model.pieces import SHARD, save
from llavamed.model.tensors import INDEX, SUFFIX, Tensor, tensors_of
from llavamed.storage import Json
from llavamed.verify import rehash

_COPIED = ("*.json", "*.jinja", "*.model", "*.txt", "LICEN[CS]E*", SEEN)
_OWN = ("manifest.json", INDEX)  # written anew


def export(source: Path, folder: Path, *, force: bool = False, shard: int = SHARD) -> Json:
    """Write the model in `source` to `folder`: `{tensors, files, bytes, served_by, artifact, hash}`.

    The weights are those of `source`, bit for bit. vLLM wants the tensors of a CLIP or SigLIP tower under
    `vision_tower.vision_model`; transformers reads both.

    Raises:
        InputError: `source` is no model, or changed since it was published; what `artifact.start` refuses.
    """
    start = artifact.require(source, "model")
    if problems := rehash(source):
        raise InputError(f"{source}/{problems[0]['path']}: {problems[0]['what']} since it was published: make it again")
    told = describe(source)
    vision = towers.read_json(source / "config.json")["vision_config"].get("model_type", "")
    tensors = [_renamed(tensor, vision in SERVED) for tensor in tensors_of(source).values()]
    size = sum(tensor.size for tensor in tensors)
    job = artifact.start(folder, "model", {"export": shard}, parents=[source], force=force, needs_bytes=size)
    try:
        if job.manifest is None:
            save(job, tensors, shard)
            _copy(source, job.out)
            same = {key: start[key] for key in ("counts", "histograms", "models")}  # it may be the same content
            job.manifest = artifact.publish(
                job, card=_card(source, start, told), backbone=start.get("backbone", {}), **same
            )
    finally:
        artifact.pause(job)
    return {
        "tensors": len(tensors),
        "files": sum(name.endswith(SUFFIX) for name in job.manifest["files"]),
        "bytes": size,
        "served_by": told["served_by"],
        "artifact": str(folder),
        "hash": job.manifest["hash"],
    }


def _renamed(tensor: Tensor, served: bool) -> Tensor:
    name = re.sub(r"^(model\.)?vision_tower\.(?!vision_model\.)", r"\1vision_tower.vision_model.", tensor.name)
    return replace(tensor, name=name) if served else tensor


def _copy(source: Path, to: Path) -> None:
    """What lies beside the weights: configuration, tokenizer, processor, chat template, terms, what it saw."""
    for pattern in _COPIED:
        for path in source.glob(pattern):
            if path.name not in _OWN:
                shutil.copyfile(path, to / path.name)


def _card(source: Path, start: Json, told: Json) -> str:
    from llavamed.summary.card import training_data

    parts = start.get("backbone", {}).get("parts", [])
    stated = sources.licence(source)
    lines = [
        *model_head("" if stated == "not stated" else stated),
        "",
        f"# {source.resolve().name}",
        "",
        f"{told['parameters']:,} parameters, {told['weights_gb']:.2f} GB. Read by {told['served_by']}.",
        "For research use only, not for clinical decisions.",
        "",
        "## Parts",
        "",
        *(f"- {part['role']}: {part['name']}, licence {part['licence']}, from {part['source']}" for part in parts),
        "" if parts else "Not known.\n",
        training_data(source, start),
    ]
    return "\n".join(lines) + "\n"
