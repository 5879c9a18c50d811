"""`llavamed verify`: names what was changed, is missing, or no longer at hand."""

import json
import shutil
from pathlib import Path

import pyarrow.parquet as pq
import pytest

from llavamed import artifact, storage
from llavamed.corpus.schema import EXCLUDED, FIGURES
from llavamed.errors import InputError
from llavamed.instruct.align import align
from llavamed.verify import rehash, verify
from small_corpus import figure, figures, write_corpus
from summary.small_run import edit, model, rows, write_run


@pytest.fixture(scope="module")
def made(tmp_path_factory):
    return write_run(tmp_path_factory.mktemp("made") / "run")


@pytest.fixture
def run(made, tmp_path):
    return Path(shutil.copytree(made, tmp_path / "run"))


def paths(result):
    return [problem["path"] for problem in result["problems"]]


def test_a_run_is_as_published(run):
    found = verify(run, recount=True)
    assert found["problems"] == []
    assert found["ok"]
    assert found["artifacts"] == 7
    assert found["files"] == sum(
        len(artifact.read_manifest(path.parent)["files"]) for path in run.glob("*/manifest.json")
    )
    assert [note["what"].split(" (")[0] for note in found["notes"] if "token" in note["what"]]  # made up: no tokenizer


def test_one_byte_of_a_data_file(run):
    path = next((run / "corpus" / "data").glob("test-*.parquet"))
    data = bytearray(path.read_bytes())
    data[len(data) // 2] ^= 1
    path.write_bytes(data)
    assert verify(run / "assistant")["problems"] == [{"path": f"../corpus/data/{path.name}", "what": "changed"}]
    assert verify(run)["problems"] == [{"path": f"corpus/data/{path.name}", "what": "changed"}]
    assert verify(run / "alignment")["problems"] == [{"path": f"../corpus/data/{path.name}", "what": "changed"}]
    path.unlink()
    assert verify(run)["problems"] == [{"path": f"corpus/data/{path.name}", "what": "missing"}]


# assistant > conversations > corpus; > aligned > alignment > corpus
@pytest.mark.parametrize("way", [(), (1,), (1, 0), (0,), (0, 1), (0, 1, 0)], ids=lambda way: "-".join(map(str, way)))
def test_one_licence_in_one_manifest_at_any_depth(run, way):
    path = run / "assistant" / "manifest.json"
    manifest = json.loads(path.read_text())
    inner = manifest
    for step in way:
        inner = inner["parents"][step]["manifest"]
    inner["histograms"]["licence"] = {"CC0-1.0": 1}
    path.write_text(json.dumps(manifest))
    place = "manifest.json" + "".join(f":parents[{step}]" for step in way)
    assert verify(run / "assistant")["problems"] == [{"path": place, "what": "changed"}]
    assert paths(verify(run)) == [f"assistant/{place}"]


@pytest.mark.parametrize("step", ["corpus", "alignment", "conversations", "articles"])
def test_one_licence_in_the_manifest_of_a_step(run, step):
    path = run / step / "manifest.json"
    manifest = json.loads(path.read_text())
    manifest["histograms"]["licence"] = {"CC0-1.0": 1}
    path.write_text(json.dumps(manifest))
    assert f"{step}/manifest.json" in paths(verify(run))
    assert f"../{step}/manifest.json" in paths(verify(run / "assistant"))


def test_an_edit_whose_hashes_fit_differs_from_what_was_used(run):
    edit(run / "corpus", lambda manifest: manifest["histograms"].update(licence={"CC0-1.0": 57}))
    [problem] = verify(run / "assistant")["problems"]
    assert problem["path"] == "../corpus/manifest.json"
    assert "histograms are not those that it was used with" in problem["what"]


def test_a_count_that_was_wrong_from_the_start_is_found_by_counting_again(tmp_path):
    write_corpus(tmp_path / "corpus", [("train", figures("train", 0, 12))])
    edit(tmp_path / "corpus", lambda manifest: manifest["histograms"]["licence"].update({"CC BY": 11, "CC0-1.0": 1}))
    align(tmp_path / "corpus", tmp_path / "alignment")
    model(tmp_path / "model", [tmp_path / "alignment"], rows(tmp_path / "alignment", "align", 1))
    assert verify(tmp_path / "model")["ok"]
    assert verify(tmp_path / "model", recount=True)["problems"] == [
        {"path": "../corpus/manifest.json",
         "what": "histograms.licence.CC BY is 11 in the manifest and 12 by the tables"},
        {"path": "../corpus/manifest.json",
         "what": "histograms.licence.CC0-1.0 is 1 in the manifest and 0 by the tables"},
    ]  # fmt: skip


@pytest.mark.parametrize(
    ("change", "what"),
    [
        (lambda m: m["splits"]["train"].update(words=1), "splits.train.words is 1"),
        (
            lambda m: m["splits"]["train"]["histograms"]["year"].update({"2015": 99}),
            "splits.train.histograms.year.2015",
        ),
        (lambda m: m["counts"]["conversations"].update(kept=5), "counts.conversations.kept is 5"),
    ],
    ids=["words", "years", "kept"],
)
def test_counts_of_conversations_are_counted_again(run, change, what):
    edit(run / "conversations", change)
    problems = verify(run / "conversations", recount=True)["problems"]
    assert len(problems) == 1
    assert problems[0]["path"] == "manifest.json"
    assert problems[0]["what"].startswith(what)


def test_a_figure_cut_into_panels_counts_once(tmp_path):
    job = artifact.start(tmp_path / "corpus", "corpus", {"max_side": 512})
    cut = [figure(1, "train", "ct", "A scan.") | {"pair_id": f"1_F1_{panel}", "panel": panel} for panel in "AB"]
    storage.write_table(job.out / "data/train-00000.parquet", [*cut, figure(2, "train", "ct", "A scan.")], FIGURES)
    left = [{"pair_id": "1_F1_C", "panel": "C", "reason": "too_small"}, {"pair_id": "3_F1", "reason": "too_small"},
            {"reason": "retracted"}]  # fmt: skip
    storage.write_table(job.out / "excluded/figures-00000.parquet", left, EXCLUDED)
    counts = {"figures": {"in": 3, "kept": 2, "excluded": {"too_small": 1}},
              "panels": {"in": 5, "kept": 3, "excluded": {"too_small": 2}}}  # fmt: skip
    artifact.publish(job, counts=counts, histograms={"modality": {"ct": 3}}, images=2)
    assert verify(tmp_path / "corpus", recount=True)["problems"] == [
        {"path": "manifest.json", "what": "images is 2 in the manifest and 0 by the tables"}  # no hash in these rows
    ]


def test_what_is_not_at_hand_is_told_and_no_failure(run, tmp_path):
    shutil.copytree(run / "assistant", tmp_path / "alone" / "model")
    found = verify(tmp_path / "alone" / "model")
    assert found["ok"]
    corpus = artifact.read_manifest(run / "corpus")["hash"][:12]
    assert f"corpus {corpus}" in {note["path"] for note in found["notes"]}
    assert verify(tmp_path / "alone" / "model", data=[run])["notes"] == []
    with pytest.raises(InputError, match="does not exist"):
        verify(tmp_path / "alone" / "model", data=[tmp_path / "no"])


def test_the_same_corpus_made_again_is_the_same(run):
    shutil.rmtree(run / "corpus")
    train = storage.tables(run / "corpus")
    assert train == []
    write_run(run.parent / "again")
    shutil.copytree(run.parent / "again" / "corpus", run / "corpus")
    assert verify(run)["problems"] == []


def test_a_manifest_of_an_earlier_version_has_no_seal(run):
    path = run / "articles" / "manifest.json"
    manifest = json.loads(path.read_text())
    del manifest["sha256"]
    path.write_text(json.dumps(manifest))
    assert rehash(run / "articles") == []
    assert verify(run)["ok"]


def test_a_table_that_cannot_be_read_is_named(run):
    path = next((run / "corpus" / "data").glob("test-*.parquet"))
    path.write_bytes(path.read_bytes()[:-30])
    found = verify(run, recount=True)
    assert f"corpus/data/{path.name}" in paths(found)
    assert any(p["path"] == "corpus/manifest.json" and "cannot be" in p["what"] for p in found["problems"])


def test_bad_input(tmp_path):
    with pytest.raises(InputError, match="nowhere does not exist"):
        verify(tmp_path / "nowhere")
    with pytest.raises(InputError, match="no finished llavamed artifact"):
        verify(tmp_path)


def test_pictures_of_a_table_are_as_they_were(run):
    path = next((run / "corpus" / "data").glob("train-*.parquet"))
    table = pq.read_table(path)
    pq.write_table(table.slice(1), path)
    found = verify(run, recount=True)
    assert {"path": f"corpus/data/{path.name}", "what": "changed"} in found["problems"]
    assert any("counts.figures.kept is 57 in the manifest and 56" in p["what"] for p in found["problems"])
