"""Weights as their difference from a base model, read and written in pieces: no model is ever in memory.

Ours is exact: of each tensor the bits that differ (XOR) from the base's, which is cast to its type first, so that the
target comes back bit for bit. Published ones (LLaVA-Med-7b-delta among them) are additive: target = delta + base in the
delta's type, where a vocabulary grew only the base's rows; they can be applied, and nothing in them names their base.
"""

import hashlib
import json
import re
import resource
import shutil
import sys
import time
from collections.abc import Mapping, Sequence
from pathlib import Path

from llavamed import artifact, storage
from llavamed.errors import InputError
from llavamed.model import words
from llavamed.model.pieces import Done, Pair, each_file, fits, header, write
from llavamed.model.tensors import INDEX, SIZES, SUFFIX, Tensor, read_header, tensors_of, weight_files
from llavamed.model.towers import without_buffers
from llavamed.storage import Json

ABOUT = "delta.json"
REST = "target"  # what the target's folder holds besides weights
TERMS = "base"  # the base's licence and terms of use
_TERMS = ("LICENSE*", "LICENCE*", "NOTICE*", "USE_POLICY*")
_WEIGHTS = (SUFFIX, ".bin", ".pt", ".pth")
# What names begin with in a LLaVA model, and in the language model alone; the output head may be the embedding.
_PREFIXES = (("", ""), ("language_model.", ""), ("model.language_model.", "model."))
_LAYER = re.compile(r"(.+?)\.\d+\.")
_HEAD, _EMBEDDING = "lm_head.weight", "model.embed_tokens.weight"
MANIFEST = "manifest.json"
# Of the target's manifest, which hold of what is applied too: it is the same content.
_FACTS = ("counts", "histograms", "models", "backbone", "training")

CARD = """---
license: other
---

# Weights as a difference

No model by itself: the bits in which a model's weights differ from those of its base, **{base}**. With the base,

    llavamed delta apply --base BASE --delta THIS_FOLDER -o MODEL

gives the model back, bit for bit, and refuses another base. Tensors that the base does not have are here whole.
`{rest}/` has the model's card, configuration and tokenizer{terms}. The terms of the base hold for the result.

For research use only, not for clinical decisions.
"""


def make(base: Path, target: Path, folder: Path, *, force: bool = False) -> Json:
    """Write to `folder` what `target` differs in from `base`.

    Returns `{tensors, whole, bytes, seconds, peak_rss_bytes, artifact, hash}`; `whole`: tensors that the base has not.

    Raises:
        InputError: a checkpoint cannot be read; `base` is none of the target's, by names and shapes; the target is
            not in safetensors; what `artifact.start` refuses.
    """
    begun = time.monotonic()
    wanted, files = tensors_of(target), weight_files(target)
    if files[0].suffix != SUFFIX:
        raise InputError(f"{files[0]}: save the target as safetensors first")
    pairs = _paired(wanted, base)
    job = _start(folder, "delta", "xor", {"base": base, "target": target}, wanted, force)
    try:
        if job.manifest is None:
            job.manifest = _make(job, base, target, pairs)
    finally:
        artifact.pause(job)
    whole = sum(pair.base is None for pair in pairs.values())
    return {"tensors": len(pairs), "whole": whole} | _result(job.manifest, folder, begun)


def apply(base: Path, delta: Path, folder: Path, *, force: bool = False) -> Json:
    """Write to `folder` the model that `delta` makes of `base`. A delta without a `delta.json` is additive.

    Returns `{tensors, bytes, seconds, peak_rss_bytes, artifact, hash}`.

    Raises:
        InputError: `base` is not the one that the delta was made from; the base or the delta cannot be read; what
            `artifact.start` refuses.
    """
    begun = time.monotonic()
    given, about = tensors_of(delta), _about(delta)
    pairs = _named(given, base, delta, about) if about else _paired(given, base, all_must_fit=True)
    job = _start(
        folder, "model", about["method"] if about else "additive", {"delta": delta, "base": base}, given, force
    )
    try:
        if job.manifest is None:
            job.manifest = _apply(job, delta, pairs, about) if about else _add(job, delta, pairs)
    except InputError:
        artifact.abandon(job)
        raise
    finally:
        artifact.pause(job)
    return {"tensors": len(pairs)} | _result(job.manifest, folder, begun)


