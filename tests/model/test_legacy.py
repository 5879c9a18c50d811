"""Checkpoints in old layouts compute here what their layout defines, asked as they were; else they are refused."""

import json
import shutil
from types import SimpleNamespace

import numpy as np
import pytest

from llavamed import artifact
from llavamed.errors import InputError
from llavamed.verify import rehash

torch = pytest.importorskip("torch")
pytest.importorskip("sentencepiece")
import old_layouts as old  # noqa: E402
from llavamed.evaluate import decode  # noqa: E402
from llavamed.model import checkpoint, legacy  # noqa: E402
from llavamed.model.legacy import import_model  # noqa: E402
from llavamed.serve import engine  # noqa: E402
from llavamed.train.tokens import encode  # noqa: E402
from small_parts import open_clip, timm_states  # noqa: E402

ADDED = ("[PAD]", "<im_patch>", "<im_start>", "<im_end>")
NAMES = tuple(old.LAYOUTS)


@pytest.fixture(scope="module")
def sources(tmp_path_factory):
    """Each layout: its folder, its tensors, the vision tower's folder where it is not in the checkpoint."""
    from safetensors.torch import save_file

    torch.set_num_threads(1)
    made, top = {}, tmp_path_factory.mktemp("old")
    old.train_words(top)
    rows = words(top).GetPieceSize()
    for name, said in old.LAYOUTS.items():
        folder, within = top / name, name == "llava-med-v1.5"
        framed = said["mm_use_im_start_end"]
        count = rows + len(ADDED) * framed
        old.write_config(folder, said, count)
        shutil.copy(top / "tokenizer.model", folder)
        weights = old.weights_of(said, count, tower=True)
        seen = {key: weights[key] for key in weights if key.startswith(old.INNER)}
        kept = weights if within else {key: weights[key] for key in weights if key not in seen}
        if not within:
            old.write_tower(top / f"tower-{name}", seen, whole=framed)
        if framed:
            (folder / "added_tokens.json").write_text(json.dumps({t: rows + n for n, t in enumerate(ADDED)}))
            torch.save(kept, folder / "pytorch_model.bin")
        else:
            (folder / "tokenizer_config.json").write_text(json.dumps({"legacy": within}))
            shard(kept, folder, save_file if within else torch.save, "safetensors" if within else "bin")
        made[name] = folder, weights, None if within else top / f"tower-{name}"
    return made


def shard(weights, folder, save, suffix):
    stem = "model" if suffix == "safetensors" else "pytorch_model"
    names, index = sorted(weights), {}
    for n, part in enumerate((names[::2], names[1::2]), 1):
        file = f"{stem}-0000{n}-of-00002.{suffix}"
        save({name: weights[name] for name in part}, folder / file)
        index |= dict.fromkeys(part, file)
    (folder / f"{stem}.{suffix}.index.json").write_text(json.dumps({"weight_map": index}))


@pytest.fixture(scope="module")
def imported(sources, tmp_path_factory):
    top = tmp_path_factory.mktemp("new")
    for name, (folder, _, tower) in sources.items():
        import_model(folder, top / name, vision_tower=tower)
    return {name: top / name for name in sources}


def words(folder):
    from sentencepiece import SentencePieceProcessor

    return SentencePieceProcessor(model_file=str(folder / "tokenizer.model"))


def picture(seed):
    from PIL import Image

    return Image.fromarray(np.random.default_rng(seed).integers(0, 255, (40, 60, 3), dtype=np.uint8))


def prompt_ids(name, folder):
    """Before and after the picture, as the layout's own code tokenises: each piece of text for itself."""
    model, said = words(folder), old.LAYOUTS[name]
    rows = model.GetPieceSize()
    before, after = {
        "llava-med-v1.0": (f"{old.HUMAN}###Human: ", f"\n{old.QUESTION}###Assistant:"),
        "llava-med-v1.5": ("[INST] ", f"\n{old.QUESTION} [/INST]"),
        "llava-1.5": (f"{old.HUMAN.replace('human', 'user')} USER: ", f"\n{old.QUESTION} ASSISTANT:"),
    }[name]
    framed = said["mm_use_im_start_end"]
    start, end = ([rows + 2], [rows + 3]) if framed else ([], [])
    return [1, *model.Encode(before), *start], [*end, *model.Encode(after)]


