"""The state of a training run that was killed, as a distributed checkpoint: each rank writes and reads its shards, and
another number of ranks can go on.

PyTorch's `.metadata` in it is a pickle: it stays in a job's own folder, is removed with it, and is never exchanged.
"""

import json
import shutil
import warnings
from pathlib import Path
from typing import Any, NoReturn

from llavamed.errors import InputError
from llavamed.storage import sha256_file, write_json
from llavamed.train import parallel

MOMENTS = ("exp_avg", "exp_avg_sq")


def save(folder: Path, masters: dict[str, Any], optimizer: Any, log: list[dict[str, Any]], seconds: float) -> None:
    """Write the state after `len(log)` steps; every rank calls it. It counts once `state.json`, written last, names it.

    masters: float32 weights by name, sharded or not.
    """
    tensors = {name: weight.detach() for name, weight in masters.items()}
    for moment in MOMENTS:
        tensors |= {f"{moment}:{name}": optimizer.state[weight][moment] for name, weight in masters.items()}
    name = str(len(log))
    _checkpoint("save", tensors, folder / name)
    if parallel.first():
        write_json(folder / "state.json", {"folder": name, "log": log, "seconds": seconds, "job": _job(folder)})
        _keep(folder, name)


def restore(folder: Path, masters: dict[str, Any], optimizer: Any) -> tuple[list[dict[str, Any]], float]:
    """Put a saved state, if there is one, into `masters` and `optimizer`: the log so far and the seconds spent.

    Raises:
        InputError: on every rank: the state is of another run or model, or damaged.
    """
    import torch
    from torch.distributed.checkpoint.api import CheckpointException

    if not (folder / "state.json").exists():
        if parallel.first():
            _keep(folder, "")
        return [], 0.0
    try:
        state = json.loads((folder / "state.json").read_text())
    except ValueError:
        state = {}
    if state.get("job") != _job(folder):
        _refuse(folder, "it is of another run, or damaged")
    if parallel.first():
        _keep(folder, state["folder"])
    tensors = {name: weight.detach() for name, weight in masters.items()}
    for moment in MOMENTS:
        tensors |= {f"{moment}:{name}": torch.zeros_like(weight.detach()) for name, weight in masters.items()}
    try:
        _checkpoint("load", tensors, folder / state["folder"])
    except CheckpointException as error:  # no Exception, so that no one takes it for their own
        first = next(iter(error.failures.values()))[0]
        _refuse(folder, " ".join(f"{type(first).__name__} {first}".split()))
    for name, weight in masters.items():
        step = torch.tensor(float(len(state["log"])), device=weight.device)
        optimizer.state[weight] = {"step": step} | {moment: tensors[f"{moment}:{name}"] for moment in MOMENTS}
    return state["log"], state["seconds"]


def _job(folder: Path) -> str:
    """What the run is known by, whose state stands in `folder`."""
    description = folder.with_name("job.json")
    return sha256_file(description) if description.exists() else ""


def _refuse(folder: Path, why: str) -> NoReturn:
    parallel.stop(InputError(f"{folder} cannot be gone on with ({why}): remove it, and the training starts anew"))


def _checkpoint(verb: str, tensors: dict[str, Any], folder: Path) -> None:
    import torch.distributed.checkpoint as dcp

    with warnings.catch_warnings():
        warnings.simplefilter("ignore", UserWarning)  # that it is done without other processes
        getattr(dcp, verb)(tensors, checkpoint_id=folder, no_dist=parallel.world() == 1)


def _keep(folder: Path, name: str) -> None:
    """Remove what older states, or one that was killed while it was written, left."""
    for old in folder.glob("*/"):
        if old.name != name:
            shutil.rmtree(old)
