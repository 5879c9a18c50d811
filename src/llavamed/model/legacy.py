"""LLaVA-Med and LLaVA checkpoints in their authors' layouts, turned into `transformers`' LLaVA.

Their names are a language model's with three parts beside it: `model.mm_projector.*`, `model.vision_tower.*` where the
tower was saved too, and the embedding rows of the tokens around pictures.
"""

from dataclasses import dataclass, replace
from pathlib import Path
from typing import Any

from llavamed import artifact
from llavamed.cards import model_head
from llavamed.errors import InputError
from llavamed.model import checkpoint, computed, open_clip, pieced, pieces, prompts, sources, towers
from llavamed.model.prompts import Format
from llavamed.model.tensors import Tensor, misfit, tensors_of
from llavamed.model.tokenizer import IMAGE_TOKEN
from llavamed.model.towers import Tower

# Where a part lies in the old layouts, and in transformers'. The first that fits holds.
_TOWER = "model.vision_tower.vision_tower.vision_model."
_ONE_LAYER = (("model.mm_projector.", "model.multi_modal_projector.linear_1."),)
_TWO_LAYERS = (
    ("model.mm_projector.0.", "model.multi_modal_projector.linear_1."),
    ("model.mm_projector.2.", "model.multi_modal_projector.linear_2."),
)
_EMBEDDINGS = ("model.language_model.embed_tokens.weight", "lm_head.weight")
_SECOND = "model.multi_modal_projector.linear_2."
_BIOMEDCLIP_LAYERS = (-3, -2, -1)  # of the last three blocks, without the closing norm
_KINDS = {"llava": "llama", "llava_llama": "llama", "llava_mistral": "mistral"}  # by `model_type`
_TYPES = {"F64": "float64", "F32": "float32", "F16": "float16", "BF16": "bfloat16"}


@dataclass(frozen=True)
class Legacy:
    """A checkpoint as its config.json tells: `said`; `tower`: the name of its vision tower; `framed`: pictures stand
    between start and end tokens; `linear`: its projector is one layer."""

    folder: Path
    said: dict[str, Any]
    language: str
    tower: str
    framed: bool
    linear: bool


def import_model(
    source: Path, folder: Path, *, vision_tower: Path | None = None, prompt: str | None = None, force: bool = False
) -> dict[str, Any]:
    """Write the LLaVA checkpoint that `source` is in the old layout: `{layout, parameters, artifact, hash}`.

    `vision_tower`: the folder of the CLIP or BiomedCLIP model that `source` names, where it does not hold the weights.
    `prompt`: the format it was tuned with; by default v0 with start and end tokens, mistral for Mistral, else v1.

    Raises:
        InputError: another layout; a tensor that is missing, left over or of another shape, all of them named; a
            tower or tokenizer that is missing or another's; or what `artifact.start` refuses.
    """
    old = read(source)
    chosen = _format(old, prompt)
    tensors = tensors_of(source)
    tower = _tower(old, tensors, vision_tower)
    placed = _placed(tensors, tower, linear=old.linear)
    words = pieced.words_of(source, framed=old.framed, length=int(old.said.get("max_position_embeddings", 2048)))
    config = _configure(old, tower, words)
    _check(source, config, placed, linear=old.linear)
    rows = placed[_EMBEDDINGS[0]].shape[0]
    _check_tokens(source, words.tokenizer, rows, old.framed)
    folders = {"checkpoint": source} | ({"vision_tower": vision_tower} if vision_tower else {})
    inputs = {name: sources.digest(sources.hashes(path)) for name, path in folders.items()}
    weights = _weights(config, placed, len(words.tokenizer), linear=old.linear)
    needs = sum(tensor.size for tensor in weights)
    job = artifact.start(
        folder, "model", {"import": old.language, "prompt": chosen.name}, inputs=inputs, force=force, needs_bytes=needs
    )
    try:
        if job.manifest is None:
            pieces.save(job, weights)
            model = _ending(_bare(config), chosen)
            checkpoint.save_settings(model, _processor(old, tower, config, words, chosen), job.out)
            about = {
                "name": source.resolve().name,
                "parts": _parts(old, inputs),
                "note": _note(old, chosen),
                "parameters": sum(tensor.count for tensor in weights),
                "projector": "trained",
            }
            job.manifest = artifact.publish(job, counts={}, card=_card(about), backbone=about)
    except InputError:
        artifact.abandon(job)
        raise
    finally:
        artifact.pause(job)
    return {
        "layout": f"{old.language}, prompt {chosen.name}",
        "parameters": job.manifest["backbone"]["parameters"],
        "artifact": str(folder),
        "hash": job.manifest["hash"],
    }


