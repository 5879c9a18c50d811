"""Memory of a step before there is one: the loop's own code runs on tensors without contents (PyTorch's fake tensors),
and what they would take is counted."""

import json
import weakref
from collections.abc import Callable
from pathlib import Path
from typing import Any, NamedTuple

from llavamed.errors import InputError
from llavamed.manifest import refuse_other

LARGE = 32 * 2**20  # bytes: what is smaller, the C library keeps for the next of its like when it is freed (mallopt(3))


class Peak(NamedTuple):
    """Bytes that a row takes beside weights and their gradients: what is kept for the backward pass when the language
    model has read it, and what comes on top at most: logits, and what the backward pass is working on."""

    activations: int
    more: int


def configuration(folder: Path) -> Any:
    """The configuration of the LLaVA model in `folder`.

    Raises:
        InputError: there is none.
    """
    path = folder / "config.json"
    if not folder.is_dir():
        raise InputError(f"{folder} does not exist: name the folder of a model")
    refuse_other(folder, "model")
    try:
        kind = json.loads(path.read_text(encoding="utf-8")).get("model_type")
    except (OSError, ValueError, AttributeError) as error:
        raise InputError(f"{path} cannot be read ({error}): name the folder of a model") from None
    if kind != "llava":
        raise InputError(f"{path} is of a model of type {kind}: name the folder of a LLaVA model")
    from transformers import LlavaConfig

    return LlavaConfig.from_pretrained(folder, local_files_only=True)


def without_weights(config: Any) -> Any:
    """A model with shapes and no weights, on PyTorch's meta device."""
    import torch
    from transformers import LlavaForConditionalGeneration

    with torch.device("meta"):
        return LlavaForConditionalGeneration(config).eval()


def peak(net: Any, dtype: Any, work: Callable[[Any], Any]) -> Peak:
    """What `work(net)`, a loss, and its gradients take in `dtype`. `net`: on the meta device; its weights become fake.

    Counted is every tensor that PyTorch makes, from its making until nothing refers to it; what a kernel needs inside
    is not. The peaks of small and of large tensors add up: memory of the small is not given back.
    """
    import torch
    from torch._subclasses.fake_tensor import FakeTensorMode

    net.to(dtype)
    with FakeTensorMode(allow_non_fake_inputs=True):
        net.to_empty(device="cpu")
        net.tie_weights()
        for weight in net.parameters():
            if weight.requires_grad and dtype == torch.float32:  # there already, and added to
                weight.grad = torch.empty_like(weight)
            elif weight.requires_grad:  # added to one in float32, and gone
                weight.register_post_accumulate_grad_hook(lambda weight: setattr(weight, "grad", None))
        count = _counter(net)
        kept: list[int] = []
        hook = net.model.language_model.register_forward_hook(lambda *_: kept.append(sum(count.now)))
        with count:
            loss = work(net)
            loss.backward()
            del loss
        hook.remove()
    return Peak(kept[0], sum(count.peak) - kept[0])


def _counter(net: Any) -> Any:
    """Counts the bytes of storages while it is entered; those of `net` are not counted."""
    import torch
    from torch.utils._python_dispatch import TorchDispatchMode
    from torch.utils._pytree import tree_leaves

    class Counter(TorchDispatchMode):  # type: ignore[misc]
        def __init__(self) -> None:
            super().__init__()
            self.now, self.peak = [0, 0], [0, 0]  # of small and of large storages
            gradients = (weight.grad for weight in net.parameters() if weight.grad is not None)
            known = (*net.parameters(), *net.buffers(), *gradients)
            self.sizes = {tensor.untyped_storage()._cdata: 0 for tensor in known}

        def __torch_dispatch__(self, function: Any, _types: Any, args: Any = (), kwargs: Any = None) -> Any:
            made = function(*args, **(kwargs or {}))
            for tensor in tree_leaves(made):
                if isinstance(tensor, torch.Tensor):
                    self.add(tensor.untyped_storage())
            return made

        def add(self, storage: Any) -> None:
            if (key := storage._cdata) not in self.sizes:
                size = self.sizes[key] = storage.nbytes()
                self.now[size >= LARGE] += size
                self.peak[size >= LARGE] = max(self.peak[size >= LARGE], self.now[size >= LARGE])
                weakref.finalize(storage, self.remove, key)

        def remove(self, key: int) -> None:
            size = self.sizes.pop(key, 0)
            self.now[size >= LARGE] -= size

    return Counter()
