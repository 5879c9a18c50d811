"""What chat servers answer, each in its own way: errors, pauses, completions."""

import json
from email.utils import formatdate

import pytest

from llavamed import wire
from llavamed.wire import KEY, Refused, error_of, not_taken, read, retry_after

EXTRA = {"detail": [{"type": "extra_forbidden", "loc": ["body", "response_format"], "msg": "Extra inputs"}]}


@pytest.mark.parametrize(
    ("headers", "seconds"),
    [
        ({}, 0),
        ({"retry-after": "7"}, 7),
        ({"retry-after": "0.25"}, 0.25),
        ({"retry-after-ms": "1500", "retry-after": "2"}, 1.5),
        ({"retry-after-ms": "soon", "retry-after": "2"}, 2),
        ({"retry-after": "-3"}, 0),
        ({"retry-after": "nan"}, 0),
    ],
)
def test_how_long_to_wait(headers, seconds):
    assert retry_after(headers) == seconds


def test_how_long_to_wait_until_a_date(monkeypatch):
    monkeypatch.setattr(wire, "time", lambda: 1_700_000_000.0)
    assert retry_after({"retry-after": formatdate(1_700_000_060, usegmt=True)}) == 60
    assert retry_after({"retry-after": formatdate(1_600_000_000, usegmt=True)}) == 0


@pytest.mark.parametrize(
    ("body", "said"),
    [
        ({"error": {"message": "no\nsuch model", "code": 404}}, "no such model"),  # OpenAI, Azure, llama.cpp, Ollama
        ({"object": "error", "message": "too long", "type": "BadRequestError", "param": None}, "too long"),  # old vLLM
        ({"error": "model is loading"}, "model is loading"),
        (EXTRA, json.dumps(EXTRA)),  # FastAPI
        ([], "[]"),
    ],
)
def test_what_an_error_says(body, said):
    assert error_of(json.dumps(body).encode())["message"] == said


def test_an_error_does_not_tell_the_key(monkeypatch):
    monkeypatch.setenv(KEY, "sk-secret")
    assert error_of(b"<h1>sk-secret is wrong</h1>")["message"] == "<h1>*** is wrong</h1>"
    assert "sk-" not in error_of(b"x" * 295 + b"sk-secret")["message"], "nor the half of it that is left of a cut"


@pytest.mark.parametrize(
    ("message", "name"),
    [
        ("'response_format' of type 'json_schema' is not supported with this model.", "response_format"),
        ("Invalid schema for response_format 'answer': 'minItems' is not permitted.", "response_format"),
        (
            "response_format value as json_schema is enabled only for api versions 2024-08-01 and later",
            "response_format",
        ),
        ("The provided JSON schema contains features not supported by xgrammar.", "response_format"),
        ("Failed to initialize samplers: failed to parse grammar", "response_format"),
        ("Automatic parser generation failed: JSON schema error at #: cannot resolve $ref", "response_format"),
        ("Unsupported value: 'temperature' does not support 0.0 with this model.", "temperature"),
        ("'max_tokens' is not supported with this model. Use 'max_completion_tokens' instead.", "max_tokens"),
        ("max_tokens is too large: 64000. This model supports at most 16384 completion tokens.", ""),
        ("Invalid content type. image_url is only supported by certain models.", ""),
        ("The response was filtered due to the prompt triggering a content management policy.", ""),
    ],
)
def test_what_a_server_does_not_take(message, name):
    """By the errors of OpenAI, Azure, vLLM and llama.cpp."""
    error = error_of(json.dumps({"error": {"message": message}}).encode())
    assert not_taken(error, {"messages", "response_format", "temperature", "max_tokens"}) == name
    assert not_taken(error, {"messages"}) == ""


def test_a_completion_without_what_some_servers_leave_out():
    choice = {"message": {"content": None, "reasoning_content": "Let me think."}, "finish_reason": "length"}
    found = read(json.dumps({"choices": [choice], "usage": None, "model": "/models/m.gguf"}).encode())
    assert found == {"text": "", "finish": "length", "model": "m.gguf", "tokens": [0, 0]}


@pytest.mark.parametrize(
    "choice",
    [
        {"message": {"content": None, "refusal": "I will not."}, "finish_reason": "stop"},
        {"message": {"content": ""}, "finish_reason": "content_filter"},
    ],
)
def test_a_completion_that_is_a_refusal(choice):
    with pytest.raises(Refused):
        read(json.dumps({"choices": [choice]}).encode())


@pytest.mark.parametrize("body", ["{}", "[]", "null", '{"choices": []}', '{"choices": [{"message": {"content": 1}}]}'])
def test_what_is_no_completion(body):
    with pytest.raises(ValueError, match="no chat completion"):
        read(body.encode())
