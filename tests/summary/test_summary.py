"""The summary says what the tables hold, field by field."""

import json
import re
import shutil
import subprocess
import sys
from collections import Counter

import pyarrow.parquet as pq
import pytest
from small_run import edit, model, rows

from llavamed import artifact
from llavamed.errors import InputError
from llavamed.summary.forms.bands import band
from llavamed.summary.profile import read_profile
from llavamed.summary.write import write

NUMBERS = """
1.0.1 1.0.2 1.1.1 1.2.1 1.2.2 1.3.1.A 1.3.1.B 1.3.1.C 1.3.1.D 1.3.1.E 1.3.1.F 1.3.1.G 1.3.1.H 1.3.1.I 1.3.1.J 1.3.2
1.3.3 1.3.4 1.3.5 2.1.1 2.2.1.A 2.2.2.A 2.3.1 2.4.1 3.1.1 3.2.1 3.2.2
"""

PROFILE = """
version: 1.0
link: https://example.org/summary
announced: https://example.org/news
provider: {name: Example Lab, contact: lab@example.org}
models: [{name: Example-VLM, version: 0.30, released: 2199-01-31}]
purpose: To show that lineage can be kept.
collection: {continues: false}
licensed: {used: false}
private: {used: false}
personal_information: Faces were not blurred.
consumer_information: None.
"""


def fields_of(found):
    return {field["number"]: field for section in found["sections"] for field in section["fields"]}


def summary(run, **more):
    file = run / "summary.md"
    result = write(run, file, **more)
    found = json.loads((run / "summary.json").read_text())
    return result, found, fields_of(found), file.read_text()


def recount(run):
    """The same counts by another road: whole tables, no manifests."""
    seen = pq.read_table(run / "assistant" / "seen.parquet").to_pandas()
    once = seen.drop_duplicates("id")
    talks = [
        row for name in ("alignment", "conversations")
        for path in (run / name / "data").glob("*.parquet") for row in pq.read_table(path).to_pylist()
    ]  # fmt: skip
    pairs = {row["pair_id"] for row in talks if row["id"] in set(seen.id)}
    corpus = [row for path in (run / "corpus" / "data").glob("*.parquet") for row in pq.read_table(path).to_pylist()]
    return {
        "conversations": len(once),
        "images": len(pairs),
        "text_tokens": int(once.text_tokens.sum()),
        "text_tokens_read": int((seen.text_tokens * seen.times_seen).sum()),
        "image_tokens": 68 * len(pairs),
        "image_tokens_read": int((seen.image_tokens * seen.times_seen).sum()),
        "passes": int(seen.times_seen.sum()),
        "kinds": Counter(row["modality"][0]["name"] if row["modality"] else "unknown" for row in corpus
                         if row["pair_id"] in pairs),
        "licences": Counter(row["licence"] or "unknown" for row in corpus if row["pair_id"] in pairs),
        "articles": len({row["pmcid"] for row in corpus if row["pair_id"] in pairs}),
    }  # fmt: skip


def test_counts_equal_an_independent_recount(run):
    result, found, fields, page = summary(run)
    counted = recount(run)
    assert {key: found["facts"][f"seen.{key}"]["value"] for key in counted} == counted
    assert counted["images"] == 44
    assert counted["conversations"] == 88
    assert {key: result[key] for key in ("conversations", "images", "text_tokens")} == {
        key: counted[key] for key in ("conversations", "images", "text_tokens")
    }
    assert f"{counted['text_tokens']:,} text tokens" in fields["1.3.1.A"]["answer"]
    assert fields["1.3.1.A"]["answer"].startswith("Less than 1 billion tokens")
    assert fields["1.3.1.C"]["answer"].startswith("Less than 1 million images: 44 figures")
    assert "3 of the figures seen in training are classed as clinical photographs" in fields["2.3.1"]["answer"]
    assert f"{counted['text_tokens']:,} text tokens" in page


def test_every_field_is_there_and_none_is_blank(run):
    result, _, fields, page = summary(run)
    assert list(fields) == NUMBERS.split()
    for number, field in fields.items():
        assert field["answer"].strip()
        assert set(field["basis"].split(", ")) <= {"computed", "stated", "not stated", "not applicable"}
        assert bool(field["sources"]) == ("computed" in field["basis"])
        assert f"### {number} {field['title']}\n\n*{field['basis']}*\n\n" in page
    assert result["not_stated"] == [
        "1.1.1", "1.2.1", "1.2.2", "1.3.3", "1.3.5", "3.2.1"
    ]  # fmt: skip
    assert fields["1.3.1.E"]["basis"] == "not applicable"


