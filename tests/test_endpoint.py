"""The client of chat endpoints: what it sends, what it survives, what it never asks twice."""

import json
import os
import signal
import socket
import subprocess
import sys
import time
from pathlib import Path

import pytest

from chat_server import FAULTS, ChatServer, completion, said
from llavamed import endpoint as module
from llavamed.endpoint import KEY, Endpoint, ask
from llavamed.errors import InputError, Unfinished
from llavamed.request import Request, text_and_picture


@pytest.fixture(autouse=True)
def quick(monkeypatch):
    monkeypatch.setattr(module, "BACKOFF", 0.001)
    monkeypatch.setattr(module, "LONGEST_BACKOFF", 0.05)
    monkeypatch.setenv(KEY, "sk-secret")


def requests(n, **more):
    return [Request(f"q{i}", [{"role": "user", "content": f"question {i}"}], 20, **more) for i in range(n)]


def answers(server, asked, journal, **more):
    return list(ask(Endpoint(server.url, "m", **more), asked, journal))


def test_it_asks_in_the_wire_format_and_keeps_what_it_heard(tmp_path):
    picture = Request("p", [{"role": "user", "content": text_and_picture("what?", b"abc", "image/png")}], 5)
    schema = {"type": "object", "properties": {"a": {"type": "integer"}}}
    with ChatServer() as server:
        found = answers(server, [*requests(2, schema=schema), picture], tmp_path / "j")
    assert [(o.id, o.text, o.reason) for o in found] == [
        ("q0", "heard question 0", ""),
        ("q1", "heard question 1", ""),
        ("p", "heard what?", ""),
    ]
    first, headers, _ = server.log[0]
    assert first == {
        "model": "m",
        "messages": [{"role": "user", "content": "question 0"}],
        "max_tokens": 20,
        "temperature": 0.0,
        "response_format": {
            "type": "json_schema",
            "json_schema": {"name": "answer", "strict": True, "schema": schema},
        },
    }
    assert headers["authorization"] == "Bearer sk-secret"
    url = next(body for body, _, _ in server.log if "schema" not in str(body))["messages"][0]["content"][0]["image_url"]
    assert url == {"url": "data:image/png;base64,YWJj"}
    assert found[0].tokens == (len("question 0") // 4, 3)
    assert "sk-secret" not in (tmp_path / "j").read_text()


def test_nothing_in_the_journal_is_asked_again(tmp_path):
    with ChatServer() as server:
        answers(server, requests(5), tmp_path / "j")
        text = (tmp_path / "j").read_text()
        (tmp_path / "j").write_text(text + '{"key": "half')
        found = answers(server, requests(7), tmp_path / "j")
        assert len(server.log) == 7
        assert [o.text for o in found] == [f"heard question {i}" for i in range(7)]
        assert (tmp_path / "j").read_text().startswith(text)
        changed = [Request("q0", [{"role": "user", "content": "another"}], 20)]
        assert answers(server, changed, tmp_path / "j")[0].text == "heard another"


def test_a_damaged_line_costs_that_answer_alone(tmp_path):
    with ChatServer() as server:
        answers(server, requests(5), tmp_path / "j")
        lines = (tmp_path / "j").read_text().splitlines(keepends=True)
        lines[1] = lines[1][:20] + "\n"
        (tmp_path / "j").write_text("".join(lines))
        assert len(answers(server, requests(5), tmp_path / "j")) == 5
        assert len(server.log) == 6


@pytest.mark.parametrize("seed", range(3))
def test_faults_change_nothing(tmp_path, seed, monkeypatch):
    with ChatServer() as server:
        clean = answers(server, requests(60), tmp_path / "clean")
    with ChatServer(rate=0.3, seed=seed) as server:
        found = answers(server, requests(60), tmp_path / "j", timeout=2)
    assert found == clean
    assert len(server.bodies("")) == 60, "an answer was asked for again"
    assert len(server.log) > 60
    assert {fault for _, _, fault in server.log} == {"", *FAULTS}


CODE = """
import sys
from pathlib import Path
sys.path.insert(0, "tests")
import test_endpoint as t
from llavamed import endpoint
endpoint.BACKOFF = 0.001
list(endpoint.ask(endpoint.Endpoint(sys.argv[1], "m", 4, 5), t.requests(80), Path(sys.argv[2])))
"""


def test_killed_at_any_moment(tmp_path):
    with ChatServer() as server:
        clean = answers(server, requests(80), tmp_path / "clean")
    with ChatServer(rate=0.2, delay=0.05, faults=("429", "500", "cut")) as server:
        kills = 0
        for _ in range(2):
            process = subprocess.Popen(
                [sys.executable, "-c", CODE, server.url, tmp_path / "j"], cwd=Path(__file__).parent.parent
            )
            seen = len(server.log)
            while len(server.log) < seen + 25 and process.poll() is None:
                time.sleep(0.01)
            os.kill(process.pid, signal.SIGKILL)
            kills += process.wait() == -signal.SIGKILL
        time.sleep(0.2)
        kept = {json.loads(line)["id"] for line in (tmp_path / "j").read_text().splitlines() if line.endswith("}")}
        before = len(server.log)
        assert answers(server, requests(80), tmp_path / "j") == clean
        asked_again = {f"q{said(body).split()[1]}" for body, _, _ in server.log[before:]}
    assert kills == 2
    assert kept
    assert not kept & asked_again
    assert len(server.bodies("")) <= 80 + 2 * 4, "more was lost than was in flight"


def test_one_refused_request_is_recorded_and_the_others_go_on(tmp_path):
    def reply(body):
        if "question 3" in said(body):
            return 400, {"error": {"message": "filtered", "code": "content_filter"}}
        return "fine"

    with ChatServer(reply) as server:
        found = answers(server, requests(6), tmp_path / "j")
        assert [o.reason for o in found] == ["", "", "", "refused", "", ""]
        assert found[3].detail == "400 filtered"
        answers(server, requests(6), tmp_path / "j")
        assert len(server.log) == 6, "a refusal was asked for again"


def test_a_request_that_breaks_the_server_each_time_leaves_the_others(tmp_path):
    def reply(body):
        return (500, {"error": {"message": "boom"}}) if "question 3" in said(body) else "fine"

    with ChatServer(reply) as server:
        with pytest.raises(Unfinished, match=r"1 requests had no answer \(500 boom\); 5 answers are kept"):
            answers(server, requests(6), tmp_path / "j")
        assert len(server.log) == 5 + module.TRIES
        server.reply = lambda body: "fine"
        assert [o.text for o in answers(server, requests(6), tmp_path / "j")] == ["fine"] * 6


def test_what_a_server_does_not_take_is_left_out(tmp_path):
    def reply(body):
        for name in ("response_format", "temperature", "max_tokens"):
            if name in body:
                return 400, {"error": {"message": f"Unsupported parameter: '{name}'", "param": name}}
        return "fine"

    with ChatServer(reply) as server:
        found = answers(server, requests(5, schema={"type": "object"}), tmp_path / "j")
    assert [o.text for o in found] == ["fine"] * 5
    assert found[0].without == ("max_tokens", "response_format", "temperature")
    assert len(server.log) == 5 + 3
    assert server.log[-1][0]["max_completion_tokens"] == 20


def test_what_a_server_stops_taking_is_left_out_of_all_that_are_under_way(tmp_path):
    def reply(body):
        if "response_format" in body and said(body) != "question 0":
            time.sleep(0.1)
            return 400, {"error": {"message": "response_format is not supported"}}
        return "fine"

    with ChatServer(reply) as server:
        found = answers(server, requests(9, schema={"type": "object"}), tmp_path / "j", concurrency=8)
    assert [o.reason for o in found] == [""] * 9
    assert found[0].without == ()
    assert {o.without for o in found[1:]} == {("response_format",)}


def test_a_malformed_answer_is_asked_for_again_with_a_reminder(tmp_path):
    def reply(body):
        number = int(body["messages"][0]["content"].split()[1])
        return "7" if len(body["messages"]) > 2 * number else "seven"

    def check(text):
        return "" if text.isdigit() else "It is no number."

    with ChatServer(reply) as server:
        found = list(ask(Endpoint(server.url, "m"), requests(5), tmp_path / "j", check=check))
        assert [(o.text, o.reason, o.replies) for o in found] == [
            ("7", "", 1), ("7", "", 2), ("7", "", 3), ("seven", "malformed", 3), ("seven", "malformed", 3),
        ]  # fmt: skip
        assert found[3].detail == "It is no number."
        again = next(body for body, _, _ in server.log if len(body["messages"]) == 3)["messages"]
        assert again[1] == {"role": "assistant", "content": "seven"}
        assert "It is no number." in again[2]["content"]
        asked = len(server.log)
        list(ask(Endpoint(server.url, "m"), requests(5), tmp_path / "j", check=check))
        assert len(server.log) == asked


def test_a_malformed_answer_that_was_cut_short_says_so(tmp_path):
    with ChatServer(lambda body: (200, completion("m", "", 5, "length"))) as server:
        found = list(ask(Endpoint(server.url, "m"), requests(1), tmp_path / "j", check=lambda text: "It is empty."))
    assert found[0].detail == "It is empty. It was cut short: allow it more tokens."


@pytest.mark.parametrize(
    ("status", "error", "words", "asked"),
    [
        (401, {"message": "wrong key sk-secret"}, "set OPENAI_API_KEY", 1),
        (403, {"message": "not yours"}, "set OPENAI_API_KEY", 1),
        (404, {"message": "no such model"}, "correct the URL or the model", 1),
        (400, {"message": "too long"}, "were refused: 400 too long", 16),
        (429, {"message": "pay", "code": "insufficient_quota"}, "used up", 1),
    ],
)
def test_what_no_request_can_pass_stops_at_once(tmp_path, status, error, words, asked):
    with ChatServer(lambda body: (status, {"error": error})) as server:
        with pytest.raises((InputError, Unfinished), match=words) as caught:
            answers(server, requests(40), tmp_path / "j", concurrency=1)
        assert len(server.log) == asked
        assert server.url in str(caught.value)
        assert str(status) in str(caught.value)
        assert "sk-secret" not in str(caught.value)
        server.reply = lambda body: "fine"
        assert len(answers(server, requests(40), tmp_path / "j")) == 40


def test_a_key_is_sent_without_what_a_file_adds_to_it(tmp_path, monkeypatch):
    monkeypatch.setenv(KEY, "sk-secret\n")
    with ChatServer(lambda body: (400, {"error": "bad key sk-secret"})) as server:
        with pytest.raises(InputError) as caught:
            answers(server, requests(1), tmp_path / "j")
        assert server.log[0][1]["authorization"] == "Bearer sk-secret"
        monkeypatch.setenv(KEY, "two\r\nX-Other: 1")
        with pytest.raises(InputError, match="in no key"):
            answers(server, requests(1), tmp_path / "j")
        monkeypatch.delenv(KEY)
        server.reply = lambda body: "fine"
        assert answers(server, requests(1), tmp_path / "j")[0].text == "fine"
    assert "sk-secret" not in str(caught.value)
    assert "authorization" not in server.log[-1][1]
    assert len(server.log) == 2


def test_nobody_there(tmp_path):
    with socket.socket() as free:
        free.bind(("127.0.0.1", 0))
        url = f"http://127.0.0.1:{free.getsockname()[1]}"
    with pytest.raises(InputError, match="nothing answers there"):
        list(ask(Endpoint(url, "m"), requests(3), tmp_path / "j"))


def test_a_page_is_no_endpoint(tmp_path):
    with ChatServer() as server:
        server.reply = lambda body: (200, "<html>")
        with pytest.raises(InputError, match="no chat endpoint"):
            answers(server, requests(3), tmp_path / "j")


def test_it_follows_nobody_elsewhere(tmp_path):
    with ChatServer() as other, ChatServer() as server:
        server.reply = lambda body: (307, {}, {"Location": f"{other.url}/chat/completions"})
        with pytest.raises(InputError, match="sends on to"):
            answers(server, requests(3), tmp_path / "j")
        assert other.log == []


def test_retry_after_is_obeyed_by_all(tmp_path):
    times = []

    def reply(body):
        times.append(time.monotonic())
        return (429, {"error": {"message": "slow down"}}, {"Retry-After": "0.5"}) if len(times) == 3 else "fine"

    with ChatServer(reply) as server:
        assert len(answers(server, requests(12), tmp_path / "j", concurrency=2)) == 12
    assert sum(t > times[2] + 0.45 for t in times) >= 9  # but for the one in flight


def test_a_server_that_asks_to_come_back_tomorrow(tmp_path):
    server = ChatServer(lambda body: (503, {}, {"Retry-After": "86400"}))
    with server, pytest.raises(Unfinished, match="come back in 1440 minutes"):
        answers(server, requests(3), tmp_path / "j")


@pytest.mark.parametrize("limit", [{"requests_per_minute": 600}, {"tokens_per_minute": 600 * 6}])
def test_the_limits_of_the_account(tmp_path, limit):
    with ChatServer() as server:  # a request takes 5 tokens: 2 of the question, 3 of the answer
        start = time.monotonic()
        answers(server, requests(11), tmp_path / "j", concurrency=11, **limit)
    assert time.monotonic() - start >= 0.8


@pytest.mark.parametrize(
    ("url", "base"),
    [
        ("http://localhost:8000", "http://localhost:8000/v1"),
        ("http://localhost:8000/v1/", "http://localhost:8000/v1"),
        ("https://x.openai.azure.com/openai/v1/chat/completions", "https://x.openai.azure.com/openai/v1"),
    ],
)
def test_urls(url, base):
    assert Endpoint(url, "m").base == base


@pytest.mark.parametrize("url", ["localhost:8000", "ftp://x/v1", "https://me:key@x/v1", "https://x/v1?key=sk-secret"])
def test_urls_that_are_none(url):
    with pytest.raises(InputError) as caught:
        _ = Endpoint(url, "m").base
    assert "key@" not in str(caught.value)
    assert "sk-secret" not in str(caught.value)
