"""What a model is made of, what it weighs, who can serve it, and whether its vision tower has been trained."""

import json
import math
from collections.abc import Iterable
from pathlib import Path
from typing import Any

import numpy as np
from numpy.typing import NDArray

from llavamed import artifact
from llavamed.errors import InputError
from llavamed.model.tensors import Tensor, tensors_of

# The towers that vLLM builds for LLaVA, by `model_type`.
SERVED = {"clip_vision_model": "CLIP", "siglip_vision_model": "SigLIP", "pixtral": "Pixtral"}
_TOWER = ("vision_tower.", "model.vision_tower.")
_PROJECTOR = ("multi_modal_projector.", "model.multi_modal_projector.")
ORDER = 1.1  # of `order`: 73 shuffled matrices had 0.94 to 1.05
_STEPS = 12  # of the power iteration


def describe(folder: Path) -> dict[str, Any]:
    """`{model, vision_tower, projector, language_model, memory_gb, licence, served_by, tower_check}`.

    Nothing is loaded but the matrices of the tower, one after another.

    Raises:
        InputError: no LLaVA checkpoint.
    """
    artifact.refuse_other(folder, "model")
    try:
        config = json.loads((folder / "config.json").read_text(encoding="utf-8"))
    except (OSError, ValueError) as error:
        raise InputError(f"{folder} holds no checkpoint ({error}): name the folder of a model") from None
    if "vision_config" not in config or "text_config" not in config:
        raise InputError(f"{folder} is no LLaVA model: name the folder of one, or `llavamed model import` it")
    tensors = tensors_of(folder)
    tower = {name: tensor for name, tensor in tensors.items() if name.startswith(_TOWER)}
    projector = {name: tensor for name, tensor in tensors.items() if name.startswith(_PROJECTOR)}
    rest = [tensor for name, tensor in tensors.items() if name not in tower and name not in projector]
    vision, text = config["vision_config"], config["text_config"]
    parts = (artifact.read_manifest(folder).get("backbone") or {}).get("parts", []) if _published(folder) else []
    size = sum(tensor.size for tensor in tensors.values())
    return {
        "vision_tower": _part(vision, tower.values(), _name(parts, "vision")),
        "projector": _part({"model_type": config.get("projector_hidden_act", "gelu")}, projector.values(), ""),
        "language_model": _part(text, rest, _name(parts, "language")),
        "parameters": sum(tensor.count for tensor in tensors.values()),
        "weights_gb": size / 1e9,
        "context_gb": _context(text) / 1e9,
        "licence": ", ".join(dict.fromkeys(f"{p['role']}: {p['licence']}" for p in parts)) or "not stated",
        "served_by": _servers(vision.get("model_type", "")),
        "tower_check": trained(tower.values()),
    }


def trained(tensors: Iterable[Tensor]) -> str:
    """Whether a tower's matrices look learnt: "trained", or which of them do not.

    A matrix of independent numbers, drawn or shuffled, m by n with standard deviation s, stretches no direction by more
    than about s (sqrt m + sqrt n); learning makes some directions far longer. A tower whose tensors of one shape were
    swapped with each other keeps this, and is not found out.
    """
    flat, seen = [], 0
    for tensor in tensors:
        if len(tensor.shape) >= 2 and math.prod(tensor.shape[1:]) >= 32 and tensor.shape[0] >= 32:
            seen += 1
            if order(_read(tensor).reshape(tensor.shape[0], -1)) < ORDER:
                flat.append(tensor.name)
    if not seen:
        return "no matrix to judge by"
    if 2 * len(flat) > seen:
        return f"RANDOM OR SHUFFLED: {len(flat)} of {seen} matrices have no structure"
    if flat:
        more = f" and {len(flat) - 1} more" if len(flat) > 1 else ""
        return f"trained, but for {len(flat)} of {seen} matrices without structure: {flat[0]}{more}"
    return f"trained: all {seen} matrices have structure"


def order(matrix: NDArray[np.float32]) -> float:
    """By how much the longest direction of a matrix exceeds that of independent numbers, about 1 for those.

    The mean is taken away first: numbers that share one are no less shuffled.
    """
    matrix = np.subtract(matrix, matrix.mean(), dtype=np.float32)
    spread = float(matrix.std())
    if spread == 0 or not math.isfinite(spread):
        return 0.0
    direction = np.random.default_rng(0).standard_normal((matrix.shape[1],), np.float32)
    for _ in range(_STEPS):
        direction = matrix.T @ (matrix @ direction)
        direction = direction / np.linalg.norm(direction)
    longest = float(np.linalg.norm(matrix @ direction))
    return longest / (spread * (math.sqrt(matrix.shape[0]) + math.sqrt(matrix.shape[1])))


def _read(tensor: Tensor) -> NDArray[np.float32]:
    room = np.empty(tensor.size, np.uint8)
    with tensor.file.open("rb") as stream:
        tensor.read(0, tensor.count, lambda _: stream, room)
    if tensor.dtype == "BF16":  # the upper half of a float32
        return (room.view(np.uint16).astype(np.uint32) << 16).view(np.float32)
    kinds = {"F16": np.float16, "F32": np.float32, "F64": np.float64}
    if tensor.dtype not in kinds:
        raise InputError(f"{tensor.file}: {tensor.name} is of type {tensor.dtype}, which is no weight")
    return room.view(kinds[tensor.dtype]).astype(np.float32)


def _part(config: dict[str, Any], tensors: Iterable[Tensor], name: str) -> str:
    tensors = list(tensors)
    kinds = sorted({tensor.dtype for tensor in tensors})
    told = f"{name}, " if name else ""
    return (f"{told}{config.get('model_type', 'unknown')}, {sum(t.count for t in tensors):,} parameters, "
            f"{'/'.join(kinds)}")  # fmt: skip


def _name(parts: list[dict[str, Any]], role: str) -> str:
    return next((str(part["name"]) for part in parts if part["role"].startswith(role)), "")


def _published(folder: Path) -> bool:
    return (folder / "manifest.json").exists()


def _context(text: dict[str, Any]) -> int:
    """Bytes of keys and values of one conversation that fills the context, in 16 bits."""
    heads = text.get("num_attention_heads") or 1
    head = text.get("head_dim") or text.get("hidden_size", 0) // heads
    kept = text.get("num_key_value_heads") or heads
    return int(text.get("num_hidden_layers", 0) * 2 * kept * head * text.get("max_position_embeddings", 0) * 2)


def _servers(kind: str) -> str:
    known = "llavamed, transformers"
    return f"{known}, vLLM (exported)" if kind in SERVED else f"{known}; not vLLM, which has no LLaVA tower {kind}"