def test_the_profile_fills_what_is_stated(run, tmp_path):
    path = tmp_path / "profile.yaml"
    path.write_text(PROFILE)
    result, _, fields, _ = summary(run, profile=path)
    assert result["not_stated"] == []
    assert fields["1.0.1"]["answer"].startswith("1.0, the first version")
    assert fields["1.1.1"]["answer"] == "Example Lab, lab@example.org"
    assert fields["1.2.1"]["answer"].startswith("Example-VLM 0.30.")
    release = fields["1.2.2"]
    assert (release["basis"], release["answer"], release["sources"]) == ("stated", "2199-01-31", [])
    assert fields["1.3.3"]["answer"] == "No."
    assert fields["2.3.1"]["basis"] == "computed, stated"


def test_dates_come_from_the_lineage(run):
    _, _, fields, _ = summary(run)
    assert fields["1.3.2"]["answer"] == "2026-10-05."
    aligned = artifact.read_manifest(run / "aligned")
    assert fields["1.3.4"]["answer"].startswith(aligned["times"]["started"][:10])
    assert fields["1.3.4"]["sources"][0].startswith(f"model {aligned['hash'][:12]}")
    assert fields["1.0.2"]["answer"].startswith(artifact.read_manifest(run / "assistant")["times"]["finished"][:10])


def test_it_says_what_the_base_weights_are(run):
    _, found, fields, page = summary(run)
    [base] = found["facts"]["base"]["value"]
    assert [part["name"].split(" ")[0] for part in base["parts"]] == ["SmolLM2-135M-Instruct", "DINOv2-small"]
    assert re.search("4 bits.*dequantised", page)
    assert re.search("motion artefacts in MRI", page)
    assert "not recorded in this lineage" in page
    assert "not known from this lineage" in fields["2.4.1"]["answer"]


def test_a_template_is_no_ai_and_a_teacher_is(run, tmp_path):
    _, _, fields, _ = summary(run)
    assert fields["2.4.1"]["answer"].startswith("No: no step of this lineage had data made by an AI model.")
    assert "fixed rules" in fields["2.4.1"]["answer"]
    models = [{"name": "gpt", "version": "4", "prompt_hash": "x"}]
    edit(run / "assistant", lambda manifest: manifest["parents"][1]["manifest"].update(models=models))
    assert summary(run)[2]["2.4.1"]["answer"].startswith("Yes: by gpt 4.")


def test_what_was_left_out_is_counted_by_reason(run):
    _, _, fields, _ = summary(run)
    answer = fields["3.2.2"]["answer"]
    assert answer.startswith("Yes.")
    assert "57 of 59 figures kept (excluded: 2 no_image)" in answer
    assert "56 of 57 conversations kept (excluded: 1 no_caption)" in answer
    assert "at most 512 pixels" in answer


def test_a_copied_model_alone_tells_the_same_counts(run, tmp_path):
    _, whole, _, _ = summary(run)
    shutil.copytree(run / "assistant", tmp_path / "alone" / "model")
    write(tmp_path / "alone" / "model", tmp_path / "alone.md")
    alone = json.loads((tmp_path / "alone.json").read_text())
    for key in ("images", "conversations", "text_tokens", "kinds", "licences", "years", "languages"):
        there, here = whole["facts"][f"seen.{key}"], alone["facts"][f"seen.{key}"]
        assert here["value"] == there["value"], key
    assert "histograms of the train split" in alone["facts"]["seen.kinds"]["source"]
    assert "seen.articles" not in alone["facts"]


def test_what_was_collected_is_not_taken_for_what_was_seen(run, tmp_path):
    seen = rows(run / "conversations", "instruct", 1)[:7]
    model(run / "part", [run / "aligned", run / "conversations"], seen)
    write(run / "part", tmp_path / "beside.md")
    beside = json.loads((tmp_path / "beside.json").read_text())["facts"]
    assert sum(beside["seen.kinds"]["value"].values()) == beside["seen.images"]["value"] == 7
    shutil.copytree(run / "part", tmp_path / "alone" / "part")
    write(tmp_path / "alone" / "part", tmp_path / "alone.json")
    assert not (tmp_path / "alone.md").exists()
    alone = json.loads((tmp_path / "alone.json").read_text())
    assert "seen.kinds" not in alone["facts"]
    answer = fields_of(alone)["1.3.1.D"]["answer"]
    assert "Which kinds were among the 7 seen is not known here. Collected, seen or not: CT scan" in answer


