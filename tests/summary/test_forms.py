"""The three forms: every field there, none blank, each filled from facts or profile, whatever of the facts is known."""

import re
from pathlib import Path

import pytest
import yaml

from llavamed.summary.document import COMPUTED, NOT_APPLICABLE, NOT_STATED, STATED
from llavamed.summary.facts import Fact, gather
from llavamed.summary.forms import FORMS
from llavamed.summary.forms.bands import boxes, required
from llavamed.summary.profile import TEMPLATE, Profile, read_profile

HERE = Path(__file__).parent
C, S, N, CS, CN = COMPUTED, STATED, NOT_APPLICABLE, f"{COMPUTED}, {STATED}", f"{COMPUTED}, {NOT_APPLICABLE}"
# Each field of each form: its number, and on what it rests in the small run with the profile of `filled.yaml`.
FIELDS = {
    "combined": """
        1.0.1 stated | 1.0.2 stated | 1.1.1 stated | 1.2.1 computed, stated | 1.2.2 stated
        1.3.1.A computed | 1.3.1.B computed | 1.3.1.C computed | 1.3.1.D computed
        1.3.1.E not applicable | 1.3.1.F not applicable | 1.3.1.G not applicable | 1.3.1.H not applicable
        1.3.1.I not applicable | 1.3.1.J not applicable
        1.3.2 computed | 1.3.3 stated | 1.3.4 computed | 1.3.5 stated
        2.1.1 computed | 2.2.1.A stated | 2.2.2.A stated | 2.3.1 computed, stated | 2.4.1 computed
        3.1.1 computed | 3.2.1 not applicable | 3.2.2 computed
    """,
    "eu": """
        0.a stated | 0.b stated | 1.1.a stated | 1.1.b not applicable
        1.2.a computed, stated | 1.2.b computed, stated | 1.2.c stated
        1.3.a computed | 1.3.b computed, not applicable | 1.3.c computed, not applicable | 1.3.d computed, stated
        1.3.e computed | 1.3.f computed, stated | 1.3.g computed
        2.1.a computed | 2.1.b computed | 2.1.c computed | 2.1.d computed | 2.1.e computed
        2.2.1.a stated | 2.2.1.b not applicable
        2.2.2.a stated | 2.2.2.b not applicable | 2.2.2.c not applicable | 2.2.2.d not applicable
        2.2.2.e not applicable
        2.3.a stated | 2.3.b not applicable | 2.3.c not applicable | 2.3.d not applicable | 2.3.e not applicable
        2.3.f not applicable | 2.3.g not applicable | 2.3.h not applicable | 2.3.i not applicable
        2.4.a stated | 2.4.b stated | 2.4.c not applicable | 2.4.d not applicable | 2.4.e not applicable
        2.5.a computed | 2.5.b not applicable | 2.5.c not applicable | 2.5.d not applicable | 2.5.e not applicable
        2.6.a computed | 2.6.b computed | 2.6.c stated
        3.1.a stated | 3.1.b stated | 3.1.c stated | 3.2.a stated | 3.3.a computed, stated
    """,
    "ab2013": """
        1 computed | 2 stated | 3 computed | 4 computed | 5 computed | 6 stated | 7 computed, stated
        8 not applicable | 9 computed | 10 computed, stated | 11 computed | 12 computed
    """,
}
ROWS = [
    (form, *cell.strip().split(" ", 1))
    for form, table in FIELDS.items()
    for line in table.strip().splitlines()
    for cell in line.split("|")
]


def fields_of(form, facts, profile):
    document = FORMS[form](facts, profile)
    return {field.number: field for section in document.sections for field in section.fields}


@pytest.fixture(scope="module")
def facts(tmp_path_factory):
    from small_run import write_run

    return gather(write_run(tmp_path_factory.mktemp("forms") / "run") / "assistant")


@pytest.fixture(scope="module")
def filled(facts):
    """With what a lineage of fetched articles and a teacher tells besides."""
    profile = read_profile(HERE / "filled.yaml")
    return {form: fields_of(form, facts, profile) for form in FORMS}


@pytest.mark.parametrize(("form", "number", "basis"), ROWS)
def test_every_field_is_there(filled, form, number, basis):
    field = filled[form][number]
    # facts that only some lineages have may add to what is stated, never take away
    assert set(basis.split(", ")) <= set(field.basis.split(", ")) <= {C, S, N, *basis.split(", ")}
    assert field.answer.strip()
    assert field.title
    assert bool(field.sources) == (COMPUTED in field.basis.split(", "))
    for table in field.tables:
        assert table.rows
        assert {len(row) for row in table.rows} == {len(table.header)}


