"""`summary init | write | explain | check | diff`, and summaries of what others made."""

import json
from datetime import date
from pathlib import Path

import pyarrow as pa
import pyarrow.parquet as pq
import pytest
import typer
from typer.testing import CliRunner

from llavamed.cli import app
from llavamed.errors import InputError
from llavamed.summary.check import check
from llavamed.summary.dataset import count
from llavamed.summary.profile import TEMPLATE, init
from llavamed.summary.write import write

HERE = Path(__file__).parent
TODAY = date(2026, 11, 26)


def call(*words):
    return CliRunner().invoke(app, [str(word) for word in words])


@pytest.fixture(scope="module")
def made(tmp_path_factory):
    """The small run, and its summaries in the form `eu`: with the filled profile, and without one."""
    from small_run import write_run

    folder = tmp_path_factory.mktemp("commands")
    run = write_run(folder / "run")
    write(run, folder / "filled.md", profile=HERE / "filled.yaml", form="eu")
    write(run, folder / "bare.md", form="eu")
    return folder


def record(path):
    return json.loads(path.read_text())


def found(summary, **changes):
    """What `check` says of a field once its answer or basis is another."""
    (number, change) = next(iter(changes.items()))
    number = number.removeprefix("f").replace("_", ".")
    for section in summary["sections"]:
        for field in section["fields"]:
            if field["number"] == number:
                field.update(change)
    return [problem["what"] for problem in check(summary, TODAY) if problem["number"] == number]


def test_init_writes_the_template_once(tmp_path):
    path = tmp_path / "profile.yaml"
    assert call("summary", "init", "-o", path).exit_code == 0
    assert path.read_bytes() == TEMPLATE.read_bytes()
    with pytest.raises(InputError, match="is there already"):
        init(path)
    path.write_text("mine")
    init(path, force=True)
    assert path.read_bytes() == TEMPLATE.read_bytes()
    with pytest.raises(InputError, match="name a file in it"):
        init(tmp_path)


def test_explain_tells_artifact_and_query(made):
    said = call("summary", "explain", made / "bare.json", "1.3.b").stdout
    whole = record(made / "bare.json")["model"]
    tokens = record(made / "bare.json")["facts"]["seen.text_tokens"]["value"]
    assert f"seen.text_tokens = {tokens:,}" in said
    assert f"from model {whole[:12]}, seen.parquet: sum of text_tokens over distinct id" in said
    assert f"content hash {whole}" in said
    for page in (made / "bare.md", made / "run"):  # the page has JSON beside it; of a run it is made
        assert f"seen.text_tokens = {tokens:,}" in call("summary", "explain", page, "1.3.b", "--form", "eu").stdout
    assert "the profile says it" in call("summary", "explain", made / "filled.json", "3.1.c").stdout
    as_json = json.loads(call("summary", "explain", made / "bare.json", "1.3.b", "--json").stdout)
    assert [entry["fact"] for entry in as_json["made_from"]][:2] == ["seen.text_tokens", "seen.text_tokens_read"]


def test_explain_refuses_what_is_not_there(made, tmp_path):
    assert "has no field 9.9: name one of 0.a" in str(call("summary", "explain", made / "bare.json", "9.9").exception)
    (tmp_path / "page.md").write_text("# A page")
    assert "no page.json beside it" in str(call("summary", "explain", tmp_path / "page.md", "1.1").exception)


def test_a_filled_profile_passes_the_check(made):
    assert check(record(made / "filled.json"), TODAY) == []
    assert call("summary", "check", made / "filled.json", "--json").exit_code == (
        0 if date.today() < date(2027, 5, 26) else 1
    )


def test_a_bare_summary_lists_what_to_add(made):
    problems = check(record(made / "bare.json"), TODAY)
    numbers = {problem["number"] for problem in problems}
    assert {"1.1.a", "1.2.c", "3.1.a", "3.2.a"} <= numbers
    assert not {"1.3.a", "1.3.e", "2.1.a"} & numbers
    assert "add `illegal_content` to the profile" in next(p["remedy"] for p in problems if p["number"] == "3.2.a")
    said = call("summary", "check", made / "bare.json")
    assert said.exit_code == 1
    assert "illegal_content" in said.stdout


