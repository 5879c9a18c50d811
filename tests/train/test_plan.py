"""A plan beside what training does, and a plan of a model that is not there."""

import json
import shutil

import pytest
from small_talk import picture, publish, row, turns
from typer.testing import CliRunner

from llavamed import artifact
from llavamed.cli import app
from llavamed.errors import InputError
from llavamed.train import footprint, parts
from llavamed.train.plan import measure, plan, row_bytes
from llavamed.train.stage import Stage


def stage(name="instruct", **settings) -> Stage:
    return Stage(name=name, **{"learning_rate": 1e-3, "batch_size": 4, "precision": "fp32", **settings})


@pytest.fixture(scope="module")
def questions(tmp_path_factory):
    """Twelve questions about three pictures, and one that is too long."""
    rows = [row(n, pair_id=f"p{n % 3}", image=picture(n % 3)) for n in range(12)]
    rows.insert(5, row(12, conversations=turns("<image>\n" + "what? " * 400, "CT")))
    return publish(tmp_path_factory.mktemp("questions") / "data", rows)


@pytest.fixture(scope="module")
def big(tmp_path_factory):
    """A configuration with the shapes of LLaVA's 7B, and nothing else."""
    from transformers import CLIPVisionConfig, LlamaConfig, LlavaConfig

    vision = CLIPVisionConfig(
        hidden_size=1024, intermediate_size=4096, num_hidden_layers=24, num_attention_heads=16, patch_size=14
    )
    folder = tmp_path_factory.mktemp("big") / "7b"
    LlavaConfig(vision_config=vision, text_config=LlamaConfig(), image_seq_length=256).save_pretrained(folder)
    assert [path.name for path in folder.iterdir()] == ["config.json"]
    return folder


@pytest.mark.parametrize("language", ["full", "lora"])
def test_it_counts_what_training_does(tiny, questions, tmp_path, language):
    from llavamed.train.loop import train

    settings = stage(language=language, max_length=400)
    planned, done = plan(tiny, questions, settings), train(tiny, questions, tmp_path / "model", settings)
    training = artifact.read_manifest(tmp_path / "model")["training"]
    data = planned["data"]
    assert planned["model"]["trained"] == training["parameters_trained"]
    assert (data["steps"], data["tokens"], data["alone"]) == (
        done["steps"],
        done["tokens"],
        training["conversation_tokens"],
    )
    assert (data["conversations"], data["excluded"], data["sampled"]) == (12, 1, 13)


@pytest.mark.parametrize("how", ["full", "lora"])
def test_activations_are_what_autograd_keeps(tiny, questions, loaded, how):
    """The same row on real weights: storages that autograd saved for the backward pass of the language model."""
    import torch

    from llavamed.model import checkpoint
    from llavamed.train import attention
    from llavamed.train.loop import row_loss

    settings = stage(language=how)
    config = footprint.configuration(tiny)
    work = measure(tiny, questions, settings, config)
    planned = row_bytes(config, settings, work.largest, torch.float32)
    net = checkpoint.load(tiny)[0]
    parts.choose(net, settings)
    attention.use(net.model.language_model)
    own = {weight.untyped_storage().data_ptr() for weight in net.parameters()}
    kept: dict[int, int] = {}

    def keep(tensor):
        storage = tensor.untyped_storage()
        if storage.data_ptr() not in own:
            kept[storage.data_ptr()] = storage.nbytes()
        return tensor

    size = []
    net.model.language_model.register_forward_hook(lambda *_: size.append(sum(kept.values())))
    with torch.autograd.graph.saved_tensors_hooks(keep, lambda tensor: tensor):
        row_loss(net, work.largest, torch.rand(len(work.largest.examples), 8, 64))
    assert planned.activations == pytest.approx(size[0], rel=0.1)


