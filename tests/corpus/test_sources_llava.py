"""LLaVA and LLaVA-Med JSON, and PMC-OA's lines."""

import json
import time
from collections import Counter
from pathlib import Path

import pyarrow.parquet as pq
import pytest
from packages import pixels

from llavamed import storage
from llavamed.corpus.build import build
from llavamed.corpus.sources import llava, spans
from llavamed.corpus.sources.spans import _elements
from llavamed.errors import InputError


def rows(out):
    return {row["pair_id"]: row for row in storage.read_rows(out)}


def excluded(out):
    paths = sorted((out / "excluded").glob("*.parquet"))
    return [row for path in paths for row in pq.read_table(path).to_pylist()]


def record(number, **more):
    text = {"pmid": f"{number}", "fig_id": "F1", "fig_label": "Figure 1", "fig_caption": f"A mass, {number}."}
    return {"pair_id": f"{number}_F1", **text, "in_text_mention": [{"tokens": "See ( Fig 1 ) ."}, "Or this."]} | more


def write(folder, name, value, images=()):
    folder.mkdir(parents=True, exist_ok=True)
    text = "".join(json.dumps(line) + "\n" for line in value) if name.endswith("jsonl") else json.dumps(value)
    (folder / name).write_text(text)
    for seed, image in enumerate(images):
        (folder / image).parent.mkdir(parents=True, exist_ok=True)
        pixels(seed).save(folder / image)
    return folder / name


def test_figures_by_domain(tmp_path):
    domains = {"ct_scan": [record(10001), record(10002)], "mri": [record(10003, domain={"mri": True, "gross": False})]}
    path = write(tmp_path / "in", "x.json", domains, ["10001_F1.jpg", "images/10002_F1.png", "images/10003_F1.jpeg"])
    result = build([path], tmp_path / "out")
    assert result["figures"] == {"in": 3, "kept": 3, "excluded": {}}
    found = rows(tmp_path / "out")
    assert found["10001_F1"]["modality"] == [{"name": "ct", "confidence": 1.0, "source": "label: ct_scan"}]
    assert found["10003_F1"]["domain"] == {"chest_xray": False, "ct_scan": False, "gross": False, "histology": False,
                                           "mri": True}  # fmt: skip
    row = found["10002_F1"]
    assert (row["pmid"], row["fig_label"], row["fig_caption"]) == ("10002", "Figure 1", "A mass, 10002.")
    assert row["in_text_mention"] == ["See ( Fig 1 ) .", "Or this."]
    assert row["mention_source"] == ["given", "given"]
    assert row["licence"] == "none-stated"


@pytest.mark.parametrize("key", ["conversations", "conversatons"])
def test_the_answer_of_a_pair_is_its_caption(tmp_path, key):
    turns = [{"from": "human", "value": "<image>\nDescribe."}, {"from": "gpt", "value": "A  CT of the liver."}]
    found = [
        {"id": "10001_F1", "image": "10001_F1.jpg", "domain": {"ct_scan": True}, key: turns},
        {"id": "10001_F2", "image": "10001_F2.jpg", key: turns * 2},
    ]
    path = write(tmp_path / "in", "x.json", found, ["10001_F1.jpg", "10001_F2.jpg"])
    result = build([path], tmp_path / "out")
    assert result["figures"]["excluded"] == {"no_caption": 1}
    row = rows(tmp_path / "out")["10001_F1"]
    assert (row["fig_caption"], row["modality"][0]["source"]) == ("A CT of the liver.", "label: ct_scan")


def test_lines_of_pmc_oa_with_images_elsewhere(tmp_path):
    lines = [{"image": f"PMC212319_Fig3_{n}.jpg", "caption": f"Panel {n}."} for n in range(4)]
    path = write(tmp_path / "in", "pmc_oa.jsonl", lines)
    write(tmp_path / "pictures", "unused.txt", 0, [line["image"] for line in lines[:3]])
    result = build([path], tmp_path / "out", images=tmp_path / "pictures")
    assert result["figures"] == {"in": 4, "kept": 3, "excluded": {"image_missing": 1}}
    found = rows(tmp_path / "out")
    assert {row["pmcid"] for row in found.values()} == {"PMC212319"}
    assert len({row["split"] for row in found.values()}) == 1
    assert found["PMC212319_Fig3_1"]["fig_caption"] == "Panel 1."
    assert "PMC212319_Fig3_3.jpg" in excluded(tmp_path / "out")[0]["detail"]


def test_images_without_a_suffix_or_a_name_are_counted(tmp_path):
    images = ["scan", "/", ".", "..", "a.jpg"]
    path = write(tmp_path / "in", "x.jsonl", [{"image": image, "caption": "A mass."} for image in images], ["a.jpg"])
    pixels(1).save(tmp_path / "in/scan", "PNG")
    result = build([path], tmp_path / "out")
    assert result["figures"]["in"] == len(images)
    assert rows(tmp_path / "out").keys() == {"scan", "a"}


def test_a_folder_that_holds_it(tmp_path):
    path = write(tmp_path / "in", "x.json", [record(10001)], ["images/10001_F1.jpg"])
    (path.parent / "settings.json").write_text("{}")
    assert build([path.parent], tmp_path / "out")["figures"]["kept"] == 1


