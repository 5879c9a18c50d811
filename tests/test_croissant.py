"""Croissant metadata beside a data set, as `mlcroissant` reads it."""

import hashlib
import json
import logging
import re

import mlcroissant
import pytest
from PIL import Image

from llavamed import artifact, storage
from llavamed.cards import dataset_card
from llavamed.corpus.schema import FIGURES
from llavamed.instruct.align import align
from llavamed.instruct.clean.again import clean_set
from llavamed.verify import rehash
from small_corpus import figures
from small_set import record, said, write_conversations


@pytest.fixture(scope="module")
def corpus(tmp_path_factory):
    folder = tmp_path_factory.mktemp("data") / "corpus"
    job = artifact.start(folder, "corpus", {})
    for split, begin in (("train", 0), ("test", 20)):
        rows = figures(split, begin, 13)
        rows[0]["in_text_mention"] = ["See Figure 1.", "And again."]
        for index, part in enumerate((rows[:9], rows[9:])):
            storage.write_table(job.out / f"data/{split}-{index:05d}.parquet", part, FIGURES)
    histograms = {"licence": {"CC-BY-4.0": 20, "CC0-1.0": 3, "TDM": 2, "none-stated": 1}}
    card = dataset_card('Figures "with" captions', "From articles.", ["train", "test"])
    artifact.publish(job, counts={"figures": {"in": 26, "kept": 26, "excluded": {}}}, histograms=histograms, card=card)
    return folder


def read(folder, caplog):
    """The metadata, which must be without errors and warnings but for what we leave out."""
    with caplog.at_level(logging.WARNING):
        found = mlcroissant.Dataset(folder / "croissant.json")
    assert set(re.findall(r'Property "[^"]+/(\w+)" is', "".join(caplog.messages))) == {"citeAs", "version"}
    return found


def test_figures_are_read_by_mlcroissant(corpus, caplog):
    found = read(corpus, caplog)
    about = found.metadata
    assert about.name == 'Figures "with" captions' and about.description == "From articles."
    assert about.license == [
        "https://creativecommons.org/licenses/by/4.0/", "https://creativecommons.org/publicdomain/zero/1.0/", "TDM",
    ]  # fmt: skip
    for split in ("train", "test"):
        rows = [row for row in storage.read_rows(corpus) if row["split"] == split]
        got = list(found.records(split))
        assert [row[f"{split}/pair_id"].decode() for row in got] == [row["pair_id"] for row in rows]
        assert [m.decode() for m in got[0][f"{split}/in_text_mention"]] == rows[0]["in_text_mention"]
        assert all(isinstance(row[f"{split}/image"], Image.Image) for row in got)
        assert [row[f"{split}/year"] for row in got] == [row["year"] for row in rows]
        assert [row[f"{split}/domain"][f"{split}/domain/mri"] for row in got] == [row["domain"]["mri"] for row in rows]


def test_conversations_are_read_by_mlcroissant(corpus, tmp_path, caplog):
    align(corpus, tmp_path / "set")
    found = read(tmp_path / "set", caplog)
    (train, _) = found.metadata.record_sets
    rows = [row for row in storage.read_rows(tmp_path / "set") if row["split"] == "train"]
    got = list(found.records(train.id))
    assert len(got) == len(rows)
    turns = got[0]["train/conversations"]
    assert [turn["train/conversations/value"] for turn in turns] == [
        turn["value"].encode() for turn in rows[0]["conversations"]
    ]


def test_every_table_is_named_with_its_hash_and_no_other_file(corpus):
    about = json.loads((corpus / "croissant.json").read_text())
    files = [part for part in about["distribution"] if part["@type"] == "cr:FileObject"]
    assert [file["contentUrl"] for file in files] == [f"data/{path.name}" for path in storage.tables(corpus)]
    for file in files:
        assert file["sha256"] == hashlib.sha256((corpus / file["contentUrl"]).read_bytes()).hexdigest()
    columns = [field["name"] for field in about["recordSet"][0]["field"]]
    assert columns == [f"train/{name}" for name in FIGURES.names]


def test_it_is_no_part_of_the_content_and_is_verified(corpus):
    manifest = artifact.read_manifest(corpus)
    files = {name: file for name, file in manifest["files"].items() if name != "croissant.json"}
    assert len(files) + 1 == len(manifest["files"])
    assert artifact.content_hash("corpus", files) == manifest["hash"]
    assert rehash(corpus) == []


def test_licences_are_those_of_what_a_set_was_made_from(corpus, tmp_path):
    made = write_conversations(tmp_path / "made", [[record(1, "train", said(("What is shown?", "A mass.")))]], corpus)
    clean_set(made, tmp_path / "clean")
    about = json.loads((tmp_path / "clean/croissant.json").read_text())
    assert about["license"][0] == "https://creativecommons.org/licenses/by/4.0/"


def test_data_is_loaded_as_before(corpus):
    datasets = pytest.importorskip("datasets")
    found = datasets.load_dataset(str(corpus))
    assert {split: len(found[split]) for split in found} == {"train": 13, "test": 13}
