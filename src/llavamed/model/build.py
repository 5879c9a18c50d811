"""Compose a vision tower, a projector and a language model into a Hugging Face LLaVA checkpoint."""

from pathlib import Path
from typing import Any

from llavamed import artifact
from llavamed.cards import model_head
from llavamed.errors import InputError
from llavamed.model import backbones, checkpoint, tokenizer
from llavamed.model.backbones import Backbone

REGISTERS = 4
MEAN, STD = [0.485, 0.456, 0.406], [0.229, 0.224, 0.225]  # ImageNet's, as DINOv2 was trained with


def build(backbone: str, folder: Path, *, image_size: int = 84, seed: int = 0, force: bool = False) -> dict[str, Any]:
    """Write the LLaVA checkpoint that `backbone` describes: `{parameters, artifact, hash}`.

    The projector (two linear layers, GELU between) is random, by `seed`. `image_size`: the side in pixels of the square
    that pictures are stretched to.

    Raises:
        InputError: an unknown backbone, an image size that is no multiple of the tower's patch, weights that cannot be
            had or have the wrong hash, or what `artifact.start` refuses.
    """
    chosen = backbones.find(backbone)
    patch = 14 if chosen.parts else 28
    if image_size < patch or image_size % patch:
        raise InputError(f"image size {image_size}: must be a multiple of {patch} pixels for {backbone}")
    settings = {"backbone": backbone, "image_size": image_size, "seed": seed}
    job = artifact.start(folder, "model", settings, force=force, needs_bytes=1_000_000_000 if chosen.parts else 0)
    manifest = job.manifest
    if manifest is None:
        import torch

        with torch.random.fork_rng(devices=[]):
            torch.manual_seed(seed)
            model, processor = (_pretrained if chosen.parts else _random)(chosen, image_size)
        checkpoint.save(model, processor, job.out)
        parameters = sum(p.numel() for p in model.parameters())
        manifest = artifact.publish(
            job,
            counts={},
            card=_card(chosen, parameters, image_size),
            backbone={**chosen.describe(), "parameters": parameters, "projector": "new"},
        )
    return {
        "parameters": manifest["backbone"]["parameters"],
        "artifact": str(folder),
        "hash": manifest["hash"],
    }


def _pretrained(backbone: Backbone, image_size: int) -> tuple[Any, Any]:
    import torch

    from llavamed.model import pretrained

    language, vision = backbone.parts
    text_config, text_weights, words = pretrained.gguf_llama(language)
    vision_config, vision_weights = pretrained.dinov2(vision)
    # Not LLaVA's -2: the tower's last layers were tuned to see artefacts rather than what a picture shows.
    config = _configure(vision_config, text_config, words, image_size, layer=vision_config.num_hidden_layers // 2)
    known = text_weights["model.embed_tokens.weight"]
    # Tokens the language model never saw start as the mean of those it knows.
    added = known.mean(0, keepdim=True).expand(text_config.vocab_size - len(known), -1)
    text_weights["model.embed_tokens.weight"] = torch.cat([known, added])
    weights = {f"language_model.{name}": weight for name, weight in text_weights.items()}
    weights |= {f"vision_tower.{name}": weight for name, weight in vision_weights.items()}
    model = checkpoint.from_weights(config, weights, new="multi_modal_projector.")
    # bfloat16 halves the files. It rounds far more finely than the 4 bits the language model went through.
    return model.to(torch.bfloat16), _processor(config, words, image_size)


def _random(backbone: Backbone, image_size: int) -> tuple[Any, Any]:
    from transformers import Dinov2WithRegistersConfig, LlamaConfig, LlavaForConditionalGeneration

    shape = {"hidden_size": 64, "num_hidden_layers": 2, "num_attention_heads": 2}
    words = tokenizer.bytes_only(2048)
    text = LlamaConfig(
        **shape, intermediate_size=128, num_key_value_heads=1, max_position_embeddings=2048, tie_word_embeddings=True
    )
    vision = Dinov2WithRegistersConfig(
        **shape, mlp_ratio=2, patch_size=28, image_size=image_size, num_register_tokens=REGISTERS
    )
    config = _configure(vision, text, words, image_size, layer=-2)
    return LlavaForConditionalGeneration(config), _processor(config, words, image_size)


def _configure(vision: Any, text: Any, words: Any, image_size: int, layer: int) -> Any:
    """The configuration of a LLaVA model of these two parts; `layer`: of the tower, that the projector reads."""
    from transformers import LlavaConfig

    text.vocab_size = -len(words) // 64 * -64  # rounded up: matrix products are faster so
    text.bos_token_id, text.eos_token_id, text.pad_token_id = None, words.eos_token_id, words.pad_token_id
    return LlavaConfig(
        vision_config=vision,
        text_config=text,
        image_token_index=words.convert_tokens_to_ids(tokenizer.IMAGE_TOKEN),
        image_seq_length=(image_size // vision.patch_size) ** 2 + REGISTERS,
        vision_feature_layer=layer,
        vision_feature_select_strategy="default",
    )


def _processor(config: Any, words: Any, image_size: int) -> Any:
    from transformers import LlavaProcessor
    from transformers.models.llava.image_processing_pil_llava import LlavaImageProcessorPil

    images = LlavaImageProcessorPil(
        # Stretched to a square: few pixels as there are, none is spent on padding or cropped away.
        size={"height": image_size, "width": image_size},
        crop_size={"height": image_size, "width": image_size},
        image_mean=MEAN,
        image_std=STD,
    )
    return LlavaProcessor(
        images,
        words,
        patch_size=config.vision_config.patch_size,
        vision_feature_select_strategy="default",
        num_additional_image_tokens=1 + REGISTERS,  # "default" takes the class token off again
        chat_template=tokenizer.CHAT_TEMPLATE,
    )


def _card(backbone: Backbone, parameters: int, image_size: int) -> str:
    lines = [
        *model_head("apache-2.0" if backbone.parts else ""),
        "",
        f"# LLaVA composed of the `{backbone.name}` backbone",
        "",
        f"{parameters:,} parameters; pictures of {image_size} x {image_size} pixels. {backbone.note}",
        "The projector between the parts is untrained: this checkpoint cannot describe pictures yet. "
        "For research use only, not for clinical decisions.",
        "",
        "| part | weights | licence | where from | what to know |",
        "| --- | --- | --- | --- | --- |",
        *(
            f"| {p.role} | {p.name} | {p.licence} | {p.source} (SHA-256 `{p.sha256}`) | {p.note} |"
            for p in backbone.parts
        ),
    ]
    return "\n".join(lines if backbone.parts else lines[:-2]) + "\n"
