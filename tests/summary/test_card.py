"""A model's card says of its training data what the summary says, and names what a partial lineage cannot tell."""

import json
import shutil

from small_run import edit

from llavamed.artifact import read_manifest
from llavamed.lineage import name
from llavamed.summary.card import training_data
from llavamed.summary.write import make


def section(model):
    return training_data(model, read_manifest(model))


def test_every_statement_is_one_of_the_summary(run):
    said = section(run / "assistant")
    document, _ = make(run, None, "combined")
    answers = [paragraph for part in document.sections for field in part.fields
               for paragraph in field.answer.split("\n\n")]  # fmt: skip
    items = [line.removeprefix("- ") for line in said.splitlines() if line.startswith("- ")]
    for what in ("images: 44 figures", "text tokens by", "in stage align", "CC BY 43", "No: no step of this lineage"):
        [item] = [item for item in items if what in item]
        for title in ("Copyright: ", "Written by AI: "):
            item = item.removeprefix(title)
        assert item in answers
    [unknown] = [line for line in said.splitlines() if "Not known" in line]
    model = name(read_manifest(run / "assistant"))
    assert unknown.startswith(f"- Not known: seen.text_tokens: {model} has no tokenizer")
    assert "| pictures 1.2 |" in said


def test_without_its_tables_it_names_what_is_not_known(run, tmp_path):
    shutil.copytree(run / "assistant", tmp_path / "alone")
    edit(tmp_path / "alone", forget)
    said = section(tmp_path / "alone")
    assert "44 figures" in said
    assert "Not known: seen.kinds, seen.clinical_photos" in said
    assert str(tmp_path) not in said


def forget(manifest):
    """All that the lineage says of the splits of sets."""
    manifest.pop("splits", None)
    for entry in manifest["parents"]:
        forget(entry["manifest"])


def test_a_lineage_that_cannot_be_read_is_said_too(run):
    assert "no list of what it saw" in section(run / "backbone")
    path = run / "assistant" / "manifest.json"
    manifest = json.loads(path.read_text())
    manifest["parents"][0]["manifest"]["times"]["started"] = "1999"
    path.write_text(json.dumps(manifest))
    assert section(run / "assistant") == (
        "## Training data\n\nNot known: its lineage cannot be read, and `llavamed verify` says why."
    )
