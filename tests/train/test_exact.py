"""Packed training is the same training: loss and gradients are those of each conversation by itself."""

import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st
from small_talk import picture, row, turns

from llavamed.model import checkpoint
from llavamed.train import attention, packing
from llavamed.train.data import Examples
from llavamed.train.loop import compile_each, recompute, row_loss
from llavamed.train.pictures import Features, Pictures
from llavamed.train.tokens import encode, opened, pixels

words = st.lists(st.sampled_from(["a", "CT", "scan", "shows", "no", "mass,", "yes", "42?"]), min_size=1, max_size=12)
turn = words.map(" ".join)
talks = st.lists(st.lists(turn, min_size=2, max_size=4).filter(lambda said: len(said) % 2 == 0), min_size=1, max_size=4)
trees = st.lists(talks, min_size=1, max_size=4)  # pictures, their conversations, the turns of each
shapes = st.lists(st.tuples(st.integers(1, 9), st.lists(st.integers(1, 7), min_size=1, max_size=4)), min_size=1)


@pytest.fixture(scope="module")
def nets(tiny):
    """The same weights twice: one reads rows, the other is transformers' own."""
    packed, processor = checkpoint.load(tiny)
    attention.use(packed.model.language_model)
    alone, _ = checkpoint.load(tiny)
    return packed, alone, processor


def examples_of(tree, processor, pictures):
    found = Examples(pictures)
    for n, talk in enumerate(tree):
        image = picture(n)
        pictures.add(str(n), image["bytes"], opened(image))
        for said in talk:
            made = row(0, conversations=turns(f"<image>\n{said[0]}", *said[1:]))
            found.examples.append(encode(made, processor, 8, 4096))
            found.keys.append(str(n))
    pictures.close()
    return found


def packed_loss(net, found, row_tokens):
    """The loss of all examples as one step, its gradients left in `net`."""
    (step,) = packing.steps(found.prefixes(), len(found.examples), 1, 0)
    made = packing.rows(step, found.lengths(), row_tokens)
    labelled = sum(lengths.labelled for lengths in found.lengths())
    loss = 0.0
    for line, seen in found.feed(made):
        part = row_loss(net, line, seen) / labelled
        part.backward()
        loss += part.item()
    return loss


def loss_alone(net, processor, tree, found):
    """The same by transformers' forward: each conversation by itself, its picture through the vision tower."""
    import torch

    labelled = sum(lengths.labelled for lengths in found.lengths())
    loss, images = 0.0, [pixels(opened(picture(n)), processor)[None] for n in range(len(tree))]
    for example, key in zip(found.examples, found.keys, strict=True):
        logits = net(
            input_ids=torch.tensor([list(example.ids)]), pixel_values=images[int(key)], use_cache=False
        ).logits[0]
        part = torch.nn.functional.cross_entropy(
            logits[:-1], torch.tensor(list(example.labels))[1:], reduction="sum", ignore_index=-100
        )
        (part / labelled).backward()
        loss += part.item() / labelled
    return loss


def compare(nets, tree, row_tokens, store, parts, keep=Features):
    packed, alone, processor = nets
    for net in (packed, alone):
        net.requires_grad_(False)
        net.zero_grad()
        for name, weight in net.named_parameters():
            weight.requires_grad_(any(part in name for part in parts))
    found = examples_of(tree, processor, keep(store, packed, processor))
    ours, theirs = packed_loss(packed, found, row_tokens), loss_alone(alone, processor, tree, found)
    assert ours == pytest.approx(theirs, abs=1e-5)
    others = dict(alone.named_parameters())
    compared = 0
    for name, weight in packed.named_parameters():
        if others[name].grad is not None:
            largest = others[name].grad.abs().max()
            assert (weight.grad.cpu() - others[name].grad).abs().max() <= 1e-4 * largest + 1e-9, name
            compared += bool(largest > 0)
    assert compared > 2


LANGUAGE = ("multi_modal_projector", "language_model", "lm_head")
quickly = settings(max_examples=25, deadline=None, suppress_health_check=[HealthCheck.function_scoped_fixture])


@quickly
@given(trees, st.sampled_from([40, 90, 4096]))
def test_loss_and_gradients_are_those_of_each_alone(nets, tmp_path, tree, row_tokens):
    compare(nets, tree, row_tokens, tmp_path / "store", LANGUAGE)


