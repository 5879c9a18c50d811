"""Language models out of a local folder, with the tokenizer and the chat template that training needs."""

from dataclasses import dataclass, replace
from functools import partial
from pathlib import Path
from typing import Any

from llavamed.errors import InputError
from llavamed.model import pieced, prompts, towers
from llavamed.model.backbones import LANGUAGES
from llavamed.model.tensors import Tensor, tensors_of
from llavamed.model.tokenizer import CHAT_TEMPLATE, END, IMAGE_TOKEN, START

# Before templates that tell the date: the same model on any day.
_ONE_DAY = "{%- macro strftime_now(how) -%}26 Jul 2024{%- endmacro -%}"


@dataclass(frozen=True)
class Language:
    """Its configuration, its tensors by their names in the folder, and its tokenizer with `<image>` and the chat
    template. `prompt`: in words, whose template that is."""

    config: Any
    tensors: dict[str, Tensor]
    words: Any
    prompt: str


def from_folder(folder: Path) -> Language:
    """The language model in a folder.

    Raises:
        InputError: it holds another kind, or no tokenizer that is known.
    """
    from transformers import CONFIG_MAPPING

    said = towers.read_json(folder / "config.json")
    kind = str(said.get("model_type"))
    if kind not in LANGUAGES:
        raise InputError(f"{folder} is no language model that is known ({kind}): there are {', '.join(LANGUAGES)}")
    config = CONFIG_MAPPING[kind].from_dict(said)
    words, prompt = (_as_it_is if (folder / "tokenizer.json").exists() else _from_pieces)(
        folder, LANGUAGES[kind].prompt, config.max_position_embeddings
    )
    return Language(config, towers.without_buffers(tensors_of(folder)), words, prompt)


def _from_pieces(folder: Path, prompt: str, length: int) -> tuple[Any, str]:
    """Of a tokenizer.model alone, as Vicuna's: such a folder has no chat template."""
    found = pieced.words_of(folder, framed=False, length=length)
    chosen = prompts.FORMATS.get(prompt, prompts.FORMATS["v1"])
    words = found.tokenizer
    words.chat_template = prompts.template(prompts.pieces(chosen, found.start, spaced=found.spaced))
    return words, chosen.note


def _as_it_is(folder: Path, prompt: str, length: int) -> tuple[Any, str]:
    """Of a tokenizer.json: it puts no token at the start of a text, for chat templates say it."""
    from tokenizers import AddedToken, Tokenizer
    from transformers import PreTrainedTokenizerFast

    try:
        made = Tokenizer.from_file(str(folder / "tokenizer.json"))
    except Exception as error:  # the library has no other for a damaged file
        raise InputError(f"{folder}/tokenizer.json cannot be read ({error}): get it again") from None
    made.post_processor = None
    made.add_special_tokens([AddedToken(IMAGE_TOKEN, normalized=False, special=True)])
    special = [token.content for _, token in sorted(made.get_added_tokens_decoder().items()) if token.special]
    settings = towers.read_json(folder / "special_tokens_map.json", needed=False)
    settings |= towers.read_json(folder / "tokenizer_config.json", needed=False)
    named = {name: pieced.text_of(settings.get(f"{name}_token")) for name in ("bos", "eos", "unk", "pad")}
    named = {name: text for name, text in named.items() if text and made.token_to_id(text) is not None}
    words = PreTrainedTokenizerFast(
        tokenizer_object=made,
        **{f"{name}_token": text for name, text in named.items()},
        additional_special_tokens=[text for text in special if text not in named.values()],
        model_max_length=length,
        clean_up_tokenization_spaces=False,
    )
    words.chat_template, end, note = _chat(folder, words, special, settings, prompt)
    words.eos_token = max((token for token in special if end.endswith(token)), key=len)
    words.pad_token = named.get("pad") or named.get("unk") or words.eos_token
    return words, note


def _chat(folder: Path, words: Any, special: list[str], settings: dict[str, Any], prompt: str) -> tuple[str, str, str]:
    """The chat template, what ends an answer, and whose it is: the tokenizer's, or as its tokens or kind suggest."""
    own = _own_template(folder, settings)
    if own and (learnt := _learn(words, own, special)):
        return prompts.template(learnt), learnt.end, "its tokenizer's"
    note = " (its tokenizer's own cannot be taken apart)" if own else ""
    if {START, END} <= {*special}:
        return CHAT_TEMPLATE, END, f"ChatML{note}"
    if words.eos_token not in special:
        raise InputError(f"{folder}: its tokenizer names no special token that ends a text: get the model's own")
    chosen = replace(prompts.FORMATS.get(prompt, prompts.FORMATS["v1"]), end=words.eos_token)
    pieces = prompts.pieces(chosen, words.bos_token or "", space="")
    return prompts.template(pieces), pieces.end, f"{chosen.note}{note}"


def _own_template(folder: Path, settings: dict[str, Any]) -> str:
    path = folder / "chat_template.jinja"
    own = path.read_text("utf-8") if path.exists() else settings.get("chat_template") or ""
    if isinstance(own, list):  # several, by name
        own = next((str(one["template"]) for one in own if one["name"] == "default"), "")
    return str(own)


def _learn(words: Any, own: str, special: list[str]) -> prompts.Pieces | None:
    """Without thinking, where the template has a word for that and writes all turns so; else as it is."""
    from jinja2 import TemplateError

    def render(messages: list[dict[str, str]], begun: bool, **how: bool) -> str:
        return str(
            words.apply_chat_template(
                messages, chat_template=_ONE_DAY + own, tokenize=False, add_generation_prompt=begun, **how
            )
        )

    try:
        return prompts.learn(partial(render, enable_thinking=False), special) or prompts.learn(render, special)
    except TemplateError:
        return None
