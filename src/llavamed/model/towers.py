"""CLIP's vision tower: out of a local folder, or as the weights of a checkpoint show it."""

import json
import re
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from llavamed.errors import InputError
from llavamed.model.tensors import Tensor, tensors_of

_INNER = "vision_model."
_TEXT = ("text_model.", "text_projection.", "visual_projection.", "logit_scale")  # CLIP's other half


@dataclass(frozen=True)
class Tower:
    """Its configuration, and its tensors by the names within CLIP's vision model.

    `images`: of its image processor, what the folder says.
    """

    config: Any
    tensors: dict[str, Tensor]
    images: dict[str, Any]


def from_folder(folder: Path) -> Tower:
    """The tower of a CLIP model or of a CLIPVisionModel.

    Raises:
        InputError: the folder holds something else.
    """
    from transformers import CLIPVisionConfig

    said = _json(folder / "config.json")
    kind = said.get("model_type")
    if kind not in ("clip", "clip_vision_model"):
        raise InputError(f"{folder} is no CLIP vision tower (its config.json says {kind!r}): name the folder of one")
    config = CLIPVisionConfig.from_dict(said.get("vision_config", {}) if kind == "clip" else said)
    tensors = {
        name.removeprefix(_INNER): tensor for name, tensor in tensors_of(folder).items() if not name.startswith(_TEXT)
    }
    return Tower(config, without_buffers(tensors), _json(folder / "preprocessor_config.json", needed=False))


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
    """A tower must be as the model it goes into says: of its `width`, and what `name` tells (clip-...-patch14-336).

    Raises:
        InputError: it is not.
    """
    config, wrong = tower.config, []
    if width and config.hidden_size != width:
        wrong.append(f"features {config.hidden_size} wide, not {width}")
    if told := re.search(r"clip-vit-.*-patch(\d+)(?:-(\d+))?$", name):
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


def _json(path: Path, *, needed: bool = True) -> dict[str, Any]:
    if not needed and not path.exists():
        return {}
    try:
        found = json.loads(path.read_text(encoding="utf-8"))
    except (OSError, ValueError) as error:
        raise InputError(f"{path} cannot be read ({error}): name the folder of a model") from None
    if not isinstance(found, dict):
        raise InputError(f"{path} is no configuration: name the folder of a model")
    return found
