"""What goes over the wire to a chat endpoint and back: the account's key, replies, refusals, errors."""

import json
import os
import re
from collections.abc import Collection, Mapping
from contextlib import suppress
from email.utils import parsedate_to_datetime
from time import time

from llavamed.errors import InputError
from llavamed.storage import Json

KEY = "OPENAI_API_KEY"
# Fields that a server may not take, and the words by which its error speaks of them.
_OPTIONAL = {
    "response_format": r"response_format|json.schema|grammar",
    "temperature": r"temperature",
    "max_tokens": r"\bmax_tokens",
}
_UNSUPPORTED = r"n[o']t (\w+ )?support|unsupported|enabled only|unrecogni|unknown|not permitted|extra|failed"


class Refused(Exception):
    """The server will not answer this request."""


def estimate(body: Json) -> float:
    """Tokens that a request may take: four characters each, 1,000 a picture, and the longest answer."""
    total = float(body["max_tokens"])
    for message in body["messages"]:
        parts = message["content"]
        for part in [{"type": "text", "text": parts}] if isinstance(parts, str) else parts:
            total += len(part["text"]) / 4 if part["type"] == "text" else 1000
    return total


def read(content: bytes) -> Json:
    """What the journal keeps of a chat completion. Raises ValueError: it is none."""
    try:
        reply = json.loads(content)
        choice = reply["choices"][0]
        message = choice["message"]
        text, usage = message.get("content") or "", reply.get("usage") or {}
        tokens = [int(usage.get("prompt_tokens") or 0), int(usage.get("completion_tokens") or 0)]
    except (LookupError, TypeError, AttributeError) as error:
        raise ValueError(f"no chat completion: {error}") from None
    if not isinstance(text, str):
        raise ValueError("no chat completion: the content is no text")
    finish = str(choice.get("finish_reason") or "")
    if message.get("refusal") or (finish == "content_filter" and not text):
        raise Refused(f"{finish}: {message.get('refusal') or 'no text'}")
    name = str(reply.get("model") or "").rpartition("/")[2]  # llama.cpp gives the path of its file
    return {"text": text, "finish": finish, "model": name, "tokens": tokens}


def account() -> str:
    """The key of the account, or "". Raises InputError."""
    key = os.environ.get(KEY, "").strip()
    if not (key.isascii() and key.isprintable()):
        raise InputError(f"{KEY} holds characters that are in no key: set it again")
    return key


def error_of(content: bytes) -> dict[str, str]:
    """What the server says about it: message (one line, without the key), code, type and param."""
    text = content.decode("utf-8", "replace")
    try:
        found = json.loads(text)
        found = found.get("error", found)
        said = {"message": found} if isinstance(found, str) else dict(found)
    except (ValueError, TypeError, AttributeError):
        said = {"message": text}
    said["message"] = said.get("message") or text  # such as FastAPI's {"detail": [...]}
    error = {name: " ".join(str(said.get(name) or "").split()) for name in ("message", "code", "type", "param")}
    key = account()
    message = error["message"].replace(key, "***") if key else error["message"]
    return error | {"message": message[:300]}


def not_taken(error: Mapping[str, str], sent: Collection[str]) -> str:
    """Which of the fields that were `sent` is one that the server does not take, by what `error_of` gives; "": none."""
    text = " ".join(error.values()).lower()
    if not re.search(_UNSUPPORTED, text):
        return ""
    return next((name for name, words in _OPTIONAL.items() if name in sent and re.search(words, text)), "")


def retry_after(headers: Mapping[str, str]) -> float:
    """Seconds to wait, as Retry-After has them, a number or a date, or retry-after-ms (OpenAI, Azure). 0: not said."""
    for name, unit in (("retry-after-ms", 1000), ("retry-after", 1)):
        with suppress(ValueError):
            if (wait := float(headers.get(name, "")) / unit) > 0:
                return wait
    with suppress(ValueError):
        return max(0.0, parsedate_to_datetime(headers.get("retry-after", "")).timestamp() - time())
    return 0.0
