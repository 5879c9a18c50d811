"""What a model saw, joined to figures, articles and sources: equal to a count of whole tables."""

import json
import shutil
from collections import Counter

import pyarrow.parquet as pq
import pytest
from small_run import edit, model, rows

from llavamed import artifact, storage
from llavamed.errors import InputError
from llavamed.instruct.align import align
from llavamed.instruct.schema import CONVERSATIONS
from llavamed.summary.facts import gather
from llavamed.verify import verify
from small_corpus import figure, write_corpus
from small_set import record, said, write_conversations


def values(model, **more):
    return {name: fact.value for name, fact in gather(model, **more).items()}


def about(number, **more):
    """A figure of an article of two, with all that its article states."""
    return figure(number, "train", "ct", "Axial CT of the chest with a small nodule.") | {
        "pmcid": f"PMC{number // 2}",
        "pair_id": f"{number // 2}_F{number}",
        "fig_id": f"F{number}",
        "doi": f"10.1000/{number // 2}",
        "publisher": "Press" if number < 4 else "Other Press",
        "article_type": "case-report",
        "version": "2" if number < 2 else "1",
        "hosts": ["example.org", "www.example.org"] if number < 4 else ["journal.example"],
        "source": f"PMC{number // 2}.1/a.nxml",
        "collected": f"2026-10-{10 + number:02d}",
    } | more  # fmt: skip


def number_of(id_):
    return id_.partition("_F")[2].partition("_")[0]