def _make(job: artifact.Job, base: Path, target: Path, pairs: Mapping[str, Pair]) -> Json:
    def one(path: Path, done: Done) -> Json:
        source = read_header(path)
        own = [pairs[tensor.name] for tensor in source.tensors]
        parts: Json = {}

        def read(pair: Pair, digest: str) -> None:
            like = pair.base or pair.tensor
            parts[pair.tensor.name] = {"name": like.name, "dtype": like.dtype, "shape": like.shape, "sha256": digest}

        text = header([(pair.tensor.name, _word(pair), pair.tensor.shape) for pair in own])
        written = write(job.out / path.name, text, own, words.xor, done=done, read=read, source=source.text)
        about = {"header": source.text.decode(), "sha256": written.source, "base": parts}
        return written.named(path.name) | {"about": about}

    files = {name: file["about"] for name, file in each_file(job, weight_files(target), pairs, one).items()}
    parts = [part for about in files.values() for part in about["base"].values()]
    lines = "".join(sorted(f"{part['sha256']}  {part['name']}\n" for part in parts))
    named = {"name": base.resolve().name, "hash": hashlib.sha256(lines.encode()).hexdigest()}
    storage.write_json(job.out / ABOUT, {"format": 1, "method": "xor", "base": named, "files": files})
    _copy(target, job.out / REST)
    terms = f", `{TERMS}/` the terms of the base" if _copy(base, job.out / TERMS, only=_TERMS) else ""
    card = CARD.format(base=named["name"], rest=REST, terms=terms)
    return artifact.publish(job, counts=_counts(pairs), card=card, base=named)


def _word(pair: Pair) -> str:
    """The type of a difference: it is no float."""
    return f"U{8 * SIZES[pair.tensor.dtype]}" if pair.base else pair.tensor.dtype


def _apply(job: artifact.Job, delta: Path, pairs: Mapping[str, Pair], about: Json) -> Json:
    def one(path: Path, done: Done) -> Json:
        said = about["files"][path.name]

        def check(pair: Pair, digest: str) -> None:
            part = said["base"][pair.tensor.name]
            if digest != part["sha256"]:
                raise InputError(
                    f"{pair.base and pair.base.file}: {part['name']} is not that of {about['base']['name']}, which "
                    f"{delta} was made from: name that base"
                )

        own = [pairs[tensor.name] for tensor in read_header(path).tensors]
        written = write(job.out / path.name, said["header"].encode(), own, words.xor, done=done, read=check)
        if written.sha256 != said["sha256"]:
            raise InputError(f"{path} does not give the file that it was made from: get the delta again")
        return written.named(path.name)

    each_file(job, weight_files(delta), pairs, one)
    _copy(delta / REST, job.out, without=(MANIFEST,))
    of_target = delta / REST / MANIFEST
    known = json.loads(of_target.read_text()) if of_target.exists() else {}
    facts = {"counts": _counts(pairs)} | {key: known[key] for key in _FACTS if key in known}
    return artifact.publish(job, **facts)


def _add(job: artifact.Job, delta: Path, pairs: Mapping[str, Pair]) -> Json:
    def one(path: Path, done: Done) -> Json:
        own = [pair for pair in pairs.values() if pair.tensor.file == path]
        name = f"{path.stem.replace('pytorch_model', 'model')}{SUFFIX}"
        text = header([(pair.tensor.name, pair.tensor.dtype, pair.tensor.shape) for pair in own])
        return write(job.out / name, text, own, words.add, done=done).named(name)

    files = weight_files(delta)
    found = each_file(job, files, pairs, one)
    if len(files) > 1:
        weights = {pair.tensor.name: found[pair.tensor.file.name]["name"] for pair in pairs.values()}
        total = {"total_size": sum(pair.tensor.size for pair in pairs.values())}
        storage.write_json(job.out / INDEX, {"metadata": total, "weight_map": weights})
    _copy(delta, job.out, without=(".index.json", MANIFEST))
    return artifact.publish(job, counts=_counts(pairs))


def _start(
    folder: Path, kind: str, method: str, sources: Mapping[str, Path], tensors: Mapping[str, Tensor], force: bool
) -> artifact.Job:
    whole = [path for path in sources.values() if (path / MANIFEST).exists()]
    inputs = {
        name: storage.fingerprint((file.name, file) for file in path.iterdir() if file.is_file())
        for name, path in sources.items()
        if path not in whole
    }
    size = sum(tensor.size for tensor in tensors.values())
    return artifact.start(folder, kind, {"method": method}, inputs=inputs, parents=whole, force=force, needs_bytes=size)


def _paired(tensors: Mapping[str, Tensor], base: Path, all_must_fit: bool = False) -> dict[str, Pair]:
    """Each tensor with that of the base by the same name, if there is one and it fits.

    A delta must not pass on what is the base's. So where base and target have a stack of layers by one name, each of
    its tensors must have its like; elsewhere rows may have been added (embedding, head) or tensors (projector).

    Raises:
        InputError: `base` cannot be read, or is no base of these tensors.
    """
    known = tensors_of(base)
    stacks = {_stack(name) for name in known} - {""}
    try:
        tied = json.loads((base / "config.json").read_text())["tie_word_embeddings"] is True
    except (OSError, ValueError, KeyError, TypeError):
        tied = False
    if tied and _EMBEDDING in known:
        known.setdefault(_HEAD, known[_EMBEDDING])
    pairs, shared = {}, set()
    for name, tensor in tensors.items():
        alone = [to + name.removeprefix(prefix) for prefix, to in _PREFIXES if name.startswith(prefix)]
        like = next((known[other] for other in alone if other in known), None)
        own = {_stack(other) for other in alone} & stacks
        shared |= own
        if not _may_be(tensor, like, in_layer=bool(own), must_fit=all_must_fit):
            theirs = f"{like.name} is {like.dtype} {list(like.shape)}" if like else "there is no such tensor"
            raise _no_base(base, tensor, f"{name} is {tensor.dtype} {list(tensor.shape)}, and in {base} {theirs}")
        pairs[name] = Pair(tensor, like if like and fits(tensor, like) else None)
    if not any(pair.base for pair in pairs.values()):
        raise _no_base(base, next(iter(tensors.values())), "it has no tensor like one of it")
    if stacks and not shared:
        raise _no_base(base, next(iter(tensors.values())), f"none of its layers ({min(stacks)}) is one of it")
    return pairs


