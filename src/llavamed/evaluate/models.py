"""The models that can be asked about pictures: ours, any local image-text-to-text model of transformers, any server."""

import json
import multiprocessing
import os
from collections.abc import Collection, Iterator, Sequence
from dataclasses import dataclass
from functools import cache
from hashlib import file_digest, sha256
from io import BytesIO
from pathlib import Path
from typing import TYPE_CHECKING, Any

from llavamed.console import console
from llavamed.errors import InputError
from llavamed.manifest import refuse_other
from llavamed.model import towers

if TYPE_CHECKING:
    from llavamed.endpoint import Endpoint
    from llavamed.evaluate.generate import Prompt
    from llavamed.request import Request

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


@dataclass(frozen=True)
class Remote:
    """A model behind an OpenAI-compatible endpoint."""

    endpoint: "Endpoint"
    max_new_tokens: int


def fingerprint(folder: Path) -> str:
    """A hash of the files of a model that has no manifest: configuration, tokenizer, weights.

    Raises:
        InputError: `folder` holds none.
    """
    refuse_other(folder, "model")
    _read(folder / "config.json")
    lines = []
    for path in sorted(folder.iterdir()):
        if path.suffix in (".json", ".jinja", ".safetensors", ".model", ".txt"):
            with path.open("rb") as stream:
                lines.append(f"{file_digest(stream, 'sha256').hexdigest()}  {path.name}\n")
    return sha256("".join(lines).encode()).hexdigest()


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
    ours = shares_prefixes(model.folder)
    load = checkpoint.load if ours else checkpoint.load_any
    network, processor = load(model.folder, dtype=torch.bfloat16 if bf16 else torch.float32, device=device)
    if ours:
        _drop_unread_layers(network)
    if not getattr(processor, "chat_template", None):
        raise InputError(f"{model.folder} has no chat template, so nobody knows how to ask it: add chat_template.jinja")
    return network, processor


def _drop_unread_layers(network: Any) -> None:
    """The projector of our `smol` reads the middle of the vision tower: what lies above would run for nothing."""
    read = network.config.vision_feature_layer
    if isinstance(read, int) and read >= 0:
        # One more than is read: the last one's states pass through a norm.
        del towers.layers(network.model.vision_tower)[read + 1 :]


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


def ask_server(model: Remote, prompts: "Sequence[Prompt]", journal: Path) -> dict[str, str]:
    """The answers by id, pictures sent as PNG. What the server refuses to answer is "", and told.

    Raises:
        InputError, Unfinished: what `endpoint.ask` raises.
    """
    from llavamed import endpoint

    outcomes = list(endpoint.ask(model.endpoint, _Requests(prompts, model.max_new_tokens), journal))
    if refused := [outcome for outcome in outcomes if outcome.reason]:
        first = refused[0]
        console.print(f"{len(refused)} questions have no answer, such as {first.id}: {first.detail}", highlight=False)
    return {outcome.id: outcome.text.strip() for outcome in outcomes}


@dataclass(frozen=True)
class _Requests(Collection["Request"]):
    """What is sent, made when its turn comes: all pictures at once may be more than memory holds."""

    prompts: "Sequence[Prompt]"
    max_new_tokens: int

    def __len__(self) -> int:
        return len(self.prompts)

    def __contains__(self, request: object) -> bool:
        return any(request == one for one in self)

    def __iter__(self) -> "Iterator[Request]":
        from llavamed.request import Request, text_and_picture

        for prompt in self.prompts:
            stream = BytesIO()
            prompt.picture().save(stream, "PNG")
            content = text_and_picture(prompt.text, stream.getvalue(), "image/png")
            yield Request(prompt.id, [{"role": "user", "content": content}], self.max_new_tokens)


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
