"""The state of a training run that was killed: weights and AdamW's moments as safetensors, the rest as JSON."""

import json
from pathlib import Path
from typing import Any

from llavamed.storage import write_json


def save(folder: Path, masters: dict[str, Any], optimizer: Any, log: list[dict[str, Any]], seconds: float) -> None:
    """Write the state after `len(log)` steps. It counts once `state.json`, written last, names it."""
    from safetensors.torch import save_file

    tensors = dict(masters)
    for name, weight in masters.items():
        for moment in ("exp_avg", "exp_avg_sq"):
            tensors[f"{moment}:{name}"] = optimizer.state[weight][moment]
    folder.mkdir(exist_ok=True)
    file = f"{len(log)}.safetensors"
    save_file({name: tensor.detach().cpu() for name, tensor in tensors.items()}, folder / file)
    write_json(folder / "state.json", {"file": file, "log": log, "seconds": seconds})
    for old in folder.glob("*.safetensors"):
        if old.name != file:
            old.unlink()


def restore(folder: Path, masters: dict[str, Any], optimizer: Any) -> tuple[list[dict[str, Any]], float]:
    """Put a saved state, if there is one, into `masters` and `optimizer`: the log so far and the seconds spent."""
    import torch
    from safetensors.torch import load_file

    if not (folder / "state.json").exists():
        return [], 0.0
    state = json.loads((folder / "state.json").read_text())
    tensors = load_file(folder / state["file"])
    for name, weight in masters.items():
        weight.data.copy_(tensors[name])
        optimizer.state[weight] = {
            "step": torch.tensor(float(len(state["log"]))),
            **{moment: tensors[f"{moment}:{name}"].to(weight.device) for moment in ("exp_avg", "exp_avg_sq")},
        }
    return state["log"], state["seconds"]
