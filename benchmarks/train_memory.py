"""Memory that training really takes beside what `llavamed train --plan` says.

    llavamed model build smol --image-size 224 -o smol
    llavamed benchmark convert ../shared/data/vqa_rad -o vqa_rad
    python benchmarks/train_memory.py smol vqa_rad --json benchmarks/results/train_memory.json

Each case trains two steps on the first conversations in a process of its own, whose peak resident memory the kernel
tells (ru_maxrss): as it comes, and with MALLOC_MMAP_THRESHOLD_ set, by which the C library gives freed memory back at
once. The case `tiny` is a model of no size: it is what `libraries` of a plan stands for.
"""

import argparse
import json
import os
import platform
import subprocess
import sys
import tempfile
import time
from datetime import date
from pathlib import Path
from typing import Any

import torch

from llavamed import artifact, storage
from llavamed.instruct.schema import CONVERSATIONS
from llavamed.model.build import build
from llavamed.recipe import read_recipe
from llavamed.train.plan import plan
from llavamed.train.stage import Stage

RECIPES = Path(__file__).parent.parent / "recipes"
CASES: dict[str, tuple[str, dict[str, Any]]] = {
    "finetune": ("finetune", {}),
    "finetune, rows of 1024": ("finetune", {"row_tokens": 1024}),
    "finetune, checkpointing": ("finetune", {"checkpointing": True}),
    "finetune, LoRA": ("finetune", {"language": "lora"}),
    "finetune, the last two layers of the vision tower": ("finetune", {"vision": {"train": "full", "layers": 2}}),
    "align": ("align", {}),
}
TRAIN = """
import resource, sys
from pathlib import Path
from llavamed.console import console
from llavamed.train.loop import train
from llavamed.train.stage import Stage
console.quiet = True
model, data, folder, stage = sys.argv[1:]
train(Path(model), Path(data), Path(folder), Stage.model_validate_json(stage), device="cpu")
print(resource.getrusage(resource.RUSAGE_SELF).ru_maxrss * 1024)
"""


def first(data: Path, count: int, folder: Path) -> Path:
    """An artifact of the first `count` conversations to train on."""
    rows = []
    for row in storage.read_rows(data):
        if row["split"] == "train" and len(rows) < count:
            rows.append(row)
    job = artifact.start(folder, "conversations", {})
    storage.write_table(job.out / "data" / "train-00000.parquet", rows, CONVERSATIONS)
    artifact.publish(job, counts={"conversations": {"in": len(rows), "kept": len(rows), "excluded": {}}})
    return folder


def measured(model: Path, data: Path, stage: Stage) -> dict[str, Any]:
    """The plan and the peak, in bytes, of one training."""
    planned = plan(model, data, stage)
    done = {"plan": planned["memory"], "row_tokens": planned["data"]["row"]}
    for name, environment in {"as it comes": {}, "given back": {"MALLOC_MMAP_THRESHOLD_": str(2**20)}}.items():
        begun = time.monotonic()
        with tempfile.TemporaryDirectory() as folder:
            call = [sys.executable, "-c", TRAIN, model, data, Path(folder) / "model", stage.model_dump_json()]
            said = subprocess.run(
                list(map(str, call)), check=True, capture_output=True, text=True, env=os.environ | environment
            ).stdout
        peak = int(said)
        ratio = round(peak / planned["memory"]["total"], 3)
        done[name] = {"peak": peak, "peak / plan": ratio, "seconds": round(time.monotonic() - begun, 1)}
    return done


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("model", type=Path)
    parser.add_argument("data", type=Path)
    parser.add_argument("--conversations", type=int, default=32)
    parser.add_argument("--case", action="append", choices=["tiny", *CASES])
    parser.add_argument("--json", type=Path)
    options = parser.parse_args()
    recipe, done = read_recipe(RECIPES / "smol.yaml"), {}
    with tempfile.TemporaryDirectory() as folder:
        data = first(options.data, options.conversations, Path(folder) / "data")
        build("tiny", Path(folder) / "tiny", image_size=56)
        for name in options.case or ["tiny", *CASES]:
            model = Path(folder) / "tiny" if name == "tiny" else options.model
            stage, changes = CASES.get(name, CASES["finetune"])
            settings = recipe.stage(stage).model_dump() | {"epochs": 1, "batch_size": 16} | changes
            done[name] = measured(model, data, Stage.model_validate(settings))
            print(f"{name}: {json.dumps(done[name])}", flush=True)
    commit = subprocess.run(["git", "rev-parse", "--short", "HEAD"], capture_output=True, text=True).stdout.strip()
    result = {
        "cases": done,
        "measured": {
            "date": date.today().isoformat(),
            "commit": commit,
            "processor": hardware(),
            "system": platform.platform(),
            "threads": torch.get_num_threads(),
            "torch": torch.__version__,
            "python": platform.python_version(),
        },
    }
    if options.json:
        options.json.write_text(json.dumps(result, indent=1, ensure_ascii=False) + "\n")


def hardware() -> str:
    lines = Path("/proc/cpuinfo").read_text().splitlines() if Path("/proc/cpuinfo").exists() else []
    names = [line.split(":", 1)[1].strip() for line in lines if line.startswith("model name")]
    memory = os.sysconf("SC_PAGE_SIZE") * os.sysconf("SC_PHYS_PAGES") / 2**30
    return f"{len(names)} x {names[0] if names else platform.processor()}, {memory:.0f} GiB"


if __name__ == "__main__":
    main()
