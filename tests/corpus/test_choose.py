"""Which figures a corpus takes."""

import pytest
from packages import fig, jats, package

from llavamed import artifact
from llavamed.corpus.build import build
from llavamed.corpus.choose import Choice, list_of, read_opt_out, years_of
from llavamed.corpus.licences import allows
from llavamed.errors import InputError

TEXT = {
    "doi": "10.1000/a.1",
    "pmcid": "PMC77",
    "publisher": "P  Test",
    "hosts": ["www.journal.example.org"],
    "licence": "CC-BY-NC-4.0",
    "year": 2019,
    "language": "en",
    "article_type": "case-report",
}
ROW = {"width": 300, "height": 80, "modality": [{"name": "ct"}, {"name": "plot"}], "single_plot": False}


@pytest.mark.parametrize(
    ("choice", "reason"),
    [
        (Choice(), None),
        (Choice(licences="open"), None),
        (Choice(licences="commercial"), "licence"),
        (Choice(years=(2019, 2019)), None),
        (Choice(years=(2020, 2024)), "year"),
        (Choice(languages=("de", "en")), None),
        (Choice(languages=("de",)), "language"),
        (Choice(article_types=("case-report",)), None),
        (Choice(article_types=("letter",)), "article_type"),
    ],
)
def test_rules_about_the_article(choice, reason):
    problem = choice.refuses_text(TEXT)
    assert (problem and problem.reason) == reason


def test_what_is_not_known_meets_no_rule():
    assert Choice(years=(0, 9999)).refuses_text({}).reason == "year"
    assert Choice(licences="open").refuses_text({}).detail == "none-stated"
    assert Choice().refuses_text({}) is None


def test_retracted_is_never_taken():
    problem = Choice().refuses_text({"retracted": True, "notices": ["retraction 10.1/x"]})
    assert (problem.reason, problem.detail) == ("retracted", "retraction 10.1/x")


@pytest.mark.parametrize(
    ("choice", "reason"),
    [
        (Choice(min_side=80), None),
        (Choice(min_side=81), "too_small"),
        (Choice(kinds=("plot",)), None),
        (Choice(kinds=("mri",)), "kind"),
        (Choice(single=True), "compound"),
    ],
)
def test_rules_about_the_picture(choice, reason):
    problem = choice.refuses_picture(ROW)
    assert (problem and problem.reason) == reason


@pytest.mark.parametrize(
    "line",
    [
        "10.1000/A.1", "https://doi.org/10.1000/a.1", "doi:10.1000/a.1", "10.1000/", "10.1000", "PMC77", "77",
        "publisher: p test", "example.org", "domain: journal.example.org", "https://www.journal.example.org/",
        "PMC77,  # why",
    ],
)  # fmt: skip
def test_opted_out(tmp_path, line):
    (tmp_path / "list.txt").write_text(f"# ours\n\n{line}\n")
    choice = Choice(opt_out=read_opt_out(tmp_path / "list.txt"))
    assert choice.refuses_text(TEXT).reason == "opt_out"


def test_not_opted_out(tmp_path):
    (tmp_path / "list.txt").write_text("10.1000/a.12\n10.1001/\nPMC7\npublisher: P\nample.org\nother.example.org\n")
    assert Choice(opt_out=read_opt_out(tmp_path / "list.txt")).refuses_text(TEXT) is None


@pytest.mark.parametrize(
    ("text", "article"),
    [
        ({"pair_id": "SAMPLE1_F2", "fig_id": "F2"}, "sample1"),
        ({"pair_id": "a_b_F2_C", "fig_id": "F2", "panel": "C"}, "a_b"),
        ({"pair_id": "scan.png", "fig_id": None}, "scan.png"),
    ],
    ids=["figure", "panel", "picture"],
)
def test_an_article_without_ids_is_opted_out_by_its_figures(tmp_path, text, article):
    (tmp_path / "list.txt").write_text(f"article: {article.upper()}\n")
    choice = Choice(opt_out=read_opt_out(tmp_path / "list.txt"))
    assert choice.refuses_text(TEXT | text | {"pmcid": None, "doi": None}).detail == f"article:{article}"
    assert choice.refuses_text(TEXT | text | {"pair_id": "other_F2"}) is None


@pytest.mark.parametrize("text", ["an author's name\n", "https://\n", "1.2.3\n"])
def test_a_line_nobody_understands_is_named(tmp_path, text):
    (tmp_path / "list.txt").write_text("PMC1\n" + text)
    with pytest.raises(InputError, match="line 2"):
        read_opt_out(tmp_path / "list.txt")
    with pytest.raises(InputError, match=r"none.txt: .* cannot be read \(No such file or directory\): name"):
        read_opt_out(tmp_path / "none.txt")


def test_years_and_lists():
    assert [years_of(text) for text in ("", "2015-2020", "2015-", "-2020", "2015")] == [
        None, (2015, 2020), (2015, 9999), (0, 2020), (2015, 2015),
    ]  # fmt: skip
    for text in ("x", "-", "20152020", "2015-20", "2020-2015"):
        with pytest.raises(InputError):
            years_of(text)
    assert list_of(" mri, ct,", "--kinds", ("ct", "mri")) == ("ct", "mri")
    with pytest.raises(InputError, match="--kinds xray"):
        list_of("xray", "--kinds", ("ct",))


@pytest.mark.parametrize(
    ("code", "policies"),
    [
        ("CC0-1.0", {"commercial", "open", "all"}),
        ("PDM-1.0", {"commercial", "open", "all"}),
        ("CC-BY", {"commercial", "open", "all"}),
        ("CC-BY-SA-4.0", {"commercial", "open", "all"}),
        ("CC-BY-NC-SA-4.0", {"open", "all"}),
        ("TDM", {"all"}),
        ("other", {"all"}),
        ("none-stated", {"all"}),
    ],
)
def test_policies(code, policies):
    assert {policy for policy in ("commercial", "open", "all") if allows(policy, code)} == policies


def test_a_build_counts_what_it_does_not_take(tmp_path):
    package(tmp_path / "src", "PMC1", n=1)
    package(tmp_path / "src", "PMC2", n=2, xml=jats(fig(1) + fig(2), ids="pmc:2").replace(b"2019", b"2001"))
    (tmp_path / "out.txt").write_text("PMC1\n")
    choice = Choice(years=(2010, 2024))
    result = build([tmp_path / "src"], tmp_path / "out", choice=choice, opt_out=tmp_path / "out.txt")
    assert result["figures"] == {"in": 3, "kept": 0, "excluded": {"opt_out": 1, "year": 2}}
    assert (result["articles"], result["articles_excluded"]) == (0, {"opt_out": 1, "year": 1})
    manifest = artifact.read_manifest(tmp_path / "out")
    assert manifest["settings"]["years"] == [2010, 2024]
    (tmp_path / "out.txt").write_text("PMC3\n")
    with pytest.raises(InputError, match="opt_out changed"):
        build([tmp_path / "src"], tmp_path / "out", choice=choice, opt_out=tmp_path / "out.txt")
