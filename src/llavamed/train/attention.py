"""What a token of a row sees: its figure's prefix and its own branch, up to itself (see packing)."""

from collections.abc import Sequence
from typing import Any

NAME = "shared_prefix"
Shape = Sequence[tuple[int, tuple[int, ...]]]  # for each figure, lengths of its prefix and of its branches


def use(language_model: Any) -> None:
    """Have `language_model` read rows; its forward then needs `layout=`, of `layout`."""
    from transformers import AttentionInterface

    AttentionInterface.register(NAME, _attend)
    language_model.config._attn_implementation = NAME


def layout(shape: Shape, like: Any) -> Any:
    """Who sees whom, on the device and in the type of `like`: for flex_attention a BlockMask, else blocks for sdpa."""
    return block_mask(shape, like.device) if like.is_cuda else _blocks(shape, like)


def block_mask(shape: Shape, device: Any) -> Any:
    """The mask for flex_attention (Dong et al. 2024), for as many tokens as `shape` has."""
    import torch
    from torch.nn.attention.flex_attention import create_block_mask

    from llavamed.model.device import send

    lengths = [length for prefix, branches in shape for length in (prefix, *branches)]
    figures = [n for n, (_, branches) in enumerate(shape) for _ in (0, *branches)]
    numbers = [n for _, branches in shape for n in range(len(branches) + 1)]
    spans = torch.tensor(lengths)
    figure, branch = (send(torch.tensor(x).repeat_interleave(spans), device) for x in (figures, numbers))

    def sees(_batch: Any, _head: Any, query: Any, key: Any) -> Any:
        own = (branch[key] == 0) | (branch[key] == branch[query])
        return (figure[query] == figure[key]) & own & (key <= query)

    return create_block_mask(sees, None, None, len(figure), len(figure), device=device)


def _blocks(shape: Shape, like: Any) -> list[tuple[int, int, Any]]:
    """Of each figure: tokens of its prefix, of its branches, and what those see, to be added [branches, prefix +
    branches]: 0 or -inf. A single branch goes on from the prefix as any text does: it is part of it here, no mask."""
    import torch

    blocks: list[tuple[int, int, Any]] = []
    for prefix, branches in shape:
        if len(branches) == 1:
            blocks.append((prefix + branches[0], 0, None))
            continue
        own = torch.block_diag(*(torch.ones(n, n, dtype=torch.bool).tril() for n in branches))
        seen = torch.cat([torch.ones(sum(branches), prefix, dtype=torch.bool), own.bool()], 1)
        mask = torch.zeros(seen.shape, dtype=like.dtype).masked_fill_(~seen, -torch.inf).to(like.device)
        blocks.append((prefix, sum(branches), mask))
    return blocks


def _attend(module: Any, query: Any, key: Any, value: Any, _mask: Any, scaling: float, layout: Any, **_: Any) -> Any:
    """query [1, heads, tokens, width], key and value [1, key heads, tokens, width] -> [1, tokens, heads, width]."""
    if isinstance(layout, list):
        out = _attend_blocks(query, key, value, scaling, layout)
    else:
        # Of under 128 tokens it would take its kernel for decoding, which fails where heads share keys.
        how = {"enable_gqa": module.num_key_value_groups > 1, "kernel_options": {"FORCE_USE_FLEX_ATTENTION": True}}
        out = _flex()(query, key, value, block_mask=layout, scale=scaling, **how)
    return out.transpose(1, 2).contiguous(), None


def _attend_blocks(query: Any, key: Any, value: Any, scaling: float, blocks: list[tuple[int, int, Any]]) -> Any:
    """Figure by figure, so that nothing is computed between figures: the prefix causally, then the branches."""
    import torch
    from torch.nn.functional import scaled_dot_product_attention as attend

    how = {"scale": scaling, "enable_gqa": query.shape[1] != key.shape[1]}
    # Split, not sliced: the gradient of each slice would be as large as the row.
    sizes = [prefix + branches for prefix, branches, _ in blocks]
    figures = zip(*(part.split(sizes, 2) for part in (query, key, value)), strict=True)
    seen = []
    for (prefix, branches, mask), (q, k, v) in zip(blocks, figures, strict=True):
        first, rest = q.split([prefix, branches], 2)
        seen.append(attend(first, k[:, :, :prefix], v[:, :, :prefix], is_causal=True, **how))
        if branches:
            seen.append(attend(rest, k, v, attn_mask=mask, **how))
    return torch.cat(seen, 2)


_compiled: list[Any] = []


def _flex() -> Any:
    """flex_attention, compiled, by itself or with its layer: uncompiled it would hold all scores at once."""
    import torch
    from torch.nn.attention.flex_attention import flex_attention

    if torch.compiler.is_compiling():
        return flex_attention
    if not _compiled:
        _compiled.append(torch.compile(flex_attention))
    return _compiled[0]
