"""Several processes train one model: the ranks that torchrun starts, FSDP2's shards, rows dealt out over ranks.

One process is the same with a world of 1: nothing here then needs torch.
"""

import os
import platform
import sys
import zlib
from collections.abc import Callable, Iterator, Sequence
from contextlib import contextmanager, suppress
from datetime import timedelta
from functools import partial
from pathlib import Path
from typing import Any, NoReturn, TypeVar

from llavamed import artifact
from llavamed.artifact import Job
from llavamed.console import console
from llavamed.errors import InputError
from llavamed.model import towers
from llavamed.storage import Json

T = TypeVar("T")
PATIENCE = timedelta(hours=2)  # ranks wait for each other while one of them reads, or the first writes the model


def world() -> int:
    """How many processes train together (torchrun's WORLD_SIZE)."""
    return int(os.environ.get("WORLD_SIZE", "1"))


def rank() -> int:
    """Which of them this is, from 0 (torchrun's RANK)."""
    return int(os.environ.get("RANK", "0")) if world() > 1 else 0


def first() -> bool:
    """Whether this is rank 0: it alone prints, writes and publishes."""
    return rank() == 0


@contextmanager
def joined(device: str) -> Iterator[None]:
    """Within it the ranks can exchange values and shards: gloo between CPUs, NCCL between GPUs. `device`: as of `pick`.

    Raises:
        InputError: this node has fewer GPUs than processes.
    """
    if world() == 1:
        yield
        return
    import torch
    import torch.distributed as dist

    if dist.is_initialized():
        yield
        return
    console.quiet |= not first()
    gpus = 0 if device == "cpu" else torch.cuda.device_count()
    local = int(os.environ.get("LOCAL_RANK", rank()))
    dist.init_process_group("cpu:gloo,cuda:nccl" if gpus else "gloo", timeout=PATIENCE)
    if gpus:
        together(lambda: _own_gpu(local, gpus))
    yield
    dist.destroy_process_group()  # not after an error: ranks that are gone cannot take part


def _own_gpu(local: int, gpus: int) -> None:
    import torch

    if local >= gpus:
        raise InputError(f"process {local + 1} of this node has no GPU of its own: --nproc-per-node {gpus}")
    torch.cuda.set_device(local)


def together(work: Callable[[], T]) -> T:
    """What `work()` gives on this rank. An InputError on one rank ends them all, told once."""
    if world() == 1:
        return work()
    import torch.distributed as dist

    result, problem = None, ""
    try:
        result = work()
    except InputError as error:
        problem = str(error)
    problems: list[str] = [""] * world()
    dist.all_gather_object(problems, problem and (problem if first() else f"{problem} (on {platform.node()})"))
    if found := next(filter(None, problems), ""):
        stop(InputError(found))
    return result  # type: ignore[return-value]


def stop(error: Exception) -> NoReturn:
    """End all ranks because of an `error` that each of them knows: the first raises it, the others follow silently."""
    if first():
        raise error
    with suppress(RuntimeError):  # wait for the first to be gone: torchrun ends the rest when one ends, told or not
        total(0.0)
    sys.exit(2 if isinstance(error, InputError) else 1)


def open_job(folder: Path, kind: str, settings: Json, **options: Any) -> Job:
    """`artifact.start` on the first rank; the others look at what it opened.

    Raises:
        InputError: what `artifact.start` refuses; a rank does not see the folder.
    """
    seen = Job(folder, kind, settings, {}, [])
    job = together(lambda: artifact.start(folder, kind, settings, **options) if first() else seen)
    return together(lambda: job if first() else _look(job))


def _look(job: Job) -> Job:
    if not (job.work / "job.json").exists():
        if not (job.folder / "manifest.json").exists():
            raise InputError(f"{job.folder} is not seen by all machines: put it on storage that they share")
        job.manifest = artifact.read_manifest(job.folder)
    return job


def check(data: Path, lengths: Sequence[Any]) -> None:
    """Before the first step: every rank has read the same, and has something to do. `lengths`: of each example.

    Raises:
        InputError: fewer examples than ranks, or ranks that have read something else.
    """
    digest = zlib.crc32(repr(lengths).encode())
    (digests,) = total(digest)

    def look() -> None:
        if digests != world() * digest:
            raise InputError(f"{data}: the processes read it differently: install the same versions on all machines")
        if len(lengths) < world():
            raise InputError(f"{data}: {len(lengths)} conversations and {world()} processes: start fewer of them")

    together(look)


