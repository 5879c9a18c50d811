"""Evaluation sets that a training set must not hold."""

import json
from collections import Counter

import pyarrow as pa
import pyarrow.parquet as pq
import pytest

from llavamed import artifact, storage
from llavamed.errors import InputError
from llavamed.instruct import write
from llavamed.instruct.against import Against, fingerprint, names_of, read_against
from llavamed.instruct.align import align
from llavamed.instruct.draw import Wanted, draw_figures
from small_corpus import figures, write_corpus
from small_pictures import pictured, recompressed


def rows_of(n=48):
    """Figures of articles of six, each with a picture of its own."""
    rows = [pictured(row, number) for number, row in enumerate(figures("train", 0, n))]
    for number, row in enumerate(rows):
        row |= {"pmcid": f"PMC{number // 6}", "pmid": str(number // 6 + 7000), "fig_id": f"F{number % 6}"}
    return rows


def made(folder, rows):
    half = len(rows) // 2
    return write_corpus(folder, [("train", rows[:half]), ("train", rows[half:])])


def taken(corpus, wanted, against=None):
    drawn = draw_figures(corpus, wanted, against)
    return sorted(place for one in drawn.values() for place in one.taken)


def compared(tmp_path, *sources):
    return read_against(list(sources), tmp_path / "table.parquet", 512, 1)


def left_out(folder):
    return {row["pair_id"]: row["detail"] for row in storage.read_rows(folder, "excluded")
            if row["reason"] == "in_test_set"}  # fmt: skip


def test_figures_of_an_evaluation_set_are_left_out_and_told(tmp_path):
    rows = rows_of()
    corpus, images, chat = made(tmp_path / "corpus", rows), tmp_path / "images", tmp_path / "chat.jsonl"
    images.mkdir()
    (images / "same.jpg").write_bytes(rows[3]["image"]["bytes"])
    (images / "like.jpg").write_bytes(recompressed(5))
    chat.write_text("".join(json.dumps({"question_id": n, "pair_id": rows[7]["pair_id"]}) + "\n" for n in range(3)))
    parquet = tmp_path / "more.parquet"
    pq.write_table(pa.table({"image": [{"bytes": rows[11]["image"]["bytes"], "path": None}]}), parquet)
    result = align(corpus, tmp_path / "set", against=[images, chat, parquet])
    told = left_out(tmp_path / "set")
    assert told.keys() == {rows[n]["pair_id"] for n in (3, 5, 7, 11)}
    assert told[rows[3]["pair_id"]] == "images/same.jpg: the same"
    assert told[rows[5]["pair_id"]].startswith("images/like.jpg: likeness ")
    assert told[rows[7]["pair_id"]] == f"chat.jsonl: {rows[7]['pair_id']}"
    assert told[rows[11]["pair_id"]] == "more.parquet, row 0: the same"
    assert result["conversations"] == {"in": 48, "kept": 44, "excluded": {"in_test_set": 4}}


@pytest.mark.parametrize("seed", range(3))
@pytest.mark.parametrize("n", [3, 12, None])
def test_the_draw_is_that_of_the_corpus_without_them(tmp_path, seed, n):
    rows = rows_of()
    wanted = Wanted(n=n, seed=seed, per_article=2)
    found = sorted(range(48), key=lambda number: wanted.place(rows[number]["pair_id"]))[:30:2]
    images = tmp_path / "images"
    images.mkdir()
    for number in found:
        (images / f"{number}.jpg").write_bytes(recompressed(number))
    with_, without = made(tmp_path / "a", rows), made(tmp_path / "b", [rows[i] for i in range(48) if i not in found])
    assert taken(with_, wanted, compared(tmp_path, images)) == taken(without, wanted)


def test_no_picture_is_looked_at_that_changes_nothing(tmp_path, monkeypatch):
    rows = rows_of()
    corpus, images, looked = made(tmp_path / "corpus", rows), tmp_path / "images", []
    images.mkdir()
    for number in range(48):
        (images / f"{number}.jpg").write_bytes(recompressed(number))
    monkeypatch.setattr(Against, "looks_like", lambda self, data: looked.append(data) or "")
    assert len(taken(corpus, Wanted(n=5, per_article=9), compared(tmp_path, images))) == 5
    assert len(looked) == 5


@pytest.mark.parametrize(
    ("record", "out"),
    [
        ({"pair_id": "1002_F2"}, [2]),
        ({"pair_id": "1002_F2", "pmid": "7003"}, [2]),
        ({"pmid": 7001, "fig_id": "F3"}, [9]),
        ({"pmcid": "PMC2", "fig_id": "F0"}, [12]),
        ({"pmcid": "PMC2"}, range(12, 18)),
        ({"pair_id": "elsewhere"}, []),
    ],
)
def test_a_figure_is_known_by_its_names_an_article_by_its_own(tmp_path, record, out):
    rows, source = rows_of(), tmp_path / "set.json"
    source.write_text(json.dumps({"mri": [record, {"fig_caption": "no name"}]}))
    against = compared(tmp_path, source)
    assert [n for n, row in enumerate(rows) if against.holds({"panel": None} | row)] == list(out)


def test_a_panel_is_its_whole_figure():
    assert names_of({"pair_id": "1_F2_a", "panel": "a"}) == ["1_F2"]
    assert names_of({"pair_id": "1_F2", "panel": None, "pmid": "1", "fig_id": "F2"}) == ["1_F2", "1"]


def test_a_benchmark_names_its_own_pictures_not_ours(tmp_path):
    rows = rows_of()
    corpus = made(tmp_path / "corpus", rows)
    align(corpus, tmp_path / "set", n=4)
    assert len(compared(tmp_path / "x", tmp_path / "set").names) == 4
    manifest = artifact.read_manifest(tmp_path / "set")
    storage.write_json(tmp_path / "set/manifest.json", manifest | {"benchmark": {"benchmark": "vqa_rad"}})
    against = compared(tmp_path / "y", tmp_path / "set")
    assert not against.names
    assert len(taken(corpus, Wanted(per_article=None), against)) == 44, "its pictures count"


def test_another_evaluation_set_is_another_training_set(tmp_path):
    rows = rows_of(24)
    corpus, first, second = made(tmp_path / "corpus", rows), tmp_path / "a.jsonl", tmp_path / "b.jsonl"
    first.write_text('{"pair_id": "1002_F2"}\n')
    second.write_text('{"pair_id": "1003_F3"}\n')
    plain = align(corpus, tmp_path / "plain", n=5)
    made_first = align(corpus, tmp_path / "set", n=24, against=[first, second])
    assert align(corpus, tmp_path / "set", n=24, against=[second, first]) == made_first
    assert fingerprint([first]) != fingerprint([second])
    with pytest.raises(InputError, match="against changed"):
        align(corpus, tmp_path / "set", n=24, against=[first])
    assert plain["hash"] != made_first["hash"]


def test_stopped_and_started_again_the_same_bytes(tmp_path, monkeypatch):
    rows, images = rows_of(24), tmp_path / "images"
    corpus = made(tmp_path / "corpus", rows)
    images.mkdir()
    (images / "like.jpg").write_bytes(recompressed(5))
    count, calls = write.count, []

    def stop(*args):
        calls.append(1)
        if len(calls) > 15:
            raise KeyboardInterrupt
        return count(*args)

    monkeypatch.setattr(write, "count", stop)
    with pytest.raises(KeyboardInterrupt):
        align(corpus, tmp_path / "a", n=20, against=[images])
    monkeypatch.setattr(write, "count", count)
    assert len(list((tmp_path / "a/.job/shards").iterdir())) == 1
    again = align(corpus, tmp_path / "a", n=20, against=[images])
    assert again == align(corpus, tmp_path / "b", n=20, against=[images]) | {"artifact": str(tmp_path / "a")}
    assert Counter(again["conversations"]["excluded"]) == {"in_test_set": 1, "not_drawn": 3}


@pytest.mark.parametrize(
    ("name", "content", "said"),
    [
        ("nowhere", None, "does not exist"),
        ("set.txt", "pair_id", "no evaluation set"),
        ("set.jsonl", '{"question": "What?"}', "no picture and no pair_id"),
        ("set.json", '[{"pair_id": "1"', "cannot be read as JSON"),
        ("set.parquet", "no", "no Parquet file"),
    ],
)
def test_what_is_no_evaluation_set(tmp_path, name, content, said):
    corpus = made(tmp_path / "corpus", rows_of(12))
    if content:
        (tmp_path / name).write_text(content)
    with pytest.raises(InputError, match=said):
        align(corpus, tmp_path / "set", against=[tmp_path / name])
    assert not (tmp_path / "set").exists()


def test_the_published_questions_by_their_figures(tmp_path, data):
    against = compared(tmp_path, data / "llava_med_eval")
    published = data / "llava_med_eval/llava_med_eval_qa50_qa.jsonl"
    pairs = {json.loads(line)["pair_id"] for line in published.open()}
    assert len(pairs) == 50
    assert all(against.holds({"pair_id": pair, "fig_id": None, "sha256": None}) for pair in pairs)
    assert against.pictures is None
