"""Compose a vision tower, a projector and a language model into a Hugging Face LLaVA checkpoint."""

from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from llavamed import artifact
from llavamed.cards import model_head
from llavamed.errors import InputError
from llavamed.model import backbones, checkpoint, sources, tokenizer
from llavamed.model.backbones import TOWERS
from llavamed.model.sources import Source
from llavamed.model.tensors import weight_files
from llavamed.storage import Json

REGISTERS = 4  # of `tiny`
SIDE = 224  # pixels, for towers that take any
PROJECTORS = {"mlp2x_gelu": "gelu", "linear": "linear"}  # LLaVA's names, and what stands between the two layers
_EMBEDDINGS = ("language_model.model.embed_tokens.weight", "language_model.lm_head.weight")
_SECOND = "multi_modal_projector.linear_2."


@dataclass(frozen=True)
class Vision:
    """Weights by transformers' names of the tower alone; `layer`: that the projector reads; `images`: of its image
    processor, what its folder says."""

    config: Any
    weights: dict[str, Any]
    layer: int
    images: Json


@dataclass(frozen=True)
class Language:
    """Weights by transformers' names of the language model alone; `dtype`: in which the model is stored; `prompt`:
    whose chat template its tokenizer has."""

    config: Any
    weights: dict[str, Any]
    words: Any
    dtype: Any
    prompt: str


def build(backbone: str, folder: Path, *, image_size: int = 84, seed: int = 0, force: bool = False) -> Json:
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
    if job.manifest is None:
        about = chosen.describe()
        if chosen.parts:
            words, tower = (Source(part.name, part.source, part=part) for part in chosen.parts)
            _write(job, about, lambda: _model(_vision(tower), _language(words), "mlp2x_gelu", image_size), seed)
        else:
            _write(job, about, lambda: _random(image_size), seed)
    return _result(job)


def compose(
    vision_tower: str,
    language_model: str,
    folder: Path,
    *,
    projector: str = "mlp2x_gelu",
    image_size: int | None = None,
    seed: int = 0,
    force: bool = False,
) -> Json:
    """Write the LLaVA checkpoint of a vision tower and a language model: `{parameters, artifact, hash}`.

    Both are named as `sources.find` reads them. `projector`: two linear layers with GELU between, or one; random, by
    `seed`. `image_size`: see `build`; by default the tower's own, and 224 where it takes any. All weights get the type
    of the language model's.

    Raises:
        InputError: a part that cannot be had, is of no kind in the tables of `backbones`, needs code of its own or does
            not fit its configuration; a size that the tower does not take; or what `artifact.start` refuses.
    """
    if projector not in PROJECTORS:
        raise InputError(f"unknown projector {projector!r}: choose one of {', '.join(PROJECTORS)}")
    tower, words = sources.find(vision_tower), sources.find(language_model)
    for source in (tower, words):
        sources.check(source)
    parts = [words.about("language model"), tower.about("vision tower")]
    settings = {"projector": projector, "image_size": image_size, "seed": seed}
    inputs = {part["role"]: part["sha256"] for part in parts}
    job = artifact.start(folder, "model", settings, inputs=inputs, force=force, needs_bytes=_size(tower, words))
    if job.manifest is None:
        about = {"name": f"{words.name} and {tower.name}", "parts": parts, "note": ""}
        try:
            _write(job, about, lambda: _model(_vision(tower), _language(words), projector, image_size), seed)
        except InputError:
            artifact.abandon(job)
            raise
    return _result(job)


def _write(job: artifact.Job, about: Json, make: Callable[[], tuple[Any, Any, str]], seed: int) -> None:
    """What `make` gives, (model, processor, note), as the artifact."""
    import torch

    with torch.random.fork_rng(devices=[]):
        torch.manual_seed(seed)
        model, processor, note = make()
    checkpoint.save(model, processor, job.out)
    parameters = sum(p.numel() for p in model.parameters())
    about = {**about, "note": " ".join(filter(None, (about["note"], note)))}
    side = processor.image_processor.size["height"]
    job.manifest = artifact.publish(
        job,
        counts={},
        card=_card(about, parameters, side),
        backbone={**about, "parameters": parameters, "projector": "new"},
    )


def _result(job: artifact.Job) -> Json:
    manifest = job.manifest or {}
    return {
        "parameters": manifest["backbone"]["parameters"],
        "artifact": str(job.folder),
        "hash": manifest["hash"],
    }


def _size(*found: Source) -> int:
    """Bytes of the weights in folders."""
    return sum(path.stat().st_size for one in found if not one.part for path in weight_files(one.folder))