@pytest.mark.parametrize("name", NAMES)
def test_it_computes_what_the_layout_defines(name, sources, imported):
    folder, weights, _ = sources[name]
    model, processor = checkpoint.load(imported[name])
    assert model.dtype == torch.float32
    given = []
    for seed in (0, 1):
        inputs = processor(images=picture(seed), text=decode.prompt(processor, old.QUESTION), return_tensors="pt")
        before, after = prompt_ids(name, folder)
        ids = inputs["input_ids"][0].tolist()
        assert ids == [*before, *[processor.image_token_id] * 4, *after]
        with torch.inference_mode():
            got = model(**inputs).logits[0]
            want = old.logits(weights, old.LAYOUTS[name], inputs["pixel_values"][0], before, after)
        rows = want.shape[1]
        assert want.std() > 0.1
        assert (got[:, :rows] - want).abs().max() < 1e-4
        assert (got.argmax(-1) < rows).all()
        given.append(got)
    assert (given[0] - given[1])[-1].abs().max() > 1e-2  # the picture matters


@pytest.mark.parametrize("name", NAMES)
def test_the_result_is_a_model_that_answers_and_can_be_trained(name, imported):
    folder = imported[name]
    assert rehash(folder) == []
    backbone = artifact.require(folder, "model")["backbone"]
    assert [part["licence"] for part in backbone["parts"]] == ["not stated"] * 2
    assert backbone["parts"][1]["name"] == old.NAME
    assert backbone["projector"] == "trained"
    model, processor = checkpoint.load(folder)
    assert decode.answer(model, processor, [picture(0)], [[old.QUESTION]], 3, {})[0]
    row = {"id": "a", "conversations": [
        {"from": "human", "value": f"{old.QUESTION}\n<image>"}, {"from": "gpt", "value": "A chest."},
        {"from": "human", "value": "Is it an X-ray?"}, {"from": "gpt", "value": "Yes."},
    ]}  # fmt: skip
    example = encode(row, processor, 4, 1024)
    said = [token for token in example.labels if token >= 0]
    ends = {"llava-med-v1.0": "###", "llava-med-v1.5": " </s>", "llava-1.5": "</s>"}[name]
    assert processor.tokenizer.decode(said).replace(" ", "") == f"Achest.{ends}Yes.{ends}".replace(" ", "")


def test_a_second_turn_begins_as_the_layout_has_it(sources, imported):
    folder, _, _ = sources["llava-med-v1.5"]
    _, processor = checkpoint.load(imported["llava-med-v1.5"])
    turns = [("user", "a chat"), ("assistant", "the human"), ("user", "the questions")]
    text = processor.apply_chat_template([{"role": r, "content": t} for r, t in turns], add_generation_prompt=True)
    first, second = "[INST] a chat [/INST] the human ", "[INST] the questions [/INST]"
    encoder = words(folder)
    assert processor.tokenizer(text)["input_ids"] == [1, *encoder.Encode(first), 2, *encoder.Encode(second)]


def test_words_end_an_answer_where_no_token_does(imported):
    model, processor = checkpoint.load(imported["llava-med-v1.0"])
    assert decode.stop_words(model) == ["###"]
    ids = processor.tokenizer("Yes, it is.###Human: polite", add_special_tokens=False)["input_ids"]
    assert decode.text_of(processor, ids, [], decode.stop_words(model)) == "Yes, it is."


class Scripted:
    """A model that says these tokens."""

    device, dtype = "cpu", torch.float32
    config = SimpleNamespace(text_config=SimpleNamespace(max_position_embeddings=1024))
    generation_config = SimpleNamespace(eos_token_id=2, stop_strings=["###"])

    def __init__(self, tokens, rows):
        self.tokens, self.rows = iter(tokens), rows

    def __call__(self, **_):
        logits = torch.nn.functional.one_hot(torch.tensor([[next(self.tokens)]]), self.rows)
        return SimpleNamespace(logits=logits, past_key_values=None)


def test_words_end_an_answer_told_piece_by_piece(imported):
    _, processor = checkpoint.load(imported["llava-med-v1.0"])
    ids = processor.tokenizer("No # it is.###Human: polite", add_special_tokens=False)["input_ids"]
    chat = [{"role": "user", "content": [{"type": "image"}, {"type": "text", "text": old.QUESTION}]}]
    pieces = list(engine.answer(Scripted(ids, 512), processor, chat, [picture(0)]))
    assert "".join(pieces) == "No # it is."
    assert len(pieces) > 2


def damaged(source, target, edit):
    shutil.copytree(source, target)
    weights = torch.load(target / "pytorch_model.bin", weights_only=True)
    edit(weights)
    torch.save(weights, target / "pytorch_model.bin")
    return target


@pytest.mark.parametrize("key", ["model.mm_projector.weight", "model.layers.1.mlp.up_proj.weight", "lm_head.weight"])
@pytest.mark.parametrize(
    ("edit", "message"),
    [
        (lambda w, key: w.pop(key), r"missing: {key}:"),
        (lambda w, key: w.update({f"{key}.x": w.pop(key)}), r"missing: {key}; left over: {key}\.x:"),
        (lambda w, key: w.update({key: w[key][:-1]}), r"of another shape: {key} \(\["),
    ],
)
def test_a_tensor_dropped_renamed_or_reshaped_is_named(sources, tmp_path, key, edit, message):
    folder, _, tower = sources["llava-med-v1.0"]
    wrong = damaged(folder, tmp_path / "wrong", lambda weights: edit(weights, key))
    with pytest.raises(InputError, match=message.format(key=key.replace(".", r"\."))):
        import_model(wrong, tmp_path / "new", vision_tower=tower)
    assert not (tmp_path / "new").exists()


