"""Random tiny checkpoints in the layouts of LLaVA-Med and LLaVA, and what those layouts compute by definition."""

import json
import math

import torch
from torch.nn import functional as F

QUESTION = "What does this X-ray show?"
HUMAN = (
    "A chat between a curious human and an artificial intelligence assistant. "
    "The assistant gives helpful, detailed, and polite answers to the human's questions."
)
TOWER = {"hidden_size": 128, "intermediate_size": 96, "num_hidden_layers": 3, "num_attention_heads": 2}
TOWER |= {"patch_size": 14, "image_size": 28, "hidden_act": "quick_gelu", "layer_norm_eps": 1e-5}
NAME = "openai/clip-vit-tiny-patch14-28"
BASE = {"hidden_size": 32, "intermediate_size": 48, "num_hidden_layers": 2, "num_attention_heads": 4}
BASE |= {"num_key_value_heads": 2, "rms_norm_eps": 1e-5, "hidden_act": "silu", "max_position_embeddings": 1024}
BASE |= {"tie_word_embeddings": False, "mm_vision_tower": NAME, "mm_hidden_size": 128, "mm_vision_select_layer": -2}
LAYOUTS = {
    "llava-med-v1.0": BASE
    | {"model_type": "llava", "architectures": ["LlavaLlamaForCausalLM"], "num_key_value_heads": 4}
    | {"use_mm_proj": True, "mm_use_im_start_end": True},
    "llava-med-v1.5": BASE
    | {"model_type": "llava_mistral", "mm_projector_type": "mlp2x_gelu", "mm_use_im_start_end": False}
    | {"rope_theta": 1e6, "sliding_window": None, "mm_use_im_patch_token": False},
    "llava-1.5": BASE
    | {"model_type": "llava_llama", "mm_projector_type": "mlp2x_gelu", "mm_use_im_start_end": False}
    | {"image_aspect_ratio": "pad", "mm_vision_select_feature": "patch", "mm_use_im_patch_token": False},
}
INNER = "model.vision_tower.vision_tower.vision_model."


def train_words(folder):
    """A SentencePiece model as LLaMA's: BPE, bytes for what it does not know, a space put before a text."""
    from sentencepiece import SentencePieceTrainer

    text = [HUMAN, HUMAN.replace("human", "user"), QUESTION, "USER: Human: ASSISTANT: Assistant: [INST] [/INST] ###"]
    SentencePieceTrainer.train(
        sentence_iterator=iter(text * 3), model_prefix=str(folder / "tokenizer"), model_type="bpe", vocab_size=400,
        byte_fallback=True, normalization_rule_name="identity", remove_extra_whitespaces=False, num_threads=1,
        hard_vocab_limit=False, minloglevel=2,
    )  # fmt: skip


def tower_weights(draw, prefix):
    width, inner = TOWER["hidden_size"], TOWER["intermediate_size"]
    weights = {
        "embeddings.class_embedding": draw(width),
        "embeddings.patch_embedding.weight": draw(width, 3, 14, 14),
        "embeddings.position_embedding.weight": draw(5, width),
        "embeddings.position_ids": torch.arange(5)[None],
    }
    for norm in ("pre_layrnorm", "post_layernorm"):
        weights |= {f"{norm}.weight": 1 + draw(width), f"{norm}.bias": draw(width)}
    for n in range(TOWER["num_hidden_layers"]):
        for name, rows, columns in (
            *((f"self_attn.{k}_proj", width, width) for k in ("q", "k", "v", "out")),
            ("mlp.fc1", inner, width),
            ("mlp.fc2", width, inner),
        ):
            weights[f"encoder.layers.{n}.{name}.weight"] = draw(rows, columns)
            weights[f"encoder.layers.{n}.{name}.bias"] = draw(rows)
        for norm in ("layer_norm1", "layer_norm2"):
            weights[f"encoder.layers.{n}.{norm}.weight"] = 1 + draw(width)
            weights[f"encoder.layers.{n}.{norm}.bias"] = draw(width)
    return {prefix + name: weight for name, weight in weights.items()}


def weights_of(said, rows, *, tower, seed=0):
    """All tensors by the names of the old layouts."""
    random = torch.Generator().manual_seed(seed)

    def draw(*shape):
        return torch.randn(*shape, generator=random) * (0.5 / math.sqrt(shape[-1]) if len(shape) > 1 else 0.1)

    width, inner = said["hidden_size"], said["intermediate_size"]
    head = width // said["num_attention_heads"]
    kept = said["num_key_value_heads"] * head
    weights = {"model.embed_tokens.weight": draw(rows, width) * 5, "lm_head.weight": draw(rows, width) * 2}
    weights["model.norm.weight"] = 1 + draw(width)
    for n in range(said["num_hidden_layers"]):
        layer = f"model.layers.{n}."
        for name, out, into in (
            ("self_attn.q_proj", width, width), ("self_attn.k_proj", kept, width), ("self_attn.v_proj", kept, width),
            ("self_attn.o_proj", width, width), ("mlp.gate_proj", inner, width), ("mlp.up_proj", inner, width),
            ("mlp.down_proj", width, inner),
        ):  # fmt: skip
            weights[f"{layer}{name}.weight"] = draw(out, into) * 2
        weights |= {
            f"{layer}{norm}.weight": 1 + draw(width) for norm in ("input_layernorm", "post_attention_layernorm")
        }
        weights[f"{layer}self_attn.rotary_emb.inv_freq"] = 1.0 / 10000 ** (torch.arange(0, head, 2) / head)
    two = said.get("mm_projector_type") == "mlp2x_gelu"
    for name, into in (("0.", TOWER["hidden_size"]), ("2.", width)) if two else (("", TOWER["hidden_size"]),):
        weights |= {
            f"model.mm_projector.{name}weight": draw(width, into),
            f"model.mm_projector.{name}bias": draw(width),
        }
    return weights | (tower_weights(draw, INNER) if tower else {})


