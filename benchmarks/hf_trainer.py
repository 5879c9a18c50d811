"""The other side of the training benchmarks: transformers' Trainer on LLaVA, with nothing but training to do."""

import tempfile
from io import BytesIO
from pathlib import Path
from typing import Any

import torch
from PIL import Image
from transformers import Trainer, TrainerCallback, TrainingArguments

from llavamed import storage

IGNORE = -100
Sample = dict[str, Any]  # input_ids, labels: lists; pixel_values [3, side, side]


def samples(data: Path, processor: Any) -> list[Sample]:
    """The train split, tokenised and decoded beforehand, so that Trainer waits for neither.

    Ids are the processor's, labels what the chat template's own mask gives to the assistant.
    """
    pictures: dict[bytes, torch.Tensor] = {}
    found = []
    for row in storage.read_rows(data):
        if row["split"] != "train":
            continue
        picture = Image.open(BytesIO(row["image"]["bytes"])).convert("RGB")
        chat = _messages(row["conversations"])
        inputs = processor(images=picture, text=processor.apply_chat_template(chat), return_tensors="pt")
        pixels = pictures.setdefault(row["image"]["bytes"], inputs["pixel_values"][0])
        ids = inputs["input_ids"][0].tolist()
        found.append({"input_ids": ids, "labels": _labels(ids, chat, processor), "pixel_values": pixels})
    return found


def _messages(turns: list[dict[str, str]]) -> list[dict[str, Any]]:
    chat = []
    for turn in turns:
        content = [{"type": "image"}] if "<image>" in turn["value"] else []
        content.append({"type": "text", "text": turn["value"].replace("<image>", "").strip()})
        chat.append({"role": {"human": "user", "gpt": "assistant"}[turn["from"]], "content": content})
    return chat


def _labels(ids: list[int], chat: list[dict[str, Any]], processor: Any) -> list[int]:
    words = processor.tokenizer.apply_chat_template(
        chat, chat_template=processor.chat_template, return_dict=True, return_assistant_tokens_mask=True
    )
    image = processor.image_token_id
    picture = ids.count(image)
    masks = [
        said
        for token, said in zip(words["input_ids"], words["assistant_masks"], strict=True)
        for _ in range(picture if token == image else 1)
    ]
    return [token if said else IGNORE for token, said in zip(ids, masks, strict=True)]


class Collator:
    """Pads on the right; counts the tokens it gives, padding included."""

    def __init__(self, pad: int) -> None:
        self.pad, self.computed = pad, 0

    def __call__(self, batch: list[Sample]) -> dict[str, torch.Tensor]:
        longest = max(len(one["input_ids"]) for one in batch)
        self.computed += len(batch) * longest

        def padded(values: list[list[int]], filler: int) -> torch.Tensor:
            return torch.tensor([value + [filler] * (longest - len(value)) for value in values])

        return {
            "input_ids": padded([one["input_ids"] for one in batch], self.pad),
            "labels": padded([one["labels"] for one in batch], IGNORE),
            "attention_mask": padded([[1] * len(one["input_ids"]) for one in batch], 0),
            "pixel_values": torch.stack([one["pixel_values"] for one in batch]),
        }


class _Losses(Trainer):
    """Notes the loss of each optimizer step: that of its batches, added up, as Trainer has divided them."""

    def training_step(self, *args: Any, **options: Any) -> torch.Tensor:
        loss = super().training_step(*args, **options)
        while len(self.losses) <= self.state.global_step:
            self.losses.append(0.0)
        self.losses[self.state.global_step] += loss.item()
        return loss


class _Begin(TrainerCallback):
    def __init__(self, begin: Any) -> None:
        self.begin = begin

    def on_train_begin(self, *args: Any, **options: Any) -> None:
        self.begin()


def run(
    model: Any,
    data: list[Sample],
    pad: int,
    *,
    batch: int,
    step: int,
    rate: float,
    begin: Any,
    bf16: bool = False,
    steps: int = -1,
    checkpointing: bool = False,
    warmup: float = 0.03,
) -> tuple[list[float], int]:
    """One epoch, or `steps`, of `step` conversations a step in batches of `batch`: the losses, and the tokens computed.

    The model's weights are trained where they require a gradient. `begin` is called when everything is set up.
    """
    collator = Collator(pad)
    with tempfile.TemporaryDirectory() as folder:
        options = TrainingArguments(
            folder,
            per_device_train_batch_size=batch,
            gradient_accumulation_steps=step // batch,
            train_sampling_strategy="group_by_length",
            num_train_epochs=1,
            max_steps=steps,
            learning_rate=rate,
            weight_decay=0.0,
            warmup_steps=warmup,
            lr_scheduler_type="cosine",
            max_grad_norm=1.0,
            optim="adamw_torch_fused",
            bf16=bf16,
            use_cpu=not torch.cuda.is_available(),
            remove_unused_columns=False,
            dataloader_pin_memory=False,
            logging_strategy="no",
            save_strategy="no",
            report_to="none",
            disable_tqdm=True,
        )
        if checkpointing:
            model.gradient_checkpointing_enable()
        trainer = _Losses(
            model,
            options,
            train_dataset=data,
            data_collator=collator,
            callbacks=[_Begin(begin)],  # type: ignore[arg-type]
        )
        trainer.losses = []  # type: ignore[attr-defined]
        trainer.train()
    return trainer.losses, collator.computed  # type: ignore[attr-defined]
