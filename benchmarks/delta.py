"""A delta of a 1.1 B model made and applied, beside `cp` of the target's bytes and the way of loading both models.

    python benchmarks/delta.py FOLDER [--repeat N] [--json FILE]

FOLDER, on the disk to be measured, takes 12 GB for a while. Base and target: random LLaMA weights in float16, two
shards each. Every side ends with its bytes on disk (fsync); medians of N, the sides in turn. Peak memory: ru_maxrss of
a process of its own. 7 B is an extrapolation by bytes.
"""

import argparse
import json
import os
import platform
import shutil
import statistics
import subprocess
import sys
import time
from collections.abc import Callable
from concurrent.futures import ProcessPoolExecutor
from datetime import date
from multiprocessing import get_context
from pathlib import Path

LAYERS, WIDTH, INNER, KEYS, VOCABULARY = 22, 2048, 5632, 256, 32000
LOADED = """
import resource, sys
from pathlib import Path
import torch
from safetensors.torch import load_file, save_file
base, target, out = map(Path, sys.argv[1:])
whole = {p.name: load_file(p) for p in sorted(target.glob("*.safetensors"))}
of_base = {k: v for p in sorted(base.glob("*.safetensors")) for k, v in load_file(p).items()}
out.mkdir()
for name, state in whole.items():
    for key, value in state.items():
        value -= of_base[key]
    save_file(state, out / name)
print(resource.getrusage(resource.RUSAGE_SELF).ru_maxrss * 1024)
"""

# Difference and write alone: base, target and delta are not hashed, so that nothing could be checked afterwards.
UNHASHED = """
import sys
from pathlib import Path
from types import SimpleNamespace
from llavamed.model import delta, pieces
nothing = SimpleNamespace(update=lambda _: None, hexdigest=lambda: "0" * 64)
pieces.hashlib = SimpleNamespace(sha256=lambda *_: nothing)
base, target, out = map(Path, sys.argv[1:])
print(delta.make(base, target, out)["peak_rss_bytes"])
"""


def checkpoint(folder: Path, seed: int) -> None:
    """1.1 B random weights in two shards."""
    import torch
    from safetensors.torch import save_file

    if (folder / "model-00002-of-00002.safetensors").exists():
        return
    folder.mkdir(parents=True, exist_ok=True)
    generator = torch.Generator().manual_seed(seed)
    of_layer = {
        "self_attn.q_proj": (WIDTH, WIDTH),
        "self_attn.k_proj": (KEYS, WIDTH),
        "self_attn.v_proj": (KEYS, WIDTH),
    }
    of_layer |= {"self_attn.o_proj": (WIDTH, WIDTH), "mlp.gate_proj": (INNER, WIDTH), "mlp.up_proj": (INNER, WIDTH)}
    of_layer |= {"mlp.down_proj": (WIDTH, INNER), "input_layernorm": (WIDTH,), "post_attention_layernorm": (WIDTH,)}
    shapes = {"model.embed_tokens.weight": (VOCABULARY, WIDTH)}
    shapes |= {f"model.layers.{n}.{name}.weight": shape for n in range(LAYERS) for name, shape in of_layer.items()}
    shapes |= {"model.norm.weight": (WIDTH,), "lm_head.weight": (VOCABULARY, WIDTH)}
    names, weights = list(shapes), {}
    for number, part in enumerate((names[: len(names) // 2], names[len(names) // 2 :]), 1):
        file = f"model-{number:05d}-of-00002.safetensors"
        save_file({n: (torch.randn(shapes[n], generator=generator) / 50).half() for n in part}, folder / file)
        weights |= dict.fromkeys(part, file)
    (folder / "model.safetensors.index.json").write_text(json.dumps({"weight_map": weights}))
    (folder / "config.json").write_text("{}")


def sync(folder: Path) -> None:
    """All its files on disk."""
    for path in folder.rglob("*"):
        if path.is_file():
            with path.open("rb+") as stream:
                os.fsync(stream.fileno())


def copied(target: Path, out: Path) -> int:
    out.mkdir()
    for path in target.iterdir():
        subprocess.run(["cp", path, out / path.name], check=True)
    return 0


def ours(verb: str, *options: Path | str) -> int:
    """Peak bytes of `llavamed delta`."""
    call = [sys.executable, "-m", "llavamed", "delta", verb, "--quiet", "--json", *map(str, options)]
    return int(json.loads(subprocess.run(call, check=True, capture_output=True, text=True).stdout)["peak_rss_bytes"])


def script(text: str, *paths: Path) -> int:
    """The number that it prints: peak bytes."""
    done = subprocess.run([sys.executable, "-c", text, *paths], check=True, capture_output=True, text=True)
    return int(done.stdout.split()[-1])


def main() -> None:
    """Print and keep medians."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("folder", type=Path)
    parser.add_argument("--repeat", type=int, default=5)
    parser.add_argument("--json", type=Path)
    options = parser.parse_args()
    base, target, delta = (options.folder / name for name in ("base", "target", "delta"))
    for seed, folder in enumerate((base, target)):  # elsewhere: a process passes its own peak on to those it starts
        with ProcessPoolExecutor(1, mp_context=get_context("spawn")) as pool:
            pool.submit(checkpoint, folder, seed).result()
    sync(options.folder)
    ends = ("--base", base)
    sides: dict[str, Callable[[Path], int]] = {
        "cp of the target": lambda out: copied(target, out),
        "delta make": lambda out: ours("make", *ends, "--target", target, "-o", out),
        "delta apply": lambda out: ours("apply", *ends, "--delta", delta, "-o", out),
        "delta make, nothing hashed": lambda out: script(UNHASHED, base, target, out),
        "both models loaded, difference saved": lambda out: script(LOADED, base, target, out),
    }
    ours("make", *ends, "--target", target, "-o", delta)
    seconds: dict[str, list[float]] = {name: [] for name in sides}
    peaks = dict.fromkeys(sides, 0)
    for _ in range(options.repeat):
        for name, side in sides.items():
            out = options.folder / "out"
            begun = time.perf_counter()
            peaks[name] = max(peaks[name], side(out))
            sync(out)
            seconds[name].append(time.perf_counter() - begun)
            if name == "delta apply":
                for path in target.glob("*.safetensors"):
                    subprocess.run(["cmp", path, out / path.name], check=True)
            shutil.rmtree(out)
    size = sum(path.stat().st_size for path in target.glob("*.safetensors"))
    medians = {name: statistics.median(values) for name, values in seconds.items()}
    result = {
        "bytes": size,
        "seconds": {name: round(value, 2) for name, value in medians.items()},
        "all seconds": {name: [round(value, 2) for value in values] for name, values in seconds.items()},
        "times cp": {name: round(value / medians["cp of the target"], 2) for name, value in medians.items()},
        "peak MB": {name: round(value / 1e6) for name, value in peaks.items() if value},
        "7 B in float16, extrapolated seconds": {name: round(v / size * 13.5e9) for name, v in medians.items()},
        "measured": {
            "date": date.today().isoformat(),
            "processor": f"{os.cpu_count()} x {platform.processor() or platform.machine()}",
            "python": platform.python_version(),
        },
    }
    print(json.dumps(result, indent=1))
    if options.json:
        options.json.write_text(json.dumps(result, indent=1) + "\n")


if __name__ == "__main__":
    main()
