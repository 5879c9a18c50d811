"""The models that can be asked about pictures: ours, and any local image-text-to-text model of transformers."""

import json
import multiprocessing
import os
from collections.abc import Sequence
from dataclasses import dataclass
from functools import cache
from pathlib import Path
from typing import TYPE_CHECKING, Any

from llavamed.errors import InputError

if TYPE_CHECKING:
    from llavamed.evaluate.generate import Prompt

# What is known to take a mask of any shape and to keep all of the past. Others are asked by their own `generate`.
PLAIN_LANGUAGE = ("llama", "mistral", "qwen2")


@dataclass(frozen=True)
class Local:
    """A model in a folder, and how to run it: `workers` processes, each with a copy, on one GPU each where there are.

    `precision`: "bf16", "fp32", or "auto": bf16 where the device is faster with it.
    """

    folder: Path
    max_new_tokens: int
    device: str = "auto"
    precision: str = "auto"
    workers: int = 1


def shares_prefixes(folder: Path) -> bool:
    """Whether the questions of a picture can share its prefix: a LLaVA model that resizes every picture to one size.

    Raises:
        InputError: there is no readable config.json in `folder`.
    """
    config = _read(folder / "config.json")
    pictures = _read(folder / "processor_config.json").get("image_processor") if _has(folder, "processor") else None
    pictures = pictures or (_read(folder / "preprocessor_config.json") if _has(folder, "preprocessor") else {})
    return (
        config.get("model_type") == "llava"
        and (config.get("text_config") or {}).get("model_type") in PLAIN_LANGUAGE
        and (config.get("vision_config") or {}).get("model_type") != "pixtral"  # as many tokens as the picture is large
        and not pictures.get("do_pad")  # a grey picture would no longer be the same at every size
    )


def ask(model: Local, batch: "Sequence[Prompt]") -> tuple[dict[str, str], dict[str, float]]:
    """The greedy answers to a batch by id, and the seconds that its parts took.

    Raises:
        InputError: what `open_model` raises.
    """
    from llavamed.evaluate import decode

    network, processor = open_model(model)
    seconds: dict[str, float] = {}
    if not shares_prefixes(model.folder):
        return _by_itself(network, processor, batch, model.max_new_tokens, seconds), seconds
    of_image: dict[str, list[Prompt]] = {}
    for prompt in batch:
        of_image.setdefault(prompt.image, []).append(prompt)
    asked = list(of_image.values())
    with decode.clock("pictures", seconds, "cpu"):
        pictures = [prompts[0].picture() for prompts in asked]
    texts = [[prompt.text for prompt in prompts] for prompts in asked]
    said = decode.answer(network, processor, pictures, texts, model.max_new_tokens, seconds)
    pairs = (
        (p.id, text) for prompts, row in zip(asked, said, strict=True) for p, text in zip(prompts, row, strict=True)
    )
    return dict(pairs), seconds


@cache
def open_model(model: Local) -> tuple[Any, Any]:
    """The network, in evaluation mode, and its processor. Once a process.

    Raises:
        InputError: no such device; no checkpoint, weights that are not safetensors, missing or unexpected ones, code
            of its own, or no chat template.
    """
    import torch

    from llavamed.model import checkpoint
    from llavamed.model.device import fast_bf16, pick

    device = pick(model.device)
    if model.workers > 1 and device == "cpu":
        torch.set_num_threads(max(1, torch.get_num_threads() // model.workers))
    if device == "cpu":  # transformers would copy the keys for every head that shares them
        os.environ.setdefault("TRANSFORMERS_SDPA_FORCE_GQA", "1")
    bf16 = model.precision == "bf16" or (model.precision == "auto" and fast_bf16(device))
    if device == "cuda":
        device = f"cuda:{_number_of_worker() % torch.cuda.device_count()}"
    load = checkpoint.load if shares_prefixes(model.folder) else checkpoint.load_any
    network, processor = load(model.folder, dtype=torch.bfloat16 if bf16 else torch.float32, device=device)
    if not getattr(processor, "chat_template", None):
        raise InputError(f"{model.folder} has no chat template, so nobody knows how to ask it: add chat_template.jinja")
    return network, processor


def _by_itself(
    network: Any, processor: Any, batch: "Sequence[Prompt]", max_new_tokens: int, seconds: dict[str, float]
) -> dict[str, str]:
    """By the model's own `generate`."""
    import torch

    from llavamed.evaluate import decode

    with decode.clock("pictures", seconds, network.device):
        content = [[{"type": "image", "image": p.picture()}, {"type": "text", "text": p.text}] for p in batch]
        inputs = processor.apply_chat_template(
            [[{"role": "user", "content": parts}] for parts in content],
            add_generation_prompt=True,
            tokenize=True,
            return_dict=True,
            processor_kwargs={"padding": True, "padding_side": "left", "return_tensors": "pt"},
        ).to(network.device, network.dtype)
    with decode.clock("generate", seconds, network.device), torch.inference_mode():
        tokens = network.generate(**inputs, max_new_tokens=max_new_tokens, do_sample=False)
    stops = decode.stop_tokens(network)
    return {
        p.id: decode.text_of(processor, said, stops)
        for p, said in zip(batch, tokens[:, inputs["input_ids"].shape[1] :].tolist(), strict=True)
    }


def _number_of_worker() -> int:
    """0 in the process that was started first."""
    identity = multiprocessing.current_process()._identity
    return identity[0] - 1 if identity else 0


def _has(folder: Path, what: str) -> bool:
    return (folder / f"{what}_config.json").is_file()


def _read(path: Path) -> dict[str, Any]:
    try:
        found = json.loads(path.read_text(encoding="utf-8"))
    except (OSError, ValueError) as error:
        raise InputError(f"{path} cannot be read ({error}): name the folder of a model") from None
    return found if isinstance(found, dict) else {}