def test_no_path_leads_outside(tmp_path):
    secret = tmp_path / "secret.jpg"
    pixels(1).save(secret)
    bad = ["../secret.jpg", str(secret), "link.jpg", "a/../../secret.jpg", "C:\\x.jpg", "nul\0.jpg", "x" * 5000]
    path = write(tmp_path / "in", "x.json", [record(10001 + n, image=name) for n, name in enumerate(bad)])
    (path.parent / "link.jpg").symlink_to(secret)
    assert build([path], tmp_path / "out")["figures"]["excluded"] == {"path_outside": 5, "image_missing": 2}


def test_bad_records_among_good_ones(tmp_path):
    good = json.dumps(record(10001))
    bad = ["1", "null", "[[1, 2], {}]", '{"a": }', "NaN", "{}", '{"fig_caption": "No picture."}', '"a, \\" [ text"',
           '{"pair_id": "10009_F1", "fig_caption": NaN, "pmid": 1e999, "in_text_mention": 7}',
           '{"pair_id": "10010_F1", "fig_caption": "\\ud800 broken"}', "[" * 5000 + "]" * 5000]  # fmt: skip
    write(tmp_path / "in", "x.json", [], ["10001_F1.jpg", "10009_F1.jpg", "10010_F1.jpg"])
    (tmp_path / "in" / "x.json").write_text(f"\ufeff[{good},\n{','.join(bad)}, {good[:-9]}")
    result = build([tmp_path / "in" / "x.json"], tmp_path / "out")
    assert sorted(rows(tmp_path / "out")) == ["10001_F1", "10009_F1", "10010_F1"]
    assert result["figures"]["excluded"] == {"record_broken": 8, "image_missing": 2}
    assert rows(tmp_path / "out")["10009_F1"]["fig_caption"] == ""


def test_text_without_end(tmp_path, monkeypatch):
    huge = record(10002, fig_caption="x" * 40_000_000)
    path = write(tmp_path / "in", "x.json", [record(10001), huge, record(10003, fig_caption="y" * 60_000)],
                 ["10001_F1.jpg", "10003_F1.jpg"])  # fmt: skip
    began = time.process_time()
    result = build([path], tmp_path / "out")
    assert result["figures"] == {"in": 3, "kept": 1, "excluded": {"record_too_large": 1, "text_too_long": 1}}
    (tmp_path / "in" / "y.json").write_text('[{"image": "a", "caption": "' + '\\"' * 10_000_000)
    assert build([tmp_path / "in" / "y.json"], tmp_path / "two")["figures"]["in"] == 1
    assert time.process_time() - began < 10


def test_parts_give_the_same_as_one(tmp_path, monkeypatch):
    lines = [record(10001 + n) for n in range(20)]
    path = write(tmp_path / "in", "x.json", lines, [f"{line['pair_id']}.jpg" for line in lines])
    whole = build([path], tmp_path / "one")
    monkeypatch.setattr(spans, "PART", 3)
    assert [item.figures for item in llava.list_items(path)[0]] == [3] * 6 + [2]
    assert build([path], tmp_path / "two", workers=2)["hash"] == whole["hash"]
    assert whole["figures"]["kept"] == 20


@pytest.mark.parametrize(
    "text", ["", "[]", "{}", '[{"question": "a", "answer": "b"}]', "no json", '{"image": "caption"}']
)
def test_what_is_no_such_json(tmp_path, text):
    (tmp_path / "x.json").write_text(text)
    with pytest.raises(InputError, match=r"x\.json"):
        build([tmp_path / "x.json"], tmp_path / "out")


@pytest.mark.parametrize("value", [[1, "a,]", {"b": [2, {"c": ","}]}, [], [[3]]], [], [[]], ["\\", '"']])
def test_elements_are_those_of_a_parser(value):
    for indent in (None, 1):
        listed = json.dumps(value, indent=indent).encode()
        assert [json.loads(listed[begin:end]) for _, begin, end in _elements(listed)] == value
        named = json.dumps({"meta": {"x": [9, 8]}, "one": value, "two": value}, indent=indent).encode()
        found = [(name, json.loads(named[begin:end])) for name, begin, end in _elements(named)]
        assert found == [(name, item) for name in ("one", "two") for item in value]


def test_real_captions(data: Path, tmp_path):
    path = data / "llava_med_eval" / "llava_med_eval_qa50_fig_captions.json"
    result = build([path], tmp_path / "out")
    whole = [item for items in json.loads(path.read_text()).values() for item in items]
    assert result["figures"] == {"in": len(whole), "kept": 0, "excluded": {"image_missing": len(whole)}}
    found = {row["pair_id"]: row for row in excluded(tmp_path / "out")}
    assert len(found) == len(whole) == 50
    for item in whole:
        row = found[item["pair_id"]]
        assert row["fig_caption"] == " ".join(item["fig_caption"].split())
        assert (row["pmid"], row["fig_id"]) == (item["pmid"], item["fig_id"])
        assert row["pmcid"] in item["graphic_ref"]
        assert len(row["in_text_mention"]) == len(item["in_text_mention"] or [])
    pictures = tmp_path / "pictures"
    pictures.mkdir()
    for seed, item in enumerate(whole):
        pixels(seed).save(pictures / f"{item['pair_id']}.jpg")
    assert build([path], tmp_path / "two", images=pictures)["figures"]["kept"] == 50
    kinds = Counter(row["modality"][0]["source"] for row in storage.read_rows(tmp_path / "two"))
    assert sum(kinds.values()) == 50
    assert all(source.startswith("label: ") for source in kinds)
