"""Benchmarks are read where they lie: as published, as Parquet, as LLaVA JSON, and a user's own."""

import csv
import pickle
from collections import Counter

import pyarrow as pa
import pyarrow.parquet as pq
import pytest

from llavamed.errors import InputError
from llavamed.evaluate.benchmarks.read import records
from llavamed.evaluate.questions import questions_of
from llavamed.evaluate.rows import plain
from small_benchmarks import png, save, write


def rad(qid: int, image: str, answer: object, kind: str, **more) -> dict:
    row = {"qid": qid, "image_name": image, "image_organ": "ABD", "answer": answer, "answer_type": kind}
    return row | {"question_type": "PRES, POS", "question": f"Is {qid} seen, left or right?"} | more


def test_vqa_rad(tmp_path):
    save(tmp_path, "images/a.jpg", "images/b.jpg")
    write(tmp_path / "trainset.json", [rad(1, "a.jpg", "Yes", "CLOSED ")])
    write(tmp_path / "testset.json", [rad(2, "b.jpg", 4, "OPEN"), rad(3, "b.jpg", "right", "CLOSED")])
    four, right = questions_of(tmp_path)
    assert (four.id, four.pair_id, four.reference, four.kind, four.options) == ("2", "b", "4", "open", ())
    assert (right.id, right.kind, right.options) == ("3", "closed", ("left", "right"))
    assert (right.question_type, right.organ, right.modality) == ("presence", "abdomen", "")
    assert four.image == png(1)
    assert four.image is right.image, "questions of one picture share its bytes"
    assert [(q.id, q.kind, q.options) for q in questions_of(tmp_path, "train")] == [("1", "closed", ("yes", "no"))]
    assert [q.id for q in questions_of(tmp_path / "testset.json")] == ["2", "3"]
    assert questions_of(tmp_path / "trainset.json") == [], "training questions were asked as a test"


def test_vqa_rad_as_its_authors_published_it(tmp_path):
    save(tmp_path, "VQA_RAD Image Folder/a.jpg")
    kinds = enumerate(["freeform", "para", "test_para"])
    rows = [rad(n, "a.jpg", "no", "CLOSED", phrase_type=kind) for n, kind in kinds]
    write(tmp_path / "VQA_RAD Dataset Public.json", rows)
    assert [q.id for q in questions_of(tmp_path)] == ["2"]
    assert [q.image for q in questions_of(tmp_path, "train")] == [png(0)] * 2


def test_slake_has_two_languages(tmp_path):
    save(tmp_path, "imgs/xmlab1/source.jpg", "imgs/xmlab2/source.jpg")
    row = {"img_id": 1, "img_name": "xmlab1/source.jpg", "question": "Is it CT?", "answer": "Yes", "q_lang": "en",
           "location": "Brain_Tissue", "modality": "MRI", "answer_type": "CLOSED", "content_type": "KG", "qid": 7,
           "triple": ["vhead", "_", "_"]}  # fmt: skip
    chinese = row | {
        "q_lang": "zh",
        "qid": 8,
        "question": "是CT吗？",
        "answer": "不是",
        "img_name": "xmlab2/source.jpg",
    }
    write(tmp_path / "test.json", [row, chinese])
    write(tmp_path / "validate.json", [row | {"qid": 9}])
    write(tmp_path / "imgs/xmlab1/question.json", [row])  # what each picture's folder repeats
    (english,) = questions_of(tmp_path)
    assert (english.id, english.pair_id, english.image) == ("7", "xmlab1/source", png(0))
    assert (english.question_type, english.organ, english.modality) == ("knowledge", "brain tissue", "MRI")
    assert [(q.id, q.image) for q in questions_of(tmp_path, language="zh")] == [("8", png(1))]
    assert [q.id for q in questions_of(tmp_path, "validation")] == ["9"]


