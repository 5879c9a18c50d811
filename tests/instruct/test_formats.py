"""Conversations in other tools' files: read, and written again as they were."""

import json
import os
from pathlib import Path

import pytest
from PIL import Image

from llavamed import artifact, storage
from llavamed.corpus.schema import DOMAINS
from llavamed.errors import InputError
from llavamed.instruct.clean.again import clean_set
from llavamed.instruct.formats.chat_eval import question_record
from llavamed.instruct.formats.exporting import export_set
from llavamed.instruct.formats.importing import import_set
from llavamed.instruct.formats.rest import difference, restored
from llavamed.verify import rehash

PUBLISHED = Path(os.environ.get("LLAVAMED_DATA", Path(__file__).parents[3] / "shared" / "data")) / "llava_med_eval"
CT = {name: name == "ct_scan" for name in DOMAINS}


def llava(number, *said, key="conversations", **more):
    said = said or ("What is shown?\n<image>", f"A nodule, number {number}.")
    turns = [{"from": who, "value": text} for who, text in zip(["human", "gpt"] * 9, said, strict=False)]
    return {"id": f"{number}_F1", "image": f"{number}_F1.jpg", "domain": CT, key: turns} | more


def messages(number, *said, **more):
    said = said or ("What is shown?", "A nodule.")
    parts = [
        {"role": who, "content": [{"type": "text", "text": text}]}
        for who, text in zip(["user", "assistant"] * 9, said, strict=False)
    ]
    parts[0]["content"].insert(0, {"type": "image"})
    return {"messages": parts, "images": [f"images/{number}_F1.jpg"]} | more


def question(number, **more):
    text = {"question_id": number, "image": f"{number}_F1.jpg", "pair_id": f"{number}_F1", "text": "What?\n<image>"}
    about = {"gpt4_answer": "A nodule.", "fig_caption": "CT.", "domain": CT, "type": "conversation", "fig_label": "F1"}
    return text | about | {"in_text_mention": [{"tokens": "( Fig 1 )", "entities": [{"start_tok": 1}]}]} | more


def figure(number, **more):
    text = {"pair_id": f"{number}_F1", "pmid": f"{number}", "fig_id": "F1", "fig_label": "Figure 1", "domain": CT}
    return text | {"fig_caption": f"Axial  CT, number {number}.", "in_text_mention": ["See figure 1."]} | more


def write(folder, value, name="in.json"):
    path = folder / name
    path.parent.mkdir(exist_ok=True)
    lines = name.endswith(".jsonl")
    text = "".join(json.dumps(one) + "\n" for one in value) if lines else json.dumps(value)
    path.write_text(text, encoding="utf-8")
    return path


def picture(folder, name, shade=90):
    (folder / name).parent.mkdir(parents=True, exist_ok=True)
    Image.new("L", (12, 8), shade).convert("RGB").save(folder / name)


def records(path):
    """The records of a file, in the lists that they stand in."""
    text = Path(path).read_text(encoding="utf-8")
    lines = Path(path).suffix == ".jsonl" or text.count('\n{"question_id"') > 1
    return [json.loads(line) for line in text.splitlines()] if lines else json.loads(text)


def canonical(value):
    return json.dumps(value, sort_keys=True)


def rows(folder):
    return list(storage.read_rows(folder))


def left(folder):
    return list(storage.read_rows(folder, "excluded"))


def there_and_back(tmp_path, path, **more):
    """The file that an import and an export without pictures give."""
    import_set(path, tmp_path / "set", pictures=False, **more)
    (written,) = export_set(tmp_path / "set", tmp_path / "out", pictures=False)["files"].values()
    return records(written)


@pytest.mark.skipif(not PUBLISHED.is_dir(), reason=f"the published evaluation is not in {PUBLISHED}")
@pytest.mark.parametrize("name", ["*_fig_captions.json", "*_qa.jsonl", "llava_med_qa50_*.json"])
def test_published_evaluation_comes_back_equal(tmp_path, name):
    (path,) = PUBLISHED.glob(name)
    assert canonical(there_and_back(tmp_path, path)) == canonical(records(path))


ODD = [
    llava(1),
    llava(2, "<image>\nWhat is shown?", "A mass.", "Where?", "Left.", note={"by": ["us", 1.0, True, None]}),
    llava(2, "A second of the same id <image>", "Yes: \ud83d."),
    {key: value for key, value in llava(3).items() if key not in ("id", "domain")},
    llava(4, domain={"ct_scan": True, "pet": 1}, image="deep/er/4.png"),
    llava(5, "No mark at all?", "None.") | {"conversations": [{"from": "user", "value": "Q?", "n": 1},
                                                             {"from": "assistant", "value": "A."}]},
    llava(6, "Empty <image>", ""),
    llava(7, key="conversatons"),
    {"id": 8, "conversations": [{"from": "human", "value": "No picture?"}, {"from": "gpt", "value": "None."}]},
]  # fmt: skip


