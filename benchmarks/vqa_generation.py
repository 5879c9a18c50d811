"""Questions of a benchmark: our batches with shared prefixes beside transformers' `generate`, one question at a time.

    python benchmarks/vqa_generation.py ../shared/data/vqa_rad --model smol [--limit N] [--json FILE]

Both sides answer in one process with the same weights in float32, batch by batch in turn, so that a busy moment meets
both. Answers must be equal, except where the two best tokens are nearly as good: those are listed. The floor is what
the matrix products and attention of our side take at the speed that one large product runs at here.
"""

import argparse
import json
import platform
import time
from collections import Counter
from collections.abc import Callable
from datetime import date
from functools import partial
from pathlib import Path
from typing import Any

import torch

from llavamed.console import progress
from llavamed.evaluate import decode, models
from llavamed.evaluate.baselines import open_picture
from llavamed.evaluate.generate import Prompt, by_image
from llavamed.evaluate.models import Local
from llavamed.evaluate.questions import questions_of
from llavamed.model import checkpoint

TIE = 1e-4  # between the two best logits


def prompts_of(source: Path, split: str, limit: int | None) -> list[Prompt]:
    """The questions whose picture is there."""
    asked = [q for q in questions_of(source, split) if q.image][:limit]
    return [Prompt(q.id, q.question, partial(open_picture, q.image), q.pair_id) for q in asked]


def inputs_of(processor: Any, prompt: Prompt) -> Any:
    text = decode.prompt(processor, prompt.text)
    return processor(images=[prompt.picture()], text=text, return_tensors="pt")


def one_by_one(model: Any, processor: Any, batch: list[Prompt], longest: int) -> dict[str, str]:
    """By transformers alone."""
    said = {}
    for prompt in batch:
        inputs = inputs_of(processor, prompt)
        with torch.inference_mode():
            tokens = model.generate(**inputs, max_new_tokens=longest, do_sample=False)
        tokens = tokens[0, inputs["input_ids"].shape[1] :].tolist()
        said[prompt.id] = decode.text_of(processor, tokens, decode.stop_tokens(model))
    return said


def margin(model: Any, processor: Any, prompt: Prompt, ours: str, longest: int) -> float:
    """How much better the best token was than the next, where `ours` leaves what transformers says."""
    inputs = inputs_of(processor, prompt)
    with torch.inference_mode():
        out = model.generate(
            **inputs, max_new_tokens=longest, do_sample=False, output_logits=True, return_dict_in_generate=True
        )
    tokens = out.sequences[0, inputs["input_ids"].shape[1] :].tolist()
    stops = decode.stop_tokens(model)
    texts = [decode.text_of(processor, tokens[: n + 1], stops).rstrip("\ufffd") for n in range(len(tokens))]
    step = next((n for n, text in enumerate(texts) if not ours.startswith(text)), len(tokens) - 1)
    best = out.logits[step][0].topk(2).values
    return float(best[0] - best[1])


