"""A summary as Markdown and JSON: all of it is there, and any text stays text."""

import html
import json
import re
from dataclasses import replace
from pathlib import Path

import jsonschema
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from lxml.html import fragment_fromstring
from markdown_it import MarkdownIt
from odd_documents import ODD, document, facts

from llavamed.errors import InputError
from llavamed.markdown import markdown as our_markdown
from llavamed.summary import render
from llavamed.summary.document import Chart, Document
from llavamed.summary.render import words
from llavamed.summary.render.json import SCHEMA, read, read_record
from llavamed.summary.render.markdown import plain

TAGS = {"div", "h1", "h2", "h3", "p", "em", "strong", "ul", "li", "table", "thead", "tbody", "tr", "th", "td"}
CASES = [pytest.param(text, id=name) for name, text in ODD.items()]


def squeezed(text: str) -> str:
    return "".join(text.split())


def seen(markdown: str) -> str:
    """What a reader of the rendered Markdown sees, without white space."""
    return squeezed(rendered(markdown).text_content())


def rendered(markdown: str):
    """As GitHub's rules have it."""
    return fragment_fromstring(MarkdownIt("commonmark").enable(["table", "strikethrough"]).render(markdown), "div")


@pytest.mark.parametrize("text", CASES)
def test_markdown_shows_all_of_it_as_text(text: str, tmp_path: Path):
    whole = document(text)
    render.write(whole, {}, tmp_path / "s.md")
    tree = rendered((tmp_path / "s.md").read_text("utf-8"))
    shown = squeezed(tree.text_content())
    for words_ in texts(words.clean(whole)):
        assert squeezed(words_) in shown, words_
    assert {e.tag for e in tree.iter()} <= TAGS
    assert [e.text_content().split()[0] for e in tree.iter("h3")][:5] == ["1.1.A", "1.1.B", "1.2", "1.3", "1.4"]
    assert len(list(tree.iter("h1"))) == 1 and len(list(tree.iter("h2"))) == 4
    assert len(list(tree.iter("table"))) == 6


def texts(whole: Document):
    """Every text of a document that a page shows, paragraphs and items of lists apart."""
    yield from (whole.title, whole.model, whole.version, whole.updated, *whole.notes)
    for version, link in whole.previous:
        yield from (version, link)
    tables = [*whole.appendix]
    for section in whole.sections:
        yield from (section.number, section.title)
        for field in section.fields:
            yield from (field.number, field.title, *field.basis.split(", "), *field.sources)
            for block in words.blocks(field.answer):
                yield from [block] if isinstance(block, str) else block
            tables += field.tables
    for table in tables:
        yield from (table.caption, *table.header, *(cell for row in table.rows for cell in row))
    for chart in whole.charts:
        yield from (chart.title, chart.source, *(bar.label for bar in words.bars(chart.counts)))


@settings(deadline=None)
@given(st.text(st.characters(exclude_categories=["Cs", "Cc"]) | st.sampled_from("*_`#|\\[]<>&~-+=1.!"), max_size=30))
def test_any_text_is_itself_in_markdown(text: str):
    shown = plain(text)
    assert seen(f"x {shown}") == "x" + squeezed(text)
    assert seen(f"- {shown}\n- b") == squeezed(text) + "b"
    assert seen(f"| a |\n| --- |\n| {shown} |") == "a" + squeezed(text)
    ours = squeezed(html.unescape(re.sub("<[^>]*>", "", our_markdown(f"x {shown}"))))
    assert ours == "x" + squeezed(text)


@pytest.mark.parametrize("text", CASES)
def test_json_holds_all_of_it_by_the_schema(text: str, tmp_path: Path):
    path = tmp_path / "s.json"
    render.write(document(text), facts(text), path)
    found = json.loads(path.read_text("utf-8"))
    jsonschema.Draft202012Validator(json.loads(SCHEMA.read_text("utf-8"))).validate(found)
    assert read(path) == words.clean(document(text))
    assert len(found["charts"][1]["counts"]) == 46
    assert list(found["facts"]) == ["collected.sources", "seen.kinds"]
    assert read_record(path) == found


def test_the_schema_is_one():
    jsonschema.Draft202012Validator.check_schema(json.loads(SCHEMA.read_text("utf-8")))


def test_the_document_stays_the_same_bytes_and_the_file_untouched(tmp_path: Path):
    for name in ("s.md", "s.json"):
        path = tmp_path / name
        render.write(document("a"), facts("a"), path)
        before = path.read_bytes(), path.stat().st_mtime_ns
        render.write(document("a"), facts("a"), path)
        assert (path.read_bytes(), path.stat().st_mtime_ns) == before
        render.write(document("b"), facts("a"), path)
        assert path.read_bytes() != before[0]


@pytest.mark.parametrize("name", ["summary.txt", "summary", "summary.MD.gz"])
def test_another_ending_is_refused(name: str, tmp_path: Path):
    with pytest.raises(InputError, match=re.escape(f"{name}: a summary ends in one of .md")):
        render.write(document("a"), {}, tmp_path / name)
    assert not list(tmp_path.iterdir())


