"""Every kind of tower and of language model in the tables becomes a model that sees its picture and can be trained."""

import numpy as np
import pytest

torch = pytest.importorskip("torch")
from small_talk import picture, publish, row  # noqa: E402

from llavamed.model import backbones, checkpoint  # noqa: E402
from llavamed.model.build import compose  # noqa: E402
from llavamed.train.loop import train  # noqa: E402
from llavamed.train.stage import Stage  # noqa: E402
from llavamed.train.tokens import opened  # noqa: E402
from llavamed.verify import rehash  # noqa: E402
from small_parts import save_all  # noqa: E402

# Each tower once, each language model once.
PAIRS = [
    ("clip", "llama"),
    ("siglip", "mistral"),
    ("dinov2", "qwen2"),
    ("dinov2_with_registers", "qwen3"),
    ("vit", "llama"),
]


@pytest.fixture(scope="module")
def parts(tmp_path_factory):
    """Folders of random small parts by name."""
    torch.set_num_threads(1)
    return save_all(tmp_path_factory.mktemp("parts"))


@pytest.fixture(scope="module")
def talk(tmp_path_factory):
    return publish(tmp_path_factory.mktemp("talk") / "data", [row(n) for n in range(4)])


def logits(model, processor, seed):
    inputs = processor(images=opened(picture(seed)), text="<image>\nWhat is it?", return_tensors="pt")
    with torch.inference_mode():
        return model(**inputs).logits[0]


def test_the_tables_are_what_is_tested():
    kinds = {"clip": "clip_vision_model", "siglip": "siglip_vision_model"}
    assert {kinds.get(tower, tower) for tower, _ in PAIRS} == backbones.TOWERS.keys()
    assert {language for _, language in PAIRS} == backbones.LANGUAGES.keys()


@pytest.mark.parametrize(("tower", "language"), PAIRS)
def test_it_sees_its_picture_and_can_be_trained(tower, language, parts, talk, tmp_path):
    compose(str(parts / tower), str(parts / language), tmp_path / "model")
    model, processor = checkpoint.load(tmp_path / "model")
    assert (logits(model, processor, 0) - logits(model, processor, 1))[-1].abs().max() > 1e-4
    weights = parts_weights(model, parts, tower, language)
    assert all(torch.equal(got, want) for got, want in weights)
    assert len(weights) > 20
    for name, start in (("align", "model"), ("instruct", "align")):
        stage = Stage(name=name, learning_rate=1e-3, batch_size=2)
        done = train(tmp_path / start, talk, tmp_path / name, stage)
        assert done["steps"] == 2
        assert np.isfinite(done["loss_last"])
    assert rehash(tmp_path / "instruct") == []


def parts_weights(model, parts, tower, language):
    """Tensors of the model beside those that transformers reads from the parts' folders."""
    from transformers import AutoModel

    vision, text = (AutoModel.from_pretrained(parts / name).state_dict() for name in (tower, language))
    got = {"vision": model.model.vision_tower.state_dict(), "text": model.model.language_model.state_dict()}
    found = [(got["vision"][k], v) for k, v in vision.items() if not k.startswith(("head.", "pooler."))]
    return found + [(got["text"][k][: len(v)], v) for k, v in text.items()]


def test_a_linear_projector_is_trained_as_one_layer(parts, talk, tmp_path):
    compose(str(parts / "clip"), str(parts / "llama"), tmp_path / "model", projector="linear")
    stage = Stage(name="align", learning_rate=1e-3, batch_size=4)
    train(tmp_path / "model", talk, tmp_path / "aligned", stage)
    model, _ = checkpoint.load(tmp_path / "aligned")
    second = model.model.multi_modal_projector.linear_2
    assert torch.equal(second.weight, torch.eye(len(second.weight)))
    assert not second.bias.any()
    assert model.config.projector_hidden_act == "linear"
