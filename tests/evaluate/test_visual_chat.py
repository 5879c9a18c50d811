"""Visual chat: what is judged, how it is counted, that nothing is judged twice."""

import io
import json
import os
import random
import shutil
import signal
import subprocess
import sys
import time

import pyarrow.parquet as pq
import pytest
from rich.console import Console

from chat_server import ChatServer, said
from llavamed import artifact, storage
from llavamed import endpoint as client
from llavamed.endpoint import Endpoint
from llavamed.errors import InputError
from llavamed.evaluate.chat import JOURNAL, evaluate_chat, recount
from llavamed.evaluate.judge import MODEL_FIRST, ORDERS, REFERENCE_FIRST
from llavamed.evaluate.relative import ALL, NAMES, marked, scores, table
from llavamed.request import REMINDERS
from llavamed.train.seen import SEEN, question_key
from llavamed.verify import rehash

N = 12
DOMAINS = ("mri", "ct_scan", "gross")


@pytest.fixture(autouse=True)
def quick(monkeypatch):
    monkeypatch.setattr(client, "BACKOFF", 0.001)


@pytest.fixture
def files(tmp_path):
    """Questions and answers in the published layout: two questions a figure, answers as lines in a .json."""
    with (tmp_path / "questions.jsonl").open("w") as stream:
        for n in range(N):
            figure = n // 2
            domain = {name: DOMAINS[figure % 3] == name for name in DOMAINS}
            kind = "conversation" if n % 3 else "detailed_description"
            record = {"question_id": n, "text": f"What is item {n}?\n<image>", "gpt4_answer": f"reference {n}"}
            record |= {"pair_id": f"f{figure}", "fig_caption": f"caption {figure}", "type": kind, "domain": domain}
            record["in_text_mention"] = [{"tokens": f"mention {figure}"}] if figure else None
            stream.write(json.dumps(record) + "\n")
    write_answers(tmp_path, range(N))
    return tmp_path


def write_answers(folder, numbers):
    lines = [json.dumps({"question_id": n, "text": f"model {n}", "metadata": {}}) for n in numbers]
    (folder / "answers.json").write_text("\n".join(lines) + "\n")


def marks(body):
    """(mark of the model's answer, of the reference's): by the question, and better for what comes first."""
    text = body["messages"][1]["content"]
    first = "model" if text.index("model ") < text.index("reference ") else "reference"
    n = int(text.split("What is item ")[1].split("?")[0])
    return 2 + n % 5 + (first == "model"), 8 + (first == "reference"), first


def verdict(body):
    model, reference, first = marks(body)
    pair = (model, reference) if first == "model" else (reference, model)
    return json.dumps({"first": pair[0], "second": pair[1], "why": f"item {said(body)[:3]}"})


def judge(server, files, out="out", **more):
    endpoint = Endpoint(server.url, "judge-1", concurrency=4, timeout=0.5)
    return evaluate_chat(files / "answers.json", files / "questions.jsonl", files / out, judge=endpoint, **more)


