"""Checks find what is missing, broken or shared, and tell the published versions apart."""

import io
import json

import pytest
from PIL import Image
from rich.console import Console

from llavamed import console
from llavamed.errors import InputError
from llavamed.evaluate.benchmarks.check import check, table
from llavamed.evaluate.benchmarks.convert import convert
from llavamed.evaluate.benchmarks.known import BENCHMARKS, Split, listed, text_hash, version_of
from small_benchmarks import asked, write


def kinds(entries) -> list[str]:
    return [entry["kind"] for entry in entries]


def test_a_sound_set(own):
    found = check(own)
    assert (found["ok"], found["problems"], found["benchmark"]) == (True, [], None)
    test = found["splits"]["test"]
    assert (test["questions"], test["open"], test["closed"], test["images"], test["lost"]) == (2, 1, 1, 1, 0)
    assert list(found["splits"]) == ["train", "test"]
    assert found["overlap"]["train"] == {"same": 0, "alike": 0, "questions": 0, "examples": []}


def test_missing_and_broken_pictures(own):
    (own / "c.png").write_bytes(b"no picture")
    (own / "a.png").unlink()
    found = check(own)
    assert not found["ok"]
    assert kinds(found["problems"]) == ["missing", "missing"]
    train, test = found["problems"]
    assert train["examples"] == ["a (image_missing)"]
    assert test["examples"] == ["c (image_broken)"]
    assert "1 of 1 pictures are missing or broken, which 2 of 2 questions ask about" in test["what"]
    assert found["splits"]["test"]["lost_questions"] == 2
    allowed = check(own, allow_missing=True)
    assert (allowed["ok"], kinds(allowed["notes"])) == (True, ["missing", "missing"])


def test_shared_pictures_are_found_by_their_pixels(own):
    with Image.open(own / "b.png") as picture:
        picture.save(own / "other.bmp")  # other bytes, the same pixels
    write(own / "test.json", [asked("other.bmp", "what  IS it?", "A mass.", id="t0"), asked("c.png", "Where?", "x")])
    found = check(own)
    assert found["overlap"]["train"] == {"same": 1, "alike": 0, "questions": 1, "examples": ["t0", "other"]}
    assert kinds(found["problems"]) == ["overlap"]
    assert check(own, allow_overlap=True)["ok"]


def test_pictures_that_look_alike_are_a_note(own):
    with Image.open(own / "a.png") as picture:
        picture.resize((96, 80)).save(own / "large.jpg")
    write(own / "test.json", [asked("large.jpg", "Is it round?", "yes")])
    found = check(own)
    assert found["overlap"]["train"] == {"same": 0, "alike": 1, "questions": 0, "examples": []}
    assert (found["ok"], kinds(found["notes"])) == (True, ["alike"])


def test_ids_questions_and_records_that_are_not_right(own):
    rows = [asked("c.png", "Is it?", "no", id=1), asked("c.png", "Is it?", "no", id=1), asked("c.png", "", "no", id=2)]
    write(own / "test.json", rows)
    found = check(own)
    assert kinds(found["problems"]) == ["broken", "ids", "repeated"]
    assert found["problems"][0]["examples"] == ["test.json#3 (no_question)"]
    assert found["problems"][1]["examples"] == ["1"]
    assert found["splits"]["test"]["questions"] == 2


def test_a_table_without_a_column_of_answers(own, tmp_path):
    """Told once, with what it has; not as a problem of every record."""
    path = own / "q2.csv"
    path.write_text("image,Question\na.png,Is it round?\n")
    says = r"the first line of .*q2\.csv has no column `answer`, but image, Question: name .* answer, reference, label"
    for call in (lambda: check(path), lambda: convert(path, tmp_path / "made")):
        with pytest.raises(InputError, match=says):
            call()
    path.write_text("image,Question,Reference\na.png,Is it round?,yes\n")
    assert check(path)["ok"]


