"""Ask a model many questions, greedily and in batches, so that a killed run goes on where it stopped."""

import json
import os
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from functools import partial
from pathlib import Path

from PIL import Image

from llavamed.console import console, progress
from llavamed.engine import map_shards
from llavamed.evaluate import models
from llavamed.evaluate.models import Local, Remote


@dataclass(frozen=True)
class Prompt:
    """A question and a way to its picture, which is decoded only when its batch is asked.

    `image`: the name of the picture. Prompts of one name are asked about the same pixels once they have been resized
    to a square, as LLaVA models see them: uniform grey pictures of any size may share theirs.
    """

    id: str
    text: str
    picture: Callable[[], Image.Image]
    image: str


def generate(model: Local | Remote, prompts: Sequence[Prompt], journal: Path, *, batch_size: int) -> dict[str, str]:
    """The answers by id. Each batch is noted in `journal`; what stands there is not asked again.

    The batches follow from `prompts` and `batch_size` (questions, at most) alone, so a run that goes on, with any
    number of `model.workers`, gives the same answers. What the parts took (vision, prefill, decode: seconds, of all
    workers together) is printed.

    Raises:
        InputError, Unfinished: what `models.ask` and `models.ask_server` raise.
        RuntimeError: a worker died.
    """
    if isinstance(model, Remote):
        return models.ask_server(model, prompts, journal)
    answers = read_journal(journal)
    cut = by_image if models.shares_prefixes(model.folder) else by_length
    batches = [[p for p in batch if p.id not in answers] for batch in cut(prompts, batch_size)]
    left = sum(map(len, batches))
    seconds: dict[str, float] = {}
    with (
        journal.open("a", encoding="utf-8") as notes,
        progress("answers", len(prompts), "answers", len(prompts) - left) as advance,
    ):
        for said, took in map_shards(partial(models.ask, model), filter(None, batches), model.workers):
            answers |= said
            for part, spent in took.items():
                seconds[part] = seconds.get(part, 0.0) + spent
            notes.write(json.dumps(said, ensure_ascii=False) + "\n")
            notes.flush()
            os.fsync(notes.fileno())
            advance(len(said))
    if left:
        parts = ", ".join(f"{part} {spent:.1f} s" for part, spent in seconds.items())
        console.print(f"{left} answers: {parts}", highlight=False)
    return {prompt.id: answers[prompt.id] for prompt in prompts}


def by_image(prompts: Sequence[Prompt], batch_size: int) -> list[list[Prompt]]:
    """Batches in which the questions of a picture stand together, pictures with as many and as long ones side by side.

    A batch holds `batch_size` questions once all its pictures have as many as the one with most; a picture with more
    is asked in several batches.
    """
    of_image: dict[str, list[Prompt]] = {}
    for prompt in sorted(prompts, key=lambda prompt: (len(prompt.text), prompt.id)):
        of_image.setdefault(prompt.image, []).append(prompt)
    pieces = [asked[n : n + batch_size] for asked in of_image.values() for n in range(0, len(asked), batch_size)]
    pieces.sort(key=lambda piece: (len(piece), sum(len(prompt.text) for prompt in piece), piece[0].id))
    batches: list[list[list[Prompt]]] = [[]]
    for piece in pieces:  # the later the longer
        if (len(batches[-1]) + 1) * len(piece) > batch_size:
            batches.append([])
        batches[-1].append(piece)
    return [[prompt for piece in batch for prompt in piece] for batch in batches if batch]


def by_length(prompts: Sequence[Prompt], batch_size: int) -> list[list[Prompt]]:
    """Batches of questions that are about as long."""
    order = sorted(prompts, key=lambda prompt: (len(prompt.text), prompt.id))
    return [order[start : start + batch_size] for start in range(0, len(order), batch_size)]


def read_journal(journal: Path) -> dict[str, str]:
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
