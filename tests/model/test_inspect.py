"""`model show` tells what a folder holds, and a tower of random or shuffled numbers from one with structure."""

import json
import shutil

import numpy as np
import pytest
from safetensors.numpy import load_file, save_file

from llavamed.errors import InputError
from llavamed.model.build import build
from llavamed.model.inspect import describe, order


@pytest.fixture(scope="module")
def built(tmp_path_factory):
    pytest.importorskip("torch").set_num_threads(1)
    folder = tmp_path_factory.mktemp("built") / "tiny"
    result = build("tiny", folder, image_size=56)
    return folder, result["parameters"]


def learnt(folder, target, *, shuffled=False):
    """A tower with structure: each matrix has one long direction, as training makes them."""
    shutil.copytree(folder, target)
    random, weights = np.random.default_rng(0), load_file(target / "model.safetensors")
    for name, weight in weights.items():
        if name.startswith("vision_tower.") and weight.ndim >= 2:
            flat = weight.reshape(len(weight), -1)
            long = np.outer(random.standard_normal(flat.shape[0]), random.standard_normal(flat.shape[1]))
            changed = flat + flat.std() * long
            changed = random.permutation(changed.ravel()) if shuffled else changed
            weights[name] = changed.reshape(weight.shape).astype(weight.dtype)
    save_file(weights, target / "model.safetensors", metadata={"format": "pt"})
    return target


def test_what_a_model_is_made_of(built):
    folder, parameters = built
    told = describe(folder)
    assert told["parameters"] == parameters
    assert told["weights_gb"] == pytest.approx(4e-9 * parameters)
    assert told["context_gb"] == pytest.approx(2 * 2 * 32 * 2048 * 2 / 1e9)  # both, layers, wide, long, bytes
    assert "dinov2_with_registers" in told["vision_tower"]
    assert "not vLLM" in told["served_by"]
    assert told["licence"] == "not stated"


def test_a_random_or_shuffled_tower_is_told_from_a_learnt_one(built, tmp_path):
    folder, _ = built
    assert describe(folder)["tower_check"].startswith("RANDOM OR SHUFFLED")
    assert describe(learnt(folder, tmp_path / "learnt"))["tower_check"].startswith("trained: all")
    mixed = learnt(folder, tmp_path / "shuffled", shuffled=True)
    assert describe(mixed)["tower_check"].startswith("RANDOM OR SHUFFLED")


@pytest.mark.parametrize("shape", [(64, 64), (64, 2048), (512, 384)])
def test_order_is_one_of_independent_numbers(shape):
    numbers = np.random.default_rng(0).standard_normal(shape).astype(np.float32)
    assert 0.85 < order(3 * numbers + 1) < 1.1
    assert order(np.ones(shape, np.float32)) == 0


def test_what_is_no_model_is_refused(built, tmp_path):
    with pytest.raises(InputError, match="holds no checkpoint"):
        describe(tmp_path)
    (tmp_path / "config.json").write_text(json.dumps({"model_type": "llama"}))
    with pytest.raises(InputError, match="no LLaVA model"):
        describe(tmp_path)
