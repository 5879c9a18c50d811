"""Models of other families, asked by their own `generate`; servers; and what is not loaded."""

import json
import shutil
from base64 import b64decode
from io import BytesIO

import families
import numpy as np
import pytest
from PIL import Image

from chat_server import ChatServer, said
from llavamed import artifact
from llavamed.endpoint import Endpoint
from llavamed.errors import InputError
from llavamed.evaluate import models
from llavamed.evaluate.generate import Prompt, generate
from llavamed.evaluate.models import Local, Remote
from llavamed.evaluate.vqa import evaluate


def prompts() -> list[Prompt]:
    noise = np.random.default_rng(0)
    pictures = [Image.fromarray(noise.integers(0, 256, (30 + 30 * n, 60, 3), dtype=np.uint8)) for n in range(3)]
    return [
        Prompt(f"{n}-{more}", "What is it" + "?" * 5 * more, lambda n=n: pictures[n], str(n))
        for n in range(3)
        for more in (1, 0)
    ]


@pytest.fixture(scope="module")
def next_folder(tmp_path_factory):
    return families.save(families.llava_next, tmp_path_factory.mktemp("next") / "model")


@pytest.mark.parametrize("family", list(families.FAMILIES))
def test_other_families_from_a_folder(family, tmp_path):
    folder = families.save(families.FAMILIES[family], tmp_path / "model")
    assert not models.shares_prefixes(folder)
    model = Local(folder, 6, "cpu", "fp32")
    together = generate(model, prompts(), tmp_path / "journal.jsonl", batch_size=4)
    alone = {}
    for prompt in prompts():
        alone |= models.ask(model, [prompt])[0]
    assert together == alone
    assert len(set(together.values())) > 2


def test_qwen(tmp_path, monkeypatch):
    opened = families.build(families.qwen2_5_vl)
    monkeypatch.setattr(models, "open_model", lambda model: opened)
    monkeypatch.setattr(models, "shares_prefixes", lambda folder: False)
    model = Local(tmp_path, 6)
    together = models.ask(model, prompts())[0]
    assert together == {p.id: models.ask(model, [p])[0][p.id] for p in prompts()}
    assert len(set(together.values())) > 2


def test_scores_of_a_model_that_is_not_ours(next_folder, conversations, tmp_path, monkeypatch):
    result = evaluate(next_folder, conversations, tmp_path / "scores", max_new_tokens=2, controls="none", device="cpu")
    assert artifact.read_manifest(tmp_path / "scores")["settings"]["model"] == models.fingerprint(next_folder)
    monkeypatch.setattr(models, "ask", None)
    again = evaluate(next_folder, conversations, tmp_path / "scores", max_new_tokens=2, controls="none", device="cpu")
    assert again == result
    other = _copy(next_folder, tmp_path / "other", note="changed")
    with pytest.raises(InputError, match="scores"):
        evaluate(other, conversations, tmp_path / "scores", max_new_tokens=2, controls="none", device="cpu")


def test_a_server(tmp_path, monkeypatch):
    monkeypatch.setenv("NO_PROXY", "127.0.0.1")

    def reply(body):
        asked = said(body)
        if asked == "What is it?????":
            return 400, {"message": "no such picture"}, {}
        url = body["messages"][0]["content"][0]["image_url"]["url"]
        with Image.open(BytesIO(b64decode(url.removeprefix("data:image/png;base64,")))) as picture:
            return f" {picture.size} {picture.getpixel((3, 4))} {asked}\n"

    with ChatServer(reply) as server:
        model = Remote(Endpoint(server.url, "seer"), 7)
        answers = generate(model, prompts(), tmp_path / "journal.jsonl", batch_size=4)
        for prompt in prompts():
            picture = prompt.picture()
            seen = f"{picture.size} {picture.getpixel((3, 4))} {prompt.text}"
            assert answers[prompt.id] == ("" if prompt.text.endswith("?????") else seen)
        assert {body["max_tokens"] for body, _, _ in server.log} == {7}
        asked = len(server.log)
        assert generate(model, prompts(), tmp_path / "journal.jsonl", batch_size=4) == answers
        assert len(server.log) == asked


def _copy(folder, to, **changes):
    shutil.copytree(folder, to)
    config = json.loads((to / "config.json").read_text())
    (to / "config.json").write_text(json.dumps(config | changes))
    return to


def test_what_is_not_loaded(next_folder, tmp_path):
    import torch
    from safetensors.torch import load_file, save_file

    def refused(folder, words):
        with pytest.raises(InputError, match=words):
            models.open_model(Local(folder, 1, "cpu"))

    refused(tmp_path / "nowhere", "config.json cannot be read")

    pickled = _copy(next_folder, tmp_path / "pickled")
    weights = load_file(pickled / "model.safetensors")
    (pickled / "model.safetensors").unlink()
    torch.save(weights, pickled / "pytorch_model.bin")
    refused(pickled, "not a readable image-text-to-text model: .*safetensors")

    code = _copy(next_folder, tmp_path / "code", model_type="own", auto_map={"AutoConfig": "own.Config"})
    (code / "own.py").write_text(f"open({str(tmp_path / 'ran')!r}, 'w')")
    refused(code, "not a readable image-text-to-text model")
    assert not (tmp_path / "ran").exists()

    partial = _copy(next_folder, tmp_path / "partial")
    weights.pop(next(name for name in weights if "projector" in name))
    save_file(weights, partial / "model.safetensors", {"format": "pt"})
    refused(partial, "missing weight .*projector")

    silent = _copy(next_folder, tmp_path / "silent")
    (silent / "chat_template.jinja").unlink()
    refused(silent, "has no chat template")