def test_memory_follows_the_settings(tiny, questions):
    full = plan(tiny, questions, stage())["memory"]
    assert full["total"] == sum(count for part, count in full.items() if part != "total")
    assert full["moments"] == 2 * full["gradients"]
    less = {
        "checkpointing": {"checkpointing": True},
        "smaller rows": {"row_tokens": 100},
        "bf16": {"precision": "bf16"},
    }
    assert plan(tiny, questions, stage(precision="bf16"))["memory"]["masters"] == full["gradients"]
    for what, settings in less.items():
        assert plan(tiny, questions, stage(**settings))["memory"]["activations"] < 0.8 * full["activations"], what
    lora = plan(tiny, questions, stage(language="lora"))["memory"]
    assert lora["moments"] < 0.5 * full["moments"]
    seen = plan(tiny, questions, stage(vision={"train": "full", "layers": 1}))["memory"]
    assert "features" not in seen
    assert seen["activations"] > full["activations"]


def test_a_model_of_which_there_is_only_the_configuration(big, questions):
    planned = plan(big, questions, stage(precision="bf16", batch_size=128))
    sizes, devices = planned["model"], {one["device"]: one for one in planned["devices"]}
    assert sizes["parameters"] == pytest.approx(7.06e9, rel=0.01)
    assert planned["memory"]["moments"] == 8 * sizes["trained"] > 50e9
    assert planned["data"]["counted_by"] == "as 4 characters each"
    assert [devices[name]["count"] for name in ("A100 40 GB", "A100 80 GB", "H100", "H200")] == [8, 2, 2, 1]
    for one in planned["devices"][1:]:
        assert one["bytes"] < 0.92 * one["memory"]
    align = plan(big, questions, stage("align", precision="bf16", batch_size=128))
    assert {one["count"] for one in align["devices"][1:]} == {1}
    assert align["flops"] < 0.75 * planned["flops"]
    assert planned["flops"] == pytest.approx(6 * 6.6e9 * planned["data"]["tokens"], rel=0.1)


def test_nothing_of_the_weights_is_read(tiny, questions, tmp_path):
    shutil.copytree(tiny, tmp_path / "model")
    (tmp_path / "model" / "model.safetensors").unlink()
    (tmp_path / "model" / "manifest.json").unlink()
    assert plan(tmp_path / "model", questions, stage())["memory"] == plan(tiny, questions, stage())["memory"]


def test_what_is_not_there_is_named(tiny, questions, talk, tmp_path):
    (tmp_path / "other").mkdir()
    (tmp_path / "other" / "config.json").write_text('{"model_type": "llama"}')
    useless = publish(tmp_path / "useless", [row(0, conversations=turns("<image>\nWhat?"))])
    for model, data, message in (
        (tmp_path / "nowhere", talk, "nowhere does not exist"),
        (tmp_path / "other", talk, "type llama"),
        (tmp_path, talk, r"config\.json cannot be read"),
        (tiny, tmp_path / "nothing", "nothing does not exist"),
        (tiny, useless, "none of the first 1 conversations"),
    ):
        with pytest.raises(InputError, match=message):
            plan(model, data, stage())


def test_it_is_printed(tiny, questions):
    from pathlib import Path

    recipe = Path(__file__).parents[2] / "recipes" / "tiny.yaml"
    call = ["train", str(recipe), "--stage", "align", "--model", str(tiny), "--data", str(questions), "--plan"]
    said = CliRunner().invoke(app, call)
    assert said.exit_code == 0
    assert all(word in said.stdout for word in ("moments", "H200", "this CPU", "Assumed, not measured"))
    assert max(map(len, said.stdout.splitlines())) <= 80
    found = json.loads(CliRunner().invoke(app, [*call, "--json"]).stdout)
    assert found["memory"]["total"] > found["memory"]["libraries"]
    assert "under 1 s" in said.stdout


def test_short_times_are_told_in_short_units():
    from llavamed.cli.plan import _time

    hours = (3.6e-8, 1 / 3600, 0.01, 0.5, 1, 1234.56)
    assert [_time(each) for each in hours] == ["under 1 s", "1 s", "36 s", "30 min", "1.0 h", "1,234.6 h"]
