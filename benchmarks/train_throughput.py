"""Training with shared prefixes beside transformers' Trainer, at its best of three batch sizes, on the same data.

    python benchmarks/train_throughput.py ../shared/data/vqa_rad --model smol [--limit PICTURES] [--json FILE]
    python benchmarks/train_throughput.py ../shared/data/articles --task captions --model smol [--json FILE]

Both train what the stage trains (instruct: projector and language model; align: the projector), in float32 with fused
AdamW and the same number of conversations a step, in one process, a step each in turn, so that a busy moment meets
both. Trainer's data are tokenised and decoded beforehand; ours are read while its clock runs. Neither clock counts
loading and saving the model. Trainer's batch size is chosen on a few conversations; that both compute the same loss is
checked before anything is timed. The floor is what the model FLOPs of our side take at the speed of one large product.
"""

import argparse
import json
import platform
import tempfile
import time
from collections.abc import Callable
from datetime import date
from functools import partial
from pathlib import Path
from typing import Any
from unittest.mock import patch

import hf_trainer
import torch
import transformers
from hf_trainer import IGNORE, Sample
from turns import Turns, by_turns

from llavamed import storage
from llavamed.console import console
from llavamed.corpus.build import build as build_corpus
from llavamed.evaluate.benchmarks.convert import convert
from llavamed.instruct.align import align
from llavamed.model import checkpoint
from llavamed.storage import Json
from llavamed.train import flops, loop
from llavamed.train.stage import Stage

SAME = 1e-4  # nats
OURS, THEIRS = "ours", "Trainer"


def questions(source: Path, folder: Path, limit: int) -> None:
    """VQA-RAD's first `limit` training pictures with all their questions."""
    rows = json.loads((source / "trainset.json").read_text())
    first = list(dict.fromkeys(row["image_name"] for row in rows))[:limit]
    with tempfile.TemporaryDirectory() as chosen:
        storage.write_json(Path(chosen) / "trainset.json", [row for row in rows if row["image_name"] in first])
        convert(Path(chosen), folder, images=source / "images")


def captions(source: Path, folder: Path, limit: int) -> None:
    """The captions of articles, at most about `limit` of them."""
    with tempfile.TemporaryDirectory() as corpus:
        build_corpus([source], Path(corpus) / "corpus", workers=1)
        align(Path(corpus) / "corpus", folder, n=limit, workers=1)


# What is read, how much of it, how much of it to compare losses on, what is trained, learning rate.
TASKS: dict[str, tuple[Callable[[Path, Path, int], None], int, int, str, float]] = {
    "vqa": (questions, 60, 1, "instruct", 2e-5),
    "captions": (captions, 1000, 8, "align", 1e-3),
}


def our_side(start: Path, data: Path, folder: Path, stage: Stage, turns: Turns) -> Json:
    """The package's own loop; no state is saved meanwhile, as on the other side."""
    load = checkpoint.load

    def timed(*args: Any, **options: Any) -> Any:
        loaded = load(*args, **options)
        turns.begin()
        return loaded

    with patch.object(checkpoint, "load", timed), patch.object(loop, "SAVE_SECONDS", float("inf")):
        return loop.train(start, data, folder, stage, device="cpu")


def their_side(start: Path, samples: list[Sample], stage: Stage, batch: int) -> Callable[[Turns], Any]:
    """Trainer, its model loaded at once: transformers loads one model at a time."""
    net, processor = loaded(start, stage)
    return lambda turns: hf_trainer.run(
        net, samples, processor.tokenizer.pad_token_id, batch=batch, step=stage.batch_size, rate=stage.learning_rate,
        warmup=stage.warmup, begin=turns.begin,
    )  # fmt: skip


def loaded(start: Path, stage: Stage) -> tuple[Any, Any]:
    """The model in float32, what the stage trains requiring gradients."""
    net, processor = checkpoint.load(start, dtype=torch.float32)
    net.model.vision_tower.requires_grad_(False)
    if stage.name == "align":
        net.model.language_model.requires_grad_(False)
        net.lm_head.requires_grad_(False)
    return net, processor


