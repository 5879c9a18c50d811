"""Every field of every form stands in every format: a row a field."""

import json
from pathlib import Path

import docx
import pytest
from lxml import html
from small_run import write_run
from test_forms import ROWS
from test_render import rendered, squeezed

from llavamed.summary import render
from llavamed.summary.forms import FORMS
from llavamed.summary.render.words import blocks
from llavamed.summary.write import make

PROFILE = Path(__file__).parent / "filled.yaml"


def of_markdown(path: Path):
    return headed(rendered(path.read_text("utf-8")), lambda e: e.text_content().split()[0])


def of_html(path: Path):
    tree = html.document_fromstring(path.read_text("utf-8"))
    return {e.find("h3").get("id"): e.text_content() for e in tree.iter("div") if e.get("class") == "field"}


def of_docx(path: Path):
    found, number = {}, ""
    for element in docx.Document(str(path)).element.body:
        style = element.xpath("string(w:pPr/w:pStyle/@w:val)")
        if style.startswith("Heading"):
            number = "".join(element.itertext()).split()[0] if style == "Heading2" else ""
        found[number] = found.get(number, "") + "".join(element.itertext())
    return found


def of_json(path: Path):
    record = json.loads(path.read_text("utf-8"))
    fields = [field for section in record["sections"] for field in section["fields"]]
    return {field["number"]: " ".join(strings(field)) for field in fields}


def strings(value):
    if isinstance(value, str):
        yield value
    else:
        for inner in value.values() if isinstance(value, dict) else value:
            yield from strings(inner)


def headed(tree, number_of):
    """Number of a field -> the text from its heading to the next one."""
    found, number = {}, ""
    for element in tree:
        if element.tag in ("h2", "h3"):
            number = number_of(element) if element.tag == "h3" else ""
        found[number] = found.get(number, "") + element.text_content()
    return found


READERS = {".md": of_markdown, ".html": of_html, ".docx": of_docx, ".json": of_json}


@pytest.fixture(scope="module")
def written(tmp_path_factory):
    """(form, ending) -> number of a field -> its text there; form -> its fields."""
    folder = tmp_path_factory.mktemp("every")
    run = write_run(folder / "run")
    found, fields = {}, {}
    for form in FORMS:
        document, facts = make(run, PROFILE, form)
        fields[form] = {field.number: field for section in document.sections for field in section.fields}
        for ending, read in READERS.items():
            render.write(document, facts, folder / f"{form}{ending}")
            found[form, ending] = read(folder / f"{form}{ending}")
    return found, fields


@pytest.mark.parametrize("ending", READERS)
@pytest.mark.parametrize(("form", "number"), [row[:2] for row in ROWS])
def test_it_is_there(written, form: str, number: str, ending: str):
    found, fields = written
    field, shown = fields[form][number], squeezed(found[form, ending][number])
    lines = [line for block in blocks(field.answer) for line in ([block] if isinstance(block, str) else block)]
    tables = [text for table in field.tables for row in (table.header, *table.rows) for text in row]
    for text in (field.title, *field.basis.split(", "), *lines, *tables, *field.sources):
        assert squeezed(text) in shown, text
