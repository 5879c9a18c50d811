"""What a model has seen of a benchmark is found by its lineage, and unknown without one."""

import io
import json
import shutil

import pyarrow.parquet as pq
import pytest
from PIL import Image

from llavamed import artifact, storage
from llavamed.corpus.images import phash, picture
from llavamed.evaluate.benchmarks.convert import convert
from llavamed.evaluate.contamination import beside, contamination, sentences
from llavamed.evaluate.questions import questions_of
from llavamed.evaluate.score import score
from llavamed.evaluate.tables import table
from llavamed.evaluate.vqa import evaluate
from llavamed.summary.facts import gather
from llavamed.train.loop import train
from llavamed.train.seen import SEEN, question_key
from llavamed.train.stage import Stage
from small_benchmarks import asked, png, save, write


@pytest.fixture(scope="module")
def trained(tmp_path_factory, tiny):
    """A model that saw a.png and b.png, and a large copy of d.png."""
    folder = tmp_path_factory.mktemp("lineage")
    save(folder / "set", "a.png", "b.png", "c.png", "d.png", "e.png")
    with Image.open(folder / "set/d.png") as small:
        small.resize((96, 80)).save(folder / "set/large.png")
    rows = [
        asked("a.png", "Is it round?", "yes"),
        asked("b.png", "What is it?", "A mass."),
        asked("large.png", "Where?", "x"),
    ]
    write(folder / "set/train.json", rows)
    test = [
        asked("b.png", "what is  it?", "A mass.", id="again"),
        asked("b.png", "Is it round?", "no", id="other question"),
        asked("c.png", "Is it round?", "no", id="unseen"),
        asked("d.png", "Where?", "x", id="large"),
        asked("e.png", "How?", "x", id="new"),
        asked("gone.png", "How?", "x", id="gone"),
    ]
    write(folder / "set/test.json", test)
    convert(folder / "set", folder / "data", allow_missing=True)
    train(tiny, folder / "data", folder / "model", Stage(name="align", learning_rate=1e-3))
    return folder


def test_what_was_seen(trained):
    found = contamination(trained / "model", questions_of(trained / "set"))
    assert (found["lineage"], found["records"], found["not_compared"]) == ("known", 3, 0)
    assert found["pictures"] == {"n": 4, "same": 1, "alike": 1, "perhaps": 0}
    assert found["questions"] == {"n": 6, "text": 4, "with_picture": 2}
    assert found["seen"] == ["again", "other question", "large"]
    assert found["repeated"] == ["again", "large"]
    assert "of 4 pictures 1 were seen in training and 1 look like one" in found["sentence"]
    assert "base models had seen before is not known" in found["sentence"]
    json.dumps(found)


def test_a_model_alone_still_knows(trained, tmp_path):
    shutil.copytree(trained / "model", tmp_path / "model")
    found = contamination(tmp_path / "model", questions_of(trained / "set"))
    assert found["pictures"] == {"n": 4, "same": 1, "alike": 0, "perhaps": 1}
    assert found["repeated"] == ["again"]
    assert "1 more may: by hash alone" in found["sentence"]
    (tmp_path / "beside").mkdir()
    (tmp_path / "beside/manifest.json").write_text("no manifest")
    assert contamination(tmp_path / "model", questions_of(trained / "set"))["pictures"]["perhaps"] == 1


def test_the_summary_counts_pictures_not_questions(trained, tmp_path):
    once = pq.read_table(trained / "model/seen.parquet").to_pylist()
    rows = [row | {"id": f"{row['id']}{n}"} for row in once for n in (0, 1)]
    job = artifact.start(tmp_path / "copy", "model", {})
    storage.write_table(job.out / "seen.parquet", rows, SEEN)
    artifact.publish(job, counts={})
    facts = gather(tmp_path / "copy")
    assert (facts["seen.conversations"].value, facts["seen.images"].value) == (6, 3)


def test_nothing_shared(trained):
    found = contamination(trained / "model", [q for q in questions_of(trained / "set") if q.id == "new"])
    assert found["pictures"] == {"n": 1, "same": 0, "alike": 0, "perhaps": 0}
    assert found["questions"] == {"n": 1, "text": 0, "with_picture": 0}