def same_loss(start: Path, data: Path, folder: Path, stage: Stage) -> Json:
    """The loss of one step over all of `data`, and of Trainer's batch of the same."""
    net, processor = loaded(start, stage)
    batch = hf_trainer.Collator(processor.tokenizer.pad_token_id)(hf_trainer.samples(data, processor))
    with torch.no_grad():
        theirs = net(**batch).loss.item()
    one = stage.model_copy(update={"batch_size": len(batch["input_ids"])})
    ours = loop.train(start, data, folder, one, device="cpu")["loss_first"]
    if abs(ours - theirs) > SAME:
        raise SystemExit(f"the same conversations have a loss of {ours} here and of {theirs} there")
    return {"conversations": len(batch["input_ids"]), OURS: ours, THEIRS: theirs, "difference": abs(ours - theirs)}


def best_batch(start: Path, samples: list[Sample], stage: Stage, batches: list[int], few: int) -> tuple[int, Json]:
    """The fastest batch size on `few` conversations, and seconds a conversation of each; the first step is left out."""
    step = max(batches)
    probe = stage.model_copy(update={"batch_size": step})
    took = {}
    for batch in batches:
        _, seconds = by_turns({THEIRS: their_side(start, samples[: step + few], probe, batch)})
        took[batch] = sum(seconds[THEIRS][1:]) / (len(samples[: step + few]) - step)
    return min(took, key=lambda batch: took[batch]), {str(batch): round(each, 4) for batch, each in took.items()}


def needed(samples: list[Sample], image: int) -> tuple[int, int, int, int]:
    """Tokens, labelled ones, pairs of which one sees the other, and pictures, with each picture's prefix once."""
    tokens = pairs = labelled = 0
    seen = set()
    for one in samples:
        ids = one["input_ids"]
        prefix = len(ids) - ids[::-1].index(image)
        rest = len(ids) - prefix
        if (id(one["pixel_values"]), tuple(ids[:prefix])) not in seen:
            seen.add((id(one["pixel_values"]), tuple(ids[:prefix])))
            tokens += prefix
            pairs += prefix * (prefix + 1) // 2
        tokens += rest
        pairs += rest * prefix + rest * (rest + 1) // 2
        labelled += sum(label != IGNORE for label in one["labels"])
    return tokens, labelled, pairs, len({picture for picture, _ in seen})


def speed() -> float:
    """Operations a second of a product of the language model's shape, float32: the best of many."""
    a, b = torch.randn(2048, 576), torch.randn(1536, 576)
    best = float("inf")
    for _ in range(50):
        begun = time.perf_counter()
        torch.nn.functional.linear(a, b)
        best = min(best, time.perf_counter() - begun)
    return 2 * 2048 * 576 * 1536 / best


