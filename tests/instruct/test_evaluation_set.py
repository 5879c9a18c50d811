"""An evaluation set: held-out figures, what is asked about them, and that it is judged as it is."""

import json
from collections import Counter

import pytest
from typer.testing import CliRunner

from chat_server import ChatServer
from llavamed import artifact, storage
from llavamed import endpoint as module
from llavamed.cli import app
from llavamed.endpoint import KEY, Endpoint
from llavamed.errors import InputError, Unfinished
from llavamed.evaluate.chat import evaluate_chat
from llavamed.evaluate.chat_questions import read_questions
from llavamed.evaluate.questions import questions_of
from llavamed.instruct.align import align
from llavamed.instruct.draw import Wanted
from llavamed.instruct.evaluation_set import CONVERSATION, DESCRIPTION, make_evaluation_set
from llavamed.instruct.prompts import Description, Prompt
from llavamed.verify import rehash
from small_corpus import figures, write_corpus
from small_pictures import pictured
from small_teacher import talk

KEYS = {"question_id", "image", "pair_id", "text", "gpt4_answer", "fig_caption", "in_text_mention", "domain", "type",
        "fig_label"}  # fmt: skip
SEEN = (
    "This is an axial scan in shades of grey. A {0} area lies on the left, and beside it a darker line runs down to "
    "the border. The right half looks even and shows nothing that stands out from the rest of the tissue. All of this "
    "suggests a healthy organ."
)


@pytest.fixture(autouse=True)
def quick(monkeypatch):
    monkeypatch.setattr(module, "BACKOFF", 0.001)
    monkeypatch.setattr(module, "LONGEST_BACKOFF", 0.002)
    monkeypatch.delenv(KEY, raising=False)


@pytest.fixture
def corpus(tmp_path):
    """36 figures of training and 36 of test, four of an article, each with its picture, most of them cited."""
    rows = [pictured(row, n) for n, row in enumerate([*figures("train", 0, 36), *figures("test", 36, 36)])]
    for n, row in enumerate(rows):
        row |= {"pmcid": f"PMC{n // 4}", "fig_label": f"Fig. {n}", "fig_caption": f"{row['fig_caption']} No {n}."}
        row["in_text_mention"] = [f"As shown in panel {n} (Fig 1)."] * (n % 3)
    return write_corpus(tmp_path / "corpus", [("train", rows[:36]), ("test", rows[36:])])


def is_description(body):
    return "[Question]" in body["messages"][9]["content"]


def teach(body):
    if is_description(body):
        return json.dumps({"answer": SEEN.format(("pale", "round", "small")[len(str(body)) % 3])})
    return talk(body)


def make(server, corpus, folder, n=10, **more):
    wanted = Wanted(n, per_article=1, split="test")
    return make_evaluation_set(corpus, folder, Endpoint(server.url, "m"), wanted=wanted, **more)


def records(folder):
    return [json.loads(line) for line in (folder / "data/questions.jsonl").open()]


def test_questions_of_held_out_figures_in_the_published_layout(corpus, tmp_path):
    with ChatServer(teach) as server:
        result = make(server, corpus, tmp_path / "set", n=8)
        assert len(server.log) == 2 * 8
        assert make(server, corpus, tmp_path / "set", n=8) == result
        make(server, corpus, tmp_path / "set", n=9, force=True)
        assert len(server.log) == 2 * 9, "paid for twice"
    figures = {row["pair_id"]: row for row in storage.read_rows(corpus)}
    rows, lines = list(storage.read_rows(tmp_path / "set")), records(tmp_path / "set")
    assert len(rows) == 9
    assert {row["split"] for row in rows} == {"test"}
    assert len({figures[row["pair_id"]]["pmcid"] for row in rows}) == 9
    assert max(Counter(json.dumps(row["domain"]) for row in rows).values()) <= 3
    assert rehash(tmp_path / "set") == []
    assert all(line.keys() == KEYS for line in lines)
    assert len({line["question_id"] for line in lines}) == len(lines) == sum(len(row["types"]) for row in rows)
    for line in lines:
        figure = figures[line["pair_id"]]
        assert (tmp_path / "set/data/images" / line["image"]).read_bytes() == figure["image"]["bytes"]
        assert (line["fig_caption"], line["fig_label"]) == (figure["fig_caption"], figure["fig_label"])
        assert [mention["tokens"] for mention in line["in_text_mention"] or []] == (figure["in_text_mention"] or [])
        assert line["domain"] == figure["domain"]
        assert line["text"].endswith("\n<image>")
        described = line["text"] == f"{Description().question(figure)}\n<image>"
        assert line["type"] == (DESCRIPTION if described else CONVERSATION)
    assert Counter(line["type"] for line in lines) == {CONVERSATION: 27, DESCRIPTION: 9}
    reasons = Counter(row["reason"] for row in storage.read_rows(tmp_path / "set", "excluded") if not row["turn"])
    assert reasons["other_split"] == 36
    models = artifact.read_manifest(tmp_path / "set")["models"]
    assert [model["prompt_hash"] for model in models] == [Prompt(True).hash, Description().hash]