def test_the_same_model_gives_the_same_bytes_and_touches_nothing(run, tmp_path):
    summary(run)
    before = {path: (path.read_bytes(), path.stat().st_mtime_ns) for path in run.glob("summary.*")}
    summary(run)
    assert {path: (path.read_bytes(), path.stat().st_mtime_ns) for path in run.glob("summary.*")} == before
    write(run / "assistant", tmp_path / "other.md")
    assert (tmp_path / "other.md").read_bytes() == (run / "summary.md").read_bytes()
    assert str(tmp_path) not in (run / "summary.json").read_text()


@pytest.mark.parametrize(
    ("text", "problem"),
    [
        ("models: [{name: A, released: 2026-02-30}]", "models.0.released: 2026-02-30 is no day of the calendar"),
        ("models: [{name: A, released: soon}]", "models.0.released: soon is no day: write YYYY-MM-DD"),
        ("models: [{name: A, released: 2001-01-01}]", "models.0.released: 2001-01-01 lies before the beginning of the"),
        ("collection: {latest: 13/2026}", "collection.latest: 13/2026 is no month: write MM/YYYY"),
        ("collection: {earliest: 02/2026, latest: 11/2025}", "collection: it ends .11/2025. before it begins"),
        ("{models: [{name: A, released: 2026-01-02}], collection: {first_used: 2026-01-03}}", "lies before collection"),
        ("{version: 2, previous: [{version: 2, link: x}]}", "the version 2 is there twice"),
        ("developper: {name: A}", "developper: unknown key"),
        ("provider: {name: '', contact: a}", "provider.name: Field required"),
        ("purpose: Not applicable.", "purpose: say why"),
        ("public: {used: perhaps}", "public.used: .*boolean"),
        ("- a\n- b", "profile: "),
        ("a: [", "mend the YAML"),
    ],
)
def test_a_wrong_profile_is_named(run, tmp_path, text, problem):
    path = tmp_path / "profile.yaml"
    path.write_text(text)
    with pytest.raises(InputError, match=problem) as caught:
        write(run, tmp_path / "s.md", profile=path)
    assert "\n" not in str(caught.value)
    assert not (tmp_path / "s.md").exists()


def test_an_empty_profile_states_nothing(tmp_path):
    (tmp_path / "profile.yaml").write_text("")
    assert read_profile(tmp_path / "profile.yaml").provider is None
    with pytest.raises(InputError, match="cannot be read"):
        read_profile(tmp_path / "none.yaml")


def test_only_a_trained_model_has_a_summary(run, tmp_path):
    with pytest.raises(InputError, match="was not trained"):
        write(run / "backbone", tmp_path / "s.md")
    with pytest.raises(InputError, match="kind corpus"):
        write(run / "corpus", tmp_path / "s.md")
    with pytest.raises(InputError, match="does not exist"):
        write(tmp_path / "nowhere", tmp_path / "s.md")
    with pytest.raises(InputError, match="is a folder"):
        write(run, tmp_path)


def test_a_changed_table_is_refused(run, tmp_path):
    path = run / "assistant" / "seen.parquet"
    table = pq.read_table(path)
    pq.write_table(table.slice(1), path)
    with pytest.raises(InputError, match="was changed since training"):
        write(run, tmp_path / "s.md")


def test_what_a_profile_says_stays_text(run, tmp_path):
    path = tmp_path / "profile.yaml"
    path.write_text("purpose: 'a <script>x</script>\n\n# Heading'")
    _, _, _, page = summary(run, profile=path)
    assert "<script>" not in page
    assert "\n# Heading" not in page


@pytest.mark.parametrize(
    ("size", "unit", "words"),
    [
        (10**9 - 1, "tokens", "Less than 1 billion"),
        (10**9, "tokens", "1 billion to 10 trillion"),
        (10**13 + 1, "tokens", "More than 10 trillion"),
        (0, "images", "Less than 1 million"),
        (10**6, "images", "1 million to 1 billion"),
    ],
)
def test_size_bands(size, unit, words):
    assert band(size, unit) == words


def test_no_torch_is_needed():
    code = "import sys, llavamed.summary.write, llavamed.instruct.template; assert 'torch' not in sys.modules"
    subprocess.run([sys.executable, "-c", code], check=True)