def _vision(source: Source) -> Vision:
    from llavamed.model import pretrained, towers

    if source.part:
        config, weights = pretrained.dinov2(source.part)
        # Not LLaVA's -2: the tower's last layers were tuned to see artefacts rather than what a picture shows.
        return Vision(config, weights, config.num_hidden_layers // 2, {})
    tower = towers.from_folder(source.folder)
    weights = {name: tensor.load() for name, tensor in tower.tensors.items()}
    return Vision(tower.config, weights, tower.kind.layer, tower.images)


def _language(source: Source) -> Language:
    import torch

    from llavamed.model import languages, pretrained

    if source.part:
        config, weights, words = pretrained.gguf_llama(source.part)
        # bfloat16 halves the files. It rounds far more finely than the 4 bits the language model went through.
        return Language(config, weights, words, torch.bfloat16, "")
    found = languages.from_folder(source.folder)
    weights = {name: tensor.load() for name, tensor in found.tensors.items()}
    kind = next((weight.dtype for name, weight in weights.items() if "embed_tokens" in name), torch.float32)
    return Language(found.config, weights, found.words, kind, found.prompt)


def _model(vision: Vision, language: Language, projector: str, image_size: int | None) -> tuple[Any, Any, str]:
    """The model, its processor, and a note for its card."""
    import torch

    side = _side(vision.config, image_size)
    weights = {f"language_model.{name}": weight for name, weight in language.weights.items()}
    if _EMBEDDINGS[0] not in weights:
        raise InputError(f"the language model has no {_EMBEDDINGS[0].partition('.')[2]}: name one with its output head")
    kind = weights[_EMBEDDINGS[0]].dtype
    language.config.vocab_size = checkpoint.grow(weights, _EMBEDDINGS, len(language.words))
    weights |= {f"vision_tower.{name}": weight.to(kind) for name, weight in vision.weights.items()}
    if projector == "linear":  # transformers' projector has two layers: the second changes nothing
        width = language.config.hidden_size
        weights |= {f"{_SECOND}weight": torch.eye(width, dtype=kind), f"{_SECOND}bias": torch.zeros(width, dtype=kind)}
    config = _configure(vision.config, language.config, language.words, side, vision.layer, PROJECTORS[projector])
    config.dtype = config.text_config.dtype = config.vision_config.dtype = kind
    model = checkpoint.from_weights(config, weights, new="multi_modal_projector.")
    processor = _processor(config, language.words, side, vision.images)
    model.to(language.dtype)
    config.dtype = config.text_config.dtype = config.vision_config.dtype = language.dtype
    return model, processor, f"Chat template: {language.prompt}." if language.prompt else ""


def _side(config: Any, wanted: int | None) -> int:
    """Of the square that pictures are stretched to."""
    kind, patch = TOWERS[config.model_type], config.patch_size
    if kind.fixed and wanted not in (None, config.image_size):
        raise InputError(f"image size {wanted}: the tower's positions are for {config.image_size} pixels: leave it out")
    side: int = config.image_size if kind.fixed else wanted or SIDE // patch * patch
    if not kind.fixed and (side < patch or side % patch):
        raise InputError(f"image size {side}: must be a multiple of {patch} pixels")
    return side


def _random(image_size: int) -> tuple[Any, Any, str]:
    from transformers import Dinov2WithRegistersConfig, LlamaConfig, LlavaForConditionalGeneration

    shape = {"hidden_size": 64, "num_hidden_layers": 2, "num_attention_heads": 2}
    words = tokenizer.bytes_only(2048)
    text = LlamaConfig(
        **shape, intermediate_size=128, num_key_value_heads=1, max_position_embeddings=2048, tie_word_embeddings=True
    )
    text.vocab_size = -len(words) // 64 * -64
    vision = Dinov2WithRegistersConfig(
        **shape, mlp_ratio=2, patch_size=28, image_size=image_size, num_register_tokens=REGISTERS
    )
    config = _configure(vision, text, words, image_size, layer=-2, act="gelu")
    return LlavaForConditionalGeneration(config), _processor(config, words, image_size, {}), ""


def _configure(vision: Any, text: Any, words: Any, side: int, layer: int, act: str) -> Any:
    """The configuration of a LLaVA model of these two parts; `layer`: of the tower, that the projector reads."""
    from transformers import LlavaConfig

    text.bos_token_id, text.eos_token_id, text.pad_token_id = words.bos_token_id, words.eos_token_id, words.pad_token_id
    return LlavaConfig(
        vision_config=vision,
        text_config=text,
        image_token_index=words.convert_tokens_to_ids(tokenizer.IMAGE_TOKEN),
        image_seq_length=(side // vision.patch_size) ** 2 + getattr(vision, "num_register_tokens", 0),
        projector_hidden_act=act,
        vision_feature_layer=layer,
        vision_feature_select_strategy="default" if TOWERS[vision.model_type].class_token else "full",
    )


def _processor(config: Any, words: Any, side: int, images: Json) -> Any:
    from transformers import LlavaProcessor
    from transformers.models.llava.image_processing_pil_llava import LlavaImageProcessorPil

    vision = config.vision_config
    kind = TOWERS[vision.model_type]
    own = {"image_mean": list(kind.mean), "image_std": list(kind.std)}
    own |= {key: images[key] for key in ("image_mean", "image_std", "resample") if key in images}
    return LlavaProcessor(
        # Stretched to a square: few pixels as there are, none is spent on padding or cropped away.
        LlavaImageProcessorPil(size={"height": side, "width": side}, crop_size={"height": side, "width": side}, **own),
        words,
        patch_size=vision.patch_size,
        vision_feature_select_strategy=config.vision_feature_select_strategy,
        # "default" takes the class token off again
        num_additional_image_tokens=kind.class_token + getattr(vision, "num_register_tokens", 0),
        chat_template=words.chat_template,
    )


def _card(about: Json, parameters: int, side: int) -> str:
    parts = about["parts"]
    open_parts = parts and all(part["licence"] == "Apache-2.0" for part in parts)
    lines = [
        *model_head("apache-2.0" if open_parts else ""),
        "",
        f"# LLaVA composed of {about['name']}",
        "",
        f"{parameters:,} parameters; pictures of {side} x {side} pixels. {about['note']}",
        "The projector between the parts is untrained: this checkpoint cannot describe pictures yet. "
        "For research use only, not for clinical decisions.",
        "",
        "| part | weights | licence | where from | what to know |",
        "| --- | --- | --- | --- | --- |",
        *(
            f"| {p['role']} | {p['name']} | {p['licence']} | {p['source']} (SHA-256 `{p['sha256']}`) | {p['note']} |"
            for p in parts
        ),
    ]
    return "\n".join(lines if parts else lines[:-2]) + "\n"
