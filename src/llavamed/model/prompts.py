"""Chat templates: of the models that were published before ours, and of a language model's tokenizer.

A format holds the exact text that a model was asked with, so that its answers are its own. LLaVA tokenised the pieces
of text between special tokens each for itself, with a space put before; the templates say that space.
"""

import re
from collections.abc import Callable, Iterable
from dataclasses import dataclass

from llavamed.model.tokenizer import IMAGE_TOKEN

# Vicuna's opening (lm-sys/FastChat, Apache-2.0), which LLaVA was tuned behind.
_VICUNA = (
    "A chat between a curious {user} and an artificial intelligence assistant. "
    "The assistant gives helpful, detailed, and polite answers to the {user}'s questions."
)


@dataclass(frozen=True)
class Format:
    """`end`: what ends an answer; a special token, or else text."""

    name: str
    opening: str
    user: tuple[str, str]  # before and after what the user says
    assistant: str
    end: str
    pause: str  # between the answer and its end
    note: str


FORMATS = {
    chosen.name: chosen
    for chosen in (
        Format("v0", _VICUNA.format(user="human") + "###", ("Human: ", "###"), "Assistant:", "###", "", "LLaVA v0"),
        Format("v1", _VICUNA.format(user="user") + " ", ("USER: ", " "), "ASSISTANT:", "</s>", "", "Vicuna v1.1"),
        Format("mistral", "", ("[INST] ", " [/INST]"), "", "</s>", " ", "Mistral instruct"),
    )
}


@dataclass(frozen=True)
class Pieces:
    """The text around what is said, in the order in which it stands.

    `first`: before the first turn of the user; `between`: before each other one. `lead` and `end` are the assistant's:
    before and after what it says.
    """

    first: str
    between: str
    after_user: str
    assistant: str
    lead: str
    end: str
    picture: str = f"{IMAGE_TOKEN}\n"


_TEMPLATE = """\
{%%- for message in messages -%%}
{%%- if message['content'] is string -%%}
{%%- set text = message['content'] -%%}{%%- set pictures = 0 -%%}
{%%- else -%%}
{%%- set text = message['content'] | selectattr('type', 'equalto', 'text') | map(attribute='text') | join -%%}
{%%- set pictures = message['content'] | selectattr('type', 'equalto', 'image') | list | length -%%}
{%%- endif -%%}
{%%- if message['role'] == 'system' -%%}
{{- raise_exception('this model was trained with one system text: leave the system message out') -}}
{%%- endif -%%}
{%%- if message['role'] == 'assistant' -%%}
{{- %(assistant)s -}}
{%%- generation -%%}{{- %(lead)s + text + %(end)s -}}{%%- endgeneration -%%}
{%%- else -%%}
{%%- if loop.first -%%}{{- %(first)s -}}{%%- else -%%}{{- %(between)s -}}{%%- endif -%%}
{{- %(picture)s * pictures + text + %(after_user)s -}}
{%%- endif -%%}
{%%- endfor -%%}
{%%- if add_generation_prompt -%%}{{- %(assistant)s -}}{%%- endif -%%}
"""


def template(pieces: Pieces) -> str:
    """The chat template of such a format. Pictures come first in a turn."""
    return _TEMPLATE % {name: _quoted(text) for name, text in vars(pieces).items()}


def pieces(chosen: Format, start: str, *, framed: bool = False, spaced: bool = False, space: str = " ") -> Pieces:
    """Of a format.

    `start`: the token that begins a text. `framed`: pictures stand between <im_start> and <im_end>. `spaced`: the
    tokenizer put a space after every special token, not only where a text begins. `space`: put before a text here, none
    where the tokenizer does it.
    """
    between = " " if spaced else ""
    picture = f"<im_start>{IMAGE_TOKEN}<im_end>{between}\n" if framed else f"{IMAGE_TOKEN}{space}\n"
    after = between if chosen.end == "</s>" else ""
    before, behind = chosen.user
    return Pieces(
        first=start + space + chosen.opening + before,
        between=after + before,
        after_user=behind,
        assistant=chosen.assistant,
        lead=" ",
        end=chosen.pause + chosen.end,
        picture=picture,
    )


def learn(render: Callable[[list[dict[str, str]], bool], str], special: Iterable[str]) -> Pieces | None:
    """What another chat template puts around what is said; None where that cannot be told apart.

    `render`: the text of messages, with the beginning of an answer or without. `special`: tokens, one of which ends an
    answer. A template that writes other text around later turns than around the first is not learnt.
    """
    said = ("Question1", "Answer1", "Question2", "Answer2", "Question3")
    chat = [{"role": ("user", "assistant")[n % 2], "content": text} for n, text in enumerate(said)]
    around = re.split("|".join(said), render(chat, True))
    asked = render(chat[:1], False).partition(said[0])[2]
    if len(around) != 6:
        return None
    first, before, between, again, later, begun = around
    end = re.match(f".*?(?:{'|'.join(map(re.escape, special))})", between, re.DOTALL)
    if (before, between) != (again, later) or not before.startswith(begun) or end is None:
        return None
    asked = asked if begun.startswith(asked) else begun
    return Pieces(
        first=first,
        between=between[end.end() :],
        after_user=asked,
        assistant=begun.removeprefix(asked),
        lead=before.removeprefix(begun),
        end=end[0],
    )


def _quoted(text: str) -> str:
    """As a string of Jinja."""
    return "'" + text.replace("\\", "\\\\").replace("'", "\\'").replace("\n", "\\n") + "'"
