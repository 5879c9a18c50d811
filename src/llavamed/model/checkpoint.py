"""Load and save LLaVA checkpoints. Missing, unexpected or misshapen weights are errors."""

import json
from pathlib import Path
from typing import Any

from llavamed import artifact
from llavamed.errors import InputError


def load(folder: Path, *, dtype: Any = None, device: str = "cpu") -> tuple[Any, Any]:
    """The model, in evaluation mode, and its processor. `dtype`: a torch dtype; as stored where None.

    Raises:
        InputError: no checkpoint in `folder`, a file that differs from the manifest's hash, or a weight that is missing,
            unexpected or of another shape than the configuration asks for.
    """
    import transformers
    from safetensors import SafetensorError

    _check_files(folder)
    verbosity = transformers.logging.get_verbosity()
    transformers.logging.set_verbosity_error()  # the report it would print is raised below
    try:
        model, found = transformers.LlavaForConditionalGeneration.from_pretrained(
            folder,
            dtype=dtype or "auto",
            local_files_only=True,
            use_safetensors=True,
            ignore_mismatched_sizes=True,
            output_loading_info=True,
        )
        processor = transformers.LlavaProcessor.from_pretrained(folder, local_files_only=True, backend="pil")
    except (OSError, ValueError, SafetensorError) as error:
        raise InputError(f"{folder}: not a readable LLaVA checkpoint: {' '.join(str(error).split())}") from None
    finally:
        transformers.logging.set_verbosity(verbosity)
    for kind in ("missing", "unexpected", "mismatched"):
        names = sorted(str(key[0] if isinstance(key, tuple) else key) for key in found[f"{kind}_keys"])
        if names:
            more = f" and {len(names) - 1} more" if len(names) > 1 else ""
            raise InputError(f"{folder}: {kind} weight {names[0]}{more}: build or train this checkpoint again")
    return model.to(device).eval(), processor


def save(model: Any, processor: Any, folder: Path) -> None:
    """Write weights (safetensors), configuration, tokenizer and processor to `folder`."""
    folder.mkdir(parents=True, exist_ok=True)
    model.config.name_or_path = ""
    model.save_pretrained(folder)
    processor.tokenizer.name_or_path = ""
    processor.save_pretrained(folder)


def _check_files(folder: Path) -> None:
    """Compare with the manifest, where the checkpoint has one."""
    if not (folder / "config.json").is_file():
        raise InputError(f"{folder} holds no checkpoint (no config.json): name the folder of a model")
    if (folder / "manifest.json").exists():
        artifact.require(folder, "model")
        problems = artifact.verify(folder)
        if problems:
            raise InputError(f"{folder}/{problems[0]['path']}: {problems[0]['what']} since it was published: "
                             "build or train this checkpoint again")  # fmt: skip
    if json.loads((folder / "config.json").read_text()).get("model_type") != "llava":
        raise InputError(f"{folder}/config.json is not of a LLaVA model: name the folder of a model")