def test_the_relative_score_is_the_mean_ratio(files):
    with ChatServer(verdict) as server:
        result = judge(server, files)
    assert len(server.log) == 2 * N
    expected = {REFERENCE_FIRST: [(2 + n % 5) / 9 for n in range(N)], MODEL_FIRST: [(3 + n % 5) / 8 for n in range(N)]}
    for name, kept in {
        ALL: range(N),
        "conversation": [n for n in range(N) if n % 3],
        "mri": [n for n in range(N) if n // 2 % 3 == 0],
    }.items():
        score = result["scores"][name]
        means = [100 * sum(expected[order][n] for n in kept) / len(kept) for order in ORDERS]
        assert score["n"] == len(kept)
        assert score["reference_first"][0] == pytest.approx(means[0], abs=1e-5)
        assert score["model_first"][0] == pytest.approx(means[1], abs=1e-5)
        assert score["relative"][0] == pytest.approx(sum(means) / 2, abs=1e-5)
        assert score["order_effect"][0] == pytest.approx(means[1] - means[0], abs=1e-5)
        assert score["relative"][1] <= score["relative"][0] <= score["relative"][2]
    assert result["scores"][ALL]["n_figures"] == N / 2
    assert result["scores"]["chest_xray"] is None
    assert (result["n"], result["of"], result["excluded"]) == (N, N, {})
    assert rehash(files / "out") == []
    row = next(storage.read_rows(files / "out"))
    assert row["question"] == "What is item 0?"
    assert (row["model_mark"], row["reference_mark"], row["order"]) == (2, 9, REFERENCE_FIRST)


def test_marks_move_with_the_answer_not_with_its_place():
    """A judge that always prefers the same answer by 8 to 4 has no order effect."""
    rows = [
        {
            "id": "a",
            "pair_id": "f",
            "type": "t",
            "domain": "d",
            "order": order,
            "model_mark": 4.0,
            "reference_mark": 8.0,
        }
        for order in ORDERS
    ]
    found = scores(marked(rows))[ALL]
    assert found["relative"] == [50, 50, 50]
    assert found["order_effect"] == [0, 0, 0]
    assert found["same_winner"] == 100
    assert marked(rows[:1]) == []


def test_the_interval_is_over_figures():
    """Ten questions on one figure tell no more of other figures than one."""
    rows = [
        {"id": f"{f}-{n}", "pair_id": f"f{f}", "type": "t", "domain": "d", "order": order,
         "model_mark": 2.0 + 6 * (f % 2), "reference_mark": 8.0}
        for f in range(10) for n in range(10) for order in ORDERS
    ]  # fmt: skip
    low, high = scores(marked(rows))[ALL]["relative"][1:]
    assert high - low > 35  # over questions it would be about 15


def test_nothing_is_judged_twice(files):
    with ChatServer(verdict) as server:
        first = judge(server, files)
        assert judge(server, files) == first
        assert len(server.log) == 2 * N
        write_answers(files, range(N - 1))
        (files / "answers.json").open("a").write(json.dumps({"question_id": N - 1, "text": "model 11 mended"}) + "\n")
        with pytest.raises(InputError, match="answers changed"):
            judge(server, files)
        judge(server, files, force=True)
        assert len(server.log) == 2 * N + 2, "what was not changed was judged again"


def test_what_is_finished_or_journaled_needs_no_server(files):
    with ChatServer(verdict) as server:
        first = judge(server, files)
    assert judge(server, files) == first
    with pytest.raises(InputError, match="nothing answers"):
        judge(server, files, "again")
    assert not (files / "again").exists()
    (files / "again" / ".job").mkdir(parents=True)
    shutil.copy(files / "out" / JOURNAL, files / "again" / ".job")
    assert judge(server, files, "again")["hash"] == first["hash"]


CODE = """
import sys
from pathlib import Path
from llavamed import endpoint
from llavamed.evaluate.chat import evaluate_chat
endpoint.BACKOFF = 0.001
folder = Path(sys.argv[2])
judge = endpoint.Endpoint(sys.argv[1], "judge-1", concurrency=4, timeout=0.5)
evaluate_chat(folder / "answers.json", folder / "questions.jsonl", folder / "killed", judge=judge)
"""


def test_killed_while_judging(files):
    with ChatServer(verdict) as server:
        whole = judge(server, files)
    with ChatServer(verdict, delay=0.1, rate=0.2, faults=("429", "500", "cut", "broken")) as server:
        kills = 0
        for stop in (5, 14):
            process = subprocess.Popen([sys.executable, "-c", CODE, server.url, files])
            while len(server.log) < stop and process.poll() is None:
                time.sleep(0.01)
            os.kill(process.pid, signal.SIGKILL)
            kills += process.wait() == -signal.SIGKILL
            time.sleep(0.3)
        journal = (files / "killed" / ".job" / JOURNAL).read_text().splitlines()
        kept = {json.loads(line)["id"] for line in journal if line.endswith("}")}
        before = len(server.log)
        result = judge(server, files, "killed")
        asked = set()
        for body, _, _ in server.log[before:]:
            text = body["messages"][1]["content"]
            order = MODEL_FIRST if marks(body)[2] == "model" else REFERENCE_FIRST
            asked.add(f"{text.split('What is item ')[1].split('?')[0]}:{order}")
    assert kills == 2
    assert kept
    assert not kept & asked, "what was journaled was asked again"
    assert len(server.bodies("")) <= 2 * N + 2 * 4
    assert result["hash"] == whole["hash"]


def test_malformed_verdicts_are_asked_for_again_then_reported(files):
    def reply(body):
        text = body["messages"][1]["content"]
        if "item 3?" in text:
            return "I would rather not."
        if "item 4?" in text and len(body["messages"]) < 4:
            return "The first answer is better."
        if "item 5?" in text and marks(body)[2] == "model":
            return 400, {"error": {"message": "filtered", "code": "content_filter"}}
        return verdict(body)

    with ChatServer(reply) as server:
        result = judge(server, files)
        assert len(server.log) == 2 * N + 2 * REMINDERS + 2
        assert judge(server, files) == result
        assert len(server.log) == 2 * N + 2 * REMINDERS + 2
    assert (result["n"], result["of"], result["excluded"]) == (N - 2, N, {"malformed": 1, "refused": 1})
    left = {row["id"]: row for row in storage.read_rows(files / "out", "excluded")}
    assert left["3"]["reason"] == "malformed"
    assert left["5"]["detail"] == "model_first: 400 filtered"
    rows = {(row["id"], row["order"]): row for row in storage.read_rows(files / "out")}
    assert rows["3", MODEL_FIRST]["reply"] == "I would rather not."
    assert rows["4", MODEL_FIRST]["replies"] == 2
    assert rows["5", REFERENCE_FIRST]["model_mark"] is not None
    manifest = artifact.read_manifest(files / "out")
    assert manifest["counts"]["questions"] == {"in": N, "kept": N - 2, "excluded": result["excluded"]}


def test_no_verdict_at_all_is_a_result(files):
    with ChatServer(lambda body: "no") as server:
        result = judge(server, files)
    assert (result["n"], result["excluded"]) == (0, {"malformed": N})
    assert set(result["scores"].values()) == {None}
    assert table(result).row_count == len(NAMES)
    assert recount(files / "out")["of"] == N


def test_recounted_without_a_judge(files):
    with ChatServer(verdict) as server:
        result = judge(server, files)
    rows = list(storage.read_rows(files / "out"))
    random.Random(1).shuffle(rows)
    (files / "judgements.jsonl").write_text("".join(json.dumps(row) + "\n" for row in rows))
    whole = pq.read_table(files / "out/data/judgements-00000.parquet")
    pq.write_table(whole, files / "judgements.parquet")
    for path in (files / "out", files / "judgements.jsonl", files / "judgements.parquet"):
        found = recount(path)
        assert found["scores"] == result["scores"]
        assert (found["n"], found["of"], found["judge"]) == (N, N, "judge-1")


@pytest.mark.parametrize(
    ("change", "message"),
    [
        ({"model_mark": 11}, "marks of 11"),
        ({"model_mark": "x"}, "could not convert"),
        ({"order": "first"}, "order 'first'"),
        ({"id": "1", "order": MODEL_FIRST}, "twice"),
    ],
)
def test_judgements_that_cannot_be(files, change, message):
    row = {"pair_id": "f", "type": "t", "domain": "d", "model_mark": 4, "reference_mark": 8}
    rows = [row | {"id": "1", "order": MODEL_FIRST}, row | {"id": "2", "order": MODEL_FIRST} | change]
    (files / "j.jsonl").write_text("".join(json.dumps(row) + "\n" for row in rows))
    with pytest.raises(InputError, match=message) as caught:
        recount(files / "j.jsonl")
    assert "j.jsonl" in str(caught.value)


def test_answers_that_do_not_match(files):
    write_answers(files, [*range(1, N), 99, 1])
    (files / "answers.json").open("a").write(json.dumps({"question_id": N, "text": ""}) + "\n")
    with (files / "questions.jsonl").open("a") as stream:
        known = {"fig_caption": "caption", "gpt4_answer": "reference", "pair_id": "f"}
        stream.write(json.dumps({"question_id": N, "text": "What is item 12?", **known}) + "\n")
    with ChatServer(verdict) as server:
        with pytest.raises(InputError) as caught:
            judge(server, files)
        for words in ("1 further answers to one question (1)", "1 empty answers (12)", "1 answers to no question (99)"):
            assert words in str(caught.value)
        assert "1 questions without an answer (0)" in str(caught.value)
        assert not (files / "out").exists()
        assert server.log == []
        server.reply = lambda body: '{"first": 5, "second": 5}'
        result = judge(server, files, allow_missing=True)
    assert (result["n"], result["of"]) == (N, N + 1)
    assert result["problems"] == {"duplicate": 1, "empty": 1, "missing": 1, "unknown": 1}
    counts = artifact.read_manifest(files / "out")["counts"]
    assert counts["questions"] == {"in": N + 1, "kept": N, "excluded": {"no_answer": 1}}
    assert recount(files / "out")["of"] == N + 1


@pytest.mark.parametrize("name", ["nowhere.jsonl", "notes.txt", "."])
def test_files_that_are_none(files, name):
    (files / "notes.txt").write_text("notes")
    judge = Endpoint("http://localhost:9", "m")
    for call in (
        lambda: evaluate_chat(files / "answers.json", files / name, files / "out", judge=judge),
        lambda: evaluate_chat(files / name, files / "questions.jsonl", files / "out", judge=judge),
        lambda: recount(files / name),
    ):
        with pytest.raises(InputError):
            call()


def test_questions_that_cannot_be_judged(files):
    with (files / "questions.jsonl").open("a") as stream:
        stream.write('{"question_id": 50, "text": "What?", "fig_caption": "c"}\n{"question_id": 1, "te\n')
    with ChatServer(verdict) as server:
        with pytest.raises(InputError, match=r"1 no reference \(50\); 1 record broken \(questions.jsonl#14\)"):
            judge(server, files)
        result = judge(server, files, allow_missing=True)
    assert (result["n"], result["of"]) == (N, N + 2)
    left = {row["id"]: row["reason"] for row in storage.read_rows(files / "out", "excluded")}
    assert left == {"50": "no_reference", "questions.jsonl#14": "record_broken"}


def test_captions_of_their_own_file(files):
    questions = [json.loads(line) for line in (files / "questions.jsonl").read_text().splitlines()]
    domains: dict[str, dict[str, dict[str, object]]] = {}
    for record in questions:
        figure = {key: record.pop(key) for key in ("fig_caption", "in_text_mention")} | {"pair_id": record["pair_id"]}
        domains.setdefault(next(k for k, v in record.pop("domain").items() if v), {})[record["pair_id"]] = figure
    captions = files / "captions.json"
    captions.write_text(json.dumps({domain: list(figures.values()) for domain, figures in domains.items()}))
    with ChatServer(verdict) as server:
        whole = judge(server, files)
        before = {json.dumps(body) for body, _, _ in server.log}
        (files / "questions.jsonl").write_text("".join(json.dumps(record) + "\n" for record in questions))
        with pytest.raises(InputError, match="no_caption"):
            judge(server, files, "own")
        result = judge(server, files, "own", captions=captions)
        assert {json.dumps(body) for body, _, _ in server.log} == before
    assert result["scores"] == whole["scores"]


def shown(result, width=80):
    console = Console(width=width, record=True, file=io.StringIO())
    console.print(table(result))
    return console.export_text()


def test_the_table_has_each_published_score_in_its_row(files):
    with ChatServer(verdict) as server:
        judge(server, files)
        text = shown(judge(server, files))  # as read back from the folder
    rows = {line.split()[0]: line.split() for line in text.splitlines() if line.strip()}
    last = {"conv.": "55.1", "descr.": "36.4", "CXR": "56.2", "MRI": "40.4", "histology": "52.7", "gross": "51.8"}
    assert {name: rows[name][-1] for name in last} == last
    assert [rows[name][-1] for name in ("CT", "all")] == ["50.1", "50.2"]
    assert rows["conv."][-5:] == ["39.4", "22.6", "42.4", "53.7", "55.1"]
    assert rows["CT"][1] == "4"
    assert "…" not in text


def test_the_published_files(data, tmp_path):
    """193 questions on 50 figures: the counts of the published table."""
    folder = data / "llava_med_eval"
    answers = folder / "llava_med_qa50_instruct_caption_in_text_cleaned-60k-3epoch.json"
    questions = folder / "llava_med_eval_qa50_qa.jsonl"

    def reply(body):
        return '{"first": 8, "second": 4, "why": ""}'

    with ChatServer(reply) as server:
        result = evaluate_chat(answers, questions, tmp_path / "out", judge=Endpoint(server.url, "stub"))
        captions = folder / "llava_med_eval_qa50_fig_captions.json"
        evaluate_chat(answers, questions, tmp_path / "two", judge=Endpoint(server.url, "stub"), captions=captions)
    assert (result["n"], result["of"]) == (193, 193)
    counts = {name: score["n"] for name, score in result["scores"].items()}
    assert counts == dict(zip(NAMES, (143, 50, 37, 38, 44, 34, 40, 193), strict=True))
    assert result["scores"][ALL]["reference_first"] == [50, 50, 50]
    assert result["scores"][ALL]["model_first"] == [200, 200, 200]
    assert result["scores"][ALL]["same_winner"] == 0


def test_what_the_model_had_seen_stands_beside_the_score(files, tmp_path):
    job = artifact.start(tmp_path / "model", "model", {})
    row = {"id": "a", "stage": "instruct", "times_seen": 1, "text_tokens": 9, "image_tokens": 4, "image_sha256": "0"}
    row |= {"image_phash": "0" * 16, "questions": [question_key("What is item 3?")]}
    storage.write_table(job.out / "seen.parquet", [row], SEEN)
    artifact.publish(job, counts={})
    with ChatServer(verdict) as server:
        seen = judge(server, files, "seen", answered_by=tmp_path / "model")["contamination"]
        assert judge(server, files, "unknown")["contamination"]["lineage"] == "unknown"
    assert (seen["pictures"]["n"], seen["questions"]) == (0, {"n": N, "text": 1, "with_picture": 0})
    assert "no picture is at hand to compare" in seen["sentence"]
    again = recount(files / "seen")
    assert again["contamination"] == seen
    assert "no picture is at hand" in " ".join(shown(again).split())
    assert recount(files / "seen/data/judgements-00000.parquet")["contamination"]["lineage"] == "unknown"


def test_the_command(files, capsys):
    from typer.testing import CliRunner

    from llavamed.cli import app

    with ChatServer(verdict) as server:
        call = ["evaluate", "chat", str(files / "answers.json"), "--questions", str(files / "questions.jsonl"),
                "--judge", server.url, "--model", "judge-1", "-o", str(files / "out")]  # fmt: skip
        said = CliRunner().invoke(app, [*call, "--json"])
        assert json.loads(said.stdout)["n"] == N, said.output
    again = CliRunner().invoke(app, ["evaluate", "chat", "--judgements", str(files / "out")], env={"COLUMNS": "140"})
    assert "52.7" in again.stdout
    assert f"{N} of {N} questions judged by judge-1" in again.stdout
    for words in ([], ["x.json"], ["x.json", "--judgements", "out"]):
        assert isinstance(CliRunner().invoke(app, ["evaluate", "chat", *words]).exception, InputError)