@pytest.mark.parametrize(
    ("value", "name"),
    [
        (ODD, "in.json"),
        (ODD, "in.jsonl"),
        ([messages(1), messages(2, "A?", "B.", "C?", "D.", id=7, more=[])], "in.jsonl"),
        ([{"messages": [{"role": "system", "content": "Be kind."}, {"role": "user", "content": "<image>What?"},
                        {"role": "assistant", "content": "A mass.", "weight": 1}], "images": ["a/b.png"]}], "in.json"),
        ([question(n) for n in range(3)] + [question("q", in_text_mention=None, domain=None)], "in.jsonl"),
        ([{"question_id": 1, "prompt": "Q\n<image>", "text": "A", "model_id": "m", "metadata": {}}] * 2, "in.jsonl"),
        ({"ct_scan": [figure(1), figure(2, fig_caption=None, graphic_ref="a/b.jpg")], "gross": [],
          "mri": [figure(1)]}, "in.json"),
        ([figure(1), figure(2, in_text_mention=[{"tokens": "x", "entities": []}, "y"])], "in.json"),
    ],
    ids=["llava", "lines", "messages", "plain", "questions", "answers", "captions", "listed"],
)  # fmt: skip
def test_what_is_imported_is_exported_as_it_was(tmp_path, value, name):
    assert canonical(there_and_back(tmp_path, write(tmp_path, value, name))) == canonical(value)
    assert not left(tmp_path / "set")
    ids = [row["id"] for row in rows(tmp_path / "set")]
    assert len(set(ids)) == len(ids)


def test_pictures_are_read_and_written_beside_as_ids(tmp_path):
    value = [llava(1), llava(1, "More <image>", "Yes."), llava(2, image="b/2.png")]
    path = write(tmp_path / "in", value)
    picture(tmp_path / "in/images", "1_F1.jpg")
    picture(tmp_path / "in/images", "b/2.png", 50)
    result = import_set(path, tmp_path / "set")
    assert (result["layout"], result["turns"], result["splits"]) == ("llava", 3, {"train": 3})
    assert [row["pair_id"] for row in rows(tmp_path / "set")] == ["1_F1", "1_F1", "2"]
    result = export_set(tmp_path / "set", tmp_path / "out", form="llava")
    assert result["pictures"] == 2
    written = records(result["files"]["train"])
    assert [record["image"] for record in written] == ["1_F1.jpg", "1_F1.jpg", "2.png"]
    assert canonical(written[:2]) == canonical(value[:2])
    for record, shade in zip(written, (90, 90, 50), strict=True):
        with Image.open(tmp_path / "out/data/images" / record["image"]) as image:
            assert image.size == (12, 8) and abs(image.convert("L").getpixel((3, 3)) - shade) < 3
    again = import_set(Path(result["files"]["train"]), tmp_path / "again")
    assert again["conversations"]["kept"] == 3
    assert [row["image"]["bytes"] for row in rows(tmp_path / "again")][2] == rows(tmp_path / "set")[2]["image"]["bytes"]


def test_the_same_import_has_nothing_to_do_and_sees_a_new_picture(tmp_path):
    path = write(tmp_path, [llava(1), llava(2)])
    picture(tmp_path, "1_F1.jpg")
    before = import_set(path, tmp_path / "set")
    export_set(tmp_path / "set", tmp_path / "out")  # pictures below the folder, which no record names
    assert import_set(path, tmp_path / "set") == before
    picture(tmp_path, "2_F1.jpg")
    with pytest.raises(InputError, match="pictures changed"):
        import_set(path, tmp_path / "set")
    assert import_set(path, tmp_path / "set", force=True)["conversations"]["kept"] == 2


BAD = {
    "no object": (["text"], "record_broken"),
    "another layout": ([{"caption": "x"}], "record_broken"),
    "no turns": ([llava(2, conversations=[])], "record_broken"),
    "a turn without text": ([llava(2, conversations=[{"from": "human", "value": None}])], "record_broken"),
    "roles": ([llava(2, conversations=llava(2)["conversations"][::-1])], "format"),
    "no answer": ([llava(2, "What? <image>")], "format"),
    "two marks": ([llava(2, "<image><image> What?", "A.")], "format"),
    "a late mark": ([llava(2, "What?", "A.", "<image> And?", "B.")], "format"),
    "no picture": ([llava(2, image=None)], "no_image"),
    "not there": ([llava(2)], "image_missing"),
    "broken": ([llava(2, image="broken.jpg")], "image_broken"),
    "outside": ([llava(2, image="../secret.jpg")], "path_outside"),
    "absolute": ([llava(2, image="/etc/passwd")], "path_outside"),
    "link": ([llava(2, image="link.jpg")], "path_outside"),
}


