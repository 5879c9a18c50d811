"""What a training will take, before anything is loaded: memory, and hours on some GPUs and on this machine's CPU."""

import math
import os
import time
from dataclasses import dataclass
from pathlib import Path
from typing import Any, NamedTuple

from llavamed import artifact, storage
from llavamed.errors import InputError
from llavamed.storage import Json
from llavamed.train.footprint import Peak
from llavamed.train.stage import Stage

SAMPLE = 2000  # conversations whose tokens are counted; the others are taken to be like them
CHARACTERS = 4  # of a token, where there is no tokenizer
# Bytes of Python, PyTorch and transformers: measured 533 to 653 MiB (benchmarks/train_memory.py).
LIBRARIES = 600 * 2**20
# Assumed, not measured: shares of the peak that model FLOPs reach, and of a GPU's memory that can be used.
UTILISATION = {"gpu": 0.40, "cpu": 0.50}
RECOMPUTED = 0.75  # of that, where layers are computed again for the gradient
USABLE = 0.92


class Gpu(NamedTuple):
    """A kind of GPU: what we call it, what CUDA calls it, MiB that `nvidia-smi` tells."""

    name: str
    cuda: str
    memory: int


GPUS = (
    Gpu("A100 40 GB", "NVIDIA A100-SXM4-40GB", 40960),
    Gpu("A100 80 GB", "NVIDIA A100-SXM4-80GB", 81920),
    Gpu("H100", "NVIDIA H100 80GB HBM3", 81559),
    Gpu("H200", "NVIDIA H200", 143771),
)


@dataclass
class Work:
    """One epoch of a data set, as training would cut it."""

    conversations: int
    pictures: int
    steps: int
    tokens: int  # computed
    alone: int  # if each conversation were computed by itself
    labelled: int
    pairs: int  # of tokens of which one sees the other
    figures: int  # pictures in rows: one that stands in two rows counts twice
    largest: Any  # Row: the one that takes the most memory
    sampled: int
    excluded: int  # of those sampled
    counted_by: str


def plan(model: Path, data: Path, stage: Stage) -> Json:
    """What `stage` takes on `data`'s train split, by the shapes in `model`'s config.json and the tokens of a sample.

    Returns `{model, data, flops, assumed, memory, devices}`: bytes, FLOPs and hours. `memory` is of one process on this
    machine's CPU, part by part; `devices` has for each kind of GPU how many are needed, bytes on each, and hours.

    Raises:
        InputError: `model` holds no configuration of a LLaVA model; `data` is not such an artifact, or has no
            conversation to train on.
    """
    from llavamed.train import footprint, parts

    config = footprint.configuration(model)
    artifact.require(data, "conversations")
    if not storage.has_rows(data, "train"):
        raise InputError(f"{data} has no conversation in its train split: build it from more articles")
    import torch

    from llavamed.model.device import fast_bf16
    from llavamed.train import flops

    net = footprint.without_weights(config)
    trained = parts.choose(net, stage)
    work = measure(model, data, stage, config)
    costs, whole = (flops.count(net, config.image_seq_length, cached=kept) for kept in (cached(stage), False))
    total = stage.epochs * costs.of(work.tokens, work.labelled, work.pairs, work.figures)
    total += work.pictures * (whole.picture - costs.picture)
    sizes = _sizes(net, trained, stage)

    bf16 = stage.precision == "bf16" or (stage.precision == "auto" and fast_bf16("cpu"))
    here = torch.bfloat16 if bf16 else torch.float32
    peaks = {kind: row_bytes(config, stage, work.largest, kind) for kind in dict.fromkeys((here, torch.bfloat16))}
    memory = _on_cpu(sizes, peaks[here], bf16)
    if cached(stage):
        width = config.vision_config.hidden_size
        memory["features"] = work.pictures * config.image_seq_length * width * here.itemsize
    memory["total"] = sum(memory.values())

    slower = RECOMPUTED if stage.checkpointing else 1.0
    speed = _speed(here)
    room = os.sysconf("SC_PAGE_SIZE") * os.sysconf("SC_PHYS_PAGES")
    cpu = {
        "device": f"this CPU, threads: {torch.get_num_threads()}",
        "memory": room,
        "count": 1 if memory["total"] <= room else None,
        "bytes": memory["total"],
        "hours": total / (speed * UTILISATION["cpu"] * slower) / 3600,
    }
    gpus = [_on_gpu(gpu, sizes, peaks[torch.bfloat16], total, slower) for gpu in GPUS]
    known = vars(work).copy()
    del known["largest"]
    return {
        "model": {"parameters": sizes.all, "trained": sizes.trained, "what": parts.describe(stage)},
        "data": {**known, "epochs": stage.epochs, "row": len(work.largest)},
        "flops": total,
        "memory": memory,
        "devices": [cpu, *gpus],
        "assumed": {
            "utilisation_gpu": UTILISATION["gpu"] * slower,
            "utilisation_cpu": UTILISATION["cpu"] * slower,
            "cpu_flops_per_second": speed,
            "usable_gpu_memory": USABLE,
        },
    }


