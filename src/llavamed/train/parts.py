"""Which weights a stage trains: vision tower, projector and language model, each frozen, in full or by LoRA."""

import math
import re
from collections.abc import Callable
from typing import Any

from llavamed.errors import InputError
from llavamed.train.stage import Part, Stage

PREFIXES = {
    "vision": ("model.vision_tower.",),
    "projector": ("model.multi_modal_projector.",),
    "language": ("model.language_model.", "lm_head."),
}
WORDS = {"vision": "vision tower", "projector": "projector", "language": "language model"}
_LAYER = re.compile(r"\.layers?\.(\d+)\.")
_DOWN, _UP = ".lora_A.default.weight", ".lora_B.default.weight"


def choose(net: Any, stage: Stage) -> dict[str, Any]:
    """The parameters of `net` that `stage` trains, by name; the others are frozen. Adapters are put in (LoRA: Hu et al.
    2021), random by the stage's seed, with an output of 0.

    Weights that no output depends on (layers of the vision tower after the one that the projector reads) are no one's.

    Raises:
        InputError: a part has no such layer to adapt.
    """
    import torch

    net.requires_grad_(False)
    chosen = {name: _names(net, name, part) for name, part in stage.parts().items()}
    with torch.random.fork_rng(devices=[]):
        torch.manual_seed(stage.seed)
        for name, part in stage.parts().items():
            if part.train == "lora":
                _adapt(net, name, part, chosen[name])
    full = {name for part, names in chosen.items() if stage.parts()[part].train == "full" for name in names}
    trained = {n: p for n, p in net.named_parameters() if n in full or n.endswith((_DOWN, _UP))}
    for parameter in trained.values():
        parameter.requires_grad_(True)
    return trained


def groups(trained: dict[str, Any], stage: Stage) -> list[dict[str, Any]]:
    """Groups of an optimizer, each with its `peak` learning rate; weight decay is of matrices only."""
    made: dict[tuple[float, float], list[Any]] = {}
    for name, parameter in trained.items():
        part = stage.parts()[part_of(name)]
        decay = stage.weight_decay if part.weight_decay is None else part.weight_decay
        key = (part.learning_rate or stage.learning_rate, decay if parameter.ndim > 1 else 0.0)
        made.setdefault(key, []).append(parameter)
    return [{"params": made[key], "lr": key[0], "peak": key[0], "weight_decay": key[1]} for key in made]


def write(
    trained: dict[str, Any], result: Any, stage: Stage, whole: Callable[[Any], Any] = lambda tensor: tensor
) -> None:
    """Copy `trained` weights into the plain model `result`; adapters are added to the weights they adapt.

    The sum is made in float32 and rounded once. `whole`: gathers a weight from its shards.
    """
    import torch

    plain = dict(result.named_parameters())
    with torch.no_grad():
        for name, weight in trained.items():
            if name.endswith(_DOWN):
                part, target = stage.parts()[part_of(name)], plain[name.replace(_DOWN, ".weight")]
                up, down = whole(trained[name.replace(_DOWN, _UP)]).float(), whole(weight).float()
                target.copy_(target.float() + (up @ down).to(target.device) * part.scale)
            elif not name.endswith(_UP):
                plain[name].copy_(whole(weight))


def part_of(name: str) -> str:
    """Which part of the model the parameter called `name` belongs to."""
    return next(part for part, prefixes in PREFIXES.items() if name.startswith(prefixes))


def describe(stage: Stage) -> str:
    """In words, what is trained: `projector and language model (LoRA of rank 16)`."""
    said = []
    for name, part in stage.parts().items():
        if part.train != "frozen":
            how = [f"the last {part.layers} layers"] if part.layers else []
            how += [f"LoRA of rank {part.rank}"] if part.train == "lora" else []
            said.append(WORDS[name] + (f" ({', '.join(how)})" if how else ""))
    return " and ".join(filter(None, [", ".join(said[:-1]), said[-1]]))


def vision_layers(config: Any) -> int:
    """How many layers of the vision tower the projector reads through."""
    count, read = config.vision_config.num_hidden_layers, config.vision_feature_layer
    return max(layer if layer >= 0 else count + 1 + layer for layer in ([read] if isinstance(read, int) else read))


def _names(net: Any, name: str, part: Part) -> list[str]:
    """The parameters of a part that may be trained, adapters aside."""
    found = [n for n, _ in net.named_parameters() if n.startswith(PREFIXES[name])]
    if name == "projector":  # a single linear layer is stored as two, the second an identity that stays one
        single = net.config.projector_hidden_act == "linear"
        return [n for n in found if not (single and ".linear_2." in n)]
    end = vision_layers(net.config) if name == "vision" else net.config.text_config.num_hidden_layers
    if part.layers and part.layers > end:
        raise InputError(f"{name}.layers: {part.layers}: there are {end}: name fewer")
    first = end - part.layers if part.layers else -math.inf
    return [n for n in found if first <= _layer(n, name) < end]


def _layer(name: str, part: str) -> float:
    """The layer a parameter stands in; what belongs to none is before all of them, or (not read) after them."""
    if found := _LAYER.search(name):
        return int(found[1])
    before = part != "vision" or "embeddings" in name or "pre_layrnorm" in name
    return -math.inf if before and "mask_token" not in name else math.inf


def _adapt(net: Any, name: str, part: Part, parameters: list[str]) -> None:
    from peft import LoraConfig, inject_adapter_in_model
    from torch.nn import Linear

    prefix = PREFIXES[name][0]
    module = net.get_submodule(prefix.rstrip("."))
    inside = {n.removeprefix(prefix).rpartition(".")[0] for n in parameters if n.startswith(prefix)}
    linear = [n for n, layer in module.named_modules() if n in inside and isinstance(layer, Linear)]
    wanted = [n for n in linear if part.targets is None or n.rpartition(".")[2] in part.targets]
    for target in part.targets or ():
        if target not in {n.rpartition(".")[2] for n in linear}:
            there = ", ".join(sorted({n.rpartition(".")[2] for n in linear}))
            raise InputError(f"{name}.targets: {target} is no linear layer of the {WORDS[name]}: there are {there}")
    inject_adapter_in_model(LoraConfig(r=part.rank, lora_alpha=part.alpha, target_modules=wanted), module)
