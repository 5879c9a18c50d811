"""Small random vision towers and language models of every kind, in folders as their authors publish them."""

import json
import math

import torch
from torch.nn import functional as F

_SHAPE = {"hidden_size": 128, "num_hidden_layers": 3, "num_attention_heads": 2}
TOWERS = {
    "clip": ("CLIPVisionConfig", {"intermediate_size": 96, "patch_size": 14, "image_size": 28}),
    "siglip": ("SiglipVisionConfig", {"intermediate_size": 96, "patch_size": 14, "image_size": 30}),
    "dinov2": ("Dinov2Config", {"mlp_ratio": 2, "patch_size": 14, "image_size": 42}),
    "dinov2_with_registers": (
        "Dinov2WithRegistersConfig",
        {"mlp_ratio": 2, "patch_size": 14, "image_size": 42, "num_register_tokens": 2},
    ),
    "vit": ("ViTConfig", {"intermediate_size": 96, "patch_size": 16, "image_size": 32}),
}
_TEXT = {"hidden_size": 64, "intermediate_size": 96, "num_hidden_layers": 2, "num_attention_heads": 4}
_TEXT |= {"num_key_value_heads": 2, "max_position_embeddings": 1024}
LANGUAGES = {
    "llama": ("LlamaConfig", {}),
    "mistral": ("MistralConfig", {"sliding_window": None}),
    "qwen2": ("Qwen2Config", {}),
    "qwen3": ("Qwen3Config", {"head_dim": 16}),
    "smollm3": ("SmolLM3Config", {"no_rope_layers": [0, 1], "pad_token_id": None}),
}
_TURNS = "{% for message in messages %}"
_QWEN = (
    "{% if messages[0]['role'] != 'system' %}<|im_start|>system\nYou help.<|im_end|>\n{% endif %}" + _TURNS + "{{ "
    "'<|im_start|>' + message['role'] + '\n' + message['content'] + '<|im_end|>\n' }}{% endfor %}"
    "{% if add_generation_prompt %}<|im_start|>assistant\n{% endif %}"
)
_LLAMA_2 = (
    _TURNS + "{% if message['role'] == 'user' %}{{ bos_token + '[INST] ' + message['content'] | trim + ' [/INST]' }}"
    "{% else %}{{ ' ' + message['content'] | trim + ' ' + eos_token }}{% endif %}{% endfor %}"
)
_LLAMA_3 = (
    "{{ bos_token + '<|start|>system<|stop|>\n\nToday: ' + strftime_now('%d %b %Y') + '<|eot|>' }}" + _TURNS + "{{ "
    "'<|start|>' + message['role'] + '<|stop|>\n\n' + message['content'] | trim + '<|eot|>' }}{% endfor %}"
    "{% if add_generation_prompt %}<|start|>assistant<|stop|>\n\n{% endif %}"
)
_THINKS = (
    "{% set quiet = enable_thinking is defined and not enable_thinking %}"
    "{% set lead = '<think>\n</think>\n' if quiet else '' %}"
    "{{ '<|im_start|>system\nYou ' + ('help' if quiet else 'think') + '.<|im_end|>\n' }}" + _TURNS + "{{ '<|im_start|>'"
    " + message['role'] + '\n' + (lead if message['role'] == 'assistant' else '') + message['content'] + '<|im_end|>\n'"
    " }}{% endfor %}{% if add_generation_prompt %}{{ '<|im_start|>assistant\n' + lead }}{% endif %}"
)
# Chat templates in the manner of published ones: how they begin, and what the assistant says in the test's two turns.
CHATS = {
    "qwen": (_QWEN, "<|im_start|>system\nYou help.", "A scan.<|im_end|>No.<|im_end|>"),
    "smollm3": (_THINKS, "<|im_start|>system\nYou help.<|im_end|>", "A scan.<|im_end|>No.<|im_end|>"),
    "llama2": (_LLAMA_2, "<s>[INST] What?", " A scan. </s> No. </s>"),
    "llama3": (_LLAMA_3, "<s><|start|>system<|stop|>\n\nToday: 26 Jul 2024<|eot|>", "A scan.<|eot|>No.<|eot|>"),
}


def save_tower(name, folder, *, whole=False):
    """A tower in `folder`; `whole`: in a CLIP or SigLIP model, with its other half."""
    import transformers

    kind, more = TOWERS[name]
    config = getattr(transformers, kind)(**_SHAPE, **more)
    torch.manual_seed(0)
    if whole:
        other = {"hidden_size": 32, "intermediate_size": 32, "num_hidden_layers": 1, "num_attention_heads": 2}
        text = other | {"vocab_size": 50, "eos_token_id": 1, "bos_token_id": 0}
        both = getattr(transformers, kind.replace("Vision", ""))
        model = transformers.AutoModel.from_config(both(vision_config=config.to_dict(), text_config=text))
    else:
        model = transformers.AutoModel.from_config(config)
    _spread(model)
    model.save_pretrained(folder)


