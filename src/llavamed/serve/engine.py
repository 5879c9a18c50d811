"""A checkpoint answers, token by token."""

from collections.abc import Iterator, Sequence
from typing import Any

from PIL import Image

from llavamed.errors import InputError
from llavamed.model.tokenizer import IMAGE_TOKEN

Message = dict[str, Any]  # {role: user or assistant, content: text, or parts {type: image} and {type: text, text}}


def question(text: str, *, image: bool = False) -> Message:
    """A user's message; `image`: it brings the next picture."""
    parts = [{"type": "image"}] if image else []
    return {"role": "user", "content": [*parts, _text(text)]}


def reply(text: str) -> Message:
    """What the assistant said."""
    return {"role": "assistant", "content": [_text(text)]}


def answer(
    model: Any, processor: Any, messages: Sequence[Message], images: Sequence[Image.Image], *, max_new_tokens: int = 256
) -> Iterator[str]:
    """Yield the greedy answer to a conversation piece by piece, as its tokens come.

    `images`: RGB, in the order in which the messages bring them.

    Raises:
        InputError: the conversation fills the model's context.
    """
    import torch

    prompt = processor.apply_chat_template(list(messages), add_generation_prompt=True)
    inputs = processor(images=list(images) or None, text=prompt, return_tensors="pt").to(model.device, model.dtype)
    room = model.config.text_config.max_position_embeddings - inputs["input_ids"].shape[1]
    if room < 1:
        raise InputError(f"the conversation is {1 - room} tokens longer than the model can read: start a new one")
    stops, ends = _stops(model), getattr(model.generation_config, "stop_strings", None) or []
    # Half of a character, or the beginning of what ends an answer, is kept back.
    halves = ("\ufffd", *(word[:n] for word in ends for n in range(1, len(word))))
    tokens: list[int] = []
    text, said, past, new = "", "", None, inputs
    while len(tokens) < min(max_new_tokens, room):
        with torch.inference_mode():
            out = model(**new, past_key_values=past, use_cache=True, logits_to_keep=1)
        token = int(out.logits[0, -1].argmax())
        if token in stops:
            break
        tokens.append(token)
        text = processor.tokenizer.decode(tokens, skip_special_tokens=True)
        if found := [at for word in ends if (at := text.find(word)) >= 0]:
            text = text[: min(found)]
            break
        if not text.endswith(halves):
            yield text[len(said) :]
            said = text
        past, new = out.past_key_values, {"input_ids": torch.tensor([[token]], device=model.device)}
    if text != said:
        yield text[len(said) :]


def _text(text: str) -> dict[str, str]:
    return {"type": "text", "text": text.replace(IMAGE_TOKEN, "")}  # in words, it is no picture


def _stops(model: Any) -> set[int]:
    end = model.generation_config.eos_token_id
    return set(end) if isinstance(end, list) else {end}
