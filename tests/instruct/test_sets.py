"""Alignment and template conversations, on a small corpus."""

import subprocess
import sys
from collections import Counter

import pytest
from hypothesis import given
from hypothesis import strategies as st

from llavamed import artifact, storage
from llavamed.corpus.schema import KINDS
from llavamed.errors import InputError
from llavamed.instruct.align import align
from llavamed.instruct.template import generate_template, plan
from llavamed.instruct.write import kind_of
from llavamed.verify import rehash
from small_corpus import SHARE, figures, write_corpus


def by_id(folder, prefix="data"):
    return {row["id"]: row for row in storage.read_rows(folder, prefix)}


def turns(row):
    said = row["conversations"]
    assert [part["from"] for part in said] == ["human", "gpt"] * (len(said) // 2)
    assert said[0]["value"].startswith("<image>\n")
    assert sum(part["value"].count("<image>") for part in said) == 1
    return [(q["value"].removeprefix("<image>\n"), a["value"]) for q, a in zip(said[::2], said[1::2], strict=True)]


@pytest.mark.parametrize("make", [align, generate_template])
def test_every_figure_is_kept_or_excluded_once(corpus, tmp_path, make):
    result = make(corpus, tmp_path / "set")
    kept, excluded = by_id(tmp_path / "set"), by_id(tmp_path / "set", "excluded")
    pairs = [row["pair_id"] for row in [*kept.values(), *excluded.values()]]
    assert sorted(pairs) == sorted(row["pair_id"] for row in storage.read_rows(corpus))
    assert len(kept) + len(excluded) == len(pairs) == result["conversations"]["in"]
    assert result["conversations"]["kept"] == len(kept)
    assert result["conversations"]["excluded"] == Counter(row["reason"] for row in excluded.values())
    assert result["turns"] == sum(len(turns(row)) for row in kept.values())
    assert result["splits"] == Counter(row["split"] for row in kept.values())
    assert rehash(tmp_path / "set") == []
    for row in kept.values():
        assert row["id"].rpartition("_")[0] == row["pair_id"]
        assert row["image"]["bytes"]


def test_alignment_answers_with_the_caption(corpus, tmp_path):
    align(corpus, tmp_path / "set")
    captions = {row["pair_id"]: " ".join(row["fig_caption"].split()) for row in storage.read_rows(corpus)}
    asked = {"brief": set(), "detailed": set()}
    for row in by_id(tmp_path / "set").values():
        [(question, answer)] = turns(row)
        assert answer == captions[row["pair_id"]]
        asked["brief" if len(answer.split()) < 30 else "detailed"].add(question)
    assert len(asked["brief"]) > 5
    assert len(asked["detailed"]) > 5
    assert not asked["brief"] & asked["detailed"]


def test_more_figures_change_no_old_draw(tmp_path):
    few = write_corpus(tmp_path / "few", [("train", figures("train", 0, 24))])
    many = write_corpus(tmp_path / "many", [("train", figures("train", 0, 48))])
    align(few, tmp_path / "a")
    align(many, tmp_path / "b")
    old, new = by_id(tmp_path / "a"), by_id(tmp_path / "b")
    assert {key: new[key] for key in old} == old
    align(few, tmp_path / "c", seed=1)
    assert {key: turns(row) for key, row in by_id(tmp_path / "c").items()} != {k: turns(r) for k, r in old.items()}


def test_n_takes_captioned_figures(corpus, tmp_path):
    small, large = align(corpus, tmp_path / "a", n=10), align(corpus, tmp_path / "b", n=50)
    assert small["conversations"] == {"in": 120, "kept": 10, "excluded": {"no_caption": 1, "not_drawn": 109}}
    assert by_id(tmp_path / "a").keys() < by_id(tmp_path / "b").keys()
    assert large["conversations"]["kept"] == 50
    assert align(corpus, tmp_path / "c", n=10**6)["conversations"]["kept"] == 119
    with pytest.raises(InputError, match="at least 1"):
        align(corpus, tmp_path / "d", n=0)


def test_by_domain_the_five_in_turn(corpus, tmp_path):
    align(corpus, tmp_path / "a", n=8, by_domain=True)
    kinds = {row["pair_id"]: row["modality"][0]["name"] for row in storage.read_rows(corpus) if row["modality"]}
    taken = Counter(kinds[row["pair_id"]] for row in by_id(tmp_path / "a").values())
    assert taken == {"ct": 2, "mri": 2, "histology": 2, "chest_xray": 2}
    with pytest.raises(InputError, match="add -n"):
        align(corpus, tmp_path / "b", by_domain=True)


@pytest.mark.parametrize("by_domain", [False, True])
def test_new_articles_push_old_figures_out_and_bring_none_in(tmp_path, by_domain):
    old = figures("train", 0, 48)
    for row in old:
        row["single_plot"] = False  # the caption of a compound figure is an answer too
    few = write_corpus(tmp_path / "few", [("train", old)])
    many = write_corpus(tmp_path / "many", [("train", old[:20]), ("train", figures("train", 48, 60) + old[20:])])
    align(few, tmp_path / "a", n=20, by_domain=by_domain)
    align(many, tmp_path / "b", n=20, by_domain=by_domain)
    align(many, tmp_path / "all")
    before, after, every = (by_id(tmp_path / name) for name in ("a", "b", "all"))
    still = after.keys() & {f"{row['pair_id']}_alignment" for row in old}
    assert len(before) == len(after) == 20
    assert 0 < len(still) < 20
    assert still < before.keys()
    assert all(before[key] == after[key] for key in still)
    assert all(every[key] == row for key, row in before.items()), "the text of a record is its own"


def test_the_template_asks_for_the_kind_once_in_its_words(corpus, tmp_path):
    generate_template(corpus, tmp_path / "set")
    kinds = {row["pair_id"]: [m["name"] for m in row["modality"]] for row in storage.read_rows(corpus)}
    names = set(KINDS.values())
    for row in by_id(tmp_path / "set").values():
        said = turns(row)
        named = [answer for _, answer in said if answer in names]
        known = kinds[row["pair_id"]]
        assert named == ([KINDS[known[0]]] if len(known) == 1 else [])
        yes_no = [(q, a) for q, a in said if a in ("Yes", "No")]
        if len(known) == 1:
            assert len(yes_no) in (0, 1, 2)
            assert 2 <= len(said) <= 5
            assert said[0][1] in {*names, "Yes", "No"}, "what is asked first, only the picture answers"
        else:
            assert len(said) == 1, "a figure without one kind is only described"
        for question, answer in yes_no:
            if found := [name for name in names if f" {name}?" in question]:
                assert (answer == "Yes") == (found == named)
    assert len({turns(row)[0][0] for row in by_id(tmp_path / "set").values()}) > 8, "always the same opening"


def test_words_of_the_caption_are_asked_only_where_one_is_named(corpus, tmp_path):
    generate_template(corpus, tmp_path / "set")
    answers = {row["pair_id"]: {a for _, a in turns(row)} for row in by_id(tmp_path / "set").values()}
    seen = set.union(*answers.values())
    assert {"axial", "sagittal", "chest", "head", "liver", "haematoxylin and eosin"} <= seen
    assert not any("upper lobe (arrow)" in a and "[12]" in a for a in seen)


def test_questions_alone_do_not_give_yes_or_no_away(tmp_path):
    empty = [row | {"fig_caption": ""} for row in figures("train", 5000, 100)]  # of a kind, but not asked about
    files = [("train", figures("train", i * 240, 240)) for i in range(5)]
    corpus = write_corpus(tmp_path / "corpus", [*files, ("train", empty)])
    generate_template(corpus, tmp_path / "set")
    asked = Counter()
    for row in by_id(tmp_path / "set").values():
        for question, answer in turns(row):
            for kind in SHARE:
                if answer in ("Yes", "No") and question.endswith(f" {KINDS[kind]}?"):
                    asked[kind, answer] += 1
    assert sum(asked.values()) > 1000
    assert all(asked[kind, "Yes"] == asked[kind, "No"] for kind in SHARE)


def test_half_of_each_value_is_asked_for_and_as_often_in_another_s_place():
    topics = {"kind": {"alike": [["a", "b"]]}}
    counts = {"a": 40, "b": 20, "c": 40, "d": 30, "e": 20}
    true = {f"{value}{i}": value for value, n in counts.items() for i in range(n)}
    asked = plan([("train", "kind", pair, value) for pair, value in true.items()], topics, 0)
    right = Counter(value for (_, pair), value in asked.items() if value == true[pair])
    wrong = Counter(value for (_, pair), value in asked.items() if value != true[pair])
    assert right == wrong == {value: n // 2 for value, n in counts.items()}
    swaps = Counter((true[pair], value) for (_, pair), value in asked.items())
    assert not {("a", "b"), ("b", "a")} & swaps.keys()
    assert len(swaps) > 18, "not every other value takes each one's place"


@given(st.lists(st.sampled_from("aaaabbcde"), max_size=60))
def test_whoever_knows_the_questions_only_is_right_half_the_time(values):
    true = {f"p{i}": value for i, value in enumerate(values)}
    topics = {"kind": {"alike": [["a", "b"], ["c", "d"]]}}
    asked = plan([("test", "kind", pair, value) for pair, value in true.items()], topics, 0)
    right = Counter(value for (_, pair), value in asked.items() if value == true[pair])
    assert right == Counter(value for (_, pair), value in asked.items() if value != true[pair])


def test_a_value_that_holds_most_of_a_split_is_not_asked_for_in_its_own_place():
    true = {f"p{i}": "most" if i else "rare" for i in range(9)}
    asked = plan([("train", "kind", pair, value) for pair, value in true.items()], {"kind": {}}, 0)
    assert asked == {}
    assert plan([("train", "kind", "p", "only")], {"kind": {}}, 0) == {}
    assert plan([], {}, 0) == {}


@pytest.mark.parametrize(
    ("modality", "single", "kind"),
    [
        ([("ct", 0.9)], False, "ct"),
        ([("chest_xray", 0.95), ("radiograph", 0.9)], True, "chest_xray"),
        ([("gel_blot", 0.95), ("plot", 0.8)], False, None),
        ([("radiograph", 0.9), ("clinical_photo", 0.9)], True, None),
        ([("other", 0.9)], True, None),
        ([("never heard of", 0.9)], True, None),
        ([], True, None),
        (None, None, None),
    ],
)
def test_the_kind_of_a_figure(modality, single, kind):
    entries = modality and [{"name": name, "confidence": sure, "source": ""} for name, sure in modality]
    assert kind_of({"modality": entries, "single_plot": single}) == kind


def test_the_record_says_that_no_model_wrote_it(corpus, tmp_path):
    generate_template(corpus, tmp_path / "set")
    manifest = artifact.read_manifest(tmp_path / "set")
    [model] = manifest["models"]
    assert (model["name"], model["ai"]) == ("template", False)
    assert {(row["teacher"], row["prompt_hash"]) for row in by_id(tmp_path / "set").values()} == {
        ("template", model["prompt_hash"])
    }
    assert manifest["settings"]["set"] == "template"
    assert manifest["parents"][0]["manifest"]["kind"] == "corpus"
    assert "no language model" in (tmp_path / "set" / "README.md").read_text()


def test_the_same_bytes_for_any_number_of_workers(corpus, tmp_path):
    one, two = generate_template(corpus, tmp_path / "a"), generate_template(corpus, tmp_path / "b", workers=2)
    assert one["hash"] == two["hash"]
    before = {p: p.stat().st_mtime_ns for p in (tmp_path / "a").rglob("*")}
    assert generate_template(corpus, tmp_path / "a") == one
    assert {p: p.stat().st_mtime_ns for p in (tmp_path / "a").rglob("*")} == before


def test_killed_and_started_again_the_same_bytes(corpus, tmp_path):
    code = """
import os, sys
from pathlib import Path
from llavamed.instruct import template, write
count, calls = write.count, []
def die(*args):
    calls.append(1)
    return count(*args) if len(calls) < 70 else os._exit(9)
write.count = die
template.generate_template(Path(sys.argv[1]), Path(sys.argv[2]))
"""
    killed = subprocess.run([sys.executable, "-c", code, corpus, tmp_path / "a"], check=False)
    assert killed.returncode == 9
    assert len(list((tmp_path / "a" / ".job" / "shards").iterdir())) == 1
    again = generate_template(corpus, tmp_path / "a")
    assert again["hash"] == generate_template(corpus, tmp_path / "b")["hash"]
    assert not (tmp_path / "a" / ".job").exists()


def test_a_broken_record_is_excluded_with_its_error(corpus, tmp_path, monkeypatch):
    monkeypatch.setattr(
        "llavamed.instruct.align.draw", lambda options, seed, pair: options[int(pair == "1005_F5") * 99]
    )
    assert align(corpus, tmp_path / "set")["conversations"]["excluded"] == {"error": 1, "no_caption": 1}
    [row] = [row for row in storage.read_rows(tmp_path / "set", "excluded") if row["reason"] == "error"]
    assert (row["pair_id"], row["source"]) == ("1005_F5", "data/train-00000.parquet")
    assert "IndexError" in row["detail"]


def test_only_a_corpus_is_read(corpus, tmp_path):
    align(corpus, tmp_path / "set")
    with pytest.raises(InputError, match="kind conversations; this step reads corpus"):
        generate_template(tmp_path / "set", tmp_path / "other")


def test_load_dataset_shows_pictures(corpus, tmp_path):
    datasets = pytest.importorskip("datasets")
    align(corpus, tmp_path / "set")
    loaded = datasets.load_dataset(str(tmp_path / "set"), cache_dir=str(tmp_path / "cache"))
    assert {name: len(part) for name, part in loaded.items()} == {"train": 96, "test": 23}
    assert loaded["train"][0]["image"].size == (8, 8)
