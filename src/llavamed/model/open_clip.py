"""BiomedCLIP's vision tower as open_clip keeps it, a ViT of timm, by the names in files of transformers' ViT.

Both are the network of Dosovitskiy et al. 2020: a norm before each half of a layer, positions added to patches and
class token. timm has query, key and value in one matrix, and 1e-6 in its norms.
"""

import re
from pathlib import Path
from typing import Any

from llavamed.errors import InputError
from llavamed.model.tensors import Tensor, misfit, tensors_of
from llavamed.model.towers import Tower, read_json, unread_pooler

CONFIG = "open_clip_config.json"
_TRUNK = "visual.trunk."
_HEAD = 64  # numbers of a head, in each of timm's plain ViTs
# timm's names, and those in files of transformers' ViT.
_NAMES = {
    "cls_token": "embeddings.cls_token",
    "pos_embed": "embeddings.position_embeddings",
    "patch_embed.proj": "embeddings.patch_embeddings.projection",
    "norm": "layernorm",
    "norm1": "layernorm_before",
    "norm2": "layernorm_after",
    "attn.proj": "attention.output.dense",
    "mlp.fc1": "intermediate.dense",
    "mlp.fc2": "output.dense",
}


def from_folder(folder: Path) -> Tower:
    """The tower of an open_clip model whose vision tower is one of timm's plain ViTs.

    Raises:
        InputError: it has another tower, or not its tensors.
    """
    from transformers import ViTConfig

    said = read_json(folder / CONFIG)
    model = str(said.get("model_cfg", {}).get("vision_cfg", {}).get("timm_model_name"))
    plain = re.fullmatch(r"vit_(?:tiny|small|base|large)_patch(\d+)_(\d+)", model)
    if plain is None:
        raise InputError(f"{folder}: its vision tower, {model}, is none of timm's plain ViTs: it cannot be read")
    own = {name.removeprefix(_TRUNK): t for name, t in tensors_of(folder).items() if name.startswith(_TRUNK)}
    try:
        width, inner = own["cls_token"].shape[-1], own["blocks.0.mlp.fc1.weight"].shape[0]
    except (KeyError, IndexError) as error:
        raise InputError(f"{folder}: its vision tower is no {model} ({error}): get it again") from None
    config = ViTConfig(
        hidden_size=width,
        intermediate_size=inner,
        num_hidden_layers=len({name.split(".")[1] for name in own if name.startswith("blocks.")}),
        num_attention_heads=max(1, width // _HEAD),
        patch_size=int(plain[1]),
        image_size=int(plain[2]),
        layer_norm_eps=1e-6,
        pooler_output_size=1,
    )
    if told := misfit(own, _shapes(config), lambda name: f"{_TRUNK}{name}"):
        raise InputError(f"{folder}: its vision tower is no {model}: {told}: get it again")
    tensors: dict[str, Tensor] = {}
    for name, tensor in own.items():
        tensors |= _placed(name, tensor)
    images = said.get("preprocess_cfg", {})
    known = {f"image_{key}": images[key] for key in ("mean", "std") if key in images}
    return Tower(config, tensors | unread_pooler(width), known)


def _shapes(config: Any) -> dict[str, tuple[int, ...]]:
    """Of the tower's tensors, by timm's names."""
    width, inner, patch = config.hidden_size, config.intermediate_size, config.patch_size
    places = (config.image_size // patch) ** 2 + 1  # one is the class token's
    found: dict[str, tuple[int, ...]] = {"cls_token": (1, 1, width), "pos_embed": (1, places, width)}
    found["patch_embed.proj.weight"] = (width, config.num_channels, patch, patch)
    whole: dict[str, tuple[int, ...]] = {"norm": (width,)}
    layer = {"attn.qkv": (3 * width, width), "attn.proj": (width, width), "norm1": (width,), "norm2": (width,)}
    layer |= {"mlp.fc1": (inner, width), "mlp.fc2": (width, inner)}
    for n in range(config.num_hidden_layers):
        whole |= {f"blocks.{n}.{name}": shape for name, shape in layer.items()}
    found |= {f"{name}.weight": shape for name, shape in whole.items()}
    return found | {f"{name}.bias": shape[:1] for name, shape in (whole | {"patch_embed.proj": (width,)}).items()}


def _placed(name: str, tensor: Tensor) -> dict[str, Tensor]:
    """A tensor of timm's by transformers' names: one, or three thirds of it."""
    at = re.match(r"blocks\.(\d+)\.", name)
    prefix, inner = (f"encoder.layer.{at[1]}.", name[at.end() :]) if at else ("", name)
    stem, dot, end = inner.rpartition(".") if inner.endswith((".weight", ".bias")) else (inner, "", "")
    if stem != "attn.qkv":
        return {f"{prefix}{_NAMES.get(stem, stem)}{dot}{end}": tensor}
    third = tensor.shape[0] // 3
    return {
        f"{prefix}attention.attention.{which}.{end}": tensor.rows(n * third, (n + 1) * third)
        for n, which in enumerate(("query", "key", "value"))
    }