@pytest.mark.parametrize("name", BAD)
def test_a_bad_record_is_left_out_with_its_reason_and_kept_as_text(tmp_path, name):
    bad, reason = BAD[name]
    path = write(tmp_path / "in", [llava(1), *bad, llava(3)])
    for good in ("1_F1.jpg", "3_F1.jpg", "../secret.jpg"):
        picture(tmp_path / "in", good)
    (tmp_path / "in/link.jpg").symlink_to(tmp_path / "secret.jpg")
    (tmp_path / "in/broken.jpg").write_bytes(b"no picture")
    counts = import_set(path, tmp_path / "set")["conversations"]
    assert counts == {"in": 3, "kept": 2, "excluded": {reason: 1}}
    (row,) = left(tmp_path / "set")
    assert (row["reason"], row["source"]) == (reason, "in.json#2")
    assert json.loads(row["record"]) == bad[0]
    assert [row["id"] for row in rows(tmp_path / "set")] == ["1_F1", "3_F1"]
    assert not rehash(tmp_path / "set")


def test_a_file_that_breaks_off_keeps_what_can_be_read(tmp_path):
    path = write(tmp_path, [llava(1), llava(2)])
    path.write_text(path.read_text()[:-40], encoding="utf-8")
    counts = import_set(path, tmp_path / "set", pictures=False)["conversations"]
    assert counts == {"in": 2, "kept": 1, "excluded": {"record_broken": 1}}


def test_pictures_may_be_missing_only_where_that_is_asked(tmp_path):
    path = write(tmp_path, [llava(1), llava(2)])
    with pytest.raises(InputError, match=r"2 image_missing\): name the folder of its pictures \(--images\)"):
        import_set(path, tmp_path / "set")
    assert not (tmp_path / "set").exists()
    import_set(path, tmp_path / "set", pictures=False)
    assert [row["image"] for row in rows(tmp_path / "set")] == [None, None]


@pytest.mark.parametrize("text", ["", "{}", "[]", '[{"caption": "x"}]', "no JSON", '{"a": [1, {"b": []}]}'])
def test_a_file_of_no_layout_is_refused(tmp_path, text):
    (tmp_path / "in.json").write_text(text)
    with pytest.raises(InputError, match=r"in\.json holds no record of conversations"):
        import_set(tmp_path / "in.json", tmp_path / "set")


def test_the_split_is_as_asked(tmp_path):
    value = [question(n) for n in range(60)]
    path = write(tmp_path, value, "in.jsonl")
    assert import_set(path, tmp_path / "a", pictures=False)["splits"] == {"test": 60}
    assert import_set(path, tmp_path / "b", pictures=False, split="train")["splits"] == {"train": 60}
    splits = import_set(path, tmp_path / "c", pictures=False, split="article")["splits"]
    assert set(splits) == {"train", "validation", "test"} and sum(splits.values()) == 60
    written = export_set(tmp_path / "c", tmp_path / "out", pictures=False)["files"]
    assert sorted(written) == sorted(splits)
    assert sorted(canonical(r) for file in written.values() for r in records(file)) == sorted(map(canonical, value))
    with pytest.raises(InputError, match="--split mine: name one of train"):
        import_set(path, tmp_path / "d", split="mine")


def test_who_wrote_the_answers_is_kept(tmp_path):
    path = write(tmp_path, [llava(1)])
    import_set(path, tmp_path / "set", pictures=False, teacher="gpt-4")
    assert rows(tmp_path / "set")[0]["teacher"] == "gpt-4"
    assert artifact.read_manifest(tmp_path / "set")["models"] == [{"name": "gpt-4", "prompt_hash": "", "version": ""}]


def test_domain_of_the_list_that_a_record_stands_in(tmp_path):
    plain = {key: value for key, value in figure(1).items() if key != "domain"}
    import_set(write(tmp_path, {"mri": [plain]}), tmp_path / "set", pictures=False)
    assert rows(tmp_path / "set")[0]["domain"]["mri"] is True
    assert artifact.read_manifest(tmp_path / "set")["histograms"]["modality"] == {"mri": 1}