def test_pathvqa_is_pickles(tmp_path):
    save(tmp_path, "images/train/train_1.jpg", "images/test/test_1.jpg")
    row = {"answer_type": "yes/no", "img_id": "test_1", "label": {"yes": 1}, "question_id": 100, "question_type": "is"}
    other = {"answer_type": "other", "img_id": "test_1", "label": {"in the liver": 1}, "question_id": 101,
             "sent": "where is it?"}  # fmt: skip
    (tmp_path / "qas/test").mkdir(parents=True)
    for protocol in (0, 2, 4):
        for name, value in {"test_vqa": [row | {"sent": "is it?"}, other], "ans2label": {"yes": 0}}.items():
            (tmp_path / f"qas/{name}.pkl").write_bytes(pickle.dumps(value, protocol))
        found = questions_of(tmp_path)
        assert [(q.id, q.kind, q.reference, q.options) for q in found] == [
            ("100", "closed", "yes", ("yes", "no")),
            ("101", "open", "in the liver", ()),
        ]
        assert found[0].image == png(1)
    simple = [{"image": "test_1", "question": "Where is it?", "answer": "here"}]
    (tmp_path / "qas/test/test_qa.pkl").write_bytes(pickle.dumps(simple))
    (one,) = questions_of(tmp_path / "qas/test/test_qa.pkl", images=tmp_path / "images")
    assert (one.id, one.image) == ("0", png(1))


class Runs:
    def __reduce__(self):
        return (print, ("a pickle ran code",))


@pytest.mark.parametrize("value", [[{"image": Runs()}], [{1, 2}], [object]])
def test_a_pickle_never_runs(value, capsys):
    with pytest.raises(ValueError, match="may run code"):
        plain(pickle.dumps(value))
    assert capsys.readouterr().out == ""


@pytest.mark.parametrize("data", [b"", b"(", b".", b"N", b"\x80\x04]a.", b"h\x00.", b"(d)u.", b"}Na."])
def test_a_broken_pickle_says_so(data):
    with pytest.raises(ValueError):
        plain(data)


@pytest.mark.parametrize("protocol", range(6))
def test_plain_values_come_back(protocol):
    shared = ["x", 1.5, -7, 2**70, None, True, False, b"b", (), (1,), (1, 2), (1, 2, 3), (1, 2, 3, 4)]
    value = [{"a": shared, "ü\n": {"b": shared}}, [], {}, "x" * 300, *range(300)]
    if protocol > 2:  # before, bytes are made by a call
        assert plain(pickle.dumps(value, protocol)) == value
    shared.remove(b"b")
    assert plain(pickle.dumps(value, protocol)) == value


def test_parquet_as_the_hub_has_it(tmp_path):
    kind = pa.struct([("bytes", pa.binary()), ("path", pa.string())])
    rows = [(0, "Is it?", "yes"), (0, "Where?", "here"), (1, "Is it?", "no")]
    table = {
        "image": pa.array([{"bytes": png(n), "path": f"{i}.png"} for i, (n, _, _) in enumerate(rows)], kind),
        "question": [question for _, question, _ in rows],
        "answer": [answer for _, _, answer in rows],
    }
    (tmp_path / "data").mkdir()
    for part in range(2):
        pq.write_table(pa.table(table), tmp_path / f"data/test-0000{part}-of-00002.parquet")
    pq.write_table(pa.table(table), tmp_path / "data/train-00000-of-00001.parquet")
    found = questions_of(tmp_path)
    assert [q.id for q in found] == [str(n) for n in range(6)]
    assert [q.kind for q in found] == ["closed", "open", "closed"] * 2
    assert len({q.pair_id for q in found}) == len({id(q.image) for q in found}) == 2
    assert found[0].image == png(0)


def test_llava_json(tmp_path):
    save(tmp_path, "images/a.jpg")
    turns = [{"from": "human", "value": "Is it?\n<image>"}, {"from": "gpt", "value": "Yes"}]
    more = [*turns, {"from": "human", "value": "Where?"}, {"from": "gpt", "value": "here"}]
    write(
        tmp_path / "test.json",
        [
            {"id": "5", "image": "a.jpg", "conversations": turns, "answer_type": "CLOSED"},
            {"id": "6", "image": "a.jpg", "conversatons": more},
        ],
    )
    found = questions_of(tmp_path)
    assert [(q.id, q.question, q.reference, q.kind) for q in found] == [
        ("5", "Is it?", "Yes", "closed"),
        ("6-0", "Is it?", "Yes", "closed"),
        ("6-1", "Where?", "here", "open"),
    ]


