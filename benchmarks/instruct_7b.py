"""The instruct stage of a 7 B model on one GPU, random weights: ours with flex_attention beside transformers' Trainer.

    python benchmarks/instruct_7b.py [--layers N] [--json FILE]        # on a GPU
    python benchmarks/instruct_7b.py --small                           # the same path on a CPU, in seconds

LLaMA-7B's and CLIP-L/14-336's shapes, projector and language model trained in bf16 with float32 weights and AdamW
states; conversations of one picture (576 tokens) and 100 to 1,400 tokens of text. Trainer runs its best of the
attentions and batch sizes that it has, with and without gradient checkpointing, found on a few short steps. Both sides
run one after the other, since two such models do not fit; the first steps, in which kernels are compiled, do not count.

MFU: model FLOPs of the tokens that have to be computed (no padding, nothing computed again) over the GPU's peak.

Memory: weights, gradients and AdamW states in float32 with a copy in bf16 take 18 bytes a parameter, 122 GB for 7 B.
That fits one H200 (150 GB) and leaves room for a row's activations, so ours computes none of them again; it does not
fit one H100 (84 GB): there, name fewer `--layers`, such as 16.
"""

import argparse
import gc
import json
import platform
import random
import statistics
import tempfile
from datetime import date
from functools import partial
from importlib.util import find_spec
from itertools import product
from pathlib import Path
from typing import Any, NamedTuple
from unittest.mock import patch

import hf_trainer
import numpy as np
import torch
import transformers
from hf_trainer import Sample
from PIL import Image
from train_throughput import needed
from turns import Turns, by_turns

from llavamed import storage
from llavamed.console import console
from llavamed.evaluate.benchmarks.convert import convert
from llavamed.model import checkpoint, tokenizer
from llavamed.model.build import build
from llavamed.storage import Json
from llavamed.train import flops, loop
from llavamed.train.stage import Stage

FULL = {
    "text": {"hidden_size": 4096, "intermediate_size": 11008, "num_attention_heads": 32, "vocab_size": 32064},
    "vision": {"hidden_size": 1024, "intermediate_size": 4096, "num_attention_heads": 16, "num_hidden_layers": 24},
    "side": 336,
    "words": (100, 1400),
}
SMALL = {
    "text": {"hidden_size": 64, "intermediate_size": 128, "num_attention_heads": 2, "vocab_size": 320},
    "vision": {"hidden_size": 32, "intermediate_size": 64, "num_attention_heads": 2, "num_hidden_layers": 2},
    "side": 28,
    "words": (10, 60),
}
RATE = 2e-5
WARM = 2  # steps that do not count


class Enough(Exception):
    """All steps are done: what would be written now is not wanted."""


