"""A language model as teacher: what is asked, kept, and never asked again."""

import json
import os
import re
import signal
import subprocess
import sys
import time
from collections import Counter
from pathlib import Path

import pytest
from typer.testing import CliRunner

from chat_server import ChatServer
from llavamed import artifact, storage
from llavamed import endpoint as module
from llavamed.cli import app
from llavamed.console import console
from llavamed.endpoint import KEY, Endpoint
from llavamed.errors import InputError, Unfinished
from llavamed.instruct.draw import Wanted
from llavamed.instruct.price import Prices
from llavamed.instruct.prompts import PROBLEM, Prompt
from llavamed.instruct.teacher import generate
from llavamed.verify import rehash
from small_corpus import figure, figures, write_corpus
from small_teacher import talk


@pytest.fixture(autouse=True)
def quick(monkeypatch):
    monkeypatch.setattr(module, "BACKOFF", 0.001)
    monkeypatch.setattr(module, "LONGEST_BACKOFF", 0.05)
    monkeypatch.setenv(KEY, "sk-secret")


@pytest.fixture
def corpus(tmp_path):
    """120 figures in two files, no two of which say the same; the last says nothing."""
    rows = figures("train", 0, 90), figures("test", 90, 29)
    for row in [row for file in rows for row in file]:
        row["fig_caption"] += f" Seen in {row['pair_id']}."
        row["in_text_mention"] = ["As shown (Fig 1)."] * (len(row["pair_id"]) % 3)
    last = figure(900, "test", "ct", "")
    return write_corpus(tmp_path / "corpus", [("train", rows[0]), ("test", [*rows[1], last])])


def about(body):
    """What is said of the figure, after the four examples."""
    return body["messages"][9]["content"]


def write(server, corpus, folder, n=None, **more):
    return generate(corpus, folder, Endpoint(server.url, "m"), wanted=Wanted(n=n, per_article=9), **more)


def rows(folder, prefix="data"):
    return {row["pair_id"]: row for row in storage.read_rows(folder, prefix)}


def test_every_figure_is_kept_or_excluded_once(corpus, tmp_path):
    with ChatServer(talk) as server:
        result = write(server, corpus, tmp_path / "set", mentions=True)
    kept, excluded, figures = rows(tmp_path / "set"), rows(tmp_path / "set", "excluded"), rows(corpus)
    assert sorted([*kept, *excluded]) == sorted(figures)
    assert result["conversations"] == {"in": 120, "kept": 119, "excluded": {"no_caption": 1}}
    assert len(server.log) == 119
    assert rehash(tmp_path / "set") == []
    for pair, row in kept.items():
        assert row["split"] == figures[pair]["split"]
        assert row["image"] == figures[pair]["image"]
        assert (row["id"], row["teacher"]) == (f"{pair}_instruct_im", "m")
        assert row["prompt_hash"] == Prompt(bool(figures[pair]["in_text_mention"])).hash
        assert [part["from"] for part in row["conversations"]] == ["human", "gpt"] * 3
        assert row["conversations"][0]["value"] == "<image>\nWhat lies at the top?"
    assert "did not\nsee the picture" in (tmp_path / "set/README.md").read_text()
    [model] = artifact.read_manifest(tmp_path / "set")["models"]
    assert (model["name"], model["version"], model["prompt_hash"]) == ("m", "m", Prompt(True).hash)
    everything = b"".join(path.read_bytes() for path in (tmp_path / "set").rglob("*") if path.is_file())
    assert b"sk-secret" not in everything


def test_with_mentions_the_same_figures(corpus, tmp_path):
    with ChatServer(talk) as server:
        write(server, corpus, tmp_path / "plain", n=30)
        plain = server.bodies()
        server.log.clear()
        write(server, corpus, tmp_path / "im", n=30, mentions=True)
    assert rows(tmp_path / "plain").keys() == rows(tmp_path / "im").keys()
    uncited = {pair for pair, row in rows(tmp_path / "im").items() if row["prompt_hash"] == Prompt(False).hash}
    assert uncited == {pair for pair, row in rows(corpus).items() if pair in rows(tmp_path / "im")
                       and not row["in_text_mention"]}  # fmt: skip
    assert len(set(plain) & set(server.bodies())) == len(uncited) > 0, "asked about as without mentions"


