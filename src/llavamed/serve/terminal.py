"""A conversation about one picture, in the terminal."""

import sys
from collections.abc import Iterator
from pathlib import Path

from llavamed import artifact
from llavamed.console import console
from llavamed.errors import InputError
from llavamed.serve.read_image import read_image

NOTICE = "For research use only: not medical advice, not for patient care."


def chat(
    model: Path, image: Path, *, question: str | None = None, max_new_tokens: int = 256, device: str = "auto"
) -> None:
    """Answer `question` about `image` and end, or the lines of standard input until an empty one or its end.

    Answers go to standard output as they come, everything else to standard error. Ctrl-C stops an answer.

    Raises:
        InputError: `model` or `image` cannot be read, an empty question, or no such device.
    """
    if question is not None and not question.strip():
        raise InputError("the question is empty: ask something with -q, or leave it out to talk")
    artifact.require(model, "model")
    picture = read_image(image)
    console.print(NOTICE, style="yellow", highlight=False)
    console.print(f"loading {model.name}", highlight=False)
    from llavamed.model.checkpoint import load
    from llavamed.model.device import pick
    from llavamed.serve import engine

    network, processor = load(model, device=pick(device))
    messages: list[engine.Message] = []
    for text in [question] if question is not None else _lines():
        messages.append(engine.question(text, image=not messages))
        said = _show(engine.answer(network, processor, messages, [picture], max_new_tokens=max_new_tokens))
        messages.append(engine.reply(said))


def _lines() -> Iterator[str]:
    """What the user types, or a pipe brings, line by line."""
    while True:
        if sys.stdin.isatty():
            console.print("[bold]>[/bold] ", end="")
        try:
            line = sys.stdin.readline().strip()
        except KeyboardInterrupt:
            line = ""
        if not line:
            return
        yield line


def _show(pieces: Iterator[str]) -> str:
    """Print an answer as it comes; what of it was said before Ctrl-C."""
    said: list[str] = []
    try:
        for piece in pieces:
            said.append(piece)
            sys.stdout.write(piece)
            sys.stdout.flush()
    except KeyboardInterrupt:
        console.print(" [stopped]", markup=False)
    sys.stdout.write("\n")
    sys.stdout.flush()
    return "".join(said)
