"""Vision towers: out of a local folder, or CLIP's as the weights of a checkpoint show it."""

import json
import re
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np

from llavamed.errors import InputError
from llavamed.model.backbones import TOWERS, TowerKind
from llavamed.model.tensors import Tensor, tensors_of

_WHOLE = {"clip": "clip_vision_model", "siglip": "siglip_vision_model"}  # models that hold one: whole -> tower


@dataclass(frozen=True)
class Tower:
    """Its configuration, and its tensors by their names within the tower.

    `images`: of its image processor, what the folder says.
    """

    config: Any
    tensors: dict[str, Tensor]
    images: dict[str, Any]

    @property
    def kind(self) -> TowerKind:
        """What the table says of its kind."""
        return TOWERS[self.config.model_type]


def from_folder(folder: Path) -> Tower:
    """The tower in a folder: of a whole CLIP or SigLIP model too, or BiomedCLIP's.

    Raises:
        InputError: the folder holds something else.
    """
    from transformers import CONFIG_MAPPING

    from llavamed.model import open_clip

    if (folder / open_clip.CONFIG).exists():
        return open_clip.from_folder(folder)
    said = read_json(folder / "config.json")
    model = str(said.get("model_type"))
    kind = _WHOLE.get(model, model)
    if kind not in TOWERS:
        raise InputError(f"{folder} is no vision tower that is known ({model}): there are {', '.join(TOWERS)}")
    config = CONFIG_MAPPING[kind].from_dict(said if kind == model else said.get("vision_config", {}))
    tensors = {}
    for name, tensor in tensors_of(folder).items():
        if not name.startswith(TOWERS[kind].rest):
            tensors[name.removeprefix(TOWERS[kind].inside)] = tensor
    if kind == "siglip_vision_model":
        config.vision_use_head = False  # it pools what the projector never reads
    if kind == "vit":
        config.pooler_output_size = 1
        tensors |= unread_pooler(config.hidden_size)
    return Tower(config, without_buffers(tensors), read_json(folder / "preprocessor_config.json", needed=False))


def unread_pooler(width: int) -> dict[str, Tensor]:
    """transformers' ViT has a pooler, which the projector never reads: the smallest there is, of zeros."""
    shapes = {"pooler.dense.weight": (1, width), "pooler.dense.bias": (1,)}
    return {
        name: Tensor(name, Path(), "F32", shape, 0, np.zeros(4 * shape[-1], np.uint8)) for name, shape in shapes.items()
    }


def layers(tower: Any) -> Any:
    """The layers of a tower of transformers, by whatever name it has them."""
    inner = getattr(tower, "encoder", tower)
    return inner.layers if hasattr(inner, "layers") else inner.layer


def from_checkpoint(name: str, tensors: dict[str, Tensor]) -> Tower:
    """The tower whose weights a checkpoint holds; what they do not show follows from its `name`.

    Raises:
        InputError: another name than one of OpenAI's CLIP, or weights that are not such a tower's.
    """
    from transformers import CLIPVisionConfig

    if not re.search(r"(^|/)clip-vit-", name):
        raise InputError(f"the checkpoint holds the weights of {name}, not its shape: name its folder, --vision-tower")
    tensors = without_buffers(tensors)
    try:
        width, _, patch, _ = tensors["embeddings.patch_embedding.weight"].shape
        places = tensors["embeddings.position_embedding.weight"].shape[0]
        inner = tensors["encoder.layers.0.mlp.fc1.weight"].shape[0]
    except (KeyError, ValueError) as error:
        raise InputError(f"the vision tower in the checkpoint is no CLIP tower ({error}): get it again") from None
    config = CLIPVisionConfig(
        hidden_size=width,
        intermediate_size=inner,
        num_hidden_layers=len({n.split(".")[2] for n in tensors if n.startswith("encoder.layers.")}),
        num_attention_heads=max(1, width // 64),  # as all of OpenAI's have
        patch_size=patch,
        image_size=round((places - 1) ** 0.5) * patch,  # one place is the class token's
    )
    return Tower(config, tensors, {})


def check(tower: Tower, name: str, width: int | None, where: Path) -> None:
    """A tower must be as the model it goes into says: of its `width`, and what `name` tells (clip-vit-...-patch14-336).

    Raises:
        InputError: it is not.
    """
    config, wrong = tower.config, []
    if width and config.hidden_size != width:
        wrong.append(f"features {config.hidden_size} wide, not {width}")
    if told := re.search(r"[-_]vit[-_].*[-_]patch(\d+)(?:[-_](\d+))?$", name):
        for what, has, wants in (
            ("patches", config.patch_size, int(told[1])),
            ("pictures", config.image_size, int(told[2] or 224)),
        ):
            if has != wants:
                wrong.append(f"{what} of {has} pixels, not {wants}")
    if wrong:
        raise InputError(f"{where} is not {name}: it has {'; '.join(wrong)}: name the folder of {name}")


def image_processor(tower: Tower, *, padded: bool) -> Any:
    """As CLIP's: the short side to the tower's size, the middle cut out. `padded`: to a square first, all is seen."""
    from transformers.models.llava.image_processing_pil_llava import LlavaImageProcessorPil

    side = tower.config.image_size
    known = {key: tower.images[key] for key in ("image_mean", "image_std", "resample") if key in tower.images}
    return LlavaImageProcessorPil(
        size={"shortest_edge": side}, crop_size={"height": side, "width": side}, do_pad=padded, **known
    )


def without_buffers(tensors: dict[str, Tensor]) -> dict[str, Tensor]:
    """Without what follows from the shape: positions counted, and the angles of rotary embeddings."""
    counted = ("embeddings.position_ids", "rotary_emb.inv_freq")
    return {name: tensor for name, tensor in tensors.items() if not name.endswith(counted)}


def read_json(path: Path, *, needed: bool = True) -> dict[str, Any]:
    """What a file says; nothing if there is none and none is needed.

    Raises:
        InputError: it cannot be read.
    """
    if not needed and not path.exists():
        return {}
    try:
        found = json.loads(path.read_text(encoding="utf-8"))
    except (OSError, ValueError) as error:
        raise InputError(f"{path} cannot be read ({error}): name the folder of a model") from None
    if not isinstance(found, dict):
        raise InputError(f"{path} is no configuration: name the folder of a model")
    return found
