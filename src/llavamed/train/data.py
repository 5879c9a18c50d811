"""What training reads: conversations as examples, and their pictures."""

import hashlib
import math
from collections.abc import Iterable, Iterator, Sequence
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

from llavamed import storage
from llavamed.console import progress
from llavamed.corpus.images import phash
from llavamed.errors import InputError
from llavamed.train.packing import Figure, Lengths, Row, lay_out
from llavamed.train.pictures import Features, Pictures
from llavamed.train.tokens import Example, ExcludedError, encode, opened


@dataclass
class Examples:
    """Examples, the key of each one's picture (SHA-256 of its bytes), and perceptual hashes by key."""

    pictures: Features | Pictures
    examples: list[Example] = field(default_factory=list)
    keys: list[str] = field(default_factory=list)
    phashes: dict[str, str] = field(default_factory=dict)
    excluded: list[dict[str, Any]] = field(default_factory=list)

    def lengths(self) -> list[Lengths]:
        """Of each example."""
        return [Lengths(len(one.start), len(one.rest), sum(one.said)) for one in self.examples]

    def prefixes(self) -> list[tuple[str, tuple[int, ...]]]:
        """Of each example its picture and the tokens up to it: where both are equal, they may be computed once."""
        return [(key, example.start) for example, key in zip(self.examples, self.keys, strict=True)]

    def of(self, step: Iterable[Figure]) -> list[tuple[Example, str]]:
        """The examples of a step, each with the key of its picture."""
        return [(self.examples[index], self.keys[index]) for figure in step for index in figure]

    def feed(self, rows: Iterable[Sequence[Figure]]) -> Iterator[tuple[Row, Any]]:
        """Each row, and of its pictures, one a figure, the features or the pixels."""
        laid = (lay_out(figures, self.examples) for figures in rows)
        return self.pictures.feed((row, [self.keys[index] for index in row.examples]) for row in laid)


def read(data: Path, model: Any, processor: Any, max_length: int, pictures: Features | Pictures) -> Examples:
    """The conversations of the train split; `pictures` takes each of theirs once.

    Raises:
        InputError: no conversation can be trained on, or the processor does not fit the vision tower.
    """
    image_tokens, rows = count_image_tokens(processor), model.get_input_embeddings().weight.shape[0]
    given = pictures.like.shape[0]
    if given != image_tokens:
        raise InputError(
            f"the processor expects {image_tokens} tokens a picture and the vision tower gives {given}: "
            "mend the model's processor_config.json"
        )
    if processor.image_token_id != model.config.image_token_index:
        raise InputError(
            f"token {processor.image_token_id} stands for the picture in the model's tokenizer, and "
            f"{model.config.image_token_index} in its config.json (image_token_index): mend the latter"
        )
    found = Examples(pictures)
    splits = [row["split"] for row in storage.read_rows(data, columns=["split"])]
    with progress("reading conversations", splits.count("train"), "conversations") as advance:
        for row in storage.read_rows(data):
            if row["split"] != "train":
                continue
            advance()
            try:
                example = encode(row, processor, image_tokens, max_length)
                key = _take(row["image"], found)
            except ExcludedError as error:
                found.excluded.append(
                    {name: row[name] for name in ("id", "pair_id", "split")}
                    | {"source": "data/train", "reason": error.reason, "detail": error.detail}
                )
                continue
            if (last := max(example.ids)) >= rows:
                raise InputError(
                    f"conversation {example.id}: token {last} ({processor.tokenizer.convert_ids_to_tokens(last)}), and "
                    f"the embedding has {rows} rows: the tokenizer is of another model: build or export the model again"
                )
            found.examples.append(example)
            found.keys.append(key)
    if not found.examples:
        reason = found.excluded[0]["reason"] if found.excluded else ""
        first = f" (the first: {reason})" if reason else ""
        what = "import it with its pictures, or name other --data" if reason == "no_image" else "name other --data"
        raise InputError(f"{data}: no conversation of its train split can be trained on{first}: {what}")
    pictures.close()
    return found


def _take(image: dict[str, Any] | None, found: Examples) -> str:
    """The key of a picture, which is kept if it is new."""
    data = (image or {}).get("bytes") or b""
    key = hashlib.sha256(data).hexdigest()
    if key not in found.phashes:
        picture = opened(image)
        found.pictures.add(key, data, picture)
        found.phashes[key] = phash(picture)
    return key


def count_image_tokens(processor: Any) -> int:
    """How many tokens a picture takes."""
    from PIL import Image

    inputs = processor(images=Image.new("RGB", (8, 8)), text=processor.image_token)
    ids: list[int] = inputs["input_ids"][0]
    return ids.count(processor.image_token_id)


def rate(step: int, steps: int, peak: float, warmup: float) -> float:
    """The learning rate of `step` (from 0): a linear rise over `warmup` of the steps, then a cosine down to 0."""
    rising = math.ceil(warmup * steps)
    if step < rising:
        return peak * (step + 1) / rising
    return peak * (1 + math.cos(math.pi * (step - rising) / max(1, steps - rising))) / 2