def _stack(name: str) -> str:
    """Of a tensor in a numbered layer, what stands before the number; else empty."""
    found = _LAYER.match(name)
    return found[1] if found else ""


def _may_be(tensor: Tensor, like: Tensor | None, *, in_layer: bool, must_fit: bool) -> bool:
    """Whether `like` can be what `tensor` was trained from. `in_layer`: of a stack that both have."""
    if like is None:
        return not in_layer or not without_buffers({tensor.name: tensor})
    if in_layer:
        return tensor.shape == like.shape and fits(tensor, like)
    rows = len(tensor.shape) == len(like.shape) and tensor.shape[1:] == like.shape[1:]
    return rows and (not must_fit or fits(tensor, like))


def _no_base(base: Path, tensor: Tensor, why: str) -> InputError:
    return InputError(
        f"{base} is no base of {tensor.file.parent}: {why}: name the model that it was trained from, or the language "
        "model in that"
    )


def _named(tensors: Mapping[str, Tensor], base: Path, delta: Path, about: Json) -> dict[str, Pair]:
    """Each tensor of a delta, of its target's type, with that of the base which the delta names."""
    known = tensors_of(base)
    pairs = {}
    for path in weight_files(delta):
        said = about["files"].get(path.name)
        if said is None:
            raise InputError(f"{delta / ABOUT} says nothing of {path.name}: get the delta again")
        types = {n: entry["dtype"] for n, entry in json.loads(said["header"]).items() if n != "__metadata__"}
        for tensor in read_header(path).tensors:
            part = said["base"].get(tensor.name)
            like = known.get(part["name"]) if part else None
            if part and (like is None or [like.dtype, list(like.shape)] != [part["dtype"], part["shape"]]):
                raise InputError(
                    f"{base} has no {part['name']} of {part['dtype']} {part['shape']}: name the base that {delta} was "
                    f"made from ({about['base']['name']})"
                )
            typed = Tensor(tensor.name, path, types.get(tensor.name, tensor.dtype), tensor.shape, tensor.begin)
            pairs[tensor.name] = Pair(typed, like)
    if missing := sorted(about["files"].keys() - {path.name for path in weight_files(delta)}):
        raise InputError(f"{delta / ABOUT} names {missing[0]}, which is not there: get the delta again")
    return pairs


def _about(delta: Path) -> Json | None:
    """What a delta of ours says of itself; None for another's.

    Raises:
        InputError: it cannot be read.
    """
    path = delta / ABOUT
    if not path.exists():
        return None
    if (delta / MANIFEST).exists():
        artifact.require(delta, "delta")
    try:
        found: Json = json.loads(path.read_text())
        known = found["format"] == 1 and found["method"] == "xor" and bool(found["files"])
        for said in found["files"].values():
            known &= isinstance(json.loads(said["header"]), dict) and isinstance(said["sha256"], str)
            known &= all({"name", "dtype", "shape", "sha256"} <= part.keys() for part in said["base"].values())
        if known and isinstance(found["base"]["name"], str):
            return found
        raise ValueError("of another format")
    except (ValueError, KeyError, TypeError, AttributeError) as error:
        raise InputError(f"{path} cannot be read ({error!r}): get the delta again") from None


def _copy(source: Path, to: Path, only: Sequence[str] = ("*",), without: tuple[str, ...] = ()) -> int:
    """Copy what a folder itself holds besides weights; how many files."""
    paths = {path for pattern in only for path in source.glob(pattern) if path.is_file()}
    paths = {path for path in paths if not path.name.endswith((*_WEIGHTS, *without))}
    for path in sorted(paths):
        to.mkdir(parents=True, exist_ok=True)
        shutil.copyfile(path, to / path.name)
    return len(paths)


def _counts(pairs: Mapping[str, Pair]) -> Json:
    return {"tensors": {"in": len(pairs), "kept": len(pairs), "excluded": {}}}


def _result(manifest: Json, folder: Path, begun: float) -> Json:
    peak = resource.getrusage(resource.RUSAGE_SELF).ru_maxrss * (1 if sys.platform == "darwin" else 1024)
    size = sum(file["bytes"] for name, file in manifest["files"].items() if name.endswith(SUFFIX))
    seconds = round(time.monotonic() - begun, 2)
    told = {"bytes": size, "seconds": seconds, "peak_rss_bytes": peak}
    return told | {"artifact": str(folder), "hash": manifest["hash"]}
