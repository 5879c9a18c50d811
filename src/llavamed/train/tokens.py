"""A conversation as the model reads it: token ids, and which of them it learns to say."""

from array import array
from collections.abc import Sequence
from dataclasses import dataclass
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


@dataclass(frozen=True)
class Example:
    """One conversation. `ids` and `labels` are of equal length; a label is the id itself or IGNORE.

    `prefix`: how many tokens there are up to the picture's last. `questions`: its human turns.
    """

    id: str
    ids: Sequence[int]
    labels: Sequence[int]
    image_tokens: int
    prefix: int
    questions: tuple[str, ...] = ()


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
    ids, labels, prefix = array("i"), array("i"), 0  # four bytes a token: there may be hundreds of thousands of these
    for token, said in zip(encoded["input_ids"], encoded["assistant_masks"], strict=True):
        picture = token == processor.image_token_id
        count = image_tokens if picture else 1
        ids.extend([token] * count)
        labels.extend([token if said else IGNORE] * count)
        prefix = len(ids) if picture else prefix
    if len(ids) > max_length:
        raise ExcludedError("too_long", f"{len(ids)} tokens, at most {max_length} allowed")
    questions = tuple(message["content"][-1]["text"] for message in chat if message["role"] == "user")
    return Example(row["id"], ids, labels, image_tokens, prefix, questions)


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
