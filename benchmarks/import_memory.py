"""Peak memory and time of `llavamed model import`: a random LLaVA-Med v1.5 of 1.06 B parameters.

    python benchmarks/import_memory.py FOLDER [--json FILE]

FOLDER takes 5 GB for a while. Weights in float16, two files, once as safetensors and once as `.bin`; the shapes of
CLIP ViT-L/14-336 within. Peak memory: ru_maxrss of the command's own process, PyTorch and transformers included.
"""

import argparse
import json
import os
import shutil
import subprocess
import sys
import time
from concurrent.futures import ProcessPoolExecutor
from multiprocessing import get_context
from pathlib import Path
from typing import Any

LAYERS, WIDTH, INNER, KEYS, WORDS = 14, 2048, 5632, 256, 32000
TOWER_LAYERS, TOWER_WIDTH, TOWER_INNER, PLACES = 24, 1024, 4096, 577
TOWER = "model.vision_tower.vision_tower.vision_model."
SAID = {
    "model_type": "llava_mistral",
    "hidden_size": WIDTH,
    "intermediate_size": INNER,
    "num_hidden_layers": LAYERS,
    "num_attention_heads": 16,
    "num_key_value_heads": 2,
    "vocab_size": WORDS,
    "sliding_window": None,
    "mm_projector_type": "mlp2x_gelu",
    "mm_hidden_size": TOWER_WIDTH,
    "mm_vision_select_layer": -2,
    "mm_vision_tower": "openai/clip-vit-large-patch14-336",
}


def shapes() -> dict[str, tuple[int, ...]]:
    """Of all tensors by the layout's names."""
    found: dict[str, tuple[int, ...]] = {"model.embed_tokens.weight": (WORDS, WIDTH), "lm_head.weight": (WORDS, WIDTH)}
    of_layer = {
        "self_attn.q_proj": (WIDTH, WIDTH),
        "self_attn.k_proj": (KEYS, WIDTH),
        "self_attn.v_proj": (KEYS, WIDTH),
    }
    of_layer |= {"self_attn.o_proj": (WIDTH, WIDTH), "mlp.gate_proj": (INNER, WIDTH), "mlp.up_proj": (INNER, WIDTH)}
    norms = {"input_layernorm": (WIDTH,), "post_attention_layernorm": (WIDTH,)}
    layer = of_layer | {"mlp.down_proj": (WIDTH, INNER)} | norms
    found |= {f"model.layers.{n}.{name}.weight": shape for n in range(LAYERS) for name, shape in layer.items()}
    found["model.norm.weight"] = (WIDTH,)
    for name, width in (("0", TOWER_WIDTH), ("2", WIDTH)):
        found |= {f"model.mm_projector.{name}.weight": (WIDTH, width), f"model.mm_projector.{name}.bias": (WIDTH,)}
    tower = {
        "embeddings.class_embedding": (TOWER_WIDTH,),
        "embeddings.patch_embedding.weight": (TOWER_WIDTH, 3, 14, 14),
    }
    tower["embeddings.position_embedding.weight"] = (PLACES, TOWER_WIDTH)
    whole = {"pre_layrnorm": (TOWER_WIDTH,), "post_layernorm": (TOWER_WIDTH,)}
    inner = {f"self_attn.{part}_proj": (TOWER_WIDTH, TOWER_WIDTH) for part in ("q", "k", "v", "out")}
    inner |= {"mlp.fc1": (TOWER_INNER, TOWER_WIDTH), "mlp.fc2": (TOWER_WIDTH, TOWER_INNER)}
    inner |= {"layer_norm1": (TOWER_WIDTH,), "layer_norm2": (TOWER_WIDTH,)}
    whole |= {f"encoder.layers.{n}.{name}": shape for n in range(TOWER_LAYERS) for name, shape in inner.items()}
    tower |= {f"{name}.weight": shape for name, shape in whole.items()}
    tower |= {f"{name}.bias": shape[:1] for name, shape in whole.items()}
    return found | {TOWER + name: shape for name, shape in tower.items()}


def checkpoint(folder: Path, suffix: str) -> int:
    """Random weights in two files, and the smallest tokenizer that the layout reads; how many numbers."""
    import torch
    from safetensors.torch import save_file

    save, stem = (torch.save, "pytorch_model") if suffix == "bin" else (save_file, "model")
    folder.mkdir(parents=True)
    generator = torch.Generator().manual_seed(0)
    wanted, weights = shapes(), {}
    names = list(wanted)
    for number, part in enumerate((names[: len(names) // 3], names[len(names) // 3 :]), 1):
        file = f"{stem}-{number:05d}-of-00002.{suffix}"
        save({n: (torch.randn(wanted[n], generator=generator) / 50).half() for n in part}, folder / file)
        weights |= dict.fromkeys(part, file)
    (folder / f"{stem}.{suffix}.index.json").write_text(json.dumps({"weight_map": weights}))
    (folder / "config.json").write_text(json.dumps(SAID))
    vocabulary = ["<unk>", "<s>", "</s>", *(f"<0x{n:02X}>" for n in range(256))]
    vocabulary += [f"w{n}" for n in range(WORDS - len(vocabulary))]
    places = {word: n for n, word in enumerate(vocabulary)}
    model = {"type": "BPE", "byte_fallback": True, "vocab": places, "merges": []}
    (folder / "tokenizer.json").write_text(json.dumps({"model": model}))
    return sum(torch.Size(shape).numel() for shape in wanted.values())


def imported(source: Path, out: Path) -> dict[str, float]:
    """Peak memory in MB and seconds of the command, its result on disk."""
    begun = time.monotonic()
    run = subprocess.Popen([sys.executable, "-m", "llavamed", "model", "import", "--quiet", source, "-o", out])
    _, status, used = os.wait4(run.pid, 0)
    run.returncode = os.waitstatus_to_exitcode(status)
    if run.returncode:
        sys.exit(f"{source} was not imported")
    seconds = time.monotonic() - begun
    return {"peak_mb": round(used.ru_maxrss * 1024 / 1e6), "seconds": round(seconds, 1)}


def main() -> None:
    """Print and keep what was measured."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("folder", type=Path)
    parser.add_argument("--json", type=Path)
    options = parser.parse_args()
    found: dict[str, Any] = {}
    for suffix in ("safetensors", "bin"):
        source, out = options.folder / suffix, options.folder / f"{suffix}-imported"
        with ProcessPoolExecutor(1, mp_context=get_context("spawn")) as pool:  # its peak would pass on to the command
            found["parameters"] = pool.submit(checkpoint, source, suffix).result()
        found[suffix] = imported(source, out)
        shutil.rmtree(source)
        shutil.rmtree(out)
    print(json.dumps(found))
    if options.json:
        options.json.write_text(json.dumps(found, indent=1) + "\n")


if __name__ == "__main__":
    main()