def articles(folder, sources, numbers):
    job = artifact.start(folder, "articles", {"folder": folder.name})
    for number in sorted({number // 2 for number in numbers}):
        storage.write_text(job.out / "data" / f"PMC{number}.1" / "a.nxml", "an article")
    collected = {"earliest": "2026-09-01", "latest": "2026-09-30"}
    artifact.publish(job, counts={}, sources=sources, collected=collected)
    return folder


@pytest.fixture
def two(tmp_path):
    """A corpus of fetched articles and of others; its model saw ten figures."""
    bucket = {"bucket": "s3://b", "endpoint": "https://b.example.org", "inventory": "2026-09-30T00-00Z"}
    fetched = articles(tmp_path / "fetched", [bucket], range(6))
    given = articles(tmp_path / "given", [], range(6, 10))
    corpus = write_corpus(tmp_path / "corpus", [("train", [about(n) for n in range(12)])], parents=[fetched, given])
    align(corpus, tmp_path / "alignment")
    seen = [row for row in rows(tmp_path / "alignment", "align", 2) if int(number_of(row["id"])) < 10]
    return model(tmp_path / "model", [tmp_path / "alignment"], seen)


def test_facts_of_the_figures_seen(two):
    found = values(two)
    assert found["seen.publishers"] == {"Other Press": 6, "Press": 4}
    assert found["seen.article_types"] == {"case-report": 10}
    assert found["seen.versions"] == {"1": 8, "2": 2}
    assert found["seen.hosts"] == {"journal.example": 6, "example.org": 4, "www.example.org": 4}
    assert found["seen.domains"] == {"chest_xray": 0, "ct_scan": 10, "gross": 0, "histology": 0, "mri": 0}
    assert (found["seen.clinical_photos"], found["seen.articles"], found["seen.figures_found"]) == (0, 5, 10)


def test_each_source_with_its_share(two):
    fetched, given = values(two)["seen.sources"]
    text = {row["id"]: row["text_tokens"] for row in pq.read_table(two / "seen.parquet").to_pylist()}
    own = sum(tokens for id_, tokens in text.items() if int(number_of(id_)) < 6)
    assert fetched == {
        "name": "PubMed Central articles, PMC Cloud Service", "kind": "bucket", "version": "2026-09-30T00-00Z",
        "link": "https://b.example.org", "first": "2026-10-10", "latest": "2026-10-15", "licences": {"CC BY": 6},
        "images": 6, "text_tokens": own, "share_images": 0.6, "share_text": own / sum(text.values()),
    }  # fmt: skip
    assert (given["kind"], given["images"], given["first"], given["link"]) == ("folder", 4, "2026-10-16", None)
    assert fetched["share_text"] + given["share_text"] == pytest.approx(1)


def test_a_figure_of_no_known_source_leaves_the_shares_unknown(two, tmp_path):
    model(tmp_path / "all", [tmp_path / "alignment"], rows(tmp_path / "alignment", "align", 1))
    found = values(tmp_path / "all")
    assert "seen.sources" not in found
    assert "seen.sources" in {entry["fact"] for entry in found["unknown"]}


def test_stages_apart_and_together(run):
    found = values(run / "assistant")
    stages = found["seen.by_stage_counts"]
    seen = pq.read_table(run / "assistant" / "seen.parquet").to_pylist()
    for stage, times in (("align", 1), ("instruct", 3)):
        own = [row for row in seen if row["stage"] == stage]
        assert stages[stage] == {
            "conversations": len(own), "images": 44, "text_tokens": sum(row["text_tokens"] for row in own),
            "image_tokens": 68 * 44, "passes": times * len(own),
        }  # fmt: skip
    assert found["seen.conversations"] == sum(stage["conversations"] for stage in stages.values())
    assert found["seen.images"] == 44
    assert found["seen.clinical_photos"] == 3


def test_rules_are_no_ai(run):
    found = values(run / "assistant")["seen.synthetic"]
    assert (found["conversations"], found["share"], found["text_tokens"]) == (0, 0, 0)
    [rule] = found["teachers"]
    assert (rule["name"], rule["ai"], rule["conversations"]) == ("template", False, 44)


def test_what_a_teacher_wrote(run, tmp_path):
    talk = said(("What is seen?", "A nodule."))
    job = artifact.start(tmp_path / "talk", "conversations", {"set": "instruct"}, parents=[run / "corpus"])
    talks = [record(n, "train", talk) | {"teacher": "gpt", "prompt_hash": f"h{n % 2}"} for n in range(5)]
    storage.write_table(job.out / "data/train-00000.parquet", talks, CONVERSATIONS)
    counts = {"conversations": {"in": 5, "kept": 5, "excluded": {}}}
    made = artifact.publish(job, counts=counts, models=[{"name": "gpt", "version": "4", "prompt_hash": "h0"}])
    seen = [*rows(run / "alignment", "align", 1), *rows(tmp_path / "talk", "instruct", 2)]
    model(tmp_path / "model", [run / "aligned", tmp_path / "talk"], seen)
    found = values(tmp_path / "model", data=[run])["seen.synthetic"]
    assert found["conversations"] == 5
    assert found["share"] == 5 / 49
    assert [(t["name"], t["version"], t["prompt_hash"], t["conversations"]) for t in found["teachers"]] == [
        ("gpt", "4", "h0", 3), ("gpt", "4", "h1", 2)
    ]  # fmt: skip
    assert found["teachers"][0]["first"] == made["times"]["started"][:10]
    assert found["text_tokens"] == sum(teacher["text_tokens"] for teacher in found["teachers"])


def test_what_steps_left_out(run):
    def change(manifest):
        corpus = manifest["parents"][1]["manifest"]["parents"][0]["manifest"]
        excluded = {"opt_out": 2, "retracted": 3, "duplicate_image": 4, "duplicate_figure": 1, "licence": 5}
        corpus["counts"]["figures"] = {"in": 57, "kept": 42, "excluded": excluded}
        corpus["counts"]["articles"] = {"in": 9, "kept": 8, "excluded": {"opt_out": 1}}
        corpus["identifying_tags_dropped"] = {"PatientName": 7, "PatientID": 2}
        corpus["hash"] = "0" * 64  # another corpus than that of the alignment
        turns = {"in": 9, "kept": 6, "excluded": {"leak": 2, "advice": 1}}
        manifest["parents"][1]["manifest"]["counts"]["turns"] = turns

    edit(run / "assistant", change)
    found = gather(run / "assistant")
    got = {name: fact.value for name, fact in found.items() if name.startswith("removed.")}
    assert got == {
        "removed.opt_outs": 2, "removed.retracted": 3, "removed.duplicates": 5, "removed.licence": 5,
        "removed.turns": 3, "removed.turns_by_rule": {"advice": 1, "leak": 2}, "removed.dicom_tags": 9,
        "removed.dicom_tags_by_name": {"PatientID": 2, "PatientName": 7},
    }  # fmt: skip
    assert "counts.figures.excluded.opt_out 2" in found["removed.opt_outs"].source


def test_none_is_a_count_where_it_was_looked_for(run):
    def change(manifest):
        corpus = manifest["parents"][1]["manifest"]["parents"][0]["manifest"]
        corpus["hash"] = "0" * 64
        corpus["request"]["inputs"] = {"opt_out": "f" * 64}
        corpus["settings"] = {"licences": "all", "duplicates": "exact"}

    assert not [name for name in gather(run / "assistant") if name.startswith("removed.")]
    edit(run / "assistant", change)
    got = {name: fact.value for name, fact in gather(run / "assistant").items() if name.startswith("removed.")}
    assert got == {"removed.opt_outs": 0, "removed.retracted": 0, "removed.duplicates": 0}


def test_dates_and_updates(run):
    found = values(run / "assistant")
    assert (found["collected.earliest"], found["collected.latest"]) == ("2026-10-01", "2026-10-05")
    assert "collected.ongoing" not in found

    def update(manifest):
        for data in (manifest["parents"][1], manifest["parents"][0]["manifest"]["parents"][1]):
            data["manifest"]["parents"][0]["manifest"]["parents"][0]["manifest"]["updates"] = [{"new": 1}]

    edit(run / "assistant", update)
    assert values(run / "assistant")["collected.ongoing"] is True


def test_a_delta_s_base_is_named(run, tmp_path):
    base = {"name": "base-7b", "hash": "a" * 64}
    job = artifact.start(tmp_path / "delta", "delta", {"method": "xor"}, parents=[run / "assistant"])
    storage.write_text(job.out / "delta.json", "{}")
    artifact.publish(job, counts={}, base=base)
    job = artifact.start(tmp_path / "applied", "model", {"method": "xor"}, parents=[tmp_path / "delta"])
    shutil.copy(run / "assistant" / "seen.parquet", job.out)
    artifact.publish(job, counts={})
    found = gather(tmp_path / "applied", data=[run])
    assert found["delta.base"].value == base
    assert found["seen.conversations"].value == 88
    assert found["seen.synthetic"].value["teachers"][0]["conversations"] == 44


def test_a_copy_of_a_model_tells_what_the_model_does(run):
    job = artifact.start(run / "export", "model", {"export": "x"}, parents=[run / "assistant"])
    for name in ("config.json", "seen.parquet"):
        shutil.copy(run / "assistant" / name, job.out)
    artifact.publish(job, counts={"tensors": {"in": 1, "kept": 1, "excluded": {}}})
    here, there = values(run / "assistant"), values(run / "export")
    assert here["model.hash"] == there["model.hash"]
    assert {k: v for k, v in here.items() if k.startswith("seen.")} == {
        k: v for k, v in there.items() if k.startswith("seen.")
    }
    assert verify(run / "export")["problems"] == []
    assert verify(run)["problems"] == []


def test_a_partial_lineage_says_what_is_unknown_and_why(run, tmp_path):
    seen = rows(run / "conversations", "instruct", 1)[:7]
    model(run / "part", [run / "aligned", run / "conversations"], seen)
    shutil.copytree(run / "part", tmp_path / "alone" / "part")
    found = values(tmp_path / "alone" / "part")
    why = {entry["fact"].split(",")[0]: entry["why"] for entry in found["unknown"]}
    corpus = artifact.read_manifest(run / "corpus")["hash"][:12]
    assert f"corpus {corpus}" in why["seen.kinds"]
    assert "not at hand" in why["seen.kinds"]
    assert "tokenizer" in why["seen.text_tokens"]
    assert "base weights" in why["base"]
    assert found["seen.sources"][0]["images"] == 7  # one source alone: its manifest tells
    assert found["seen.sources"][0]["licences"] == {}
    whole = values(run / "assistant")["unknown"]
    assert not {"seen.kinds", "seen.sources", "seen.synthetic"} & {entry["fact"].split(",")[0] for entry in whole}


def test_data_that_lie_elsewhere_are_found_by_name(run, tmp_path):
    shutil.copytree(run / "assistant", tmp_path / "alone" / "model")
    here = values(run / "assistant")
    assert values(tmp_path / "alone" / "model", data=[run]) == here
    assert values(tmp_path / "alone" / "model", data=[run / "corpus", run / "alignment", run / "conversations"]) == here


def test_imported_conversations_have_no_article(tmp_path):
    talks = [record(n, "train", said(("What?", "A mass.")), name="x") for n in range(3)]
    corpus = write_corpus(tmp_path / "corpus", [("train", [figure(9, "train", "ct", "A scan.")])])
    write_conversations(tmp_path / "set", [talks], corpus, {"set": "imported"})
    edit(tmp_path / "set", lambda m: m.update(parents=[], layout={"name": "llava"}, request=m["request"] | {
        "inputs": {"file": "f" * 64}}))  # fmt: skip
    model(tmp_path / "model", [tmp_path / "set"], rows(tmp_path / "set", "align", 1))
    found = values(tmp_path / "model")
    assert [(s["kind"], s["version"], s["images"]) for s in found["seen.sources"]] == [("import", "f" * 12, 3)]
    assert "seen.licences" not in found


def test_a_hand_edited_manifest_is_named(run):
    path = run / "assistant" / "manifest.json"
    manifest = json.loads(path.read_text())
    manifest["parents"][1]["manifest"]["parents"][0]["manifest"]["histograms"]["licence"] = {"CC0": 57}
    path.write_text(json.dumps(manifest))
    with pytest.raises(InputError, match=r"manifest.json:parents\[1\]:parents\[0\] was edited"):
        gather(run / "assistant")


def test_two_versions_of_one_input_are_refused(run):
    def change(manifest):  # published so, and yet one of two
        manifest["parents"][1]["manifest"]["parents"][0]["manifest"]["histograms"]["licence"] = {"CC0": 57}

    edit(run / "assistant", change)
    corpus = artifact.read_manifest(run / "corpus")["hash"][:12]
    with pytest.raises(InputError, match=f"two versions of corpus {corpus}, which differ in histograms"):
        gather(run / "assistant")


def test_other_data_are_refused(run, tmp_path):
    write_corpus(tmp_path / "other", [("train", [figure(1, "train", "ct", "A scan.")])])
    known = artifact.read_manifest(run / "corpus")["hash"][:12]
    with pytest.raises(InputError, match=f"other holds corpus .* another version, corpus {known}"):
        gather(run / "assistant", [tmp_path / "other"])
    with pytest.raises(InputError, match="nowhere does not exist"):
        gather(run / "assistant", [tmp_path / "nowhere"])
    (tmp_path / "empty").mkdir()
    with pytest.raises(InputError, match="holds no artifact of the lineage"):
        gather(run / "assistant", [tmp_path / "empty"])


def test_a_damaged_table_is_named(run):
    path = next((run / "corpus" / "data").glob("train-*.parquet"))
    path.write_bytes(path.read_bytes()[:-20])
    with pytest.raises(InputError, match=r"corpus/data/train-00000.parquet cannot be read"):
        gather(run / "assistant")


def test_pictures_are_never_read(run, monkeypatch):
    from llavamed.summary import register

    asked = Counter()
    real = register.read
    monkeypatch.setattr(register, "read", lambda folder, columns, *more, **others: (
        asked.update(columns), real(folder, columns, *more, **others))[1])  # fmt: skip
    gather(run / "assistant")
    assert asked
    assert not {"image", "conversations", "fig_caption"} & asked.keys()
