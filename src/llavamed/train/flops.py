"""Floating-point operations of training a model, and what GPUs can do: hours beforehand, utilisation meanwhile.

Model FLOPs, counted as in PaLM (Chowdhery et al. 2022, appendix B): a multiplication and an addition are two, only
matrix products count, and what gradient checkpointing computes again does not. A token sees only some others, so
attention is counted by the pairs that see each other.
"""

from typing import Any, NamedTuple

from llavamed.model import towers
from llavamed.train.parts import vision_layers

# Dense bfloat16 peak in FLOP/s by the name CUDA gives the GPU (NVIDIA's data sheets). Other forms of these chips are
# slower, so a name that is not here has no peak.
PEAKS = {
    "NVIDIA A100-SXM4-40GB": 312e12,
    "NVIDIA A100-SXM4-80GB": 312e12,
    "NVIDIA A100-PCIE-40GB": 312e12,
    "NVIDIA A100 80GB PCIe": 312e12,
    "NVIDIA H100 80GB HBM3": 989e12,
    "NVIDIA H200": 989e12,
}


class Flops(NamedTuple):
    """What one of each costs, forward and backward."""

    token: float  # of the language model, its head apart
    labelled: float  # token that is predicted: the head
    pair: float  # of tokens of which one sees the other, itself included
    picture: float  # through the vision tower and the projector

    def of(self, tokens: int, labelled: int, pairs: int, pictures: int) -> float:
        """Of a step."""
        return self.token * tokens + self.labelled * labelled + self.pair * pairs + self.picture * pictures


def peak(device: str) -> float | None:
    """Dense bfloat16 FLOP/s of the GPU in use; None where it is not known, and on a CPU."""
    if not device.startswith("cuda"):
        return None
    import torch

    return PEAKS.get(torch.cuda.get_device_name())


def count(net: Any, image_tokens: int, *, cached: bool = False) -> Flops:
    """What training `net` (LLaVA, on any device, "meta" too) costs, by which of its weights require a gradient.

    A product costs 2 FLOPs a weight and token forward, as much for the gradient of its weight if that is trained, and
    as much for the gradient of its input if something before it is trained. `image_tokens`: of a picture in the
    language model. `cached`: the vision tower's features are at hand.
    """
    parts, text = net.model, net.config.text_config
    picture, trained = _tower(net, image_tokens)
    projector, trained = _products(parts.multi_modal_projector, trained)
    trained |= net.get_input_embeddings().weight.requires_grad
    language, through = _products(parts.language_model, trained)
    head, _ = _products(net.lm_head, through)
    picture = image_tokens * projector + (0 if cached else picture)
    return Flops(language, head, _attention(text, text.num_hidden_layers, through), picture)


def _tower(net: Any, image_tokens: int) -> tuple[float, bool]:
    """FLOPs of a picture in the layers of the vision tower that are read; whether any of them is trained."""
    config, tower = net.config.vision_config, net.model.vision_tower
    tokens = image_tokens + (net.config.vision_feature_select_strategy == "default")  # that drops the class token
    patches = image_tokens - getattr(config, "num_register_tokens", 0)
    embedding, trained = _products(tower.embeddings, False)
    cost = patches * embedding
    for part in towers.layers(tower)[: vision_layers(net.config)]:
        products, trained = _products(part, trained)
        cost += tokens * products + tokens**2 * _attention(config, 1, trained)
    return cost, trained


def _products(part: Any, trained: bool) -> tuple[float, bool]:
    """FLOPs a token of the matrix products in `part`, in the order they come; whether anything up to its end is
    trained. `trained`: whether anything before it is."""
    from torch import nn

    cost = 0.0
    for module in part.modules():
        own = any(weight.requires_grad for weight in module.parameters(recurse=False))
        if isinstance(module, nn.Linear | nn.Conv2d):
            pixels = isinstance(module, nn.Conv2d)  # they need no gradient
            cost += 2 * module.weight.numel() * (1 + own + (trained and not pixels))
        trained |= own
    return cost, trained


def _attention(config: Any, layers: int, trained: bool) -> int:
    """FLOPs of a pair of tokens: a score and its value forward, twice that backward."""
    width: int = getattr(config, "head_dim", None) or config.hidden_size // config.num_attention_heads
    return 4 * width * int(config.num_attention_heads) * layers * (3 if trained else 1)