def test_none_of_an_evaluation_set_and_still_as_many(corpus, tmp_path):
    with ChatServer(talk) as server:
        write(server, corpus, tmp_path / "all", n=20)
        named = [{"pair_id": pair} for pair in list(rows(tmp_path / "all"))[::4]]
        (tmp_path / "chat.jsonl").write_text("".join(json.dumps(record) + "\n" for record in named))
        result = write(server, corpus, tmp_path / "set", n=20, against=[tmp_path / "chat.jsonl"])
    kept, excluded = rows(tmp_path / "set"), rows(tmp_path / "set", "excluded")
    assert len(kept) == 20
    assert {pair for pair, row in excluded.items() if row["reason"] == "in_test_set"} == {r["pair_id"] for r in named}
    assert result["conversations"]["excluded"]["in_test_set"] == 5
    assert len(kept.keys() & rows(tmp_path / "all").keys()) == 15


def test_turns_that_break_a_rule_are_left_out_and_told(corpus, tmp_path):
    def reply(body):
        turns = [{"question": "What is it?", "answer": "A scan of the chest."}]
        if "H&E" not in about(body):
            turns = [{"question": "Which plane is it?", "answer": "The plane is an axial one."}]
        turns.append({"question": "And what else?", "answer": "I cannot see the image that you speak of."})
        return json.dumps({"turns": turns if "Chest X-ray" not in about(body) else turns[1:] * 2})

    with ChatServer(reply) as server:
        result = write(server, corpus, tmp_path / "set", n=20)
    assert result["conversations"]["excluded"]["no_turn_left"] == 5
    assert result["dropped_turns"] == {"no_picture": 15 + 2 * 5}
    assert {len(row["conversations"]) for row in rows(tmp_path / "set").values()} == {2}
    turns = [row for row in storage.read_rows(tmp_path / "set", "excluded") if row["turn"]]
    assert {(row["reason"], row["question"]) for row in turns} == {("no_picture", "And what else?")}
    assert len(turns) == 25


def test_what_was_paid_for_is_not_asked_again(corpus, tmp_path):
    with ChatServer(talk) as server:
        small = write(server, corpus, tmp_path / "set", n=20)
        assert len(server.log) == small["conversations"]["kept"] == 20
        assert write(server, corpus, tmp_path / "set", n=20) == small
        with pytest.raises(InputError, match="made otherwise"):
            write(server, corpus, tmp_path / "set", n=30)
        first = rows(tmp_path / "set")
        write(server, corpus, tmp_path / "set", n=30, force=True)
        assert len(server.log) == 30
        more = rows(tmp_path / "set")
        assert {pair: more[pair] for pair in first} == first, "more figures change no old record"
        write(server, corpus, tmp_path / "set", n=20, force=True)
        assert len(server.log) == 30
    assert rows(tmp_path / "set") == first


@pytest.mark.parametrize("mentions", [False, True])
def test_the_estimate_is_within_a_tenth(corpus, tmp_path, mentions):
    with ChatServer(talk) as server:
        result = write(server, corpus, tmp_path / "set", mentions=mentions, prices=Prices(2, 8))
    told, used = result["estimate"], result["tokens"]
    assert (told["requests"], told["sample"]) == (119, 32)
    for name in ("prompt", "completion"):
        assert told[name] == pytest.approx(used[name], rel=0.1)
    assert result["price"] == pytest.approx((2 * used["prompt"] + 8 * used["completion"]) / 1e6)


def test_a_dry_run_asks_about_a_sample_alone(corpus, tmp_path):
    with ChatServer(talk) as server:
        result = write(server, corpus, tmp_path / "set", n=40, prices=Prices(2, 8), dry_run=True)
        assert len(server.log) == 32
        assert (result["requests"], result["answered"]) == (40, 32)
        assert result["estimate"]["price"] > 0
        assert [messages[0]["role"] for messages in result["prompts"]] == ["system"] * 3
        assert write(server, corpus, tmp_path / "set", n=40, prices=Prices(2, 8), dry_run=True) == result
        assert len(server.log) == 32, "an answer of the sample was asked for again"
        assert [path.name for path in (tmp_path / "set").iterdir()] == ["answers.jsonl"]
        write(server, corpus, tmp_path / "set", n=50)
        asked = Counter(server.bodies())
        assert set(asked.values()) == {1}
        assert len(asked) >= 50