def read(source: Path) -> Legacy:
    """What the config.json of a checkpoint in the old layout says.

    Raises:
        InputError: there is none, or it is of another layout.
    """
    said = towers.read_json(source / "config.json")
    kind = said.get("model_type")
    if "vision_config" in said:
        raise InputError(f"{source} is in transformers' own format already: use it as it is")
    if kind not in _KINDS:
        raise InputError(f"{source}: layout {kind!r} is not read, only {', '.join(_KINDS)}: name such a checkpoint")
    for key, known in (
        ("image_aspect_ratio", (None, "square", "pad")),
        ("mm_vision_select_feature", (None, "patch", "cls_patch")),
        ("mm_projector_type", (None, "linear", "mlp2x_gelu")),
        ("mm_patch_merge_type", (None, "flat")),
    ):
        if said.get(key) not in known:
            raise InputError(f"{source}: {key} {said[key]!r} is none that transformers' LLaVA has: it cannot be read")
    tower = str(said.get("mm_vision_tower") or "openai/clip-vit-large-patch14")
    layer = said.get("mm_vision_select_layer", -1)
    if _biomedclip(tower) and layer not in _BIOMEDCLIP_LAYERS:
        raise InputError(f"{source}: mm_vision_select_layer {layer} of BiomedCLIP's tower counts otherwise than "
                         "transformers: it cannot be read")  # fmt: skip
    return Legacy(
        source,
        said,
        _KINDS[kind],
        tower,
        bool(said.get("mm_use_im_start_end")),
        said.get("mm_projector_type", "linear") in (None, "linear"),
    )


def _biomedclip(tower: str) -> bool:
    """As LLaVA-Med v1.0 tells it, by the name."""
    return "biomedclip" in tower.lower().replace("_", "")


def _format(old: Legacy, prompt: str | None) -> Format:
    name = prompt or ("mistral" if old.language == "mistral" else "v0" if old.framed else "v1")
    if name not in prompts.FORMATS:
        raise InputError(f"unknown prompt format {name!r}: choose one of {', '.join(prompts.FORMATS)}")
    return prompts.FORMATS[name]


def _tower(old: Legacy, tensors: dict[str, Tensor], folder: Path | None) -> Tower:
    """Its weights come from the checkpoint if they are there: they may have been tuned."""
    within = {name.removeprefix(_TOWER): tensor for name, tensor in tensors.items() if name.startswith(_TOWER)}
    if not within and folder is None:
        raise InputError(
            f"{old.folder} names its vision tower, {old.tower}, and does not hold it: give its folder, --vision-tower"
        )
    if folder is None:
        tower = towers.from_checkpoint(old.tower, within)
    elif _biomedclip(old.tower):
        if within:
            raise InputError(f"{old.folder} holds {min(within)}, which is of CLIP's, not of {old.tower}: get it again")
        # LLaVA-Med gives it pictures as CLIP's processor makes them, whatever its own folder says.
        tower = replace(open_clip.from_folder(folder), images={})
    else:
        tower = towers.from_folder(folder)
        if tower.config.model_type != "clip_vision_model":
            raise InputError(f"{folder} is no CLIP vision tower ({tower.config.model_type}): name that of {old.tower}")
        if within:
            tower = Tower(tower.config, towers.without_buffers(within), tower.images)
    towers.check(tower, old.tower, old.said.get("mm_hidden_size"), folder or old.folder)
    return tower


def _places(linear: bool) -> tuple[tuple[str, str], ...]:
    projector = _ONE_LAYER if linear else _TWO_LAYERS
    return ((_TOWER, "model.vision_tower."), *projector, ("model.", "model.language_model."))


def _placed(tensors: dict[str, Tensor], tower: Tower, *, linear: bool) -> dict[str, Tensor]:
    """All tensors by transformers' names."""
    placed = {}
    for name, tensor in towers.without_buffers(tensors).items():
        if not name.startswith(_TOWER):
            old, new = next((pair for pair in _places(linear) if name.startswith(pair[0])), ("", ""))
            placed[new + name.removeprefix(old)] = tensor
    return placed | {f"model.vision_tower.{name}": tensor for name, tensor in tower.tensors.items()}


def _original(name: str, *, linear: bool) -> str:
    """What transformers calls `name`, as the old layouts do."""
    old, new = next((pair for pair in _places(linear) if name.startswith(pair[1])), ("", ""))
    return old + name.removeprefix(new)