def model(shape: Json, layers: int, device: str) -> tuple[Any, Any]:
    """A model of random weights made on `device` in bfloat16 (float32 on a CPU), and its processor."""
    from transformers import CLIPVisionConfig, LlamaConfig, LlavaConfig, LlavaForConditionalGeneration, LlavaProcessor
    from transformers.models.llava.image_processing_pil_llava import LlavaImageProcessorPil

    words, side = tokenizer.bytes_only(2048), shape["side"]
    text = LlamaConfig(
        **shape["text"], num_hidden_layers=layers, max_position_embeddings=2048, pad_token_id=words.pad_token_id,
        bos_token_id=None, eos_token_id=words.eos_token_id,
    )  # fmt: skip
    config = LlavaConfig(
        vision_config=CLIPVisionConfig(**shape["vision"], image_size=side, patch_size=14),
        text_config=text,
        image_token_index=words.convert_tokens_to_ids(tokenizer.IMAGE_TOKEN),
        image_seq_length=(side // 14) ** 2,
        vision_feature_layer=-2,
        vision_feature_select_strategy="default",
    )
    before = torch.get_default_dtype()
    torch.set_default_dtype(torch.bfloat16 if device == "cuda" else torch.float32)
    try:
        with torch.device(device):
            net = LlavaForConditionalGeneration(config)
    finally:
        torch.set_default_dtype(before)
    size = {"height": side, "width": side}
    images = LlavaImageProcessorPil(size=size, crop_size=size)
    processor = LlavaProcessor(
        images, words, patch_size=14, vision_feature_select_strategy="default", num_additional_image_tokens=1,
        chat_template=tokenizer.CHAT_TEMPLATE,
    )  # fmt: skip
    return net.eval(), processor


def conversations(folder: Path, count: int, shape: Json) -> None:
    """`count` pictures of noise, each with a question and an answer of random length."""
    chooser = random.Random(0)
    with tempfile.TemporaryDirectory() as source:
        rows = []
        for n in range(count):
            noise = np.random.default_rng(n).integers(0, 256, (shape["side"], shape["side"], 3), dtype=np.uint8)
            Image.fromarray(noise).save(Path(source) / f"{n}.png")
            answer = "".join(chooser.choice("abcdefghij ") for _ in range(chooser.randint(*shape["words"])))
            rows.append(
                {"image": f"{n}.png", "question": f"What does picture {n} show?", "answer": f"It shows {answer}"}
            )
        storage.write_json(Path(source) / "train.json", rows)
        convert(Path(source), folder)


def our_side(net: Any, processor: Any, start: Path, data: Path, folder: Path, stage: Stage, turns: Turns) -> int:
    """The package's own loop on `net`: the tokens it computed. `start` only stands for where `net` comes from."""

    def given(*_: Any, **__: Any) -> Any:
        turns.begin()
        return net, processor

    def enough(*_: Any, **__: Any) -> None:
        raise Enough

    with (
        patch.object(checkpoint, "load", given),
        patch.object(checkpoint, "save", enough),
        patch.object(loop, "SAVE_SECONDS", float("inf")),
    ):
        try:
            loop.train(start, data, folder, stage, device="cuda" if torch.cuda.is_available() else "cpu")
        except Enough:
            return 0
    raise AssertionError("the loop ended without a model")


class Way(NamedTuple):
    """How Trainer runs."""

    attention: str
    batch: int
    checkpointing: bool

    def __str__(self) -> str:
        return f"{self.attention}, batch {self.batch}{', checkpointing' * self.checkpointing}"


def their_side(net: Any, samples: list[Sample], pad: int, way: Way, step: int, steps: int, turns: Turns) -> int:
    _, computed = hf_trainer.run(
        net, samples, pad, batch=way.batch, step=step, rate=RATE, begin=turns.begin, steps=steps,
        bf16=torch.cuda.is_available(), checkpointing=way.checkpointing,
    )  # fmt: skip
    return computed


def settle() -> None:
    """Give the memory of what is gone back."""
    torch.compiler.reset()
    gc.collect()
    if torch.cuda.is_available():
        torch.cuda.empty_cache()
        torch.cuda.reset_peak_memory_stats()


def peak_memory() -> float:
    return round(torch.cuda.max_memory_allocated() / 1e9, 2) if torch.cuda.is_available() else 0.0


def attentions() -> list[str]:
    """Those Trainer can run here."""
    if not torch.cuda.is_available():
        return ["sdpa"]
    return ["sdpa", "flex_attention", *(["flash_attention_2"] if find_spec("flash_attn") else [])]


def best(make: Any, samples: list[Sample], pad: int, batches: list[int]) -> tuple[Way, Json]:
    """Trainer's fastest way, and seconds a step of each, of as many conversations; what does not run is told."""
    ways = [Way(*one) for one in product(attentions(), batches, (False, True))]
    tried: Json = {}
    for way in ways:
        net = make(way.attention)
        side = partial(their_side, net, samples, pad, way, max(batches), WARM + 1)
        try:
            _, seconds = by_turns({"Trainer": side})
            tried[str(way)] = round(seconds["Trainer"][-1], 4)
        except (RuntimeError, ValueError, ImportError) as error:
            tried[str(way)] = str(error).split("\n")[0][:120]
        console.print(f"Trainer, {way}: {tried[str(way)]}")
        del net, side
        settle()
    ran = [way for way in ways if isinstance(tried[str(way)], float)]
    if not ran:
        raise SystemExit(f"Trainer does not run here: {tried}; fewer --layers")
    return min(ran, key=lambda way: tried[str(way)]), tried


def measure(options: argparse.Namespace, folder: Path) -> Json:
    """All of it; `folder` for what is made on the way."""
    device = "cuda" if torch.cuda.is_available() else "cpu"
    shape = SMALL if options.small else FULL
    layers = 2 if options.small else options.layers
    count = options.batch_size * options.steps
    conversations(folder / "data", count, shape)
    build("tiny", folder / "start", image_size=56)
    stage = Stage(
        name="instruct", batch_size=options.batch_size, learning_rate=RATE, row_tokens=options.row_tokens,
        cache_features=False, compile=True, precision="bf16" if device == "cuda" else "fp32",
    )  # fmt: skip
    net, processor = model(shape, layers, device)
    parameters = sum(weight.numel() for weight in net.parameters())
    samples, pad = hf_trainer.samples(folder / "data", processor), processor.tokenizer.pad_token_id
    tokens, labelled, pairs, pictures = needed(samples, processor.image_token_id)
    net.model.vision_tower.requires_grad_(False)
    cost = flops.count(net, samples[0]["input_ids"].count(processor.image_token_id))
    work = cost.of(tokens, labelled, pairs, pictures) / options.steps  # a step, on average
    console.print(f"{parameters:,} parameters, {tokens / options.steps:,.0f} tokens a step; ours")
    side = partial(our_side, net, processor, folder / "start", folder / "data", folder / "trained", stage)
    _, ours = by_turns({"ours": side})
    memory = {"ours": peak_memory()}
    del net, side
    settle()

    def make(attention: str) -> Any:
        made, _ = model(shape, layers, device)
        made.float().set_attn_implementation(attention)
        made.model.vision_tower.requires_grad_(False)
        return made

    if peak := flops.peak(device):
        console.print(f"MFU {work / statistics.median(ours['ours'][WARM:]) / peak:.4f}")
    console.print(f"{[round(step, 3) for step in ours['ours']]} s a step, {memory['ours']} GB; Trainer")
    way, tried = best(make, samples, pad, options.batches)
    theirs_net = make(way.attention)
    done, theirs = by_turns({
        "Trainer": partial(their_side, theirs_net, samples, pad, way, options.batch_size, options.steps)
    })  # fmt: skip
    memory["Trainer"] = peak_memory()
    # A step differs from the next in its tokens, so the median of all that count, not the best.
    seconds = {side: statistics.median(of[side][WARM:]) for side, of in (("ours", ours), ("Trainer", theirs))}
    return {
        "parameters": parameters,
        "layers": layers,
        "conversations_a_step": options.batch_size,
        "steps_counted": options.steps - WARM,
        "row_tokens": options.row_tokens,
        "tokens_a_step": round(tokens / options.steps),
        "Trainer_seconds_a_short_step": tried,
        "Trainer_best": str(way),
        "seconds_of_steps": {
            side: [round(step, 4) for step in of[side]] for side, of in (("ours", ours), ("Trainer", theirs))
        },
        "seconds_a_step": {side: round(value, 4) for side, value in seconds.items()},
        "tokens_a_second": {side: round(tokens / options.steps / value, 1) for side, value in seconds.items()},
        "times_faster": round(seconds["Trainer"] / seconds["ours"], 3),
        "mfu": {side: peak and round(work / value / peak, 4) for side, value in seconds.items()},
        "useful_share_Trainer": round(tokens / done["Trainer"], 4),
        "peak_memory_gb": memory,
        "measured": {
            "date": date.today().isoformat(),
            "device": torch.cuda.get_device_name() if device == "cuda" else "CPU",
            "torch": torch.__version__,
            "transformers": transformers.__version__,
            "python": platform.python_version(),
        },
    }


def main(arguments: list[str] | None = None) -> Json:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--layers", type=int, default=32, help="of the language model, where 32 do not fit")
    parser.add_argument("--small", action="store_true", help="a tiny shape, to try the path on a CPU")
    parser.add_argument("--batch-size", type=int, default=64, help="conversations a step, on both sides")
    parser.add_argument("--batches", type=int, nargs="+", default=[1, 4], help="of Trainer, to choose from")
    parser.add_argument("--row-tokens", type=int, default=4096, help="ours computes at once")
    parser.add_argument("--steps", type=int, default=7, help=f"of which the first {WARM} do not count")
    parser.add_argument("--json", type=Path)
    options = parser.parse_args(arguments)
    if options.steps <= WARM:
        parser.error(f"--steps: more than {WARM}")
    if not options.small and not torch.cuda.is_available():
        parser.error("no GPU here: --small tries the path on a CPU")
    with tempfile.TemporaryDirectory() as folder:
        result = measure(options, Path(folder))
    print(json.dumps(result, indent=1))
    if options.json:
        storage.write_json(options.json, result)
    return result


if __name__ == "__main__":
    main()
