"""Load and save LLaVA checkpoints. Missing, unexpected or misshapen weights are errors."""

import json
from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from pathlib import Path
from typing import Any

from llavamed import artifact, storage
from llavamed.errors import InputError
from llavamed.verify import rehash


def load(folder: Path, *, dtype: Any = None, device: str = "cpu") -> tuple[Any, Any]:
    """The model, in evaluation mode, and its processor. `dtype`: a torch dtype; as stored where None.

    Raises:
        InputError: no checkpoint in `folder`, a file that differs from its manifest, or a weight that is missing,
            unexpected or of another shape than the configuration asks for.
    """
    _check_files(folder)
    from safetensors import SafetensorError
    from transformers import LlavaProcessor

    try:
        model, found = _from_pretrained(folder, dtype=dtype or "auto", local_files_only=True, use_safetensors=True)
        processor = LlavaProcessor.from_pretrained(folder, local_files_only=True, backend="pil")
    except (OSError, ValueError, SafetensorError) as error:
        raise InputError(f"{folder}: not a readable LLaVA checkpoint: {_line(error)}") from None
    if problem := _first_problem(found):
        raise InputError(f"{folder}: {problem}: build or train this checkpoint again")
    return model.to(device).eval(), processor


def load_any(folder: Path, *, dtype: Any, device: str = "cpu") -> tuple[Any, Any]:
    """Any image-text-to-text model of transformers, in evaluation mode, and its processor.

    Raises:
        InputError: no such model in `folder`, one with code of its own or without safetensors, or weights that do not
            fit.
    """
    from safetensors import SafetensorError
    from transformers import AutoModelForImageTextToText, AutoProcessor

    options = {"local_files_only": True, "trust_remote_code": False}
    try:
        model, found = _from_pretrained(
            folder, AutoModelForImageTextToText, dtype=dtype, use_safetensors=True, **options
        )
        processor = AutoProcessor.from_pretrained(folder, **options)
    except ImportError as error:  # torchvision, for the processors that take videos too
        raise InputError(f"{folder}: its processor needs more than is installed: {_line(error)}") from None
    except (OSError, ValueError, KeyError, AttributeError, SafetensorError) as error:
        raise InputError(f"{folder}: not a readable image-text-to-text model: {_line(error)}") from None
    if problem := _first_problem(found):
        raise InputError(f"{folder}: {problem}: the checkpoint does not fit the installed transformers")
    return model.to(device).eval(), processor


def from_weights(config: Any, weights: dict[str, Any], *, new: str | None = None) -> Any:
    """A model of `weights` (names as in a file). Those whose name holds `new` may be missing: they become random.

    Raises:
        InputError: another weight is missing, unexpected or misshapen.
    """
    model, found = _from_pretrained(None, config=config, state_dict=weights)
    problem = _first_problem(
        {kind: [n for n in names if new is None or new not in str(n)] for kind, names in found.items()}
    )
    if problem:
        raise InputError(f"pretrained weights: {problem}: they do not fit the installed transformers")
    return model


def wanted_rows(rows: int, tokens: int) -> int:
    """Of an embedding for `tokens`: the next multiple of 64, matrix products are faster so; `rows` if they suffice."""
    return rows if tokens <= rows else -tokens // 64 * -64


def grow(weights: dict[str, Any], names: Sequence[str], tokens: int) -> int:
    """Give the embedding and the output head (those of `names` that are there) a row for each of `tokens`.

    Returns how many rows there are, of `wanted_rows`.
    """
    import torch

    rows: int = weights[names[0]].shape[0]
    wanted = wanted_rows(rows, tokens)
    for name in weights.keys() & set(names) if wanted > rows else ():
        # The mean of all rows: its logit is the mean of theirs, so none of the new tokens is ever the likeliest.
        known = weights[name]
        mean = known.float().mean(0, keepdim=True).to(known.dtype)
        weights[name] = torch.cat([known, mean.expand(wanted - rows, -1)])
    return wanted


def save(model: Any, processor: Any, folder: Path) -> None:
    """Write weights (safetensors), configuration, tokenizer and processor to `folder`."""
    save_settings(model, processor, folder)
    with _quiet():
        model.save_pretrained(folder)
    for path in folder.glob("*.safetensors"):
        path.chmod(0o644)  # safetensors makes them readable by their owner alone


def save_settings(model: Any, processor: Any, folder: Path) -> None:
    """Write all but the weights; `model` may be without any."""
    folder.mkdir(parents=True, exist_ok=True)
    words = processor.tokenizer
    model.generation_config.update(eos_token_id=words.eos_token_id, pad_token_id=words.pad_token_id)
    model.config.name_or_path = words.name_or_path = ""  # where it was loaded from is no property of the model
    model.config.architectures = [type(model).__name__]
    with _quiet():
        model.config.save_pretrained(folder)
        model.generation_config.save_pretrained(folder)
        processor.save_pretrained(folder)
    # How a file was loaded is no property of the model either: the same model is the same bytes.
    settings = folder / "tokenizer_config.json"
    kept = {k: v for k, v in json.loads(settings.read_text()).items() if k not in ("is_local", "local_files_only")}
    storage.write_json(settings, kept | {"backend": "tokenizers"})


def _from_pretrained(folder: Path | None, kind: Any = None, **options: Any) -> tuple[Any, Any]:
    from transformers import LlavaForConditionalGeneration

    with _quiet():
        return (kind or LlavaForConditionalGeneration).from_pretrained(  # type: ignore[no-any-return]
            folder, ignore_mismatched_sizes=True, output_loading_info=True, **options
        )


def _first_problem(found: dict[str, Any]) -> str:
    """Words for the first weight that is not as it should be, of what transformers found while loading."""
    for kind in ("missing", "unexpected", "mismatched"):
        names = sorted(str(key[0] if isinstance(key, tuple) else key) for key in found[f"{kind}_keys"])
        if names:
            more = f" and {len(names) - 1} more" if len(names) > 1 else ""
            return f"{kind} weight {names[0]}{more}"
    return ""


def _line(error: Exception) -> str:
    return " ".join(str(error).split())


@contextmanager
def _quiet() -> Iterator[None]:
    """No progress bars, and no printed report of what is raised as an error here."""
    from transformers import logging

    verbosity = logging.get_verbosity()
    logging.set_verbosity_error()
    logging.disable_progress_bar()
    try:
        yield
    finally:
        logging.set_verbosity(verbosity)
        logging.enable_progress_bar()


def _check_files(folder: Path) -> None:
    """Compare with the manifest, where the checkpoint has one."""
    artifact.refuse_other(folder, "model")
    if not (folder / "config.json").is_file():
        raise InputError(f"{folder} holds no checkpoint (no config.json): name the folder of a model")
    if (folder / "manifest.json").exists():
        problems = rehash(folder)
        if problems:
            raise InputError(f"{folder}/{problems[0]['path']}: {problems[0]['what']} since it was published: "
                             "build or train this checkpoint again")  # fmt: skip
    if json.loads((folder / "config.json").read_text()).get("model_type") != "llava":
        raise InputError(f"{folder}/config.json is not of a LLaVA model: name the folder of a model")