def test_without_lineage_it_is_unknown(trained, tiny, tmp_path):
    questions = questions_of(trained / "set")
    assert contamination(None, questions)["lineage"] == "unknown"
    assert "was not trained here" in contamination(tiny, questions)["why"]
    (tmp_path / "config.json").write_text("{}")
    assert contamination(tmp_path, questions)["sentence"].startswith("Contamination: unknown (")
    shutil.copytree(trained / "model", tmp_path / "changed")
    (tmp_path / "changed/seen.parquet").write_bytes(b"")
    assert "changed since training" in contamination(tmp_path / "changed", questions)["why"]


def seen(id: str, data: bytes | None, *questions: str) -> artifact.Json:
    row = {"id": id, "stage": "align", "times_seen": 1, "text_tokens": 9, "image_tokens": 4}
    if data is None:  # noted by no hash
        return row
    stored = picture(data, id, 32)
    with Image.open(io.BytesIO(stored.data)) as image:
        return row | {
            "image_sha256": stored.sha256,
            "image_phash": phash(image),
            "questions": [*map(question_key, questions)],
        }


def test_a_picture_of_a_corpus_is_known_as_the_corpus_stored_it(trained, tmp_path):
    corpus = artifact.start(tmp_path / "corpus", "corpus", {"max_side": 32})
    artifact.publish(corpus, counts={})
    job = artifact.start(tmp_path / "model", "model", {}, parents=[tmp_path / "corpus"])
    rows = [seen("x", png(1), "What is it?"), seen("y", png(7), "How?"), seen("z", None)]
    storage.write_table(job.out / "seen.parquet", rows, SEEN)
    artifact.publish(job, counts={})
    found = contamination(tmp_path / "model", questions_of(trained / "set"))
    assert (found["records"], found["not_compared"]) == (3, 1)
    assert found["pictures"] == {"n": 4, "same": 1, "alike": 0, "perhaps": 0}
    assert found["questions"] == {"n": 6, "text": 3, "with_picture": 1}
    assert "1 of 3 records trained on have no hash" in found["sentence"]


def test_it_stands_beside_every_score(trained, tmp_path):
    answers = tmp_path / "answers.jsonl"
    rows = [{"question_id": q.id, "text": "yes"} for q in questions_of(trained / "set")]
    answers.write_text("\n".join(map(json.dumps, rows)))
    result = score(answers, trained / "set")
    assert (result["contamination"]["lineage"], result["published"]) == ("unknown", None)
    assert "Contamination: unknown (" in table(result).caption
    asked = evaluate(trained / "model", trained / "data", tmp_path / "scores", controls="none", max_new_tokens=2)
    assert asked["contamination"]["repeated"] == ["again", "large"]
    assert (asked["n_open"] + asked["n_closed"], asked["n_questions"]) == (5, 6), "converting left one out"
    assert "1 were seen in training" in table(asked).caption


def test_scores_name_the_model_that_answered(trained, tmp_path):
    shutil.copytree(trained / "model", tmp_path / "model")
    asked = evaluate(tmp_path / "model", trained / "data", tmp_path / "scores", controls="none", max_new_tokens=2)
    again = score(tmp_path / "scores", trained / "data", tmp_path / "again", allow_missing=True)
    assert asked["contamination"]["lineage"] == "known"
    assert again["contamination"] == asked["contamination"]
    assert score(tmp_path / "again", trained / "data", allow_missing=True)["contamination"] == asked["contamination"]
    (tmp_path / "model").rename(tmp_path / "elsewhere")
    assert score(tmp_path / "scores", trained / "data", allow_missing=True)["contamination"]["lineage"] == "known"
    shutil.rmtree(tmp_path / "elsewhere")
    assert score(tmp_path / "scores", trained / "data", allow_missing=True)["contamination"]["lineage"] == "unknown"


def test_what_is_known_of_a_published_version_is_said(data):
    told = beside(None, questions_of(data / "vqa_rad"), "test", "en", data / "vqa_rad")
    assert told["published"]["text"] == "same"
    assert "all 203 test images are training images" in sentences(told)
