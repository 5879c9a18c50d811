"""What a chat endpoint is asked, in messages that follow from each other, and what became of it."""

import hashlib
import json
from collections.abc import Callable, Collection
from dataclasses import dataclass
from typing import NamedTuple

from llavamed.journal import Journal
from llavamed.storage import Json

REMINDERS = 2  # to a model whose answer cannot be read


@dataclass(frozen=True)
class Request:
    """One thing to ask. `messages`: as the chat API has them; pictures as data URLs. `schema`: of a JSON answer."""

    id: str
    messages: list[Json]
    max_tokens: int
    temperature: float = 0.0
    schema: Json | None = None

    def body(self, model: str) -> Json:
        """What is sent."""
        body = {"model": model, "messages": self.messages, "max_tokens": self.max_tokens}
        body["temperature"] = self.temperature
        if self.schema is not None:
            form = {"name": "answer", "strict": True, "schema": self.schema}
            body["response_format"] = {"type": "json_schema", "json_schema": form}
        return body


class Step(NamedTuple):
    """What is sent next: its key in the journal, the body, and the body as JSON."""

    key: str
    body: Json
    text: str

    def sent(self, without: Collection[str]) -> bytes:
        """The body as JSON, but for the fields that the server does not take."""
        if not without:
            return self.text.encode()
        body = {name: value for name, value in self.body.items() if name not in without}
        if "max_tokens" in without:
            body["max_completion_tokens"] = self.body["max_tokens"]  # its name for models that reason
        return json.dumps(body).encode()


@dataclass(frozen=True)
class Outcome:
    """What became of a request: `text` and, where it cannot be used, the reason.

    `reason`: "", "refused" (by the server: `detail`) or "malformed" (still so after REMINDERS: `detail`).
    `replies`: how often the model replied. `tokens`: of prompts and replies, as the server counts. `model`: its name
    for itself. `without`: what it did not take.
    """

    id: str
    text: str = ""
    reason: str = ""
    detail: str = ""
    replies: int = 0
    finish: str = ""
    model: str = ""
    tokens: tuple[int, int] = (0, 0)
    without: tuple[str, ...] = ()


def text_and_picture(text: str, picture: bytes, kind: str) -> list[Json]:
    """The content of a message: `picture` (of the MIME type `kind`, such as image/png), then `text`."""
    from base64 import b64encode

    url = f"data:{kind};base64,{b64encode(picture).decode()}"
    return [{"type": "image_url", "image_url": {"url": url}}, {"type": "text", "text": text}]


def outcome_of(request: Request, model: str, book: Journal, check: Callable[[str], str]) -> Outcome:
    """What `book` holds of a request to `model`, as `ask` gives it; no `replies`: nothing."""
    return next_step(request, model, book, check)[1]


def next_step(request: Request, model: str, book: Journal, check: Callable[[str], str]) -> tuple[Step | None, Outcome]:
    """What is still to be sent for `request`, with its key (None: nothing), and its outcome so far."""
    body = request.body(model)
    outcome = Outcome(request.id)
    prompt = completion = 0
    while True:
        text = json.dumps(body, sort_keys=True)
        key = _key(request.id, text)
        fact = book.get(key)
        if fact is None:
            return Step(key, body, text), outcome
        if "refused" in fact:
            return None, Outcome(request.id, outcome.text, "refused", fact["refused"], outcome.replies)
        prompt, completion = prompt + fact["tokens"][0], completion + fact["tokens"][1]
        problem = check(fact["text"])
        cut = " It was cut short: allow it more tokens." if problem and fact["finish"] == "length" else ""
        outcome = Outcome(
            request.id, fact["text"], "malformed" if problem else "", problem + cut, outcome.replies + 1,
            fact["finish"], fact["model"], (prompt, completion), tuple(fact["without"]),
        )  # fmt: skip
        if not problem or outcome.replies > REMINDERS:
            return None, outcome
        told = {"role": "user", "content": f"That cannot be read: {problem} Answer again, in the form asked for."}
        body = body | {"messages": [*body["messages"], {"role": "assistant", "content": fact["text"]}, told]}


def _key(name: str, body: str) -> str:
    """Of the JSON list of the request's id and its body."""
    return hashlib.sha256(f"[{json.dumps(name)}, {body}]".encode()).hexdigest()[:32]