@pytest.mark.parametrize("form", FORMS)
def test_the_table_above_is_whole(filled, form):
    assert [number for name, number, _ in ROWS if name == form] == [*filled[form]]


@pytest.mark.parametrize("form", FORMS)
@pytest.mark.parametrize("known", [True, False], ids=["lineage", "nothing"])
def test_without_a_profile_each_gap_names_its_key(facts, form, known):
    keys = {line.split(":")[0].strip(" #-") for line in TEMPLATE.read_text().splitlines() if ":" in line}
    fields = fields_of(form, facts if known else {}, Profile())
    gaps = [field for field in fields.values() if NOT_STATED in field.basis]
    assert gaps
    for field in gaps:
        named = [part.split("`")[1] for part in field.answer.split("Not stated: add ")[1:]]
        assert named, field
        for key in named:
            assert {part for part in key.split(".") if not part.isdigit()} <= keys, field
    for field in fields.values():
        assert field.answer.strip()


def test_the_template_names_every_key_and_states_nothing():
    assert read_profile(TEMPLATE) == Profile()
    examples = re.sub(r"(?m)^( *)# (?=(?:- |  )\S+:)", r"\1", TEMPLATE.read_text())
    commented = yaml.load(examples, yaml.BaseLoader)

    def keys(model, given, path=""):
        for name, info in model.model_fields.items():
            assert name in given, f"{path}{name}"
            kinds = [kind for kind in (info.annotation, *getattr(info.annotation, "__args__", ())) if hasattr(kind, "model_fields")]  # fmt: skip # noqa: E501
            inside = given[name][0] if isinstance(given[name], list) and given[name] else given[name]
            if kinds and kinds[0].__name__ != "Dataset":
                keys(kinds[0], inside or {}, f"{path}{name}.")

    keys(Profile, commented)


def test_a_published_summary_of_others_is_all_stated():
    profile = read_profile(HERE / "reference.yaml")
    fields = fields_of("combined", {}, profile)
    assert COMPUTED not in " ".join(field.basis for field in fields.values())
    for number, words in {
        "1.0.1": "1.0", "1.0.2": "2025-11-24", "1.1.1": "Microsoft Corporation", "1.2.1": "LLaVA-Med-7b-delta",
        "1.2.2": "2023-11-09", "1.3.1.A": "Less than 1 billion tokens", "1.3.1.B": "PMC-15M",
        "1.3.1.C": "Less than 1 billion tokens", "1.3.1.D": "histology", "1.3.1.I": "10K and 60K",
        "1.3.1.J": "GPT-4", "1.3.2": "2023-05-01", "1.3.3": "No.", "1.3.4": "2023-05-01", "2.1.1": "Yes.",
        "2.2.1.A": "Cannot be provided.", "2.2.2.A": "No.", "2.4.1": "Yes.", "3.2.2": "Yes.",
    }.items():  # fmt: skip
        assert words in fields[number].answer, number
        assert STATED in fields[number].basis
    for letter in "EFGH":
        assert fields[f"1.3.1.{letter}"].basis == NOT_APPLICABLE


def source(name, images, text, **more):
    return {"name": name, "kind": "package", "version": "1", "link": f"https://example.org/{name}",
            "first": "2026-03-04", "latest": "2026-10-05", "licences": {"CC0": images}, "images": images,
            "text_tokens": text, "share_images": images / 1000, "share_text": text / 1000} | more  # fmt: skip


def test_three_per_cent_of_either_modality_make_a_source_large():
    given = [source("many", 970, 940), source("images", 30, 0), source("words", 0, 30), source("few", 0, 29)]
    facts = {"seen.sources": Fact(given, "corpus: sources"), "seen.licences": Fact({"CC0": 1000}, "corpus")}
    fields = fields_of("eu", facts, Profile())
    assert [row[0] for row in fields["2.1.c"].tables[0].rows] == ["many 1", "images 1", "words 1"]
    assert [row[0] for row in fields["2.1.d"].tables[0].rows] == ["few 1"]
    assert fields["2.1.c"].tables[0].rows[0][2] == "03/2026 to 10/2026"


@pytest.mark.parametrize(
    ("names", "small", "must"),
    [(1, False, 1), (11, False, 2), (1000, False, 100), (1000, True, 50), (20_000, True, 1000), (100_000, True, 1000)],
)
def test_how_many_domains_must_be_listed(names, small, must):
    assert required(names, small) == must


