"""A new projector starts fitted to its features, once."""

import pytest

from llavamed.train.loop import train
from llavamed.train.projector import fit
from llavamed.train.stage import Stage

STILL = 1e-12  # a learning rate that moves nothing


def test_pictures_differ_after_it_and_are_as_large_as_words():
    import torch

    torch.manual_seed(0)
    projector = torch.nn.ModuleDict({"linear_1": torch.nn.Linear(32, 24), "linear_2": torch.nn.Linear(24, 24)})
    constant = torch.randn(32)
    constant[3] = 100  # as a vision tower's outlying feature is
    features = [constant + 0.05 * torch.randn(1, 32) + 0.01 * torch.randn(9, 32) for _ in range(40)]

    def project():
        hidden = torch.nn.functional.gelu(projector["linear_1"](torch.stack(features)))
        return projector["linear_2"](hidden).detach().flatten(0, 1)

    apart = project().std(0).mean() / project().square().mean().sqrt()
    fit(dict(projector.named_parameters()), features, 0.13)
    assert project().mean(0).abs().max() < 1e-4
    assert project().std(0).tolist() == pytest.approx([0.13] * 24, rel=1e-3)
    assert apart < 0.1  # before: nearly the same for every picture


def test_only_a_new_projector_is_fitted(tiny, talk, tmp_path):
    from safetensors.torch import load_file

    name = "multi_modal_projector.linear_1.weight"
    folders = [tiny, tmp_path / "first", tmp_path / "second"]
    for stage, source, target in zip(("align", "instruct"), folders, folders[1:], strict=False):
        train(source, talk, target, Stage(name=stage, learning_rate=STILL, precision="fp32"))
    new, first, second = (load_file(folder / "model.safetensors")[name] for folder in folders)
    assert not first.equal(new)
    assert (second - first).abs().max() < 1e-6
