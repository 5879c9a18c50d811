"""What is exported loads elsewhere with nothing missing or left over, and is the same model, bit for bit."""

import json
import shutil

import pytest

from llavamed.errors import InputError

torch = pytest.importorskip("torch")
from llavamed.model import checkpoint  # noqa: E402
from llavamed.model.build import build, compose  # noqa: E402
from llavamed.model.export import export  # noqa: E402
from llavamed.model.inspect import describe  # noqa: E402
from llavamed.model.tensors import tensors_of  # noqa: E402
from llavamed.verify import rehash  # noqa: E402
from small_parts import save_language, save_tower  # noqa: E402

NAMES = ("clip", "siglip", "dinov2_with_registers")  # the last has the shape of `smol`


@pytest.fixture(scope="module")
def models(tmp_path_factory):
    torch.set_num_threads(1)
    top = tmp_path_factory.mktemp("models")
    save_language("llama", top / "words")
    for name in NAMES[:2]:
        save_tower(name, top / f"tower-{name}")
        compose(str(top / f"tower-{name}"), str(top / "words"), top / name)
    build("tiny", top / NAMES[2], image_size=56)
    return top


def by_transformers(folder):
    """As anyone loads it: the model and what did not fit."""
    from transformers import AutoModelForImageTextToText

    return AutoModelForImageTextToText.from_pretrained(folder, output_loading_info=True)


@pytest.mark.parametrize("name", NAMES)
@pytest.mark.parametrize("shard", [100_000, 5 * 10**9])
def test_transformers_loads_it(name, shard, models, tmp_path):
    done = export(models / name, tmp_path / "out", shard=shard)
    assert (done["files"] > 1) == (shard < done["bytes"])
    model, found = by_transformers(tmp_path / "out")
    assert not any(found[f"{kind}_keys"] for kind in ("missing", "unexpected", "mismatched"))
    want, processor = checkpoint.load(models / name)
    assert model.state_dict().keys() == want.state_dict().keys()
    assert all(torch.equal(weight, want.state_dict()[key]) for key, weight in model.state_dict().items())
    _, again = checkpoint.load(tmp_path / "out")
    chat = [{"role": "user", "content": [{"type": "image"}, {"type": "text", "text": "What?"}]}]
    assert again.apply_chat_template(chat) == processor.apply_chat_template(chat)
    assert again.tokenizer("naïve")["input_ids"] == processor.tokenizer("naïve")["input_ids"]
    assert rehash(tmp_path / "out") == []


@pytest.mark.parametrize("name", NAMES)
def test_towers_are_named_as_vllm_wants_them(name, models, tmp_path):
    done = export(models / name, tmp_path / "out")
    tower = [key for key in tensors_of(tmp_path / "out") if "vision_tower" in key]
    assert tower
    assert all(key.startswith("vision_tower.vision_model.") == (name != NAMES[2]) for key in tower)
    assert ("not vLLM" in done["served_by"]) == (name == NAMES[2])


def test_files_are_cut_as_the_index_says(models, tmp_path):
    done = export(models / "clip", tmp_path / "out", shard=100_000)
    index = json.loads((tmp_path / "out/model.safetensors.index.json").read_text())
    files = sorted((tmp_path / "out").glob("*.safetensors"))
    assert [path.name for path in files] == sorted(set(index["weight_map"].values()))
    assert files[0].name == f"model-00001-of-{done['files']:05d}.safetensors"
    found = tensors_of(tmp_path / "out")  # which checks each tensor against the index
    assert sum(tensor.size for tensor in found.values()) == index["metadata"]["total_size"] == done["bytes"]
    assert export(models / "clip", tmp_path / "out", shard=100_000) == done


def test_its_card_tells_parts_and_terms(models, tmp_path):
    export(models / "clip", tmp_path / "out")
    card = (tmp_path / "out/README.md").read_text()
    assert "vision tower: tower-clip, licence not stated" in card
    assert "Training data\n\nNot known" in card
    assert "research use only" in card
    assert describe(tmp_path / "out")["licence"] == "language model: not stated, vision tower: not stated"


def test_what_changed_since_it_was_published_is_refused(models, tmp_path):
    shutil.copytree(models / "clip", tmp_path / "changed")
    (tmp_path / "changed/config.json").write_text((tmp_path / "changed/config.json").read_text() + " ")
    with pytest.raises(InputError, match=r"config\.json: changed since it was published"):
        export(tmp_path / "changed", tmp_path / "out")
    assert not (tmp_path / "out").exists()