@pytest.mark.parametrize("dry_run", [True, False])
def test_fewer_than_wanted_says_why(tmp_path, monkeypatch, capsys, dry_run):
    monkeypatch.setattr(console, "quiet", False)
    rows = figures("train", 0, 24)
    for row in rows[12:]:
        row["single_plot"] = False
    corpus = write_corpus(tmp_path / "corpus", [("train", rows)])
    with ChatServer(talk) as server:
        write(server, corpus, tmp_path / "set", n=30, dry_run=dry_run)
        assert (
            "10 of the 30 wanted: the corpus has no more figures that may be asked about (compound 12, other_kind 2): "
            "--compound may give more\n"
        ) in capsys.readouterr().err
        write(server, corpus, tmp_path / "ten", n=10, dry_run=dry_run)
        assert "wanted" not in capsys.readouterr().err


def test_answers_that_could_not_be_used_are_told_as_such(corpus, tmp_path, monkeypatch, capsys):
    monkeypatch.setattr(console, "quiet", False)
    with ChatServer(lambda body: "no JSON") as server:
        write(server, corpus, tmp_path / "set", n=5)
    assert "0 of the 5 wanted: not every answer could be used (see excluded/): a larger -n" in capsys.readouterr().err


def test_a_reply_that_is_no_conversation(corpus, tmp_path):
    def reply(body):
        if "H&E" in about(body):
            return "I cannot."
        again = PROBLEM in body["messages"][-1]["content"]
        return "Question: A?\nAnswer: B.\nQuestion: C?\nAnswer: D." if again else "?"

    with ChatServer(reply) as server:
        result = write(server, corpus, tmp_path / "set", n=12)
    assert result["conversations"]["excluded"]["malformed"] == 3
    [detail] = {row["detail"] for row in rows(tmp_path / "set", "excluded").values() if row["reason"] == "malformed"}
    assert detail == PROBLEM
    assert len(server.log) == 9 * 2 + 3 * 3
    assert {row["conversations"][1]["value"] for row in rows(tmp_path / "set").values()} == {"B."}


def test_a_server_without_the_form_or_the_counts(corpus, tmp_path):
    def reply(body):
        if "response_format" in body:
            return 400, {"error": {"message": "response_format is not supported"}}
        content = {"message": {"role": "assistant", "content": talk(body)}, "finish_reason": "stop"}
        return 200, {"choices": [content]}

    with ChatServer(reply) as server:
        result = write(server, corpus, tmp_path / "set", n=20)
    assert result["conversations"]["kept"] == 20
    assert result["estimate"]["sample"] == 0
    assert result["tokens"] == {"prompt": 0, "completion": 0}
    assert artifact.read_manifest(tmp_path / "set")["models"][0]["not_taken"] == ["response_format"]


def test_refused_and_unanswered(corpus, tmp_path):
    down = []

    def reply(body):
        if "Sagittal" in about(body):
            return 400, {"error": {"message": "filtered"}}
        return (500, {"error": {"message": "down"}}) if down else talk(body)

    with ChatServer(reply) as server:
        write(server, corpus, tmp_path / "first", n=20, dry_run=True)
        down.append(1)
        with pytest.raises(Unfinished, match="run the same command again"):
            write(server, corpus, tmp_path / "first", n=30)
        down.clear()
        result = write(server, corpus, tmp_path / "first", n=30)
        assert result["conversations"]["excluded"]["refused"] > 3
        asked = Counter(server.bodies())
        write(server, corpus, tmp_path / "second", n=30)
    assert result["hash"] == artifact.read_manifest(tmp_path / "second")["hash"]
    assert all(asked[body] == 1 for body in asked if "Sagittal" in about(json.loads(body)))


def test_a_wrong_call_leaves_nothing_behind(corpus, tmp_path):
    server = ChatServer(lambda body: (401, {"error": {"message": "no"}}))
    with server, pytest.raises(InputError, match=KEY):
        write(server, corpus, tmp_path / "set")
    assert not (tmp_path / "set").exists()


CODE = "from llavamed import cli, endpoint; endpoint.BACKOFF = 0.001; cli.main()"
COMMAND = [sys.executable, "-c", CODE, "instruct", "generate"]