@pytest.mark.parametrize(
    ("change", "what"),
    [
        ({"f3_2_a": {"answer": " "}}, "blank"),
        ({"f2_1_a": {"answer": "Yes: figures.\n\nStated by the provider: No."}},
         "the lineage says Yes, the provider No"),
        ({"f1_1_b": {"answer": "Not applicable"}}, "not applicable without a reason"),
        ({"f3_2_a": {"answer": "https://example.org/policy"}}, "a link in place of an answer"),
        ({"f3_2_a": {"answer": "We looked at various sources and took care that nothing bad was in any of them."}},
         "vague: “various”"),
        ({"f3_2_a": {"answer": "Every figure was looked at by people of the lab who took out what seemed wrong."}},
         "a narrative without a figure or a date"),
        ({"f1_3_b": {"basis": "computed", "answer": "Image: ☐ Less than 1 million images; ☒ 1 million to 1 billion "
                     "images. 44 figures of 2,992 image tokens."}}, "44 images are not in the band “1 million to 1 bi"),
        ({"f1_3_b": {"basis": "stated", "answer": "Text: Less than 1 billion tokens, which is 2.1 billion tokens."}},
         "2,100,000,000 tokens are not in the band “less than 1 billion”"),
    ],
)  # fmt: skip
def test_each_fault_is_found(made, change, what):
    said = found(record(made / "filled.json"), **change)
    assert any(problem.startswith(what) for problem in said), said


def test_audio_bands_are_no_counts(made):
    said = found(record(made / "filled.json"), f1_3_b={"basis": "stated", "answer": "Audio: Less than 10,000 hours."})
    assert said == []


@pytest.mark.parametrize(
    ("change", "what"),
    [
        ({"updated": "2026-05-26"}, "last updated 2026-05-26: 6 months ago or more"),
        ({"updated": "2026-11-27"}, "the last update, 2026-11-27, lies in the future"),
        ({"updated": "not stated"}, "the last update is no date"),
        ({"previous": [{"version": "1.0", "link": "https://example.org"}]}, "a version is there twice"),
        ({"previous": [{"version": "0.9", "link": "on request"}]}, "version 0.9 has no link"),
    ],
)
def test_the_head_is_checked(made, change, what):
    problems = check(record(made / "filled.json") | change, TODAY)
    assert [problem["number"] for problem in problems] == ["head"]
    assert problems[0]["what"].startswith(what)


def test_a_summary_five_months_old_is_not_stale(made):
    assert check(record(made / "filled.json") | {"updated": "2026-05-27"}, TODAY) == []


def test_a_missing_field_is_named(made):
    summary = record(made / "filled.json")
    summary["sections"][0]["fields"] = []
    assert [problem["number"] for problem in check(summary, TODAY)] == ["0.a", "0.b"]


def test_diff_goes_field_by_field(made):
    said = call("summary", "diff", made / "bare.json", made / "filled.json")
    assert said.exit_code == 0
    blocks = said.stdout.split("\n\n")
    numbers = [block.split(" ")[0] for block in blocks]
    assert numbers[:2] == ["model", "version"]
    assert "1.3.e" not in numbers
    assert "- (not stated) Not stated: add `illegal_content`" in next(b for b in blocks if b.startswith("3.2.a"))
    assert call("summary", "diff", made / "bare.json", made / "bare.md").stdout == "no difference\n"
    write(made / "run", made / "other.md", form="ab2013")
    assert "compare two of one form" in str(call("summary", "diff", made / "bare.json", made / "other.json").exception)


def test_from_a_profile_alone(tmp_path):
    result = write(None, tmp_path / "summary.md", profile=HERE / "reference.yaml")
    assert result["not_stated"] == ["1.1.1", "1.3.5", "2.3.1", "3.1.1", "3.2.1"]
    page = (tmp_path / "summary.md").read_text()
    assert "LLaVA-Med-7b-delta" in page
    assert "nothing here was computed" in page
    with pytest.raises(InputError, match="nothing to write about"):
        write(None, tmp_path / "summary.md")
    with pytest.raises(InputError, match="--form vcf: name one of combined, eu, ab2013"):
        write(None, tmp_path / "summary.md", profile=HERE / "reference.yaml", form="vcf")