def _configure(old: Legacy, tower: Tower, words: pieced.Words) -> Any:
    from transformers import LlamaConfig, LlavaConfig, MistralConfig

    kind = {"llama": LlamaConfig, "mistral": MistralConfig}[old.language]
    known = {*kind().to_dict(), "rope_theta", "rope_scaling"} - {"architectures", "dtype", "transformers_version"}
    text = kind.from_dict({k: v for k, v in old.said.items() if k in known} | {"model_type": kind.model_type})
    token = words.tokenizer
    text.bos_token_id, text.eos_token_id, text.pad_token_id = token.bos_token_id, token.eos_token_id, token.pad_token_id
    whole = old.said.get("mm_vision_select_feature") == "cls_patch"
    return LlavaConfig(
        vision_config=tower.config,
        text_config=text,
        image_token_index=token.convert_tokens_to_ids(IMAGE_TOKEN),
        image_seq_length=(tower.config.image_size // tower.config.patch_size) ** 2 + whole,
        projector_hidden_act="linear" if old.linear else "gelu",
        vision_feature_layer=old.said.get("mm_vision_select_layer", -1),
        vision_feature_select_strategy="full" if whole else "default",
    )


def _check(source: Path, config: Any, placed: dict[str, Tensor], *, linear: bool) -> None:
    """Nothing missing, nothing left over, all of the right shape; else every name is told, as `source` has it."""
    looked_at = config.vision_config.model_type == "vit"  # by `open_clip`: in memory its names are others than in files
    known = (_SECOND,) * linear + ("model.vision_tower.",) * looked_at
    placed = {name: tensor for name, tensor in placed.items() if not name.startswith(known)}
    wanted = _bare(config).state_dict()
    wants = {name: tuple(weight.shape) for name, weight in wanted.items() if not name.startswith(known)}
    if config.text_config.tie_word_embeddings and _EMBEDDINGS[1] not in placed:
        del wants[_EMBEDDINGS[1]]
    if told := misfit(placed, wants, lambda name: _original(name, linear=linear)):
        raise InputError(f"{source} does not fit its config.json: {told}: get the checkpoint again")


def _check_tokens(source: Path, tokenizer: Any, rows: int, framed: bool) -> None:
    """Only the picture's token, whose embedding is never read, may have no row."""
    for token in pieced.FRAME if framed else ():
        if (index := tokenizer.convert_tokens_to_ids(token)) >= rows:
            raise InputError(f"{source}: {token} is token {index} and there are {rows} embeddings: the tokenizer is "
                             "another model's: get the checkpoint's own")  # fmt: skip


def _bare(config: Any) -> Any:
    """The model without its weights."""
    import torch
    from transformers import LlavaForConditionalGeneration

    with torch.device("meta"):
        return LlavaForConditionalGeneration(config)


def _weights(config: Any, placed: dict[str, Tensor], tokens: int, *, linear: bool) -> list[Tensor]:
    """What is written: all in the type of the embedding, with a row for each of `tokens`. `config` is told of both."""
    kind, known = placed[_EMBEDDINGS[0]].dtype, placed[_EMBEDDINGS[0]].shape[0]
    rows = checkpoint.wanted_rows(known, tokens)
    found = {name: replace(computed.typed(tensor, kind), name=name) for name, tensor in placed.items()}
    found |= {name: computed.grown(found[name], rows) for name in _EMBEDDINGS if name in found}
    if linear:  # transformers' projector has two layers: the second changes nothing
        width = config.text_config.hidden_size
        found[f"{_SECOND}weight"] = computed.identity(f"{_SECOND}weight", width, kind)
        found[f"{_SECOND}bias"] = computed.zeros(f"{_SECOND}bias", width, kind)
    config.text_config.vocab_size = rows
    config.dtype = config.text_config.dtype = config.vision_config.dtype = _TYPES[kind]
    return [found[name] for name in sorted(found)]


def _ending(model: Any, chosen: Format) -> Any:
    """An answer may end with words instead of a token."""
    if chosen.end != "</s>":
        model.generation_config.stop_strings = [chosen.end]
    return model


def _processor(old: Legacy, tower: Tower, config: Any, words: pieced.Words, chosen: Format) -> Any:
    from transformers import LlavaProcessor

    return LlavaProcessor(
        towers.image_processor(tower, padded=old.said.get("image_aspect_ratio") == "pad"),
        words.tokenizer,
        patch_size=tower.config.patch_size,
        vision_feature_select_strategy=config.vision_feature_select_strategy,
        num_additional_image_tokens=1,  # the class token
        chat_template=prompts.template(prompts.pieces(chosen, words.start, framed=old.framed, spaced=words.spaced)),
    )


def _parts(old: Legacy, inputs: dict[str, str]) -> list[dict[str, str]]:
    """What the card and the summary of training data tell; a licence only where the folder's own card states it."""
    name = old.folder.resolve().name
    language = {
        "role": "language model and projector",
        "name": name,
        "licence": sources.licence(old.folder),
        "source": f"folder {name}",
        "sha256": inputs["checkpoint"],
        "note": "Imported as it is; terms of use of its base model and training data hold on.",
    }
    own = "vision_tower" not in inputs
    vision = {
        "role": "vision tower",
        "name": old.tower,
        "licence": "not stated",
        "source": f"folder {name}" if own else "local folder",
        "sha256": inputs["checkpoint" if own else "vision_tower"],
        "note": "As the checkpoint holds it." if own else "The checkpoint names it and does not hold it.",
    }
    return [language, vision]


def _note(old: Legacy, chosen: Format) -> str:
    projector = "one linear layer" if old.linear else "two layers, GELU between"
    return f"Imported from the {old.said['model_type']} layout; projector: {projector}; prompt format: {chosen.note}."


def _card(about: dict[str, Any]) -> str:
    lines = [
        *model_head(),
        "",
        f"# {about['name']}",
        "",
        f"{about['parameters']:,} parameters. {about['note']} For research use only, not for clinical decisions.",
        "",
        "| part | weights | licence | where from | what to know |",
        "| --- | --- | --- | --- | --- |",
        *(
            f"| {p['role']} | {p['name']} | {p['licence']} | {p['source']} (SHA-256 `{p['sha256']}`) | {p['note']} |"
            for p in about["parts"]
        ),
    ]
    return "\n".join(lines) + "\n"