def test_progress_while_pictures_are_looked_at(own, monkeypatch):
    monkeypatch.setattr(console, "console", Console(file=io.StringIO(), width=80))
    check(own)
    assert "looking at pictures 5/5" in console.console.file.getvalue()


def test_another_language_is_told(own):
    write(own / "test.json", [asked("c.png", "Is it?", "no", q_lang="zh")])
    (own / "train.json").unlink()
    with pytest.raises(InputError, match="name another --language"):
        check(own)


def test_the_text_hash_knows_neither_order_nor_case():
    assert text_hash([("Is it?", "Yes"), ("Where?", "x")]) == text_hash([(" where? ", "X"), ("is  it?", "yes")])
    assert text_hash([("a", "b"), ("a", "b")]) != text_hash([("a", "b")])
    assert text_hash([("a", "b c")]) != text_hash([("a b", "c")])


@pytest.mark.parametrize(
    ("splits", "language", "expected"),
    [
        ({"test": Split(451, 179, 272)}, "en", ("vqa_rad", "3,515")),
        ({"test": Split(451, 179, 272), "train": Split(1797, 770, 1027)}, "en", ("vqa_rad", "2,248")),
        ({"test": Split(451, 200, 251)}, "en", ("vqa_rad", "2,244")),
        ({"test": Split(451, 201, 250)}, "en", None),
        ({"test": Split(6761, 3370, 3391)}, "en", ("pathvqa", "32,795")),
        ({"test": Split(6719, 3357, 3362)}, "en", ("pathvqa", "32,632")),
        ({"test": Split(1061, 645, 416), "validation": Split(1053, 631, 422)}, "en", ("slake", "English")),
        ({"test": Split(1033, 613, 420)}, "zh", ("slake", "Chinese")),
        ({"test": Split(1033, 613, 420)}, "en", None),
        ({"test": Split(451, 179, 272), "validation": Split(1, 1, 0)}, "en", None),
        ({}, "en", None),
    ],
)
def test_versions_are_told_apart(splits, language, expected):
    found = version_of(splits, language)
    assert (found and (found[0].key, found[1].name.split()[0])) == expected


def test_the_list_is_json():
    said = json.loads(json.dumps(listed()))
    assert [b["key"] for b in said["benchmarks"]] == list(BENCHMARKS)
    assert said["benchmarks"][0]["versions"][0]["splits"]["test"]["questions"] == 451


def test_vqa_rad(data, tmp_path):
    found = check(data / "vqa_rad")
    assert (found["ok"], found["benchmark"], found["version"][:5]) == (True, "vqa_rad", "3,515")
    assert {name: split["text"] for name, split in found["splits"].items()} == {"train": "same", "test": "same"}
    assert found["overlap"]["train"]["same"] == 203
    assert found["overlap"]["train"]["questions"] == 14
    assert "overlap" in kinds(found["notes"])
    rows = json.loads((data / "vqa_rad/testset.json").read_text())
    without = {"images": tmp_path, "allow_missing": True}
    changed = [rows[0] | {"answer": "no"}, *rows[1:]]
    assert kinds(check(write(tmp_path / "testset.json", changed), **without)["problems"]) == ["text"]
    fewer = check(write(tmp_path / "testset.json", rows[1:]), **without)
    assert (kinds(fewer["problems"]), fewer["benchmark"], fewer["version"]) == (["version"], "vqa_rad", None)


def test_slake(data):
    found = check(data / "slake")
    assert (found["benchmark"], found["version"], kinds(found["problems"])) == ("slake", "English", ["missing"])
    test = found["splits"]["test"]
    assert (test["questions"], test["open"], test["closed"], test["text"]) == (1061, 645, 416, "same")
    assert (test["lost"], test["lost_questions"]) == (72, 825)
    assert found["overlap"]["train"]["same"] == 0


def test_the_table_names_what_is_wrong(own):
    (own / "c.png").unlink()
    shown = Console(width=80, file=io.StringIO())
    shown.print(table(check(own)))
    assert "problem: test: 1 of 1 pictures are missing" in shown.file.getvalue()
