"""Where a model runs."""

from llavamed.errors import InputError


def device_of(name: str) -> str:
    """The device that `name` (auto, cpu, cuda, mps, cuda:1 ...) stands for; auto: the first accelerator, else the CPU.

    Raises:
        InputError: an unknown name, or this machine has no such device.
    """
    import torch

    usable = {"cuda": torch.cuda.is_available(), "mps": torch.backends.mps.is_available(), "cpu": True}
    if name == "auto":
        return next(kind for kind, there in usable.items() if there)
    if not usable.get(name.split(":")[0]):
        raise InputError(
            f"device {name!r}: not on this machine: use {', '.join(k for k, there in usable.items() if there)}"
        )
    return name
