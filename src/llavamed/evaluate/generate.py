"""Ask a model many questions, greedily and in batches, so that a killed run goes on where it stopped."""

import json
import os
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from PIL import Image

from llavamed.console import progress


@dataclass(frozen=True)
class Prompt:
    """A question and a way to its picture, which is decoded only when its batch is asked."""

    id: str
    text: str
    picture: Callable[[], Image.Image]


def generate(
    model: Any, processor: Any, prompts: Sequence[Prompt], journal: Path, *, max_new_tokens: int, batch_size: int
) -> dict[str, str]:
    """The answers by id. Each batch is noted in `journal`; what stands there is not asked again.

    Batches are cut from the whole list, sorted by length, so that a run that goes on cuts them as the first did.
    """
    answers = _read(journal)
    order = sorted(prompts, key=lambda prompt: (len(prompt.text), prompt.id))
    done = sum(prompt.id in answers for prompt in order)
    with journal.open("a", encoding="utf-8") as notes, progress("answers", len(order), "answers", done) as advance:
        for start in range(0, len(order), batch_size):
            batch = order[start : start + batch_size]
            if all(prompt.id in answers for prompt in batch):
                continue
            said = ask(model, processor, batch, max_new_tokens)
            answers |= said
            notes.write(json.dumps(said, ensure_ascii=False) + "\n")
            notes.flush()
            os.fsync(notes.fileno())
            advance(len(batch))
    return {prompt.id: answers[prompt.id] for prompt in prompts}


def ask(model: Any, processor: Any, batch: Sequence[Prompt], max_new_tokens: int) -> dict[str, str]:
    """The greedy answers to one batch, by id."""
    import torch

    texts = [
        processor.apply_chat_template(
            [{"role": "user", "content": [{"type": "image"}, {"type": "text", "text": prompt.text}]}],
            add_generation_prompt=True,
        )
        for prompt in batch
    ]
    inputs = processor(
        images=[prompt.picture() for prompt in batch],
        text=texts,
        padding=True,
        padding_side="left",
        return_tensors="pt",
    ).to(model.device, model.dtype)
    with torch.inference_mode():
        tokens = model.generate(**inputs, max_new_tokens=max_new_tokens, do_sample=False)
    said = processor.batch_decode(tokens[:, inputs["input_ids"].shape[1] :], skip_special_tokens=True)
    return {prompt.id: text.strip() for prompt, text in zip(batch, said, strict=True)}


def _read(journal: Path) -> dict[str, str]:
    """The answers noted so far. A line that a killed run left half written is cut off."""
    answers: dict[str, str] = {}
    if journal.exists():
        with journal.open("rb+") as notes:
            text = notes.read()
            whole = text.rfind(b"\n") + 1
            notes.truncate(whole)
        for line in text[:whole].splitlines():
            answers |= json.loads(line)
    return answers
