"""A real language model behind a real server as judge, and the stub that other tests use beside it."""

import json
import urllib.error
import urllib.request

import pytest

from chat_server import completion
from llavamed import artifact, storage
from llavamed.endpoint import Endpoint, ask
from llavamed.evaluate.chat import evaluate_chat, recount
from llavamed.request import Request
from local_llm import local_llm

pytestmark = pytest.mark.slow


@pytest.fixture(scope="module")
def server():
    with local_llm() as url:
        yield url


def post(url, body):
    request = urllib.request.Request(
        f"{url}/v1/chat/completions", json.dumps(body).encode(), {"Content-Type": "application/json"}
    )
    try:
        with urllib.request.urlopen(request, timeout=120) as response:
            return response.status, json.load(response)
    except urllib.error.HTTPError as error:
        return error.code, json.load(error)


def test_the_stub_speaks_as_the_server_does(server):
    status, real = post(server, {"model": "m", "messages": [{"role": "user", "content": "Say yes."}], "max_tokens": 3})
    assert status == 200
    stub = completion("m", "yes", 3)

    def holds(part, whole, where=""):
        for key, value in part.items():
            assert type(whole[key]) is type(value), f"{where}{key}"
            if isinstance(value, dict):
                holds(value, whole[key], f"{where}{key}.")

    holds(stub, real)
    holds(stub["choices"][0], real["choices"][0])
    status, error = post(server, {"model": "m", "messages": "none"})
    assert status == 400
    assert isinstance(error["error"]["message"], str)


def test_a_prompt_longer_than_its_context_is_refused_alone(server, tmp_path):
    def talk(name, text):
        return Request(name, [{"role": "user", "content": text}], 3)

    requests = [talk("short", "Say yes."), talk("long", "word " * 5000), talk("other", "Say no.")]
    found = list(ask(Endpoint(server, "smollm2", timeout=120), requests, tmp_path / "j"))
    assert [outcome.reason for outcome in found] == ["", "refused", ""]
    assert found[1].detail.startswith("400")
    assert found[0].tokens[1] == 3
    assert found[0].finish == "length"


def test_it_judges(server, tmp_path):
    questions, answers = tmp_path / "questions.jsonl", tmp_path / "answers.jsonl"
    with questions.open("w") as ask_, answers.open("w") as answer:
        for n, organ in enumerate(("liver", "lung")):
            record = {"question_id": n, "pair_id": f"f{n}", "type": "conversation", "domain": {"ct_scan": True}}
            record |= {"text": "Which organ?", "gpt4_answer": f"The {organ}.", "fig_caption": f"CT of the {organ}."}
            ask_.write(json.dumps(record) + "\n")
            answer.write(json.dumps({"question_id": n, "text": "It is the heart."}) + "\n")
    judge = Endpoint(server, "smollm2", concurrency=2, timeout=300)
    result = evaluate_chat(answers, questions, tmp_path / "out", judge=judge, max_tokens=40)
    assert (result["n"], result["of"]) == (2, 2), "its output is held to the form"
    assert result["tokens"]["completion"] > 0
    rows = list(storage.read_rows(tmp_path / "out"))
    assert all(1 <= row["model_mark"] <= 10 and row["replies"] == 1 for row in rows)
    assert artifact.read_manifest(tmp_path / "out")["models"][0]["version"] == "smollm2.gguf"
    assert recount(tmp_path / "out")["scores"] == result["scores"]
