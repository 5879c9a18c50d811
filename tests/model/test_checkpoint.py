"""Loading fails on anything that is not as it was saved, and names it."""

import json
import shutil

import pytest

from llavamed.errors import InputError
from llavamed.model import checkpoint
from llavamed.model.build import build

NAME = "language_model.model.layers.1.mlp.up_proj.weight"


@pytest.fixture(scope="module")
def built(tmp_path_factory):
    pytest.importorskip("torch").set_num_threads(1)
    folder = tmp_path_factory.mktemp("built") / "tiny"
    build("tiny", folder, image_size=56)
    return folder


@pytest.fixture
def copy(built, tmp_path):
    folder = tmp_path / "copy"
    shutil.copytree(built, folder)
    (folder / "manifest.json").unlink()  # so that the weights themselves are looked at
    return folder


def change(folder, edit):
    from safetensors.torch import load_file, save_file

    weights = load_file(folder / "model.safetensors")
    edit(weights)
    save_file(weights, folder / "model.safetensors", metadata={"format": "pt"})


@pytest.mark.parametrize(
    ("edit", "message"),
    [
        (lambda w: w.pop(NAME), r"missing weight model\.language_model\.layers\.1\.mlp\.up_proj\.weight"),
        (lambda w: w.update(extra=w[NAME].clone()), "unexpected weight extra"),
        (lambda w: w.update({NAME: w[NAME][:-1].contiguous()}), "mismatched weight .*up_proj"),
        (lambda w: [w.pop(n) for n in list(w) if n.startswith("vision_tower")], "missing weight .*vision.* and [0-9]+"),
    ],
)  # fmt: skip
def test_a_weight_that_is_wrong_is_named(copy, edit, message):
    change(copy, edit)
    with pytest.raises(InputError, match=message):
        checkpoint.load(copy)


def test_a_truncated_file_is_refused(copy):
    weights = copy / "model.safetensors"
    weights.write_bytes(weights.read_bytes()[:-100])
    with pytest.raises(InputError, match="not a readable"):
        checkpoint.load(copy)


def test_a_file_changed_since_it_was_published_is_refused(copy, built):
    shutil.copy(built / "manifest.json", copy)
    change(copy, lambda weights: weights[NAME].mul_(2))
    with pytest.raises(InputError, match=r"model\.safetensors: changed"):
        checkpoint.load(copy)


def test_pickled_weights_are_not_read(copy):
    import torch
    from safetensors.torch import load_file

    torch.save(load_file(copy / "model.safetensors"), copy / "pytorch_model.bin")
    (copy / "model.safetensors").unlink()
    with pytest.raises(InputError, match="not a readable"):
        checkpoint.load(copy)


def test_another_kind_of_model_is_refused(copy, tmp_path):
    config = json.loads((copy / "config.json").read_text())
    (copy / "config.json").write_text(json.dumps(config | {"model_type": "llama"}))
    with pytest.raises(InputError, match="not of a LLaVA"):
        checkpoint.load(copy)
    with pytest.raises(InputError, match=r"no config\.json"):
        checkpoint.load(tmp_path)