@settings(quickly, max_examples=5)
@given(trees)
def test_a_vision_tower_that_trains_gets_its_gradients_too(nets, tmp_path, tree):
    compare(nets, tree, 4096, tmp_path / "store", ("vision_tower", *LANGUAGE), Pictures)


def test_decoded_ahead_or_kept_as_features_a_picture_is_the_same(nets, tmp_path):
    packed, _, processor = nets
    import torch

    tree = [[["what", "no"]] for _ in range(40)]
    kept = examples_of(tree, processor, Features(tmp_path / "a", packed, processor))
    decoded = examples_of(tree, processor, Pictures(tmp_path / "b", packed, processor))
    made = packing.rows([(n,) for n in range(40)], kept.lengths(), 100)
    for (one, features), (other, seen) in zip(kept.feed(made), decoded.feed(made), strict=True):
        assert one == other
        assert seen.equal(torch.stack([pixels(opened(picture(i)), processor) for i in one.examples]))
        assert features.shape == (len(one.examples), 8, features.shape[2])
    for one, other in zip(kept.pictures.sample(40), decoded.pictures.sample(40), strict=True):
        assert (one - other).abs().max() < 1e-5


@given(
    st.lists(st.tuples(st.integers(1, 9), st.lists(st.integers(1, 7), min_size=1, max_size=4)), min_size=1, max_size=4)
)
@settings(max_examples=20, deadline=None)
def test_both_kinds_of_mask_let_a_token_see_the_same(shape):
    import torch
    from torch.nn.attention.flex_attention import create_mask

    shape = [(prefix, tuple(branches)) for prefix, branches in shape]
    total = sum(prefix + sum(branches) for prefix, branches in shape)
    flex = create_mask(attention.block_mask(shape, "cpu").mask_mod, None, None, total, total, device="cpu")[0, 0]
    blocks = torch.zeros(total, total, dtype=torch.bool)
    start = 0
    for prefix, branches, mask in attention.layout(shape, torch.zeros(1)):
        middle, end = start + prefix, start + prefix + branches
        blocks[start:middle, start:middle] = torch.ones(prefix, prefix).tril().bool()
        if branches:
            blocks[middle:end, start:end] = mask == 0
        start = end
    assert flex.equal(blocks)


def test_flex_attention_gives_what_the_blocks_give():
    import torch

    torch.manual_seed(0)
    shape = [(20, (9, 4)), (33, (12,))]
    query, key, value = (torch.randn(1, heads, 78, 16) for heads in (4, 2, 2))
    blocks = attention._attend_blocks(query, key, value, 0.25, attention.layout(shape, query))
    from torch.nn.attention.flex_attention import flex_attention

    flex = flex_attention(query, key, value, block_mask=attention.block_mask(shape, "cpu"), scale=0.25, enable_gqa=True)
    assert (blocks - flex).abs().max() < 1e-5


@pytest.fixture(scope="module", params=[False, True], ids=["flex_attention", "compiled layers"])
def nets_on_gpu(tiny, request):
    import torch

    if not torch.cuda.is_available():
        pytest.skip("no GPU: flex_attention has no backward on the CPU")
    packed, processor = checkpoint.load(tiny, dtype=torch.float32, device="cuda")
    attention.use(packed.model.language_model)
    if request.param:
        compile_each(packed.model.language_model.layers)
    alone, _ = checkpoint.load(tiny, dtype=torch.float32)
    return packed, alone, processor


@settings(quickly, max_examples=6)
@given(trees, st.sampled_from([40, 90, 4096]))
def test_loss_and_gradients_on_a_gpu(nets_on_gpu, tmp_path, tree, row_tokens):
    compare(nets_on_gpu, tree, row_tokens, tmp_path / "store", LANGUAGE)


def test_gradients_do_not_depend_on_checkpointing(tiny, tmp_path):
    net, processor = checkpoint.load(tiny)
    attention.use(net.model.language_model)
    layers, passes = net.model.language_model.layers, []
    layers[0].mlp.register_forward_pre_hook(lambda *_: passes.append(1))
    found = examples_of([[["what", "no"], ["is it", "a scan"]]], processor, Features(tmp_path / "a", net, processor))
    gradients = []
    for again in (False, True):
        net.zero_grad()
        passes.clear()
        if again:
            recompute(layers)
        packed_loss(net, found, 4096)
        assert len(passes) == 1 + again
        gradients.append([w.grad.clone() for n, w in net.named_parameters() if "language_model" in n])
    assert all(a.equal(b) for a, b in zip(*gradients, strict=True))
