"""Branches of one prefix: the same answers as one question at a time, each picture read once."""

import json
from collections import Counter
from copy import deepcopy
from functools import partial
from itertools import chain

import numpy as np
import pytest
from PIL import Image

from llavamed.evaluate import decode, models
from llavamed.evaluate.generate import Prompt, by_image, by_length, generate
from llavamed.evaluate.models import Local
from llavamed.model import checkpoint

ASKED = {"a": 5, "b": 1, "c": 2, "d": 1, "e": 3}  # questions about each picture


def picture(name: str) -> Image.Image:
    noise = np.random.default_rng(ord(name))
    return Image.fromarray(noise.integers(0, 256, (40, 60, 3), dtype=np.uint8))


def grey(side: int) -> Image.Image:
    return Image.new("RGB", (side, 40), (128, 128, 128))


def questions() -> list[Prompt]:
    """Real pictures, then each question with a grey picture, and with another one."""
    made = []
    for image, count in ASKED.items():
        other = chr((ord(image) - ord("a") + 1) % 5 + ord("a"))
        for n in range(count):
            text = f"{n} What is it" + "?" * (7 * n % 5)
            made.append(Prompt(f"{image}{n} real", text, partial(picture, image), image))
            made.append(Prompt(f"{image}{n} blank", text, partial(grey, 30 + 9 * n), "blank"))
            made.append(Prompt(f"{image}{n} shuffled", text, partial(picture, other), other))
    return made


@pytest.fixture(scope="module")
def lively(tiny, tmp_path_factory):
    """A tiny model of which answers differ, and end in different places."""
    model, processor = checkpoint.load(tiny)
    for parameter in model.model.language_model.layers.parameters():
        parameter.data = parameter.data * 8
    model.model.multi_modal_projector.linear_2.weight.data *= 20
    folder = tmp_path_factory.mktemp("lively") / "model"
    checkpoint.save(model, processor, folder)
    return Local(folder, 6, "cpu", "fp32")


@pytest.fixture(scope="module")
def alone(lively):
    """What transformers' `generate` answers to each question on its own."""
    model, processor = models.open_model(lively)
    said = {}
    for prompt in questions():
        inputs = processor(images=[prompt.picture()], text=decode.prompt(processor, prompt.text), return_tensors="pt")
        tokens = model.generate(**inputs, max_new_tokens=6, do_sample=False)[0, inputs["input_ids"].shape[1] :]
        said[prompt.id] = processor.tokenizer.decode(tokens, skip_special_tokens=True).strip()
    return said


@pytest.mark.parametrize("batch_size", [1, 3, 8, 40])
def test_batches_change_no_answer(lively, alone, batch_size, tmp_path):
    assert generate(lively, questions(), tmp_path / "journal.jsonl", batch_size=batch_size) == alone
    assert len(set(alone.values())) > 9  # a test of something


def test_answers_that_end_early(lively, monkeypatch, tmp_path):
    """The end of one branch is not the end of the others."""
    model, processor = models.open_model(lively)
    said = {p.id: models.ask(lively, [p])[0][p.id] for p in questions()[::3]}
    letters = Counter(chain.from_iterable(set(text) for text in said.values()))
    letter = next(letter for letter, _ in letters.most_common()[1:] if letter.isprintable() and letter.isascii())
    stops = [*decode.stop_tokens(model), *processor.tokenizer(letter)["input_ids"]]
    monkeypatch.setattr(decode, "stop_tokens", lambda model: stops)
    cut = generate(lively, questions()[::3], tmp_path / "journal.jsonl", batch_size=8)
    whole = {name: text for name, text in said.items() if letter not in text}
    assert 0 < len(whole) < len(said)
    assert {name: cut[name] for name in whole} == whole
    assert all(letter not in text for text in cut.values())


def test_a_picture_is_read_once(lively, monkeypatch, tmp_path):
    model, _ = models.open_model(lively)
    seen, prefixes = [], []
    vision, language = type(model).get_image_features, model.model.language_model.forward

    def see(self, pixels, **options):
        seen.append(len(pixels))
        return vision(self, pixels, **options)

    def read(*args, inputs_embeds=None, **options):
        if inputs_embeds is not None:
            prefixes.append(len(inputs_embeds))
        return language(*args, inputs_embeds=inputs_embeds, **options)

    monkeypatch.setattr(type(model), "get_image_features", see)
    monkeypatch.setattr(model.model.language_model, "forward", read)
    generate(lively, questions(), tmp_path / "journal.jsonl", batch_size=12)
    assert sum(seen) == sum(prefixes) == len(ASKED) + 1  # the grey one has as many questions as a batch holds


def test_batches():
    prompts = questions()
    for cut in (by_image, by_length):
        for size in (1, 2, 5, 100):
            batches = cut(prompts, size)
            assert Counter(chain(*batches)) == Counter(prompts)
            assert batches == cut(prompts[::-1], size)
            for batch in batches:
                assert len(batch) <= size
    for batch in by_image(prompts, 8):
        counts = Counter(prompt.image for prompt in batch)
        assert len(counts) * max(counts.values()) <= 8  # all branches that are computed
    lengths = [len(prompt.text) for prompt in chain(*by_length(prompts, 4))]
    assert lengths == sorted(lengths)


def test_processes_change_no_answer(lively, alone, tmp_path):
    two = Local(lively.folder, 6, "cpu", "fp32", workers=2)
    assert generate(two, questions(), tmp_path / "journal.jsonl", batch_size=8) == alone
    noted = [json.loads(line) for line in (tmp_path / "journal.jsonl").read_text().splitlines()]
    assert len(noted) == len(by_image(questions(), 8))


def test_what_is_noted_is_not_asked_again(tmp_path, monkeypatch):
    asked = []

    def ask(model, batch):
        asked.append([prompt.id for prompt in batch])
        return {prompt.id: f"said to {prompt.id}" for prompt in batch}, {}

    monkeypatch.setattr(models, "ask", ask)
    monkeypatch.setattr(models, "shares_prefixes", lambda folder: True)
    prompts = [Prompt(str(n), "?" * (n % 3), lambda: None, str(n // 2)) for n in range(7)]
    journal = tmp_path / "journal.jsonl"
    whole = generate(Local(tmp_path, 1), prompts, journal, batch_size=2)
    assert list(whole) == [prompt.id for prompt in prompts]
    assert sorted(chain(*asked)) == sorted(whole)
    text = journal.read_bytes()
    for cut in range(0, len(text), 7):
        asked.clear()
        journal.write_bytes(text[:cut])
        assert generate(Local(tmp_path, 1), prompts, journal, batch_size=2) == whole
        assert len(asked) == 4 - text[:cut].count(b"\n")
        assert journal.read_bytes() == text


def test_layers_that_nobody_reads_do_not_run(tiny):
    import torch

    model, _ = checkpoint.load(tiny)
    layers = model.model.vision_tower.encoder.layer
    layers.extend(deepcopy(layers))
    model.config.vision_feature_layer = 1
    side = model.config.vision_config.image_size
    pixels = torch.rand(2, 3, side, side)
    with torch.inference_mode():
        before = model.get_image_features(pixels).pooler_output
        models._drop_unread_layers(model)
        after = model.get_image_features(pixels).pooler_output
    assert len(layers) == 2
    assert all(torch.equal(one, other) for one, other in zip(before, after, strict=True))
    model.config.vision_feature_layer = -2  # counted from the end: none can go
    models._drop_unread_layers(model)
    assert len(layers) == 2
