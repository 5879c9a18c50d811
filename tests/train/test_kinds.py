"""Every kind of tower and of language model in the tables becomes a model that sees its picture and can be trained."""

import numpy as np
import pytest

torch = pytest.importorskip("torch")
from small_talk import picture, publish, row  # noqa: E402

from llavamed.model import backbones, checkpoint  # noqa: E402
from llavamed.model.build import compose  # noqa: E402
from llavamed.model.export import export  # noqa: E402
from llavamed.train import attention  # noqa: E402
from llavamed.train.loop import train  # noqa: E402
from llavamed.train.stage import Stage  # noqa: E402
from llavamed.train.tokens import opened  # noqa: E402
from llavamed.verify import rehash  # noqa: E402
from small_parts import save_all  # noqa: E402

# Each tower, each language model.
PAIRS = [
    ("clip", "llama"),
    ("siglip", "mistral"),
    ("dinov2", "qwen2"),
    ("dinov2_with_registers", "qwen3"),
    ("vit", "llama"),
    ("clip", "smollm3"),
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


@pytest.mark.parametrize("language", backbones.LANGUAGES)
def test_branches_of_a_row_are_what_they_are_alone(language, parts):
    """Layers without positions (SmolLM 3 has some) included."""
    from transformers import AutoModel

    alone, packed = (AutoModel.from_pretrained(parts / language) for _ in range(2))
    attention.use(packed)
    ids = torch.randint(0, 200, (1, 12), generator=torch.Generator().manual_seed(0))
    places = torch.tensor([[*range(5), *range(5, 9), *range(5, 8)]])
    with torch.inference_mode():
        layout = attention.layout([(5, (4, 3))], torch.zeros(1))
        row = packed(input_ids=ids, position_ids=places, layout=layout, use_cache=False).last_hidden_state[0]
        first = alone(input_ids=ids[:, :9], use_cache=False).last_hidden_state[0]
        second = alone(input_ids=torch.cat([ids[:, :5], ids[:, 9:]], 1), use_cache=False).last_hidden_state[0]
    assert (row - torch.cat([first, second[5:]])).abs().max() < 1e-5


def test_layers_without_positions_stay_so(parts, tmp_path):
    """Exported, and read by transformers: with positions in every layer it would be another model."""
    from transformers import AutoModelForImageTextToText, LlavaConfig

    compose(str(parts / "clip"), str(parts / "smollm3"), tmp_path / "model")
    model, processor = checkpoint.load(tmp_path / "model")
    export(tmp_path / "model", tmp_path / "out")
    exported = AutoModelForImageTextToText.from_pretrained(tmp_path / "out")
    assert torch.equal(logits(exported, processor, 0), logits(model, processor, 0))
    assert exported.config.text_config.no_rope_layers == [0, 1]
    config = LlavaConfig.from_pretrained(tmp_path / "out")
    config.text_config.no_rope_layers = [1, 1]
    other = AutoModelForImageTextToText.from_pretrained(tmp_path / "out", config=config)
    assert (logits(other, processor, 0) - logits(model, processor, 0)).abs().max() > 1e-3


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