def test_a_tensor_of_the_tower_that_is_missing_is_named(sources, tmp_path):
    from safetensors.torch import load_file, save_file

    folder, _, tower = sources["llava-1.5"]
    shutil.copytree(tower, tmp_path / "tower")
    weights = load_file(tower / "model.safetensors")
    weights.pop("vision_model.encoder.layers.2.mlp.fc1.bias")
    save_file(weights, tmp_path / "tower" / "model.safetensors")
    with pytest.raises(InputError, match=r"missing: .*encoder\.layers\.2\.mlp\.fc1\.bias"):
        import_model(folder, tmp_path / "new", vision_tower=tmp_path / "tower")


class Code:
    def __reduce__(self):
        return (print, ("run",))


def test_a_pickle_with_code_in_it_is_not_opened(sources, tmp_path, capsys):
    folder, _, tower = sources["llava-med-v1.0"]
    wrong = damaged(folder, tmp_path / "wrong", lambda weights: weights.update(code=Code()) or None)
    with pytest.raises(InputError, match="more than tensors"):
        import_model(wrong, tmp_path / "new", vision_tower=tower)
    assert "run" not in capsys.readouterr().out


def test_without_the_tower_it_says_which_one_is_needed(sources, tmp_path):
    with pytest.raises(InputError, match=f"{old.NAME}.*--vision-tower"):
        import_model(sources["llava-1.5"][0], tmp_path / "new")


@pytest.mark.parametrize(
    ("change", "message"),
    [
        ({"mm_vision_tower": "openai/clip-vit-large-patch14-336"}, "pictures of 28 pixels, not 336"),
        ({"mm_hidden_size": 1024}, "features 128 wide, not 1024"),
        ({"model_type": "llava_mpt"}, "'llava_mpt' is not read"),
        ({"image_aspect_ratio": "anyres"}, "anyres"),
        ({"mm_projector_type": "identity"}, "identity"),
        ({"vision_config": {}}, "already"),
    ],
)
def test_another_layout_or_tower_is_refused(sources, tmp_path, change, message):
    folder, _, tower = sources["llava-1.5"]
    shutil.copytree(folder, tmp_path / "wrong")
    config = json.loads((folder / "config.json").read_text())
    (tmp_path / "wrong" / "config.json").write_text(json.dumps(config | change))
    with pytest.raises(InputError, match=message):
        import_model(tmp_path / "wrong", tmp_path / "new", vision_tower=tower)


def test_a_failure_leaves_no_model_and_a_second_call_makes_the_same(sources, imported, tmp_path, monkeypatch):
    """A disk that fills half way; what was finished stays."""
    folder, _, tower = sources["llava-1.5"]
    save, settle = legacy.pieces.save, legacy.pieces.settle

    def fails(part, path):
        if path.name.startswith("model-00003"):
            raise OSError(28, "No space left on device")
        settle(part, path)

    monkeypatch.setattr(legacy.pieces, "save", lambda job, weights: save(job, weights, 100_000))
    with monkeypatch.context() as full:
        full.setattr(legacy.pieces, "settle", fails)
        with pytest.raises(OSError, match="No space"):
            import_model(folder, tmp_path / "new", vision_tower=tower)
    assert [path.name for path in (tmp_path / "new").iterdir()] == [".job"]
    (kept, _) = sorted((tmp_path / "new/.job/out").glob("model-*"))
    first = kept.stat().st_mtime_ns
    import_model(folder, tmp_path / "new", vision_tower=tower)
    assert (tmp_path / "new" / kept.name).stat().st_mtime_ns == first
    want, got = (checkpoint.load(path)[0].state_dict() for path in (imported["llava-1.5"], tmp_path / "new"))
    assert got.keys() == want.keys()
    assert all(torch.equal(got[name], want[name]) for name in want)


def test_all_weights_get_the_type_of_the_embedding(sources, imported, tmp_path):
    """The tower's and the projector's are float32 here, the language model's float16."""
    folder, _, tower = sources["llava-1.5"]
    half = shutil.copytree(folder, tmp_path / "half")
    for path in half.glob("*.bin"):
        weights = torch.load(path, weights_only=True)
        torch.save({name: w if "mm_" in name else w.half() for name, w in weights.items()}, path)
    import_model(half, tmp_path / "new", vision_tower=tower)
    want, got = (checkpoint.load(path)[0].state_dict() for path in (imported["llava-1.5"], tmp_path / "new"))
    rows = words(folder).GetPieceSize()  # the mean of the others follows, of other numbers
    assert all(torch.equal(got[name][:rows], want[name][:rows].half()) for name in want)


