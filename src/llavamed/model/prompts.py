"""The prompt formats of the models that were published before ours: how their chat templates are written.

A format holds the exact text that the model was asked with, so that its answers are its own. The pieces of text between
special tokens were each tokenised for itself then, with a space put before; the templates say that space.
"""

from dataclasses import dataclass

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

_TEMPLATE = """\
{{- %(start)s + ' ' -}}
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
{%%- if loop.first -%%}{{- %(opening)s -}}{%%- endif -%%}
{%%- if message['role'] == 'assistant' -%%}
{{- %(assistant)s -}}
{%%- generation -%%}{{- ' ' + text + %(end)s -}}{%%- endgeneration -%%}
{%%- if not loop.last -%%}{{- %(after)s -}}{%%- endif -%%}
{%%- else -%%}
{{- %(before_user)s + %(picture)s * pictures + text + %(after_user)s -}}
{%%- endif -%%}
{%%- endfor -%%}
{%%- if add_generation_prompt -%%}{{- %(assistant)s -}}{%%- endif -%%}
"""


def template(chosen: Format, *, start: str, framed: bool, spaced: bool) -> str:
    """The chat template of a format. Pictures come first in a turn.

    `start`: the token that begins a text. `framed`: pictures stand between <im_start> and <im_end>. `spaced`: the
    tokenizer put a space after every special token, not only where a text begins.
    """
    space = " " if spaced else ""
    picture = f"<im_start><image><im_end>{space}\n" if framed else "<image> \n"
    pieces = {
        "start": start,
        "opening": chosen.opening,
        "before_user": chosen.user[0],
        "after_user": chosen.user[1],
        "assistant": chosen.assistant,
        "end": chosen.pause + chosen.end,
        "after": space if chosen.end == "</s>" else "",
        "picture": picture,
    }
    return _TEMPLATE % {name: _quoted(text) for name, text in pieces.items()}


def _quoted(text: str) -> str:
    """As a string of Jinja."""
    return "'" + text.replace("\\", "\\\\").replace("'", "\\'").replace("\n", "\\n") + "'"