def test_a_folder_is_refused(tmp_path: Path):
    with pytest.raises(InputError, match="is a folder: name a file in it"):
        render.write(document("a"), {}, tmp_path)


def broken(change):
    """The record of a good summary, changed."""
    found = json.loads(render.json.page(document("a"), facts("a")))
    change(found)
    return json.dumps(found)


BROKEN = {
    "no JSON": (lambda: "{", "is not JSON"),
    "no object": (lambda: "[]", "is no summary"),
    "another format": (lambda: '{"format": "x"}', "is no summary"),
    "missing key": (lambda: broken(lambda f: f.pop("model")), "the file: 'model' is a required property"),
    "unknown form": (lambda: broken(lambda f: f.update(form="x")), "form: 'x' is not one of"),
    "unknown key": (lambda: broken(lambda f: f.update(x=1)), "the file: .*'x' was unexpected"),
    "blank answer": (
        lambda: broken(lambda f: f["sections"][0]["fields"][1].update(answer=" ")),
        r"sections\[0\].fields\[1\].answer: ' ' does not match",
    ),
    "another basis": (
        lambda: broken(lambda f: f["sections"][1]["fields"][0].update(basis="guessed")),
        r"sections\[1\].fields\[0\].basis: 'guessed' does not match",
    ),
    "no sections": (lambda: broken(lambda f: f.update(sections=[])), "sections: "),
    "a number as text": (lambda: broken(lambda f: f["charts"][0]["counts"].update(b="1")), r"charts\[0\].counts.b: "),
    "short row": (
        lambda: broken(lambda f: f["appendix"][0]["rows"].append(["1"])),
        "table 'a': a row is not as long as the header",
    ),
    "row of numbers": (lambda: broken(lambda f: f["appendix"][0].update(rows=[[1, 2]])), r"appendix\[0\].rows"),
    "long text": (lambda: broken(lambda f: f.update(updated=["x" * 500])), r"updated: not as the schema says \(type"),
}


@pytest.mark.parametrize(("make", "problem"), [pytest.param(*case, id=name) for name, case in BROKEN.items()])
def test_a_broken_file_is_named(make, problem: str, tmp_path: Path):
    path = tmp_path / "s.json"
    path.write_text(make())
    with pytest.raises(InputError, match=problem) as caught:
        read(path)
    assert str(caught.value).startswith(str(path)) and "\n" not in str(caught.value)


def test_no_file_and_no_text_are_named(tmp_path: Path):
    with pytest.raises(InputError, match="cannot be read"):
        read(tmp_path / "none.json")
    (tmp_path / "b.json").write_bytes(b"\xff\xfe")
    with pytest.raises(InputError, match="is not JSON"):
        read(tmp_path / "b.json")


def test_long_charts_are_cut_and_none_is_lost():
    counts = {str(year): year % 10 for year in range(1950, 2026)}
    shown = words.bars(counts)
    assert len(shown) == words.TOP + 1
    assert [bar.label for bar in shown[:-1]] == sorted(bar.label for bar in shown[:-1])
    assert shown[-1].label == "and 46 more"
    assert sum(bar.n for bar in shown) == sum(counts.values())
    assert min(bar.n for bar in shown[:-1]) >= max(
        n for year, n in counts.items() if year not in {b.label for b in shown}
    )
    assert words.bars({}) == [] and words.bars({"a": 0})[0].share == 0


def test_a_chart_in_markdown_says_shares_and_the_rest(tmp_path: Path):
    chart = Chart("Licences", {f"L{n}": 1000 - n for n in range(32)}, "corpus abc: by licence")
    render.write(replace(document("a"), charts=(chart,)), {}, tmp_path / "s.md")
    page = (tmp_path / "s.md").read_text()
    assert "| L0 | 1,000 | 3.2 % |" in page
    assert "| and 2 more | 1,939 | 6.2 % |" in page


@pytest.mark.parametrize(
    ("text", "links"),
    [
        ("See https://a.org/x_(y), or (https://b.org/z).", ["https://a.org/x_(y)", "https://b.org/z"]),
        ("Write to a.b+c@example.org.", ["mailto:a.b+c@example.org"]),
        ("javascript:alert(1) data:text/html,x //evil.org ftp://x.org", []),
        ("https:// http://.", []),
        ("HTTPS://A.ORG", []),
    ],
)
def test_addresses_are_found(text: str, links: list[str]):
    found = words.pieces(text)
    assert "".join(piece.words for piece in found) == text
    assert [piece.link for piece in found if piece.link] == links


@pytest.mark.parametrize(
    ("address", "link"),
    [
        ("https://a.org/1.html", "https://a.org/1.html"),
        ("summary-1.html", "summary-1.html"),
        ("../old/summary.html#1.1", "../old/summary.html#1.1"),
        ("javascript:alert(1)", ""),
        ("//evil.org/x", ""),
        ("on paper, from the lab", ""),
        ("lab@example.org", "mailto:lab@example.org"),
    ],
)
def test_what_may_be_linked(address: str, link: str):
    assert words.web(address) == link
