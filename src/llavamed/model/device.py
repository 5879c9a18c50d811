"""Where a model runs, and whether bfloat16 is fast there."""

from typing import Any

from llavamed.errors import InputError


def pick(device: str) -> str:
    """The device that `device` (auto, cpu, cuda or mps) stands for.

    Raises:
        InputError: this machine has no such device.
    """
    import torch

    here = {"cuda": torch.cuda.is_available(), "mps": torch.backends.mps.is_available(), "cpu": True}
    if device == "auto":
        return next(name for name, present in here.items() if present)
    if not here.get(device):
        present = ", ".join(name for name, there in here.items() if there)
        raise InputError(f"device {device} is not on this machine: choose auto or one of {present}")
    return device


def fast_bf16(device: str) -> bool:
    """Whether matrix products are faster in bfloat16 than in float32: else they are merely less exact."""
    import torch

    if device == "cuda":
        return bool(torch.cuda.is_bf16_supported(including_emulation=False))
    able = torch.cpu.get_capabilities()
    return device == "cpu" and (able.get("avx512_bf16", False) or able.get("amx_bf16", False)) is True


def send(tensor: Any, device: Any) -> Any:
    """`tensor`, which is on the CPU, on `device`: a GPU is not waited for, it goes on with what it was told to do."""
    import torch

    if torch.device(device).type == "cuda":
        return tensor.pin_memory().to(device, non_blocking=True)
    return tensor.to(device)