def save_language(name, folder, *, special=("<s>", "</s>", "<|im_start|>", "<|im_end|>"), chat_template=None):
    """A language model in `folder`, with a tokenizer whose tokens are the bytes and `special`."""
    import transformers

    special = (*special, *(("<|start|>", "<|stop|>", "<|eot|>") if chat_template == _LLAMA_3 else ()))
    words = _words(special, folder, chat_template)
    kind, more = LANGUAGES[name]
    config = getattr(transformers, kind)(**_TEXT, **more, vocab_size=words, tie_word_embeddings=name == "qwen2")
    torch.manual_seed(1)
    model = transformers.AutoModelForCausalLM.from_config(config)
    _spread(model)
    model.save_pretrained(folder)


def _spread(model):
    """Weights that are large enough for every part to matter."""
    for weight in model.parameters():
        if weight.ndim > 1:
            torch.nn.init.normal_(weight, std=1 / math.sqrt(weight[0].numel()))


def _words(special, folder, chat_template):
    """How many tokens it has. A text begins with <s>, as the tokenizer's own post-processor puts it."""
    from tokenizers import Tokenizer, decoders, models, pre_tokenizers, processors

    names = [*special, *sorted(pre_tokenizers.ByteLevel.alphabet())]
    made = Tokenizer(models.BPE({token: n for n, token in enumerate(names)}, []))
    made.pre_tokenizer = pre_tokenizers.ByteLevel(add_prefix_space=False)
    made.decoder = decoders.ByteLevel()
    made.add_special_tokens(list(special))
    made.post_processor = processors.TemplateProcessing(single="<s> $A", special_tokens=[("<s>", 0)])
    folder.mkdir(parents=True)
    made.save(str(folder / "tokenizer.json"))
    said = {
        "tokenizer_class": "PreTrainedTokenizerFast",
        "bos_token": "<s>",
        "eos_token": {"__type": "AddedToken", "content": "</s>"},
    }
    said |= {"chat_template": chat_template} if chat_template else {}
    (folder / "tokenizer_config.json").write_text(json.dumps(said))
    return len(names)


def open_clip(folder, name="vit_tiny_patch16_32"):
    """A random BiomedCLIP: open_clip's configuration, timm's names in a pickle of weights. Returns the tower's."""
    draw = torch.Generator().manual_seed(0)

    def random(*shape):
        return torch.randn(*shape, generator=draw) * (1 / math.sqrt(shape[-1]) if len(shape) > 1 else 0.1)

    width, inner = 128, 96
    own = {"cls_token": random(1, 1, width), "pos_embed": random(1, 5, width)}
    own |= {"patch_embed.proj.weight": random(width, 3, 16, 16) / 4, "patch_embed.proj.bias": random(width)}
    for block in (f"blocks.{n}." for n in range(3)):
        for stem, out, into in (("attn.qkv", 3 * width, width), ("attn.proj", width, width),
                                ("mlp.fc1", inner, width), ("mlp.fc2", width, inner)):  # fmt: skip
            own |= {f"{block}{stem}.weight": random(out, into), f"{block}{stem}.bias": random(out)}
        for norm in ("norm1", "norm2"):
            own |= {f"{block}{norm}.weight": 1 + random(width), f"{block}{norm}.bias": random(width)}
    own |= {"norm.weight": 1 + random(width), "norm.bias": random(width)}
    folder.mkdir()
    rest = {"visual.head.proj.weight": random(4, width), "text.transformer.embeddings.position_ids": torch.arange(4)}
    torch.save({f"visual.trunk.{k}": v for k, v in own.items()} | rest, folder / "open_clip_pytorch_model.bin")
    vision = {"timm_model_name": name, "image_size": 32}
    said = {"model_cfg": {"vision_cfg": vision}, "preprocess_cfg": {"mean": [0.4, 0.5, 0.6], "std": [0.2, 0.2, 0.2]}}
    (folder / "open_clip_config.json").write_text(json.dumps(said))
    return own


def timm_states(weights, pixels):
    """Of one picture, what enters the first block and what leaves each, [1, tokens, width]: timm's definition."""
    width, heads = 128, 2

    def linear(x, name):
        return x @ weights[f"{name}.weight"].T + weights[f"{name}.bias"]

    def normed(x, name):
        return F.layer_norm(x, (width,), weights[f"{name}.weight"], weights[f"{name}.bias"], 1e-6)

    x = F.conv2d(pixels, weights["patch_embed.proj.weight"], weights["patch_embed.proj.bias"], stride=16)
    x = torch.cat([weights["cls_token"], x.flatten(2).transpose(1, 2)], 1) + weights["pos_embed"]
    states = [x]
    for block in (f"blocks.{n}." for n in range(3)):
        y = linear(normed(x, f"{block}norm1"), f"{block}attn.qkv")
        q, k, v = y.view(1, -1, 3, heads, width // heads).permute(2, 0, 3, 1, 4)
        mixed = (q @ k.transpose(-2, -1) / math.sqrt(width // heads)).softmax(-1) @ v
        x = x + linear(mixed.transpose(1, 2).reshape(x.shape), f"{block}attn.proj")
        x = x + linear(F.gelu(linear(normed(x, f"{block}norm2"), f"{block}mlp.fc1")), f"{block}mlp.fc2")
        states.append(x)
    return states


def save_all(top):
    """A folder of each kind of part under `top`; `top`."""
    for name in TOWERS:
        save_tower(name, top / name)
    for name in LANGUAGES:
        save_language(name, top / name)
    return top
