"""How a plan of a training is printed."""

import json
from pathlib import Path
from typing import Any

MEANING = {
    "libraries": "Python, PyTorch and transformers",
    "weights": "in the type that computes",
    "masters": "float32 copies of what is trained; in float32 it needs none",
    "gradients": "float32, of what is trained",
    "moments": "AdamW's two, float32",
    "activations": "of the largest row, kept for its gradient",
    "logits": "of it, and what the backward pass works on",
    "features": "of the frozen vision tower, mapped from a file",
}


def show_plan(model: Path, data: Path, stage: Any, as_json: bool) -> None:
    """Plan a stage and print it."""
    from llavamed.train.plan import plan

    planned = plan(model, data, stage)
    if as_json:
        print(json.dumps(planned))
    else:
        _tables(planned)


def _tables(planned: dict[str, Any]) -> None:
    from rich.console import Console
    from rich.table import Table

    console = Console(highlight=False)
    size, data, assumed = planned["model"], planned["data"], planned["assumed"]
    console.print(
        f"Trained: {size['what']}: {size['trained']:,} of {size['parameters']:,} parameters. "
        f"{data['conversations']:,} conversations about {data['pictures']:,} pictures, {data['epochs']} times: "
        f"{data['steps']:,} steps. An epoch computes {data['tokens']:,} tokens; with no prefix shared it would be "
        f"{data['alone']:,}. {planned['flops']:.3g} FLOPs."
    )
    memory = Table("memory on this CPU", "MiB", "", box=None, pad_edge=False)
    memory.columns[1].justify = "right"
    for part, count in planned["memory"].items():
        memory.add_row(part, f"{count / 2**20:,.0f}", MEANING.get(part, ""), style="bold" if part == "total" else "")
    devices = Table("device", "GiB", "needed", "GiB on each", "time", box=None, pad_edge=False)
    for column in devices.columns[1:]:
        column.justify = "right"
    for one in planned["devices"]:
        gib = f"{one['memory'] / 2**30:.0f}"
        count = "too small" if one["count"] is None else str(one["count"])
        devices.add_row(one["device"], gib, count, f"{one['bytes'] / 2**30:.1f}", _time(one["hours"]))
    for table in (memory, devices):
        console.print()
        console.print(table)
    console.print(
        f"\nAssumed, not measured: model FLOPs at {assumed['utilisation_gpu']:.0%} of a GPU's bfloat16 peak, here at "
        f"{assumed['utilisation_cpu']:.0%} of the {assumed['cpu_flops_per_second'] / 1e9:.0f} GFLOP/s that a product "
        f"of matrices just reached; {assumed['usable_gpu_memory']:.0%} of a GPU's memory usable; several GPUs by FSDP. "
        f"Tokens: of {data['sampled']:,} conversations, counted {data['counted_by']}."
    )


def _time(hours: float) -> str:
    if hours >= 1:
        return f"{hours:,.1f} h"
    seconds = hours * 3600
    if seconds >= 60:
        return f"{seconds / 60:.0f} min"
    return f"{seconds:.0f} s" if seconds >= 1 else "under 1 s"