TALK = [{"from": "human", "value": "What is shown?\n<image>"}, {"from": "gpt", "value": "A round mass."}]


def test_llava_json_is_counted(tmp_path):
    talks = [{"id": str(n), "image": f"{n // 2}.jpg", "domain": {"ct_scan": True}, "conversations": TALK}
             for n in range(4)]  # fmt: skip
    (tmp_path / "set.json").write_text(json.dumps([*talks, "broken"]))
    facts = count(tmp_path / "set.json")
    values = {name.removeprefix("data."): fact.value for name, fact in facts.items()}
    words = len(["What", "is", "shown?"]) + len(["A", "round", "mass."])
    assert values == {"records": 4, "unread": 1, "conversations": 4, "turns": 8, "images": 2, "words": 4 * words,
                      "bytes": 4 * len("What is shown?A round mass."), "kinds": {"ct": 4}}  # fmt: skip
    result = write(tmp_path / "set.json", tmp_path / "summary.md", form="eu")
    assert (result["records"], result["images"], result["words"]) == (4, 2, 4 * words)
    fields = {field["number"]: field["answer"] for section in record(tmp_path / "summary.json")["sections"]
              for field in section["fields"]}  # fmt: skip
    assert fields["1.3.b"].startswith("Text: ☒ Less than 1 billion tokens; ☐ 1 billion to 10 trillion tokens;")
    assert f"{4 * words} words" in fields["1.3.b"]
    assert "2 distinct pictures" in fields["1.3.b"]
    with pytest.raises(InputError, match="would be replaced"):
        write(tmp_path / "set.json", tmp_path / "set.md")
    assert "4 conversations of 8 turns. Records that could not be read: 1" in fields["1.3.c"]


def test_parquet_of_the_hub_is_counted(tmp_path):
    rows = [{"image": {"bytes": b"picture %d" % (n % 2), "path": None}, "caption": f"Lesion number {n}.",
             "license": "CC BY 4.0", "year": 2020 + n} for n in range(3)]  # fmt: skip
    (tmp_path / "set" / "data").mkdir(parents=True)
    pq.write_table(pa.Table.from_pylist(rows), tmp_path / "set" / "data" / "train-00000.parquet")
    facts = count(tmp_path / "set")
    assert {name: facts[f"data.{name}"].value for name in ("records", "images", "words", "conversations")} == {
        "records": 3, "images": 2, "words": 9, "conversations": 0
    }  # fmt: skip
    assert facts["data.years"].value == {"2020": 1, "2021": 1, "2022": 1}
    assert facts["data.words"].source.startswith("data set set (SHA-256 ")
    assert "data.journals" not in facts


def test_visual_questions_are_conversations(tmp_path):
    asked = [{"image": "a.jpg", "question": "Is it a CT scan?", "answer": "no"}]
    (tmp_path / "set.jsonl").write_text("\n".join(map(json.dumps, asked)))
    facts = count(tmp_path / "set.jsonl")
    assert {name: facts[f"data.{name}"].value for name in ("conversations", "turns", "images", "words")} == {
        "conversations": 1, "turns": 2, "images": 1, "words": 6
    }  # fmt: skip
    assert "data.licences" not in facts


def test_what_is_no_data_set_is_refused(tmp_path):
    (tmp_path / "empty.json").write_text("[]")
    with pytest.raises(InputError, match="holds no record"):
        write(tmp_path / "empty.json", tmp_path / "s.md")
    (tmp_path / "nothing").mkdir()
    with pytest.raises(InputError):
        write(tmp_path / "nothing", tmp_path / "s.md")
    (tmp_path / "bad").mkdir()
    (tmp_path / "bad" / "a.parquet").write_bytes(b"no table")
    with pytest.raises(InputError, match=r"a\.parquet cannot be read"):
        write(tmp_path / "bad", tmp_path / "s.md")


def test_the_commands_are_there():
    command = typer.main.get_command(app).commands["summary"]
    assert set(command.commands) == {"init", "write", "explain", "check", "diff"}