class Sizes(NamedTuple):
    """Numbers of weights."""

    all: int
    trained: int
    tower: int  # of the vision tower, if it is frozen
    gathered: int  # of what FSDP gathers at a time: two layers, and what belongs to none


def _sizes(net: Any, trained: dict[str, Any], stage: Stage) -> Sizes:
    def count(module: Any) -> int:
        return sum(weight.numel() for weight in module.parameters())

    layers = net.model.language_model.layers
    tower = count(net.model.vision_tower)
    rest = count(net) - tower - count(layers)
    frozen = tower if stage.vision.train == "frozen" else 0
    return Sizes(count(net), sum(w.numel() for w in trained.values()), frozen, 2 * count(layers[0]) + rest)


def cached(stage: Stage) -> bool:
    """Whether pictures pass the vision tower once."""
    return stage.cache_features and stage.vision.train == "frozen"


def measure(model: Path, data: Path, stage: Stage, config: Any) -> Work:
    """One epoch of `data`, cut into steps and rows as training does; pictures are known by `pair_id`.

    Raises:
        InputError: no conversation can be used.
    """
    from llavamed.train import packing
    from llavamed.train.packing import Lengths

    rows = storage.read_rows(data, columns=["split", "pair_id"])
    pictures = [row["pair_id"] for row in rows if row["split"] == "train"]
    processor = _processor(model)
    sample = _sample(processor, data, stage, config)
    used = [example for example in sample if example]
    if not used:
        raise InputError(f"{data}: none of the first {len(sample)} conversations can be trained on: train says why")
    like = [(picture, sample[index % len(sample)]) for index, picture in enumerate(pictures)]
    keys = [picture for picture, example in like if example]
    examples = [example for _, example in like if example]
    lengths = [Lengths(len(one.start), len(one.rest), sum(one.said)) for one in examples]
    steps = packing.steps(keys, stage.batch_size, 1, stage.seed)
    cut = [row for step in steps for row in packing.rows(step, lengths, stage.row_tokens)]
    figures = [figure for row in cut for figure in row]
    prefixes = [lengths[figure[0]].prefix for figure in figures]
    rests = [(lengths[index].prefix, lengths[index].rest) for figure in figures for index in figure]

    text = config.text_config

    def size(row: Any) -> int:  # in proportion to its bytes, roughly
        return sum(
            text.num_hidden_layers * text.hidden_size * packing.tokens(figure, lengths)
            + text.vocab_size * sum(lengths[index].labelled for index in figure)
            for figure in row
        )

    return Work(
        conversations=len(examples),
        pictures=len(set(keys)),
        steps=len(steps) * stage.epochs,
        tokens=sum(packing.tokens(figure, lengths) for figure in figures),
        alone=sum(one.prefix + one.rest for one in lengths),
        labelled=sum(one.labelled for one in lengths),
        pairs=sum(p * (p + 1) // 2 for p in prefixes) + sum(b * p + b * (b + 1) // 2 for p, b in rests),
        figures=len(figures),
        largest=packing.lay_out(max(cut, key=size), examples),
        sampled=len(sample),
        excluded=len(sample) - len(used),
        counted_by="by the model's tokenizer" if processor else f"as {CHARACTERS} characters each",
    )


def _sample(processor: Any, data: Path, stage: Stage, config: Any) -> list[Any]:
    """The first conversations as examples; None for one that cannot be trained on."""
    from llavamed.train.tokens import ExcludedError, encode, messages

    found: list[Any] = []
    for row in storage.read_rows(data, columns=["id", "split", "conversations"]):
        if row["split"] != "train":
            continue
        try:
            if processor:
                found.append(encode(row, processor, config.image_seq_length, stage.max_length))
            else:
                found.append(_guess(messages(row["conversations"]), config, stage.max_length))
        except ExcludedError:
            found.append(None)
        if len(found) == SAMPLE:
            break
    return found


def _processor(model: Path) -> Any:
    """The model's processor; None where the folder has no tokenizer."""
    if not (model / "tokenizer.json").exists():
        return None
    from transformers import LlavaProcessor

    try:
        return LlavaProcessor.from_pretrained(model, local_files_only=True, backend="pil")
    except (OSError, ValueError) as error:
        raise InputError(f"{model}: its processor cannot be read: {' '.join(str(error).split())}") from None


def _guess(chat: list[Json], config: Any, max_length: int) -> Any:
    """An example about as long as the conversation, by its characters."""
    from llavamed.train.tokens import Example, ExcludedError

    start, said = (0,) * 4 + (config.image_token_index,) * config.image_seq_length, b""
    for message in chat:
        count = 4 + math.ceil(len(message["content"][-1]["text"]) / CHARACTERS)
        said += bytes([message["role"] == "assistant"]) * count
    if len(start) + len(said) > max_length:
        raise ExcludedError("too_long")
    return Example("", start, [0] * len(said), said, config.image_seq_length)


def row_bytes(config: Any, stage: Stage, row: Any, dtype: Any) -> Peak:
    """What a row takes (`footprint.Peak`)."""
    import torch

    from llavamed.train import attention, footprint, parts
    from llavamed.train.loop import recompute, row_loss

    net = footprint.without_weights(config)
    parts.choose(net, stage)
    attention.use(net.model.language_model)
    if stage.checkpointing:
        recompute(net.model.language_model.layers)
    vision, tokens = config.vision_config, config.image_seq_length
    shape: tuple[int, ...] = (tokens, vision.hidden_size)
    if not cached(stage):
        side = vision.patch_size * math.isqrt(tokens - getattr(vision, "num_register_tokens", 0))
        shape = (3, side, side)
    pictures = (len(row.examples), *shape)
    return footprint.peak(net, dtype, lambda fake: row_loss(fake, row, torch.empty(pictures, dtype=dtype)))


def _on_cpu(sizes: Sizes, row: Peak, bf16: bool) -> Json:
    """Bytes of one process, part by part. In float32 the weights that compute are the ones that are trained; in
    bfloat16 there are both, and gradients add up in float32."""
    return {
        "libraries": LIBRARIES,
        "weights": (2 if bf16 else 4) * sizes.all,
        "masters": 4 * sizes.trained if bf16 else 0,
        "gradients": 4 * sizes.trained,
        "moments": 8 * sizes.trained,
        "activations": row.activations,
        "logits": row.more,
    }


def _on_gpu(gpu: Gpu, sizes: Sizes, row: Peak, total: float, slower: float) -> Json:
    """How many of a kind of GPU are needed (a power of two), bytes on each, and hours."""
    from llavamed.train.flops import PEAKS

    room, count = USABLE * gpu.memory * 2**20, 1
    while (needed := _each(sizes, row, count)) > room and count < 4096:
        count *= 2
    hours = total / (count * PEAKS[gpu.cuda] * UTILISATION["gpu"] * slower) / 3600
    fits = count if needed <= room else None
    return {"device": gpu.name, "memory": gpu.memory * 2**20, "count": fits, "bytes": needed, "hours": hours}


def _each(sizes: Sizes, row: Peak, count: int) -> int:
    """Bytes on each of `count` GPUs in bfloat16. More than one: FSDP spreads float32 weights, gradients and moments of
    what is trained and bfloat16 weights of what is frozen, and gathers a layer at a time; a frozen tower is on each."""
    if count == 1:
        return 2 * sizes.all + (4 + 4 + 8) * sizes.trained + row.activations + row.more
    spread = 16 * sizes.trained + 2 * (sizes.all - sizes.trained - sizes.tower)
    gathered = (2 + (4 if sizes.trained > sizes.gathered else 0)) * sizes.gathered
    return -(-spread // count) + 2 * sizes.tower + gathered + row.activations + row.more


def _speed(dtype: Any) -> float:
    """FLOP/s of a product of matrices on this CPU, in the type that computes: the best of some."""
    import torch

    a, b = torch.randn(1024, 1024).to(dtype), torch.randn(1024, 1024).to(dtype)
    best = math.inf
    for _ in range(8):
        begun = time.perf_counter()
        torch.nn.functional.linear(a, b)
        best = min(best, time.perf_counter() - begun)
    return 2 * 1024**3 / best
