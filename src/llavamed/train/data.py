"""What training reads: conversations as examples, their pictures as frozen features, and the order of both."""

import hashlib
import math
import random
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

from llavamed import storage
from llavamed.console import progress
from llavamed.errors import InputError
from llavamed.train.tokens import IGNORE, Example, ExcludedError, encode, pixels

PICTURES_AT_ONCE = 16
BATCHES_IN_GROUP = 16  # a group of batches is sorted by length, so that little is padded


@dataclass
class Examples:
    """Examples, the key of each one's picture (SHA-256 of its bytes), and by key features [image tokens, width of the
    vision tower] and perceptual hashes."""

    examples: list[Example] = field(default_factory=list)
    keys: list[str] = field(default_factory=list)
    features: dict[str, Any] = field(default_factory=dict)
    phashes: dict[str, str] = field(default_factory=dict)
    excluded: list[dict[str, Any]] = field(default_factory=list)


def read(data: Path, model: Any, processor: Any, max_length: int) -> Examples:
    """The conversations of the train split. Features of a picture are computed once: the vision tower is frozen.

    Raises:
        InputError: no conversation can be trained on, or the processor does not fit the vision tower.
    """
    image_tokens = count_image_tokens(processor)
    found = Examples()
    waiting: dict[str, Any] = {}
    splits = [row["split"] for row in storage.read_rows(data, columns=["split"])]
    with progress("reading conversations", splits.count("train"), "conversations") as advance:
        for row in storage.read_rows(data):
            if row["split"] != "train":
                continue
            advance()
            try:
                example = encode(row, processor, image_tokens, max_length)
                key = hashlib.sha256((row["image"] or {}).get("bytes") or b"").hexdigest()
                if key not in found.features and key not in waiting:
                    waiting[key], found.phashes[key] = pixels(row["image"], processor)
            except ExcludedError as error:
                found.excluded.append(
                    {name: row[name] for name in ("id", "pair_id", "split")}
                    | {"source": "data/train", "reason": error.reason, "detail": error.detail}
                )
                continue
            found.examples.append(example)
            found.keys.append(key)
            if len(waiting) == PICTURES_AT_ONCE:
                _compute(model, waiting, found.features)
        _compute(model, waiting, found.features)
    if not found.examples:
        first = f" (the first: {found.excluded[0]['reason']})" if found.excluded else ""
        raise InputError(f"{data}: no conversation of its train split can be trained on{first}: name other --data")
    shape = next(iter(found.features.values())).shape
    if shape[0] != image_tokens:
        raise InputError(
            f"the processor expects {image_tokens} tokens a picture and the vision tower gives {shape[0]}: "
            "mend the model's processor_config.json"
        )
    return found


def count_image_tokens(processor: Any) -> int:
    """How many tokens a picture takes."""
    from PIL import Image

    inputs = processor(images=Image.new("RGB", (8, 8)), text=processor.image_token)
    ids: list[int] = inputs["input_ids"][0]
    return ids.count(processor.image_token_id)


def image_features(model: Any, images: Any) -> Any:
    """What the projector is fed for `images` [n, 3, side, side]: [n, image tokens, width of the vision tower]."""
    import torch

    seen = []
    hook = model.model.multi_modal_projector.register_forward_pre_hook(lambda _, inputs: seen.append(inputs[0]))
    try:
        with torch.inference_mode():
            model.get_image_features(images.to(model.device, model.dtype))
    finally:
        hook.remove()
    return seen[0].cpu()


def _compute(model: Any, waiting: dict[str, Any], features: dict[str, Any]) -> None:
    import torch

    if waiting:
        features.update(zip(waiting, image_features(model, torch.stack(list(waiting.values()))).clone(), strict=True))
        waiting.clear()


def schedule(lengths: list[int], batch_size: int, epochs: int, seed: int) -> list[list[int]]:
    """The batches of all epochs, as lists of indices: shuffled, those of a batch of about the same length."""
    chooser = random.Random(seed)  # noqa: S311
    steps: list[list[int]] = []
    for _ in range(epochs):
        order = list(range(len(lengths)))
        chooser.shuffle(order)
        group = batch_size * BATCHES_IN_GROUP
        batches = []
        for start in range(0, len(order), group):
            ranked = sorted(order[start : start + group], key=lambda index: lengths[index])
            batches += [ranked[i : i + batch_size] for i in range(0, len(ranked), batch_size)]
        chooser.shuffle(batches)
        steps += batches
    return steps


def collate(found: Examples, batch: list[int], pad: int) -> tuple[Any, Any, Any]:
    """Token ids [n, longest], labels [n, longest], features [n, image tokens, width]; padded on the right."""
    import torch

    examples = [found.examples[index] for index in batch]
    longest = max(len(example.ids) for example in examples)
    ids = torch.tensor([example.ids + [pad] * (longest - len(example.ids)) for example in examples])
    labels = torch.tensor([example.labels + [IGNORE] * (longest - len(example.ids)) for example in examples])
    return ids, labels, torch.stack([found.features[found.keys[index]] for index in batch])


def rate(step: int, steps: int, peak: float, warmup: float) -> float:
    """The learning rate of `step` (from 0): a linear rise over `warmup` of the steps, then a cosine down to 0."""
    rising = math.ceil(warmup * steps)
    if step < rising:
        return peak * (step + 1) / rising
    return peak * (1 + math.cos(math.pi * (step - rising) / max(1, steps - rising))) / 2
