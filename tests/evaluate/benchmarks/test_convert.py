"""A converted benchmark is asked as the original is, and trained on as conversations are."""

import json

import pytest

from llavamed import artifact, storage
from llavamed.errors import InputError
from llavamed.evaluate.benchmarks.check import check
from llavamed.evaluate.benchmarks.convert import convert
from llavamed.evaluate.questions import questions_of
from llavamed.verify import rehash
from small_benchmarks import asked, save, write


def test_the_questions_are_the_same(own, tmp_path):
    made = convert(own, tmp_path / "made")
    assert (made["questions"], made["splits"]) == ({"in": 5, "kept": 5, "excluded": {}}, {"train": 3, "test": 2})
    for split in ("train", "test"):
        assert questions_of(tmp_path / "made", split) == questions_of(own, split)
    assert rehash(tmp_path / "made") == []
    assert check(tmp_path / "made")["splits"] == check(own)["splits"]
    assert artifact.read_manifest(tmp_path / "made")["benchmark"]["splits"]["test"]["questions"] == 2
    assert "| test | 2 | 1 | 1 | 1 |" in (tmp_path / "made/README.md").read_text()


def test_another_language_is_kept(own, tmp_path):
    rows = [asked("c.png", "Is it?", "no", id="e", q_lang="en"), asked("c.png", "是吗？", "不是", id="z", q_lang="zh")]
    write(own / "test.json", rows)
    made = convert(own, tmp_path / "made", language="zh")
    assert made["splits"] == {"train": 3, "test": 1}
    assert [q.id for q in questions_of(tmp_path / "made")] == ["z"]
    assert check(tmp_path / "made")["language"] == "zh"


def test_nothing_to_do_twice(own, tmp_path):
    first = convert(own, tmp_path / "made")
    assert convert(own, tmp_path / "made") == first
    assert convert(own, tmp_path / "again")["hash"] == first["hash"]
    save(own, "b.png")
    with pytest.raises(InputError, match="pictures changed"):
        convert(own, tmp_path / "made")


def test_what_cannot_be_asked_is_excluded(own, tmp_path):
    (own / "a.png").unlink()
    rows = json.loads((own / "test.json").read_text())
    write(own / "test.json", [*rows, asked("c.png", "Is it?", "")])
    with pytest.raises(InputError, match=r"1 of 2 train pictures are missing or broken \(a .*--allow-missing"):
        convert(own, tmp_path / "made")
    assert not (tmp_path / "made").exists(), "a refused call left something behind"
    made = convert(own, tmp_path / "made", allow_missing=True)
    assert made["questions"] == {"in": 6, "kept": 4, "excluded": {"image_missing": 1, "no_answer": 1}}
    lost = {row["id"]: row for row in storage.read_rows(tmp_path / "made", "excluded")}
    assert lost["r0"]["question"] == "Is it round?"
    assert (lost["r0"]["reason"], lost["r0"]["source"]) == ("image_missing", "train.json#1")
    assert lost["2"]["reason"] == "no_answer"


def test_a_picture_with_many_questions_is_stored_once(tmp_path):
    save(tmp_path, "a.png")
    size = (tmp_path / "a.png").stat().st_size
    write(tmp_path / "test.json", [asked("a.png", f"Is it {n}?", "no") for n in range(300)])
    convert(tmp_path, tmp_path / "made")
    (file,) = (tmp_path / "made/data").iterdir()
    assert file.stat().st_size < 5 * size + 20_000


def test_it_loads_with_datasets(own, tmp_path):
    datasets = pytest.importorskip("datasets")
    convert(own, tmp_path / "made")
    found = datasets.load_dataset(str(tmp_path / "made"), cache_dir=str(tmp_path / "cache"))
    assert {name: len(split) for name, split in found.items()} == {"train": 3, "test": 2}
    assert found["test"][0]["image"].size == (48, 40)
    assert (found["test"][0]["question_id"], found["test"][0]["organ"]) == ("t0", "lung")


def test_a_model_is_trained_on_it(own, tmp_path, tiny):
    from llavamed.train.loop import train
    from llavamed.train.stage import Stage

    convert(own, tmp_path / "made")
    stage = Stage(name="align", epochs=1, batch_size=2, learning_rate=1e-3)
    train(tiny, tmp_path / "made", tmp_path / "trained", stage)
    manifest = artifact.read_manifest(tmp_path / "trained")
    assert manifest["counts"]["conversations"] == {"in": 3, "kept": 3, "excluded": {}}


def test_vqa_rad(data, tmp_path):
    made = convert(data / "vqa_rad", tmp_path / "made")
    assert (made["benchmark"], made["splits"], made["problems"]) == ("vqa_rad", {"test": 451, "train": 3064}, [])
    assert [(q.id, q.options, q.organ) for q in questions_of(tmp_path / "made")] == [
        (q.id, q.options, q.organ) for q in questions_of(data / "vqa_rad")
    ]