def write_config(folder, said, rows):
    folder.mkdir(exist_ok=True)
    (folder / "config.json").write_text(json.dumps(said | {"vocab_size": rows}))


def write_tower(folder, weights, *, whole):
    """The folder that `mm_vision_tower` names: of CLIP as a whole, or of its vision model."""
    from safetensors.torch import save_file

    folder.mkdir()
    own = {"model_type": "clip_vision_model", **TOWER}
    (folder / "config.json").write_text(json.dumps({"model_type": "clip", "vision_config": own} if whole else own))
    more = {"text_model.final_layer_norm.weight": torch.ones(4), "logit_scale": torch.ones(())} if whole else {}
    save_file({name.removeprefix("model.vision_tower.vision_tower."): w for name, w in weights.items()} | more,
              folder / "model.safetensors")  # fmt: skip


def logits(weights, said, pixels, before, after, *, states=None):
    """Of every token: `before` the picture, its patches, `after`. Plain products, as the layouts define them.

    `states`: of another tower than CLIP's, what enters its first block and what leaves each, class token first.
    """
    seen = _projected(weights, (states or _clip_states(weights, pixels))[said["mm_vision_select_layer"]][1:])
    table = weights["model.embed_tokens.weight"]
    states = torch.cat([table[before], seen, table[after]])
    width, heads, kept = (said[k] for k in ("hidden_size", "num_attention_heads", "num_key_value_heads"))
    head, length = width // heads, len(states)
    angles = torch.arange(length)[:, None] / said.get("rope_theta", 10000.0) ** (torch.arange(0, head, 2) / head)
    cos, sin = torch.cat([angles.cos()] * 2, -1), torch.cat([angles.sin()] * 2, -1)

    def turned(x):
        left, right = x[..., : head // 2], x[..., head // 2 :]
        return x * cos + torch.cat([-right, left], -1) * sin

    def normed(x, name):
        return x * (x.pow(2).mean(-1, keepdim=True) + said["rms_norm_eps"]).rsqrt() * weights[name]

    for n in range(said["num_hidden_layers"]):
        w = {k.removeprefix(f"model.layers.{n}."): v for k, v in weights.items() if k.startswith(f"model.layers.{n}.")}
        x = normed(states, f"model.layers.{n}.input_layernorm.weight")
        q, k, v = (
            (x @ w[f"self_attn.{name}_proj.weight"].T).view(length, count, head).transpose(0, 1)
            for name, count in (("q", heads), ("k", kept), ("v", kept))
        )
        k, v = (part.repeat_interleave(heads // kept, 0) for part in (turned(k), v))
        scores = turned(q) @ k.transpose(1, 2) / math.sqrt(head)
        scores = scores.masked_fill(torch.ones(length, length).triu(1).bool(), -math.inf)
        mixed = (scores.softmax(-1) @ v).transpose(0, 1).reshape(length, width)
        states = states + mixed @ w["self_attn.o_proj.weight"].T
        x = normed(states, f"model.layers.{n}.post_attention_layernorm.weight")
        gate, up = x @ w["mlp.gate_proj.weight"].T, x @ w["mlp.up_proj.weight"].T
        states = states + (gate * gate.sigmoid() * up) @ w["mlp.down_proj.weight"].T
    return normed(states, "model.norm.weight") @ weights["lm_head.weight"].T


def _clip_states(weights, pixels):
    w = {k.removeprefix(INNER): v for k, v in weights.items() if k.startswith(INNER)}
    width, heads = TOWER["hidden_size"], TOWER["num_attention_heads"]

    def normed(x, name):
        return F.layer_norm(x, (width,), w[f"{name}.weight"], w[f"{name}.bias"], 1e-5)

    def linear(x, name):
        return x @ w[f"{name}.weight"].T + w[f"{name}.bias"]

    patches = F.conv2d(pixels[None], w["embeddings.patch_embedding.weight"], stride=14)[0].flatten(1).T
    x = torch.cat([w["embeddings.class_embedding"][None], patches]) + w["embeddings.position_embedding.weight"]
    states = [normed(x, "pre_layrnorm")]
    for n in range(TOWER["num_hidden_layers"]):
        at, x = f"encoder.layers.{n}.", states[-1]
        y = normed(x, f"{at}layer_norm1")
        q, k, v = (linear(y, f"{at}self_attn.{p}_proj").view(len(y), heads, -1).transpose(0, 1) for p in "qkv")
        mixed = (q @ k.transpose(1, 2) / math.sqrt(width // heads)).softmax(-1) @ v
        x = x + linear(mixed.transpose(0, 1).reshape(len(y), width), f"{at}self_attn.out_proj")
        y = linear(normed(x, f"{at}layer_norm2"), f"{at}mlp.fc1")
        states.append(x + linear(y * (1.702 * y).sigmoid(), f"{at}mlp.fc2"))
    return states


def _projected(weights, seen):
    projector = {k.removeprefix("model.mm_projector."): v for k, v in weights.items() if "mm_projector" in k}
    if "weight" in projector:
        return seen @ projector["weight"].T + projector["bias"]
    inner = F.gelu(seen @ projector["0.weight"].T + projector["0.bias"])
    return inner @ projector["2.weight"].T + projector["2.bias"]
