"""Byte-level tokenizers made in code, and the chat format that every model here speaks."""

from typing import Any

IMAGE_TOKEN = "<image>"  # noqa: S105
PAD, START, END = "<|endoftext|>", "<|im_start|>", "<|im_end|>"

# ChatML, the format SmolLM2 was tuned on. Pictures come first in a turn. What stands between `generation` marks is what
# the assistant says, its end mark included: training takes its loss from there.
CHAT_TEMPLATE = """\
{%- for message in messages -%}
{{- '<|im_start|>' + message['role'] + '\\n' -}}
{%- if message['role'] == 'assistant' -%}
{%- generation -%}
{{- message['content'] if message['content'] is string else message['content'] | map(attribute='text') | join -}}
{{- '<|im_end|>' -}}
{%- endgeneration -%}
{%- elif message['content'] is string -%}
{{- message['content'] + '<|im_end|>' -}}
{%- else -%}
{%- for part in message['content'] if part['type'] == 'image' -%}{{- '<image>\\n' -}}{%- endfor -%}
{%- for part in message['content'] if part['type'] == 'text' -%}{{- part['text'] -}}{%- endfor -%}
{{- '<|im_end|>' -}}
{%- endif -%}
{{- '\\n' -}}
{%- endfor -%}
{%- if add_generation_prompt -%}{{- '<|im_start|>assistant\\n' -}}{%- endif -%}
"""


def byte_level(vocabulary: dict[str, int], merges: list[tuple[str, str]], special: list[str], length: int) -> Any:
    """A byte-level BPE tokenizer that splits numbers into digits (as SmolLM2's does), with `<image>` added to it.

    `length`: the longest sequence the language model takes, in tokens.
    """
    from tokenizers import Tokenizer, decoders, models, pre_tokenizers
    from transformers import PreTrainedTokenizerFast

    tokenizer = Tokenizer(models.BPE(vocabulary, merges))
    tokenizer.pre_tokenizer = pre_tokenizers.Sequence(
        [pre_tokenizers.Digits(individual_digits=True), pre_tokenizers.ByteLevel(add_prefix_space=False)]
    )
    tokenizer.decoder = decoders.ByteLevel()
    tokenizer.add_special_tokens([*special, IMAGE_TOKEN])
    return PreTrainedTokenizerFast(
        tokenizer_object=tokenizer,
        eos_token=END,
        pad_token=PAD,
        additional_special_tokens=[*(t for t in special if t not in (PAD, END)), IMAGE_TOKEN],
        model_max_length=length,
        clean_up_tokenization_spaces=False,
        chat_template=CHAT_TEMPLATE,
    )


def bytes_only(length: int) -> Any:
    """A tokenizer whose tokens are the 256 bytes."""
    from tokenizers.pre_tokenizers import ByteLevel

    special = [PAD, START, END]
    vocabulary = {token: i for i, token in enumerate([*special, *sorted(ByteLevel.alphabet())])}
    return byte_level(vocabulary, [], special, length)
