"""Text tokens counted again, by the tokenizer and the chat format in a model's folder."""

from pathlib import Path
from types import SimpleNamespace
from typing import Any

from llavamed import storage
from llavamed.errors import InputError


def count_tokens(model: Path, conversations: Path, records: dict[str, int]) -> dict[str, int]:
    """Record -> text tokens, of those `records` (id -> image tokens) that the table holds and that can be read.

    Raises:
        InputError: the tokenizer is unknown or cannot be read.
    """
    from llavamed.model.tokenizer import IMAGE_TOKEN
    from llavamed.train.tokens import ExcludedError, encode

    words, template = _tokenizer(model)  # first: without one, the tables need not be read
    processor = SimpleNamespace(
        tokenizer=words, chat_template=template, image_token_id=words.convert_tokens_to_ids(IMAGE_TOKEN)
    )
    found = {}
    for row in storage.read_rows(conversations, columns=["id", "conversations"]):
        if row["id"] in records:
            try:
                example = encode(row, processor, records[row["id"]], 10**9)
            except ExcludedError:
                continue
            found[row["id"]] = len(example.start) + len(example.rest) - example.image_tokens
    return found


def _tokenizer(model: Path) -> tuple[Any, str]:
    from transformers import AutoTokenizer

    try:
        words = AutoTokenizer.from_pretrained(model, local_files_only=True, trust_remote_code=False)
        return words, (model / "chat_template.jinja").read_text(encoding="utf-8")
    except Exception as error:  # transformers and tokenizers raise all sorts
        said = (str(error).strip().splitlines() or [type(error).__name__])[0]
        raise InputError(f"{model}: its tokenizer is unknown or cannot be read ({said}): restore its files") from None