def test_a_users_own_csv(tmp_path):
    save(tmp_path, "pictures/a.png")
    with (tmp_path / "mine.csv").open("w", newline="") as stream:
        writer = csv.writer(stream, delimiter=";")
        writer.writerow(["Image", "Question", "Answer", "ID", "Split", "Organ"])
        writer.writerow(["a.png", "Is it; really?", "no", "x", "test", "Lung"])
        writer.writerow(["a.png", "Is it?", "no", "y", "train", "Lung"])
        writer.writerow(["a.png", "Is it?", "no"])
    for source in (tmp_path, tmp_path / "mine.csv"):
        found = questions_of(source)
        assert [(q.id, q.question, q.organ, q.image) for q in found] == [
            ("x", "Is it; really?", "lung", png(0)),
            ("1", "", "", b""),  # the short row is not lost
        ]
        assert [q.id for q in questions_of(source, "train")] == ["y"]
    (problem,) = [r.problem for r in records(tmp_path) if r.problem]
    assert (problem.reason, "organ" in problem.detail.lower()) == ("record_broken", True)


def test_json_lines_with_odd_records(tmp_path):
    save(tmp_path, "a.png")
    lines = ['{"image": "a.png", "question": "Is it?", "answer": "yes"}', "{", "[]", "",
             '{"image": "gone.png", "question": "Is it?", "answer": "yes"}',
             '{"image": "../../etc/a.png", "question": "Is it?", "answer": "yes"}',
             '{"image": "a.png", "question": "Is it?"}']  # fmt: skip
    (tmp_path / "q.jsonl").write_text("\n".join(lines))
    found = questions_of(tmp_path)
    assert [bool(q.image) for q in found] == [True, False, False, False, False, True]
    assert [r.problem.reason if r.problem else "" for r in records(tmp_path)] == [
        "", "record_broken", "record_broken", "", "path_outside", "no_answer"
    ]  # fmt: skip


def test_an_id_that_repeats_stays_one_of_a_kind(tmp_path):
    rows = [{"id": 1, "image": "a.png", "question": f"Is it {n}?", "answer": "yes"} for n in range(3)]
    write(tmp_path / "test.json", rows)
    assert [q.id for q in questions_of(tmp_path)] == ["1", "1~2", "1~3"]


@pytest.mark.parametrize(
    ("name", "content", "says"),
    [
        ("a.txt", "x", "none of .json"),
        ("a.csv", "name,age\nx,1\n", "no columns of image"),
        ("a.json", "[{", "cannot be read as json"),
        ("a.json", '{"a": 1}', "no columns of image"),
        ("a.parquet", "x", "cannot be read as parquet"),
    ],
)
def test_what_is_no_benchmark_is_told(tmp_path, name, content, says):
    (tmp_path / name).write_text(content)
    with pytest.raises(InputError, match=says):
        questions_of(tmp_path / name)


def test_a_folder_without_questions(tmp_path):
    with pytest.raises(InputError, match="does not exist"):
        questions_of(tmp_path / "gone")
    with pytest.raises(InputError, match="holds no questions"):
        questions_of(tmp_path)
    write(tmp_path / "test_a.json", [rad(1, "a.jpg", "no", "OPEN")])
    write(tmp_path / "test_b.json", [rad(1, "a.jpg", "no", "OPEN")])
    with pytest.raises(InputError, match=r"test_a.json both hold the test questions"):
        questions_of(tmp_path)
    with pytest.raises(InputError, match="no folder"):
        questions_of(tmp_path / "test_a.json", images=tmp_path / "gone")


def kinds(questions) -> tuple[int, int]:
    count = Counter(q.kind for q in questions)
    return count["open"], count["closed"]


def test_the_published_ones(data):
    found = questions_of(data / "vqa_rad")
    assert (len(found), kinds(found), len({q.pair_id for q in found})) == (451, (179, 272), 203)
    assert all(q.image for q in found)
    assert len({id(q.image) for q in found}) == 203
    found = questions_of(data / "slake")
    assert (len(found), kinds(found), len({q.pair_id for q in found})) == (1061, (645, 416), 96)
    assert len({q.pair_id for q in found if q.image}) == 24
    found = questions_of(data / "slake", language="zh")
    assert (len(found), kinds(found)) == (1033, (613, 420))
    found = questions_of(data / "pathvqa")
    assert (len(found), kinds(found), all(q.image for q in found)) == (80, (40, 40), True)