def test_a_caption_becomes_the_answer_to_a_question(tmp_path):
    import_set(write(tmp_path, {"ct_scan": [figure(1)]}), tmp_path / "set", pictures=False)
    (row,) = rows(tmp_path / "set")
    human, gpt = row["conversations"]
    assert human["value"].startswith("<image>\n") and gpt["value"] == "Axial CT, number 1."
    assert (row["id"], row["teacher"]) == ("1_F1", "caption")


def test_what_cleaning_changed_is_exported_as_changed(tmp_path):
    """And the rest is still as it was."""
    turns = [("What is shown?\n<image>", "According to the caption, there is a nodule in the upper lobe."),
             ("Where?", "As an AI language model, I cannot see it.")]  # fmt: skip
    value = [llava(1, *(text for turn in turns for text in turn), note=1, key="conversatons")]
    import_set(write(tmp_path, value), tmp_path / "set", pictures=False)
    clean_set(tmp_path / "set", tmp_path / "clean")
    (record,) = records(export_set(tmp_path / "clean", tmp_path / "out", pictures=False)["files"]["train"])
    said = [turn["value"] for turn in record.pop("conversatons")]
    assert said == ["<image>\nWhat is shown?", "There is a nodule in the upper lobe."]
    assert record == {"id": "1_F1", "image": "1_F1.jpg", "domain": CT, "note": 1}


def test_llava_written_as_messages_and_the_other_way(tmp_path):
    path = write(tmp_path / "in", [llava(1, "What? <image>", "A mass.", "Where?", "Left.")])
    picture(tmp_path / "in", "1_F1.jpg")
    import_set(path, tmp_path / "set")
    file = export_set(tmp_path / "set", tmp_path / "out", form="messages")["files"]["train"]
    (record,) = records(file)
    assert record == messages(1, "What?", "A mass.", "Where?", "Left.", id="1_F1")
    (plain,) = records(tmp_path / "out/data/train.llama_factory.jsonl")
    assert plain["messages"][0] == {"role": "user", "content": "<image>What?"}
    assert (tmp_path / "out/data" / plain["images"][0]).is_file()
    info = json.loads((tmp_path / "out/data/dataset_info.json").read_text())["train"]
    assert (tmp_path / "out/data" / info["file_name"]).is_file() and info["formatting"] == "sharegpt"
    import_set(Path(file), tmp_path / "again")
    assert rows(tmp_path / "again")[0]["conversations"][0]["value"] == "<image>\nWhat?"
    (back,) = records(export_set(tmp_path / "again", tmp_path / "llava", form="llava")["files"]["train"])
    assert back["conversations"] == llava(1, "<image>\nWhat?", "A mass.", "Where?", "Left.")["conversations"]


def test_two_pictures_of_one_figure_are_two_files(tmp_path):
    path = write(tmp_path / "in", [llava(1, image="a.jpg", pair_id="p"), llava(2, image="b.jpg", pair_id="p")])
    picture(tmp_path / "in", "a.jpg", 10)
    picture(tmp_path / "in", "b.jpg", 200)
    import_set(path, tmp_path / "set")
    result = export_set(tmp_path / "set", tmp_path / "out", form="llava")
    names = [record["image"] for record in records(result["files"]["train"])]
    assert len(set(names)) == 2
    for name, row in zip(names, rows(tmp_path / "set"), strict=True):
        assert (tmp_path / "out/data/images" / name).read_bytes() == row["image"]["bytes"]


def test_a_question_about_a_figure_of_ours_reads_as_a_published_one(tmp_path):
    about = {"pair_id": "1_F1", "fig_caption": "CT.", "in_text_mention": ["See."], "domain": CT, "fig_label": "Fig. 1"}
    record = question_record(1, about, "1_F1.jpg", "<image>\nWhat?", "A mass.", "conversation")
    assert record == question(1, gpt4_answer="A mass.", fig_label="Fig. 1",
                              in_text_mention=[{"tokens": "See.", "entities": []}])  # fmt: skip


@pytest.mark.parametrize(
    ("was", "now"),
    [({"a": 1}, {"a": True}), ({"a": 1.0}, {"a": 1}), ([1, {"b": 2}], [1, {"b": 3, "c": 4}]), ([1], [1, 2]),
     ({}, {"a": 0}), ({"a": None}, {}), ({"a": [0, [1]]}, {"a": [0, [2]]}), ("x", None), (None, {"a": 1})],
)  # fmt: skip
def test_a_difference_restores_what_was(was, now):
    rest = json.loads(json.dumps(difference(was, now)))
    assert canonical(restored(now, rest)) == canonical(was)
    assert difference(was, was) is None