def work(model: Any, processor: Any, prompts: list[Prompt], said: dict[str, str], *, shared: bool) -> float:
    """Floating-point operations (two a multiply-add) that answering takes: matrix products and attention."""
    vision, text = model.config.vision_config, model.config.text_config
    spots = (processor.image_processor.crop_size["height"] // vision.patch_size) ** 2 + 1
    spots += getattr(vision, "num_register_tokens", 0)
    layer = model.config.vision_feature_layer
    needed = (layer if layer >= 0 else vision.num_hidden_layers + 1 + layer) / vision.num_hidden_layers
    towers = sum(weight.numel() for weight in model.model.vision_tower.encoder.parameters())
    a_picture = 2 * spots * needed * (towers + 2 * vision.num_hidden_layers * spots * vision.hidden_size)
    a_picture += 2 * spots * sum(weight.numel() for weight in model.model.multi_modal_projector.parameters())

    layers = sum(weight.numel() for weight in model.model.language_model.layers.parameters())
    a_key = 2 * text.num_hidden_layers * text.num_attention_heads * text.head_dim  # query times key, weight times value

    def read(first: int, count: int) -> float:
        return 2 * count * layers + 2 * a_key * (count * first + count * count / 2)

    head = 2 * model.lm_head.weight.numel()
    before, _ = decode._tokens(processor, [[""]])
    prefix = len(before) + spots - 1
    total, seen = 0.0, set()
    for prompt in prompts:
        rest = len(decode._tokens(processor, [[prompt.text]])[1][0][0])
        steps = len(processor.tokenizer(said[prompt.id])["input_ids"]) + 1  # the end is a token too
        if not shared or prompt.image not in seen:
            total += a_picture + read(0, prefix)
            seen.add(prompt.image)
        total += read(prefix, rest + steps - 1) + steps * head
    return total


def speed() -> float:
    """Operations a second of a product of the language model's shape, float32: the best of many."""
    a, b = torch.randn(2048, 576), torch.randn(1536, 576)
    best = min(_timed(lambda: torch.nn.functional.linear(a, b))[0] for _ in range(50))
    return 2 * 2048 * 576 * 1536 / best


def _timed(function: Callable[[], Any]) -> tuple[float, Any]:
    begun = time.perf_counter()
    result = function()
    return time.perf_counter() - begun, result


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("source", type=Path)
    parser.add_argument("--model", type=Path, required=True)
    parser.add_argument("--split", default="test")
    parser.add_argument("--limit", type=int)
    parser.add_argument("--batch-size", type=int, default=32)
    parser.add_argument("--max-new-tokens", type=int, default=16)
    parser.add_argument("--threads", type=int, default=torch.get_num_threads())
    parser.add_argument("--json", type=Path)
    options = parser.parse_args()
    torch.set_num_threads(options.threads)
    local = Local(options.model, options.max_new_tokens, "cpu", "fp32")
    model, processor = checkpoint.load(options.model, dtype=torch.float32)  # theirs; ours loads its own
    prompts = prompts_of(options.source, options.split, options.limit)
    peaks = [speed()]
    batches = by_image(prompts, options.batch_size)
    one_by_one(model, processor, batches[0][:1], 2)  # what is made at first use is made
    models.ask(local, batches[0][:1])

    took: Counter[str] = Counter()
    ours: dict[str, str] = {}
    theirs: dict[str, str] = {}
    with progress("questions", len(prompts), "questions") as advance:
        for batch in batches:
            seconds, (said, parts) = _timed(partial(models.ask, local, batch))
            ours |= said
            took.update(parts | {"ours": seconds})
            seconds, said = _timed(partial(one_by_one, model, processor, batch, options.max_new_tokens))
            theirs |= said
            took["one by one"] += seconds
            peaks.append(speed())
            advance(len(batch))
    differ = [
        {"id": p.id, "ours": ours[p.id], "one by one": theirs[p.id],
         "margin": margin(model, processor, p, ours[p.id], options.max_new_tokens)}
        for p in prompts if ours[p.id] != theirs[p.id]
    ]  # fmt: skip
    need, need_alone = (work(model, processor, prompts, ours, shared=shared) for shared in (True, False))
    pictures = len({p.image for p in prompts})
    result = {
        "source": options.source.name,
        "questions": len(prompts),
        "pictures": pictures,
        "max_new_tokens": options.max_new_tokens,
        "batch_size": options.batch_size,
        "seconds": {what: round(seconds, 2) for what, seconds in took.items()},
        "times_faster": round(took["one by one"] / took["ours"], 3),
        "equal": len(prompts) - len(differ),
        "differ": differ,
        "differ_beyond_a_tie": sum(one["margin"] > TIE for one in differ),
        "tera_operations": {"ours": round(need / 1e12, 2), "one by one": round(need_alone / 1e12, 2)},
        "giga_operations_a_second": {"best": round(max(peaks) / 1e9, 1), "worst": round(min(peaks) / 1e9, 1)},
        "floor_seconds": round(need / max(peaks), 2),
        "times_floor": round(took["ours"] / (need / max(peaks)), 3),
        "measured": {
            "date": date.today().isoformat(),
            "threads": options.threads,
            "torch": torch.__version__,
            "python": platform.python_version(),
        },
    }
    print(json.dumps(result, indent=1, ensure_ascii=False))
    if options.json:
        known = json.loads(options.json.read_text()) if options.json.exists() else {}
        options.json.write_text(json.dumps(known | {options.source.name: result}, indent=1, ensure_ascii=False) + "\n")


if __name__ == "__main__":
    main()