def total(*values: float) -> list[float]:
    """The sum over ranks of each value."""
    if world() == 1:
        return list(values)
    import torch
    import torch.distributed as dist

    sums = torch.tensor(values, dtype=torch.float64)  # on the CPU: small, and the same sum whatever the device
    dist.all_reduce(sums)
    return sums.tolist()  # type: ignore[no-any-return]


def deal(lengths: list[int], ranks: int) -> list[list[tuple[int, bool]]]:
    """Rows of `lengths` tokens over ranks: by rank, in order, (row, whether it counts).

    FSDP's ranks work in lockstep, so rows of about one length are computed at the same time, the longest first. Every
    rank gets as many rows: one without a row left computes the shortest again, and it counts for nothing.
    """
    order = sorted(range(len(lengths)), key=lambda row: (-lengths[row], row))
    dealt = [(row, True) for row in order]
    dealt += [(order[-1], False)] * (-len(order) % ranks)
    return [dealt[one::ranks] for one in range(ranks)]


def prepare(net: Any, trained: Json, device: str, bf16: bool) -> Json:
    """Before `shard`: the vision tower on the device, to read pictures with; a projector that can be fitted. `trained`
    as it was given."""
    import torch

    tower = net.model.vision_tower.to(device)
    frozen = not any(weight.requires_grad for weight in tower.parameters())
    for weight in tower.parameters():
        weight.data = weight.data.to(torch.bfloat16 if bf16 and frozen else torch.float32)
    net.model.multi_modal_projector.float()
    return trained


def shard(net: Any, trained: Json, device: str, bf16: bool) -> Json:
    """Spread `net`, loaded on the CPU, over the ranks' devices (FSDP2: Zhao et al. 2023, here `fully_shard`): its
    `trained` weights by name, sharded.

    Each rank keeps 1/world of every weight, float32 where it is trained, its gradient and its moments; a layer is
    gathered in the type that computes just before it is needed. A frozen vision tower is whole on every rank: it is
    small, and frozen weights have neither gradients nor moments.
    """
    import torch
    from torch.distributed.device_mesh import init_device_mesh
    from torch.distributed.fsdp import MixedPrecisionPolicy, fully_shard
    from torch.distributed.tensor import DTensor

    kind = torch.bfloat16 if bf16 else torch.float32
    policy = MixedPrecisionPolicy(param_dtype=kind, reduce_dtype=torch.float32, cast_forward_inputs=False)
    mesh = init_device_mesh(device, (world(),))
    tower, apart = net.model.vision_tower, set()
    layers = list(net.model.language_model.layers)
    if any(weight.requires_grad for weight in tower.parameters()):
        layers += list(towers.layers(tower))
    else:
        apart = set(tower.parameters())
    for unit in [*layers, net]:  # the root, last, has the rest: projector, embeddings, head
        for weight in unit.parameters():
            if weight not in apart and not isinstance(weight, DTensor):
                weight.data = weight.data.to(torch.float32 if weight.requires_grad else kind)
        fully_shard(unit, mesh=mesh, mp_policy=policy, ignored_params=apart)
    return {name: weight for name, weight in net.named_parameters() if name in trained}


def as_forward(net: Any, function: Callable[..., T]) -> Callable[..., T]:
    """`function(net, ...)` as a forward pass of `net`: FSDP gathers the root's weights before it."""
    if world() == 1:
        return partial(function, net)
    from torch.distributed.fsdp import register_fsdp_forward_method

    net.compute = partial(function, net)
    register_fsdp_forward_method(net, "compute")
    return net.compute  # type: ignore[no-any-return]


def clip(weights: list[Any], largest: float) -> float:
    """Scale the gradients of `weights` to a norm of at most `largest` over all ranks: the norm before."""
    import torch

    norm = whole(torch.nn.utils.get_total_norm([weight.grad for weight in weights if weight.grad is not None]))
    torch.nn.utils.clip_grads_with_norm_(weights, largest, norm)
    return norm.item()  # type: ignore[no-any-return]


def gather(weights: Json) -> Json:
    """Whole weights, one after another, on the first rank's CPU; none on the others."""
    found = {}
    for name, weight in weights.items():
        tensor = whole(weight.detach())
        if first():
            found[name] = tensor.cpu()
    return found


def whole(tensor: Any) -> Any:
    """A tensor gathered from its shards. Every rank calls it for the same tensors in the same order."""
    return tensor.full_tensor() if hasattr(tensor, "full_tensor") else tensor