def test_load_dataset_shows_its_questions_with_their_types(corpus, tmp_path):
    datasets = pytest.importorskip("datasets")
    with ChatServer(teach) as server:
        make(server, corpus, tmp_path / "set", n=2)
    loaded = datasets.load_dataset(str(tmp_path / "set"), cache_dir=str(tmp_path / "cache"))
    assert {name: len(part) for name, part in loaded.items()} == {"test": 2}
    assert loaded["test"][0]["types"] == [CONVERSATION] * 3 + [DESCRIPTION]
    assert loaded["test"][0]["image"].size == (64, 64)


def test_a_dry_run_and_what_it_will_cost(corpus, tmp_path):
    with ChatServer(teach) as server:
        told = make(server, corpus, tmp_path / "set", n=40, dry_run=True)
        assert told["requests"] == told["answered"] == len(server.log) == 2 * 9
        assert len(told["prompts"]) == 3
        assert {len(messages) for messages in told["prompts"]} == {10}
        result = make(server, corpus, tmp_path / "set", n=40)
        assert len(server.log) == 2 * 9
    for name in ("prompt", "completion"):
        assert told["estimate"][name] == pytest.approx(result["tokens"][name], rel=0.01)


def test_stopped_between_the_two_nothing_is_asked_twice(corpus, tmp_path):
    down = [True]

    def reply(body):
        return (500, {"error": {"message": "down"}}) if down and is_description(body) else teach(body)

    with ChatServer(reply) as server:
        with pytest.raises(Unfinished):
            make(server, corpus, tmp_path / "set", n=6)
        asked = [body for body, _, _ in server.log if not is_description(body)]
        assert len(asked) == 6
        down.clear()
        server.log.clear()
        assert make(server, corpus, tmp_path / "set", n=6)["questions"] == {CONVERSATION: 18, DESCRIPTION: 6}
        assert [is_description(body) for body, _, _ in server.log] == [True] * 6


def test_what_cannot_be_used_gives_way_to_the_next_figure(corpus, tmp_path):
    with ChatServer(teach) as server:
        make(server, corpus, tmp_path / "first", n=4)
    kept = [row["pair_id"] for row in storage.read_rows(tmp_path / "first")]
    short, told = (f"No {int(pair.split('_F')[1])}." for pair in kept[:2])  # as its caption ends

    def reply(body):
        about = body["messages"][9]["content"]
        if is_description(body) and short in about:
            return "No."
        return teach(body).replace("This is", "By its legend it is") if told in about else teach(body)

    with ChatServer(reply) as server:
        result = make(server, corpus, tmp_path / "set", n=4)
        asked = Counter(body["messages"][9]["content"] for body, _, _ in server.log)
    assert result["conversations"]["kept"] == 4
    assert result["questions"] == {CONVERSATION: 12, DESCRIPTION: 4}
    assert sorted(asked.values()) == [1] * 11 + [3], "two figures more, each asked about once; two reminders"
    rows = {row["pair_id"] for row in storage.read_rows(tmp_path / "set")}
    assert rows > set(kept[2:])
    assert not rows & set(kept[:2])
    out = [row for row in storage.read_rows(tmp_path / "set", "excluded") if row["pair_id"] in kept[:2]]
    assert Counter(row["reason"] for row in out) == {"malformed": 1, "no_turn_left": 1, "text": 1, "incomplete": 3}
    assert {row["turn"] for row in out if row["turn"]} == {1, 2, 3, 4}


