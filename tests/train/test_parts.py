"""Which weights a stage trains, and what becomes of adapters."""

import pytest

from llavamed.errors import InputError
from llavamed.model import checkpoint
from llavamed.train import parts
from llavamed.train.stage import Stage


def stage(name="instruct", **settings) -> Stage:
    return Stage(name=name, **{"learning_rate": 1e-3, **settings})


@pytest.fixture
def net(tiny):
    return checkpoint.load(tiny)[0]


def whose(trained) -> set[str]:
    return {parts.part_of(name) for name in trained}


@pytest.mark.parametrize(
    ("name", "expected"),
    [("align", {"projector"}), ("instruct", {"projector", "language"}), ("finetune", {"projector", "language"})],
)
def test_what_each_stage_trains_unless_told_otherwise(net, name, expected):
    trained = parts.choose(net, stage(name))
    assert whose(trained) == expected
    assert trained.keys() == {n for n, p in net.named_parameters() if parts.part_of(n) in expected}
    assert {n for n, p in net.named_parameters() if p.requires_grad} == trained.keys()


def loss(net, processor):
    import torch
    from PIL import Image

    inputs = processor(images=Image.radial_gradient("L").convert("RGB"), text="<image>\nWhat?", return_tensors="pt")
    out = net(**inputs.to(net.device, torch.float32), labels=inputs["input_ids"], use_cache=False)
    return out.loss


@pytest.mark.parametrize("how", ["full", "lora"])
def test_every_weight_that_is_trained_gets_a_gradient(net, tiny, how):
    """The tower's last layer is not read by the projector, so it is not among them."""
    trained = parts.choose(net, stage(vision=how, projector=how, language=how))
    processor = checkpoint.load(tiny)[1]
    loss(net, processor).backward()
    assert whose(trained) == {"vision", "projector", "language"}
    assert all(weight.grad is not None for weight in trained.values())
    if how == "full":
        assert all(weight.grad.abs().sum() > 0 for name, weight in trained.items())
        others = {n for n, p in net.named_parameters() if n not in trained}
        assert others == {n for n in others if ".layer.1." in n or "layernorm" in n or "mask_token" in n}


def test_only_the_last_layers(net):
    trained = parts.choose(net, stage(vision={"train": "full", "layers": 1}, language={"train": "lora", "layers": 1}))
    layers = {name.split("layer")[1][:3].strip("s.") for name in trained if parts.part_of(name) == "vision"}
    assert layers == {"0"}  # of two layers, the first is the last that the projector reads
    assert all(".layers.1." in name for name in trained if parts.part_of(name) == "language")
    with pytest.raises(InputError, match=r"vision\.layers: 2: there are 1"):
        parts.choose(net, stage(vision={"train": "full", "layers": 2}))


def test_rates_and_decay_of_each_part(net):
    settings = stage(
        vision={"train": "full", "learning_rate": 1e-6},
        language={"train": "full", "weight_decay": 0.0},
        weight_decay=0.1,
    )
    trained = parts.choose(net, settings)
    groups = parts.groups(trained, settings)
    found = {id(p): (g["peak"], g["weight_decay"]) for g in groups for p in g["params"]}
    assert sum(len(g["params"]) for g in groups) == len(found) == len(trained)
    for name, weight in trained.items():
        part, matrix = parts.part_of(name), weight.ndim > 1
        rate = 1e-6 if part == "vision" else 1e-3
        assert found[id(weight)] == (rate, 0.1 if matrix and part != "language" else 0.0)


def test_an_adapter_begins_as_nothing_and_follows_the_seed(net, tiny):
    import torch

    processor = checkpoint.load(tiny)[1]
    with torch.no_grad():
        before = loss(net, processor)
        trained = parts.choose(net, stage(language="lora", vision="lora"))
        assert loss(net, processor) == before
    again = parts.choose(checkpoint.load(tiny)[0], stage(language="lora", vision="lora"))
    other = parts.choose(checkpoint.load(tiny)[0], stage(language="lora", vision="lora", seed=1))
    assert all(trained[name].equal(again[name]) for name in trained)
    assert not all(trained[name].equal(other[name]) for name in trained)


def test_merged_weights_are_those_of_peft_and_say_the_same(net, tiny):
    import torch
    from peft.tuners.lora import LoraLayer

    processor = checkpoint.load(tiny)[1]
    settings = stage(
        vision={"train": "lora", "rank": 3, "alpha": 5}, projector={"train": "lora", "rank": 2}, language="lora"
    )
    trained = parts.choose(net, settings)
    torch.manual_seed(0)
    with torch.no_grad():
        for weight in trained.values():
            weight.add_(torch.randn_like(weight) * 0.1)
    result = checkpoint.load(tiny)[0]
    parts.write(trained, result, settings)
    plain = dict(result.named_parameters())
    adapted = {name: layer for name, layer in net.named_modules() if isinstance(layer, LoraLayer)}
    assert len(adapted) == 6 + 2 + 14
    for name, layer in adapted.items():
        layer.merge(safe_merge=True)
        torch.testing.assert_close(plain[f"{name}.weight"], layer.get_base_layer().weight, rtol=0, atol=1e-6)
    with torch.no_grad():
        assert loss(result, processor).item() == pytest.approx(loss(net, processor).item(), abs=1e-5)
        assert loss(result, processor).item() != pytest.approx(
            loss(checkpoint.load(tiny)[0], processor).item(), abs=1e-3
        )


def test_targets_are_those_named(net):
    trained = parts.choose(net, stage(language={"train": "lora", "targets": ["q_proj", "v_proj"]}))
    adapted = {name.split(".")[5] for name in trained if parts.part_of(name) == "language"}
    assert adapted == {"q_proj", "v_proj"}


def test_a_target_that_is_not_there_is_named(net):
    with pytest.raises(InputError, match=r"language\.targets: query is no linear layer .*q_proj"):
        parts.choose(net, stage(language={"train": "lora", "targets": ["query"]}))


def test_a_projector_of_one_layer_stays_one(net):
    """transformers keeps it as two, the second the identity."""
    net.config.projector_hidden_act = "linear"
    assert set(parts.choose(net, stage("align"))) == {
        f"model.multi_modal_projector.linear_1.{name}" for name in ("weight", "bias")
    }


def test_words():
    said = parts.describe(stage(vision={"train": "full", "layers": 2}, language="lora"))
    assert said == "vision tower (the last 2 layers), projector and language model (LoRA of rank 16)"
    assert parts.describe(stage("align")) == "projector"


def test_settings_survive_json():
    settings = stage(vision="lora", language={"train": "full", "learning_rate": 1e-5})
    assert Stage.model_validate_json(settings.model_dump_json()) == settings