def test_a_long_list_of_domains_is_cut_by_the_rule(tmp_path):
    domains = "".join(f"  d{n:04}.example: {5000 - n}\n" for n in range(900))
    for small, shown in (("false", 90), ("true", 45)):
        path = tmp_path / "profile.yaml"
        path.write_text(f"provider: {{name: A, small: {small}}}\ncrawled:\n domains:\n{domains}")
        field = fields_of("eu", {}, read_profile(path))["2.3.h"]
        assert len(field.tables[0].rows) == shown
        assert field.tables[0].rows[0][:2] == ("d0000.example", "5,000")
        assert f"{shown} of 900 domains" in field.answer


def test_teachers_are_split_by_whether_they_are_on_the_market(tmp_path):
    teachers = [
        {"name": name, "version": "7", "prompt_hash": "ab", "ai": ai, "first": "2026-10-01", "latest": "2026-10-02",
         "conversations": 10, "text_tokens": 900} for name, ai in (("gpt", True), ("ours", True), ("template", False))
    ]  # fmt: skip
    made = [{key: one[key] for key in ("name", "version", "prompt_hash", "ai")} for one in teachers]
    known = {"made_by": Fact(made, "models"), "seen.synthetic": Fact(
        {"conversations": 20, "share": 2 / 3, "text_tokens": 1800, "teachers": teachers}, "seen")}  # fmt: skip
    path = tmp_path / "profile.yaml"
    path.write_text("synthetic: {models: [{name: gpt, on_market: true, summary: 'https://example.org/s'},"
                    " {name: ours, on_market: false, training_data: 9 books}]}")  # fmt: skip
    fields = fields_of("eu", known, read_profile(path))
    assert fields["2.5.a"].answer.startswith("Yes: by gpt 7, ours 7.")
    assert "20 such conversations of 1,800 text tokens, 66.7 % of all" in fields["2.5.a"].answer
    assert fields["2.5.c"].tables[0].rows == (("gpt", "7", "https://example.org/s"),)
    assert fields["2.5.d"].tables[0].rows == (("ours", "7", "9 books"),)
    assert [row[0] for row in fields["2.5.e"].tables[0].rows] == ["gpt", "ours"]
    assert "template 7" in fields["2.6.b"].answer
    for form, number in (("combined", "2.4.1"), ("ab2013", "12")):
        field = fields_of(form, known, Profile())[number]
        assert field.tables[0].rows[0] == ("gpt", "ab", "2026-10-01 to 2026-10-02", "10", "900")


def test_the_band_is_ticked_once():
    assert boxes(10**6, "images").count("☒") == 1
    assert "☒ 1 million to 1 billion images" in boxes(10**6, "images")


def test_files_of_the_providers_own_are_not_called_public():
    given = [source("package", 900, 900), source("mine", 100, 100, kind="folder")]
    facts = {"seen.sources": Fact(given, "corpus: sources"), "seen.licences": Fact({"CC0": 1000}, "corpus")}
    fields = fields_of("eu", facts, Profile())
    assert [row[0] for row in fields["2.1.c"].tables[0].rows] == ["package 1"]
    assert fields["2.6.a"].answer == "Yes."
    assert [row[0] for row in fields["2.6.b"].tables[0].rows] == ["mine 1"]
    assert fields["2.2.2.a"].basis == fields["2.3.a"].basis == NOT_STATED
    facts["seen.sources"] = Fact(given[1:], "corpus: sources")
    assert "add `public.datasets`" in fields_of("eu", facts, Profile())["2.1.c"].answer
    facts["seen.sources"] = Fact(given[:1], "corpus: sources")
    fields = fields_of("eu", facts, Profile())
    denied = fields_of("eu", facts, Profile.model_validate({"public": {"used": False}}))["2.1.a"]
    assert denied.answer.startswith("Yes: ")
    assert denied.answer.endswith("Stated by the provider: No.")
    for number in ("2.2.1.a", "2.2.2.a", "2.3.a", "2.4.a", "2.4.b"):
        assert fields[number].basis == COMPUTED
        assert fields[number].answer.startswith("No: ")
    assert fields["2.3.h"].basis == NOT_APPLICABLE


def test_a_model_restored_from_a_delta_names_its_base():
    facts = {"delta.base": Fact({"name": "llama-7b", "hash": "ab"}, "delta: base")}
    assert "a delta on llama-7b" in fields_of("eu", facts, Profile())["1.2.b"].answer
    assert "a delta on llama-7b" in fields_of("combined", facts, Profile())["1.2.1"].answer
