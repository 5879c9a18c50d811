"""What a vision tower's layers tell about SLAKE's pictures, before any language model is trained.

    python benchmarks/vqa_probe.py ../shared/data/slake --model smol84 --model smol168 [--json FILE]

For every question that at least 60 training pictures share, a ridge regression on a layer's features (their mean, and
the means of the four quarters of the picture) learns the answer from the training pictures and is asked about those of
the validation split. Accuracy in per cent, beside that of the commonest training answer; `--model` may be given again,
for models built at other picture sizes.
"""

import argparse
import json
from collections import Counter
from pathlib import Path
from typing import Any

import torch

from llavamed import storage
from llavamed.evaluate.baselines import open_picture
from llavamed.evaluate.metrics import bootstrap
from llavamed.evaluate.questions import Question, questions_of
from llavamed.model import checkpoint
from llavamed.storage import Json

LEAST = 60  # training pictures that a question is asked about
RIDGE = 0.1
AT_ONCE = 8


def features(net: Any, processor: Any, pictures: list[bytes]) -> list[torch.Tensor]:
    """For each layer [pictures, 5 x width]: the mean of the patches, and of each quarter's."""
    tower, vision = net.model.vision_tower, net.config.vision_config
    skip, layers = 1 + getattr(vision, "num_register_tokens", 0), []
    for start in range(0, len(pictures), AT_ONCE):
        opened = [open_picture(picture) for picture in pictures[start : start + AT_ONCE]]
        pixels = processor.image_processor(opened, return_tensors="pt")["pixel_values"]
        with torch.inference_mode():
            layers.append(
                [_pooled(state[:, skip:]) for state in tower(pixels, output_hidden_states=True).hidden_states]
            )
    return [torch.cat(parts) for parts in zip(*layers, strict=True)]


def _pooled(patches: torch.Tensor) -> torch.Tensor:
    side = round(patches.shape[1] ** 0.5)
    grid = patches.unflatten(1, (side, side))
    half = side // 2
    quarters = [grid[:, a : a + half, b : b + half].mean((1, 2)) for a in (0, side - half) for b in (0, side - half)]
    return torch.cat([patches.mean(1), *quarters], 1)


def answered(known: list[Question], asked: list[Question], train: torch.Tensor, other: torch.Tensor) -> list[str]:
    """The answers to `asked`, of pictures `other` [n, width], by ridge regression on `known`, of pictures `train`."""
    options = sorted({question.reference.lower() for question in known})
    said = torch.tensor([[float(question.reference.lower() == option) for option in options] for question in known])
    mean = said.mean(0)
    kernel = train @ train.T / train.shape[1]
    weights = torch.linalg.solve(kernel + RIDGE * torch.eye(len(known)), said - mean)
    guess = other @ train.T / train.shape[1] @ weights + mean
    return [options[n] for n in guess.argmax(1).tolist()]


def probe(model: Path, train: list[Question], other: list[Question]) -> Json:
    """Accuracy of each layer, with its interval, and of the commonest answer."""
    net, processor = checkpoint.load(model, dtype=torch.float32)
    counts = Counter(question.question for question in train)
    shared = [text for text, count in counts.items() if count >= LEAST]
    places, layers = [], []
    for questions in (train, other):
        pictures = {question.pair_id: question.image for question in questions}
        places.append({name: n for n, name in enumerate(pictures)})
        layers.append(features(net, processor, list(pictures.values())))
    result: Json = {}
    for layer, (a, b) in enumerate(zip(*layers, strict=True)):
        mean, deviation = a.mean(0), a.std(0) + 1e-6
        a, b = (a - mean) / deviation, (b - mean) / deviation
        right, commonest, of = [], [], []
        for text in shared:
            known, asked = ([q for q in questions if q.question == text] for questions in (train, other))
            if not asked:
                continue
            rows, others = (
                [place[q.pair_id] for q in q_of] for place, q_of in zip(places, (known, asked), strict=True)
            )
            best = Counter(question.reference.lower() for question in known).most_common(1)[0][0]
            for question, said in zip(asked, answered(known, asked, a[rows], b[others]), strict=True):
                right.append(float(said == question.reference.lower()))
                commonest.append(float(best == question.reference.lower()))
                of.append(question.pair_id)
        result[str(layer)] = [round(value, 1) for value in bootstrap(right, of)]
        result["commonest answer"] = [round(value, 1) for value in bootstrap(commonest, of)]
        result["questions"] = len(of)
    return result


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("source", type=Path)
    parser.add_argument("--model", type=Path, action="append", required=True)
    parser.add_argument("--threads", type=int, default=torch.get_num_threads())
    parser.add_argument("--json", type=Path)
    options = parser.parse_args()
    torch.set_num_threads(options.threads)
    train, other = (questions_of(options.source, split) for split in ("train", "validation"))
    result = {model.name: probe(model, train, other) for model in options.model}
    print(json.dumps(result, indent=1))
    if options.json:
        storage.write_json(options.json, result)


if __name__ == "__main__":
    main()