def test_a_training_set_made_later_does_without_its_figures(corpus, tmp_path):
    with ChatServer(teach) as server:
        make(server, corpus, tmp_path / "set", n=6)
    align(corpus, tmp_path / "by_table", against=[tmp_path / "set"])
    align(corpus, tmp_path / "by_name", against=[tmp_path / "set/data/questions.jsonl"])
    align(corpus, tmp_path / "by_look", against=[tmp_path / "set/data/images"])
    held = {row["pair_id"] for row in storage.read_rows(tmp_path / "set")}
    for name in ("by_table", "by_name", "by_look"):
        out = [row for row in storage.read_rows(tmp_path / name, "excluded") if row["reason"] == "in_test_set"]
        assert {row["pair_id"] for row in out} == held
        assert len(list(storage.read_rows(tmp_path / name))) == 72 - 6


def test_the_command_and_wrong_calls(corpus, tmp_path):
    with ChatServer(teach) as server:
        call = ["instruct", "evaluation", str(corpus), "-o", str(tmp_path / "set"), "--teacher", server.url, "-n", "4"]
        ended = CliRunner().invoke(app, [*call, "--model", "m", "--json", "--quiet"])
        assert json.loads(ended.stdout)["questions"] == {CONVERSATION: 12, DESCRIPTION: 4}
    assert isinstance(CliRunner().invoke(app, call).exception, InputError), "no --model"
    wrong = CliRunner().invoke(app, [*call, "--model", "m", "--split", "held-out"])
    assert "train, validation, test" in str(wrong.exception)
    call[call.index("-o") + 1] = str(tmp_path / "other")
    none = CliRunner().invoke(app, [*call, "--model", "m", "--split", "validation"])
    assert "no figure to ask about" in str(none.exception)
    assert not (tmp_path / "other").exists()


def verdict(body):
    return json.dumps({"first": 6, "second": 8, "why": "it says more"})


def test_it_is_asked_and_judged_as_it_is(corpus, tmp_path):
    with ChatServer(teach) as server:
        make(server, corpus, tmp_path / "set", n=5)
    cases, left = read_questions(tmp_path / "set/data/questions.jsonl")
    assert left == []
    assert len(cases) == 20
    asked = questions_of(tmp_path / "set")
    assert [(case.id, case.question, case.reference) for case in cases] == [
        (question.id, question.question, question.reference) for question in asked
    ]
    answers = tmp_path / "answers.jsonl"
    answers.write_text("".join(json.dumps({"question_id": q.id, "text": "A scan."}) + "\n" for q in asked))
    with ChatServer(verdict) as server:
        result = evaluate_chat(
            answers, tmp_path / "set/data/questions.jsonl", tmp_path / "out", judge=Endpoint(server.url, "j")
        )
    assert (result["n"], result["of"], result["excluded"]) == (20, 20, {})
    assert result["scores"][DESCRIPTION]["n"] == 5


@pytest.mark.slow
def test_a_model_from_its_pictures_to_the_judge(corpus, tmp_path):
    from llavamed.evaluate.vqa import evaluate
    from llavamed.model.build import build

    with ChatServer(teach) as server:
        make(server, corpus, tmp_path / "set", n=3)
    build("tiny", tmp_path / "tiny")
    scores = evaluate(
        tmp_path / "tiny", tmp_path / "set", tmp_path / "scores", max_new_tokens=2, controls="none", device="cpu"
    )
    assert scores["n_questions"] == 12
    with ChatServer(verdict) as server:
        result = evaluate_chat(
            tmp_path / "scores", tmp_path / "set/data/questions.jsonl", tmp_path / "out",
            judge=Endpoint(server.url, "j"), answered_by=tmp_path / "tiny", allow_missing=True,
        )  # fmt: skip
    assert result["n"] == 12
