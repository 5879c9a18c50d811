"""A conversation as the model reads it: token ids, and which of them it learns to say."""

from array import array
from collections.abc import Sequence
from dataclasses import dataclass
from functools import lru_cache
from io import BytesIO
from typing import Any

from llavamed.model.tokenizer import IMAGE_TOKEN

IGNORE = -100  # the label of a token that carries no loss
ROLES = {"human": "user", "gpt": "assistant"}


class ExcludedError(Exception):
    """A conversation that cannot be trained on: a reason, and a detail for whoever looks into it."""

    def __init__(self, reason: str, detail: str = "") -> None:
        super().__init__(f"{reason}: {detail}")
        self.reason, self.detail = reason, detail


@dataclass(frozen=True, slots=True)
class Example:
    """One conversation, in little memory: there may be hundreds of thousands.

    `start`: ids up to the picture's last, one object for all that begin alike. `rest`: ids of what follows, and `said`:
    for each of them 1 where it carries loss, else 0. `questions`: its human turns.
    """

    id: str
    start: tuple[int, ...]
    rest: Sequence[int]
    said: bytes
    image_tokens: int
    questions: tuple[str, ...] = ()

    @property
    def prefix(self) -> int:
        """How many tokens there are up to the picture's last."""
        return len(self.start)

    @property
    def ids(self) -> list[int]:
        """Of all tokens."""
        return [*self.start, *self.rest]

    @property
    def labels(self) -> list[int]:
        """Of all tokens: the id itself where it carries loss, else IGNORE."""
        said = zip(self.rest, self.said, strict=True)
        return [IGNORE] * len(self.start) + [token if loss else IGNORE for token, loss in said]


def messages(turns: list[dict[str, str]]) -> list[dict[str, Any]]:
    """LLaVA's turns (`from`, `value`) as chat messages, the picture first in the first of them.

    Raises:
        ExcludedError: not one picture, in the first turn; not human and gpt in turn; an empty turn; no answer.
    """
    # A table may hold nulls.
    turns = [{key: (turn or {}).get(key) or "" for key in ("from", "value")} for turn in turns]
    pictures = [turn["value"].count(IMAGE_TOKEN) for turn in turns]
    if sum(pictures) != 1 or pictures[0] != 1:
        raise ExcludedError("not_one_image", f"{IMAGE_TOKEN} appears in the turns {pictures} times")
    chat: list[dict[str, Any]] = []
    for index, turn in enumerate(turns):
        if turn["from"] != ("human", "gpt")[index % 2]:
            raise ExcludedError("turns_out_of_order", f"turn {index + 1} is from {turn['from']!r}")
        text = turn["value"].replace(IMAGE_TOKEN, "").strip()
        if not text:
            raise ExcludedError("empty_turn", f"turn {index + 1}")
        content = [{"type": "image"}] if index == 0 else []
        chat.append({"role": ROLES[turn["from"]], "content": [*content, {"type": "text", "text": text}]})
    if len(chat) < 2:
        raise ExcludedError("no_answer", "there is no assistant's turn")
    return chat


def encode(row: dict[str, Any], processor: Any, image_tokens: int, max_length: int) -> Example:
    """The tokens of a conversation, its picture taking `image_tokens` of them.

    The template itself marks what the assistant says (`generation`), so the labels follow from its rendering. A human
    turn after the last answer carries no loss.

    Raises:
        ExcludedError: see `messages`; a control token inside the text; longer than `max_length`.
    """
    words = processor.tokenizer
    chat = messages(row["conversations"] or [{"from": "human", "value": ""}])
    for index, message in enumerate(chat):
        text = message["content"][-1]["text"]
        for token in words.all_special_tokens:
            if token in text:
                raise ExcludedError("control_token", f"turn {index + 1} holds {token}")
    encoded = words.apply_chat_template(
        chat, chat_template=processor.chat_template, return_dict=True, return_assistant_tokens_mask=True
    )
    ids, said = encoded["input_ids"], bytes(encoded["assistant_masks"])
    if ids.count(processor.image_token_id) != 1:
        raise ExcludedError("not_one_image", "the model's chat template leaves the picture out")
    picture = ids.index(processor.image_token_id)
    start = _one((*ids[:picture], *[ids[picture]] * image_tokens))
    rest, said = array("i", ids[picture + 1 :]), said[picture + 1 :]  # the picture's turn is the first, a human's
    if len(start) + len(rest) > max_length:
        raise ExcludedError("too_long", f"{len(start) + len(rest)} tokens, at most {max_length} allowed")
    if not any(said):
        raise ExcludedError("no_answer", "the model's chat template marks nothing as the assistant's (`generation`)")
    questions = tuple(message["content"][-1]["text"] for message in chat if message["role"] == "user")
    return Example(row["id"], start, rest, said, image_tokens, questions)


@lru_cache(maxsize=64)
def _one(ids: tuple[int, ...]) -> tuple[int, ...]:
    """The same object for equal ids."""
    return ids


def opened(image: dict[str, Any] | None) -> Any:
    """A picture (`{bytes, path}`), decoded, in RGB.

    Raises:
        ExcludedError: there is none, or it does not open.
    """
    from PIL import Image

    if not image or not image["bytes"]:
        raise ExcludedError("no_image", "the row holds no picture")
    try:
        with Image.open(BytesIO(image["bytes"])) as picture:
            return picture.convert("RGB")
    except (OSError, ValueError, SyntaxError, Image.DecompressionBombError) as error:
        raise ExcludedError("unreadable_image", str(error)) from None


def pixels(picture: Any, processor: Any) -> Any:
    """A decoded picture as the vision tower takes it, float32 [3, side, side]."""
    return processor.image_processor(picture, return_tensors="pt")["pixel_values"][0]
