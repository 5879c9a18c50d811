"""Many questions about few pictures, answered together: a picture, and what stands before it, is read once.

The questions of a picture are branches of one sequence: a token sees the prefix (system text and picture) and its own
branch, and nothing of the others. A row of the batch is a picture; each step appends one token to every branch.

    column    0 1 2 ... 259 | 260 261 262 | 263 264 | 265 | 266 267 | 268 269 | ...
    what      prefix        | question 1  | quest 2 | pad | step 1  | step 2  |
    branch    0 0 0 ...   0 |   1   1   1 |   2   2 |  -1 |   1   2 |   1   2 |
    position  0 1 2 ... 259 | 260 261 262 | 260 261 |   0 | 263 262 | 264 263 |
"""

import time
from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from typing import Any

from PIL import Image

PREFIX, PADDING = 0, -1  # branches; those of questions count from 1


def answer(
    model: Any,
    processor: Any,
    pictures: Sequence[Image.Image],
    questions: Sequence[Sequence[str]],
    max_new_tokens: int,
    seconds: dict[str, float],
) -> list[list[str]]:
    """The greedy answers of a LLaVA model to `questions[i]` about `pictures[i]`: the same lists of texts.

    `seconds`: what vision, prefill (prefix and questions) and decode took is added to it.

    Raises:
        ValueError: the chat template of the model does not begin all prompts alike, with one picture.
    """
    import torch

    language, device, n = model.model.language_model, model.device, len(pictures)
    before, rest = _tokens(processor, questions)
    with torch.inference_mode():
        with clock("vision", seconds, device):
            pixels = processor.image_processor(list(pictures), return_tensors="pt")["pixel_values"]
            features = torch.stack(list(model.get_image_features(pixels.to(device, model.dtype)).pooler_output))
        with clock("prefill", seconds, device):
            start = language.embed_tokens(torch.tensor(before, dtype=torch.long, device=device))
            prefix = torch.cat([start.expand(n, -1, -1), features.to(start.dtype)], 1)  # [n, prefix, width]
            past = language(inputs_embeds=prefix, use_cache=True).past_key_values
        tokens, branch, position, last = (part.to(device) for part in _branches(rest, prefix.shape[1]))
        rows, branches = torch.arange(n, device=device)[:, None], torch.arange(1, last.shape[1] + 1, device=device)
        columns = torch.full((n, prefix.shape[1]), PREFIX, device=device)  # the branch of each
        ended = torch.tensor([[b >= len(texts) for b in range(last.shape[1])] for texts in questions], device=device)
        stops = torch.tensor(stop_tokens(model), device=device)
        said = []
        for step in range(max_new_tokens):
            with clock("decode" if step else "prefill", seconds, device):
                columns = torch.cat([columns, branch], 1)
                sees = (columns[:, None] == PREFIX) | (columns[:, None] == branch[:, :, None])  # [n, new, columns]
                sees = sees.tril(columns.shape[1] - branch.shape[1])  # and nothing that comes later
                hidden = language(
                    input_ids=tokens, attention_mask=sees[:, None], position_ids=position, past_key_values=past
                ).last_hidden_state
                tokens = model.lm_head(hidden[rows, last]).argmax(-1)  # [n, branches]
                said.append(tokens)
                ended |= torch.isin(tokens, stops)
                if ended.all():
                    break
                branch, position = branches.expand(n, -1), position[rows, last] + 1
                last = (branches - 1).expand(n, -1)
        ids = torch.stack(said, 2).tolist()  # [n, branches, steps]
    return [
        [text_of(processor, ids[i][b], stop_tokens(model), stop_words(model)) for b in range(len(texts))]
        for i, texts in enumerate(questions)
    ]


def text_of(processor: Any, tokens: Sequence[int], stops: Sequence[int], words: Sequence[str] = ()) -> str:
    """The words of an answer, up to the first of the tokens or `words` that end one."""
    end = next((n for n, token in enumerate(tokens) if token in stops), len(tokens))
    text = str(processor.tokenizer.decode(tokens[:end], skip_special_tokens=True))
    return text[: min([at for word in words if (at := text.find(word)) >= 0], default=None)].strip()


def stop_words(model: Any) -> list[str]:
    """What ends an answer in words, of a model that has no token for it."""
    return list(getattr(model.generation_config, "stop_strings", None) or [])


def stop_tokens(model: Any) -> list[int]:
    """The tokens that end an answer."""
    end = model.generation_config.eos_token_id
    return list(end) if isinstance(end, list) else [] if end is None else [end]


@contextmanager
def clock(what: str, seconds: dict[str, float], device: Any) -> Iterator[None]:
    """Add the time that passes inside to `seconds[what]`."""
    import torch

    begun = time.perf_counter()
    yield
    if torch.device(device).type == "cuda":  # which has only been told what to do
        torch.cuda.synchronize()
    seconds[what] = seconds.get(what, 0.0) + time.perf_counter() - begun


def _tokens(processor: Any, questions: Sequence[Sequence[str]]) -> tuple[list[int], list[list[list[int]]]]:
    """The tokens before the picture, and for each question those after it."""
    image = processor.tokenizer.convert_tokens_to_ids(processor.image_token)
    starts, rest = set(), []
    for texts in questions:
        ids = processor.tokenizer([prompt(processor, text) for text in texts])["input_ids"]
        if any(one.count(image) != 1 for one in ids):
            raise ValueError("the chat template does not ask about one picture")
        starts |= {tuple(one[: one.index(image)]) for one in ids}
        rest.append([one[one.index(image) + 1 :] for one in ids])
    if len(starts) != 1:
        raise ValueError("the chat template does not begin all prompts alike")
    return list(starts.pop()), rest


def prompt(processor: Any, text: str) -> str:
    """What the model is given to go on from; in words, the mark of a picture is none."""
    content = [{"type": "image"}, {"type": "text", "text": text.replace(processor.image_token, "")}]
    return str(processor.apply_chat_template([{"role": "user", "content": content}], add_generation_prompt=True))


def _branches(questions: list[list[list[int]]], prefix: int) -> tuple[Any, Any, Any, Any]:
    """Tokens, branch and position of each column, [pictures, columns]; where each ends, [pictures, branches]."""
    import torch

    size = len(questions), max(sum(map(len, ids)) for ids in questions)
    tokens, position = torch.zeros(size, dtype=torch.long), torch.zeros(size, dtype=torch.long)
    branch = torch.full(size, PADDING)
    last = torch.zeros(size[0], max(map(len, questions)), dtype=torch.long)
    for row, texts in enumerate(questions):
        column = 0
        for number, ids in enumerate(texts):
            here = slice(column, column + len(ids))
            tokens[row, here] = torch.tensor(ids)
            branch[row, here] = number + 1
            position[row, here] = torch.arange(prefix, prefix + len(ids))
            column += len(ids)
            last[row, number] = column - 1
    return tokens, branch, position, last