BIOMEDCLIP = {"mm_vision_tower": "microsoft/BiomedCLIP-PubMedBERT_256-vit_tiny_patch16_32"}


def with_biomedclip(source, folder, **changes):
    """LLaVA-Med v1.0 tuned with BiomedCLIP, which its folder names."""
    shutil.copytree(source, folder)
    config = json.loads((folder / "config.json").read_text())
    (folder / "config.json").write_text(json.dumps(config | BIOMEDCLIP | changes))
    return folder


@pytest.mark.parametrize("layer", [-3, -2, -1])
def test_a_model_tuned_with_biomedclip(layer, sources, tmp_path):
    """Its features are what timm gives LLaVA-Med: of the last three blocks, patches alone, before the closing norm."""
    folder, weights, _ = sources["llava-med-v1.0"]
    said = {"mm_vision_select_layer": layer}
    tower = open_clip(tmp_path / "tower")
    source = with_biomedclip(folder, tmp_path / "tuned", **said)
    import_model(source, tmp_path / "new", vision_tower=tmp_path / "tower")
    assert rehash(tmp_path / "new") == []
    model, processor = checkpoint.load(tmp_path / "new")
    assert processor.image_processor.image_mean[0] == 0.48145466  # CLIP's, though the tower's folder has another
    before, after = prompt_ids("llava-med-v1.0", folder)
    given = []
    for seed in (0, 1):
        inputs = processor(images=picture(seed), text=decode.prompt(processor, old.QUESTION), return_tensors="pt")
        assert inputs["input_ids"][0].tolist() == [*before, *[processor.image_token_id] * 4, *after]
        with torch.inference_mode():
            got = model(**inputs).logits[0]
            states = [state[0] for state in timm_states(tower, inputs["pixel_values"])]
            want = old.logits(weights, old.LAYOUTS["llava-med-v1.0"] | said, None, before, after, states=states)
        assert (got[:, : want.shape[1]] - want).abs().max() < 1e-4
        given.append(got)
    assert (given[0] - given[1])[-1].abs().max() > 1e-2


@pytest.mark.parametrize(
    ("edit", "message"),
    [
        (lambda w, key: w.pop(key), r"missing: {key}:"),
        (lambda w, key: w.update({f"{key}.x": w.pop(key)}), r"missing: {key}; left over: {key}\.x:"),
        (lambda w, key: w.update({key: torch.cat([w[key], w[key][:1]])}), r"of another shape: {key} \(\["),
    ],
)
@pytest.mark.parametrize("name", ["blocks.1.attn.qkv.weight", "blocks.2.mlp.fc2.bias", "pos_embed", "norm.weight"])
def test_a_tensor_of_biomedclip_dropped_renamed_or_reshaped_is_named(name, edit, message, sources, tmp_path):
    open_clip(tmp_path / "tower")
    source = with_biomedclip(sources["llava-med-v1.0"][0], tmp_path / "tuned")
    path, key = tmp_path / "tower/open_clip_pytorch_model.bin", f"visual.trunk.{name}"
    weights = torch.load(path, weights_only=True)
    edit(weights, key)
    torch.save(weights, path)
    with pytest.raises(InputError, match=message.format(key=key.replace(".", r"\."))):
        import_model(source, tmp_path / "new", vision_tower=tmp_path / "tower")
    assert not (tmp_path / "new").exists()


@pytest.mark.parametrize(
    ("change", "message"),
    [
        ({"mm_vision_tower": "microsoft/BiomedCLIP-PubMedBERT_256-vit_base_patch16_224"}, "pictures of 32 pixels, not"),
        ({"mm_hidden_size": 768}, "features 128 wide, not 768"),
        ({"mm_vision_select_layer": -4}, "mm_vision_select_layer -4"),
    ],
)
def test_another_biomedclip_is_refused(change, message, sources, tmp_path):
    open_clip(tmp_path / "tower")
    source = with_biomedclip(sources["llava-med-v1.0"][0], tmp_path / "tuned", **change)
    with pytest.raises(InputError, match=message):
        import_model(source, tmp_path / "new", vision_tower=tmp_path / "tower")


def test_biomedclip_and_clip_are_not_taken_for_each_other(sources, tmp_path):
    folder, _, clip = sources["llava-med-v1.0"]
    open_clip(tmp_path / "tower")
    with pytest.raises(InputError, match="is no CLIP vision tower"):
        import_model(folder, tmp_path / "new", vision_tower=tmp_path / "tower")
    with pytest.raises(InputError, match=r"open_clip_config\.json cannot be read"):
        import_model(with_biomedclip(folder, tmp_path / "tuned"), tmp_path / "new", vision_tower=clip)
