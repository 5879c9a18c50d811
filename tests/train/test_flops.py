"""Model FLOPs against torch's own counter, which watches every product that is computed."""

import pytest

from llavamed.model import checkpoint
from llavamed.train import flops, parts
from llavamed.train.stage import Stage


def counted(net, ids, pixels) -> int:
    """Forward and backward, as torch counts them: each of the n x n pairs of a text, seen or not."""
    from torch.utils.flop_counter import FlopCounterMode

    with FlopCounterMode(display=False) as counter:
        loss = net(input_ids=ids, pixel_values=pixels, use_cache=False).logits.float().mean()
        if loss.requires_grad:
            loss.backward()
    return counter.get_total_flops()


STAGES = {
    "nothing": None,
    "projector": {},
    "projector and language": {"language": "full"},
    "everything": {"language": "full", "vision": "full"},
    "late layers": {"vision": {"train": "full", "layers": 1}},
    "adapters": {"language": "lora"},
}


@pytest.mark.parametrize("trained", STAGES)
def test_as_torch_counts(tiny, trained):
    import torch

    net, processor = checkpoint.load(tiny, dtype=torch.float32)
    net.set_attn_implementation("eager")  # plain products, which the counter knows on a CPU
    partly = flops.count(net, 8).picture
    net.config.vision_feature_layer = -1  # transformers computes the layers that are not read, too
    assert partly < flops.count(net, 8).picture
    if STAGES[trained] is None:
        net.requires_grad_(False)
    else:
        parts.choose(net, Stage(name="align", learning_rate=1, **STAGES[trained]))
    text, image_tokens = 40, 8
    ids = torch.randint(5, 100, (2, text))
    ids[:, :image_tokens] = processor.image_token_id
    theirs = counted(net, ids, torch.rand(2, 3, 56, 56))
    ours = flops.count(net, image_tokens).of(2 * text, 2 * text, 2 * text**2, 2)
    assert ours == pytest.approx(theirs, rel=1e-6)
    cached = flops.count(net, image_tokens, cached=True)
    assert cached.picture < flops.count(net, image_tokens).picture
    assert cached[:3] == flops.count(net, image_tokens)[:3]


def test_a_cpu_has_no_peak(monkeypatch):
    import torch

    assert flops.peak("cpu") is None
    for name, peak in {"NVIDIA H200": 989e12, "NVIDIA H100 PCIe": None}.items():
        monkeypatch.setattr(torch.cuda, "get_device_name", lambda name=name: name)
        assert flops.peak("cuda") == peak