def measure(options: argparse.Namespace, folder: Path) -> Json:
    """All of it; `folder` for what is made on the way."""
    task, limit, few, name, rate = TASKS[options.task]
    stage = Stage(name=name, batch_size=options.batch_size, learning_rate=rate, precision="fp32")
    task(options.source, folder / "data", options.limit or limit)
    task(options.source, folder / "few", few)
    # Both start from a projector that is no longer new, since ours fits a new one to its pictures.
    first = Stage(name="align", batch_size=1000, learning_rate=1e-4, precision="fp32")
    start = folder / "start"
    loop.train(options.model, folder / "few", start, first, device="cpu")
    same = same_loss(start, folder / "few", folder / "same", stage)
    net, processor = loaded(start, stage)
    samples = hf_trainer.samples(folder / "data", processor)
    image_tokens = samples[0]["input_ids"].count(processor.image_token_id)
    tokens, labelled, pairs, pictures = needed(samples, processor.image_token_id)
    work = flops.count(net, image_tokens).of(tokens, labelled, pairs, pictures)
    del net
    console.print(f"{len(samples)} conversations, {pictures} pictures; Trainer's batch sizes on {options.few}")
    batch, tried = best_batch(start, samples, stage, options.batches, options.few)
    console.print(f"seconds a conversation by batch size: {tried}; now all of them, with {batch}, in turns")
    peaks = [speed()]
    done, seconds = by_turns({
        OURS: partial(our_side, start, folder / "data", folder / "trained", stage),
        THEIRS: their_side(start, samples, stage, batch),
    })  # fmt: skip
    peaks.append(speed())
    ours, (losses, computed) = done[OURS], done[THEIRS]
    took = {side: sum(steps) for side, steps in seconds.items()}
    entries = [json.loads(line) for line in (folder / "trained/loss.jsonl").read_text().splitlines()]
    return {
        "source": options.source.name,
        "stage": name,
        "conversations": len(samples),
        "pictures": pictures,
        "image_tokens": image_tokens,
        "conversations_a_step": stage.batch_size,
        "steps": {side: len(steps) for side, steps in seconds.items()},
        "Trainer_seconds_a_conversation": tried,
        "Trainer_batch": batch,
        "seconds": {side: round(value, 2) for side, value in took.items()},
        "conversations_a_second": {side: round(len(samples) / value, 4) for side, value in took.items()},
        "times_faster": round(took[THEIRS] / took[OURS], 3),
        # Of the tokens a side computes, those that had to be: each picture's prefix once, nothing padded.
        "tokens_computed": {OURS: ours["tokens"], THEIRS: computed},
        "useful_share": {OURS: round(tokens / ours["tokens"], 4), THEIRS: round(tokens / computed, 4)},
        "padding": {OURS: 0.0, THEIRS: round(1 - sum(len(s["input_ids"]) for s in samples) / computed, 4)},
        "same_loss": same,
        "first_losses": {OURS: [entry["loss"] for entry in entries[:3]], THEIRS: losses[:3]},
        "last_losses": {OURS: entries[-1]["loss"], THEIRS: losses[-1]},
        "tera_operations": round(work / 1e12, 3),
        "giga_operations_a_second": {"best": round(max(peaks) / 1e9, 1), "worst": round(min(peaks) / 1e9, 1)},
        "floor_seconds": round(work / max(peaks), 2),
        "times_floor": round(took[OURS] / (work / max(peaks)), 3),
        "measured": {
            "date": date.today().isoformat(),
            "threads": torch.get_num_threads(),
            "torch": torch.__version__,
            "transformers": transformers.__version__,
            "python": platform.python_version(),
        },
    }


def main(arguments: list[str] | None = None) -> Json:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("source", type=Path, help="VQA-RAD, or for captions articles")
    parser.add_argument("--task", choices=sorted(TASKS), default="vqa")
    parser.add_argument("--model", type=Path, required=True)
    parser.add_argument("--limit", type=int, help="pictures of VQA-RAD, or captions")
    parser.add_argument("--batch-size", type=int, default=32, help="conversations a step, on both sides")
    parser.add_argument("--batches", type=int, nargs="+", default=[1, 4, 8], help="of Trainer, to choose from")
    parser.add_argument("--few", type=int, default=64, help="conversations to choose on")
    parser.add_argument("--threads", type=int, default=torch.get_num_threads())
    parser.add_argument("--json", type=Path, help="file to add the result to")
    options = parser.parse_args(arguments)
    torch.set_num_threads(options.threads)
    with tempfile.TemporaryDirectory() as folder:
        result = measure(options, Path(folder))
    print(json.dumps(result, indent=1))
    if options.json:
        known = json.loads(options.json.read_text()) if options.json.exists() else {}
        storage.write_json(options.json, known | {options.task: result})
    return result


if __name__ == "__main__":
    main()