def test_faults_and_two_kills_change_nothing(corpus, tmp_path):
    with ChatServer(talk) as server:
        clean = write(server, corpus, tmp_path / "clean")
    with ChatServer(talk, rate=0.3, faults=("429", "500", "stall", "cut", "broken"), delay=0.02) as server:
        options = [
            "--teacher",
            server.url,
            "--model",
            "m",
            "--per-article",
            "9",
            "--concurrency",
            "4",
            "--timeout",
            "1",
        ]
        command = [*COMMAND, str(corpus), "-o", str(tmp_path / "set"), *options, "--json", "--quiet"]
        for _ in range(2):
            seen = len(server.log)
            process = subprocess.Popen(command, cwd=Path(__file__).parent.parent.parent)
            while len(server.log) < seen + 45:
                assert process.poll() is None
                time.sleep(0.005)
            os.kill(process.pid, signal.SIGKILL)
            assert process.wait() == -signal.SIGKILL
            time.sleep(0.2)
            lines = (tmp_path / "set/answers.jsonl").read_text().splitlines(keepends=True)
            kept = {json.loads(line)["id"] for line in lines if line.endswith("\n")}
            assert kept
            before = len(server.log)
        ended = subprocess.run(command, cwd=Path(__file__).parent.parent.parent, capture_output=True, text=True)
        assert ended.returncode == 0, ended.stderr
        result = json.loads(ended.stdout)
    assert {fault for _, _, fault in server.log} == {"", "429", "500", "stall", "cut", "broken"}
    assert result["hash"] == clean["hash"], "the same bytes as without faults"
    assert result["conversations"] == clean["conversations"]
    asked = Counter(server.bodies())
    assert sum(asked.values()) - len(asked) <= 2 * 4, "more was asked again than was in flight"
    journal = [json.loads(line) for line in (tmp_path / "set/answers.jsonl").open()]
    assert len({fact["id"] for fact in journal}) == len(journal) == 119
    later = {about(body).rpartition(" ")[2][:-1] for body, _, _ in server.log[before:]}
    assert later
    assert not later & kept


def test_the_command(corpus, tmp_path):
    with ChatServer(talk) as server:
        call = ["instruct", "generate", str(corpus), "-o", str(tmp_path / "set"), "--teacher", server.url, "-n", "20"]
        dry = CliRunner().invoke(app, [*call, "--model", "m", "--price-in", "2", "--dry-run", "--quiet"])
        assert dry.exit_code == 0
        heads = [line for line in dry.stdout.splitlines() if line.startswith("--- prompt")]
        shared = [f"--- prompts 1, 2, 3: {role} ---" for role in ("system", *4 * ["user", "assistant"])]
        assert heads == [*shared, *(f"--- prompt {n}: user ---" for n in (1, 2, 3))]
        assert re.search(r"\nestimate +requests 20, .*\nprice +about 0\.\d{4}$", dry.stdout.rstrip())
        free = CliRunner().invoke(app, [*call, "--model", "m", "--dry-run", "--quiet"])
        assert free.stdout.rstrip().endswith("not stated: --price-in, --price-out")
        ended = CliRunner().invoke(app, [*call, "--model", "m", "--inline-mentions", "--json", "--quiet"])
        assert json.loads(ended.stdout)["conversations"]["kept"] == 20
    assert isinstance(CliRunner().invoke(app, call).exception, InputError), "no --model"


@pytest.mark.slow
def test_a_real_model_on_this_machine(corpus, tmp_path):
    pytest.importorskip("xllamacpp")
    call = ["instruct", "generate", str(corpus), "-o", str(tmp_path / "set"), "--teacher", "local", "-n", "2"]
    ended = CliRunner().invoke(app, [*call, "--max-tokens", "120", "--json"], catch_exceptions=False)
    assert ended.exit_code == 0
    result = json.loads(ended.stdout.splitlines()[-1])
    assert result["tokens"]["completion"] > 0
    assert sum(result["conversations"]["excluded"].values()) + result["conversations"]["kept"] == 120
    [model] = artifact.read_manifest(tmp_path / "set")["models"]
    assert (model["name"], model["version"]) == ("SmolLM2-135M-Instruct", "smollm2.gguf")
    assert rehash(tmp_path / "set") == []
