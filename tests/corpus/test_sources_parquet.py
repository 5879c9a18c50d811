"""Parquet of image and caption in the layouts that are published, and corpora as sources."""

import io
import json

import pyarrow as pa
import pyarrow.parquet as pq
import pytest
from packages import encoded, fig, jats, package, pixels
from PIL import Image

from llavamed import artifact, storage
from llavamed.corpus.build import build
from llavamed.corpus.choose import Choice
from llavamed.corpus.sources import parquet
from llavamed.errors import InputError
from llavamed.verify import rehash

STRUCT = pa.struct([("bytes", pa.binary()), ("path", pa.string())])


def picture(seed, name=None):
    return {"bytes": encoded(pixels(seed), "JPEG"), "path": name}


def write(path, columns, **options):
    path.parent.mkdir(parents=True, exist_ok=True)
    arrays = {key: pa.array(values, STRUCT if isinstance(values[0], dict) and "bytes" in values[0] else None)
              for key, values in columns.items()}  # fmt: skip
    pq.write_table(pa.table(arrays), path, **options)
    return path


def rows(out):
    return {row["pair_id"]: row for row in storage.read_rows(out)}


def excluded(out):
    paths = sorted((out / "excluded").glob("*.parquet"))
    return [row for path in paths for row in pq.read_table(path).to_pylist()]


def test_a_snapshot_of_the_hub(tmp_path):
    """eltorio/ROCOv2-radiology: data/*.parquet of image, image_id, caption, cui, and a card."""
    for part in range(2):
        ids = [f"ROCOv2_train_{part}{n}" for n in range(3)]
        write(tmp_path / "in" / "data" / f"train-{part}.parquet",
              {"image": [picture(10 * part + n) for n in range(3)], "image_id": ids,
               "caption": ["CT of the chest. ", "", "An MRI."], "cui": [["C1"], [], ["C2"]]})  # fmt: skip
    (tmp_path / "in" / "README.md").write_text("---\nlicense: cc-by-nc-sa-4.0\n---\n")
    result = build([tmp_path / "in"], tmp_path / "out")
    assert result["figures"] == {"in": 6, "kept": 6, "excluded": {}}
    row = rows(tmp_path / "out")["ROCOv2_train_10"]
    assert (row["fig_caption"], row["modality"][0]["name"], row["licence"]) == ("CT of the chest.", "ct", "none-stated")
    assert row["source"] == "data/train-1.parquet#0"


def test_figures_with_their_articles(tmp_path):
    """TomTBT/pmc_open_access_figure: accession_id, pmid, figure, caption, license, retracted, last_updated."""
    path = write(
        tmp_path / "x.parquet",
        {"accession_id": ["PMC1", "PMC1", "PMC2"], "pmid": [11, 11, None], "figure_idx": [0, 1, 0],
         "figure": [picture(1, "a.jpg"), picture(2, "b.jpg"), picture(3, "c.jpg")], "caption": ["A.", "B.", "C."],
         "license": ["CC BY", "CC BY", "CC BY-NC"], "retracted": ["no", "no", "yes"]},
    )  # fmt: skip
    result = build([path], tmp_path / "out", choice=Choice(licences="commercial"))
    assert result["figures"] == {"in": 3, "kept": 2, "excluded": {"retracted": 1}}
    found = list(rows(tmp_path / "out").values())
    assert {(row["pmcid"], row["pmid"], row["licence"]) for row in found} == {("PMC1", "11", "CC-BY")}
    assert found[0]["split"] == found[1]["split"]


def test_webdataset_turned_into_parquet(tmp_path):
    """As the hub's viewer converts vector-institute/open-pmc: a picture, and a record in bytes."""
    about = {"PMC_ID": "PMC77", "image": "train-0.jpg", "sub_caption": "", "full_caption": "Both.",
             "intext_refs": "See it.", "intext_refs_summary": "", "modality": "R"}  # fmt: skip
    path = write(tmp_path / "x.parquet", {"jpg": [picture(1)], "jsonl": [json.dumps(about).encode() + b"\n"],
                                          "__key__": ["train-0000-000000"]})  # fmt: skip
    build([path], tmp_path / "out")
    row = rows(tmp_path / "out")["train-0000-000000"]
    assert (row["pmcid"], row["fig_caption"], row["in_text_mention"]) == ("PMC77", "Both.", ["See it."])


def test_bytes_alone_and_addresses_alone(tmp_path):
    path = write(tmp_path / "x.parquet", {"image": [encoded(pixels(1)), None, b"broken"], "text": ["A.", "B.", "C."]})
    result = build([path], tmp_path / "out")
    assert result["figures"] == {"in": 3, "kept": 1, "excluded": {"image_missing": 1, "image_broken": 1}}
    path = write(tmp_path / "y.parquet", {"image_url": ["https://example.org/a.jpg"], "caption": ["A."]})
    assert build([path], tmp_path / "two")["figures"]["excluded"] == {"image_missing": 1}
    assert "https://example.org/a.jpg" in excluded(tmp_path / "two")[0]["detail"]


def test_a_layout_that_is_not_understood(tmp_path):
    path = write(tmp_path / "x.parquet", {"scan": [b"x"], "words": ["y"]})
    with pytest.raises(InputError, match=r"scan, words.*fig_caption, sub_caption, caption"):
        build([path], tmp_path / "out")


def test_broken_files_among_good_ones(tmp_path):
    good = write(tmp_path / "in" / "a.parquet", {"image": [picture(n) for n in range(40)], "caption": ["A."] * 40},
                 row_group_size=20)  # fmt: skip
    data = bytearray(good.read_bytes())
    (tmp_path / "in" / "cut.parquet").write_bytes(data[:1000])
    (tmp_path / "in" / "empty.parquet").write_bytes(b"")
    data[len(data) // 2 : len(data) // 2 + 2000] = bytes(2000)  # in a page
    (tmp_path / "in" / "torn.parquet").write_bytes(data)
    result = build([tmp_path / "in"], tmp_path / "out")
    assert result["articles_excluded"] == {"parquet_broken": 2}
    figures = result["figures"]
    assert figures["in"] == 80
    assert figures["kept"] == 40
    assert sum(figures["excluded"].values()) == 40


@pytest.mark.parametrize("groups", [7, 1000])
def test_parts_give_the_same_as_one(tmp_path, monkeypatch, groups):
    path = write(tmp_path / "x.parquet", {"image": [picture(n) for n in range(50)], "caption": ["A."] * 50},
                 row_group_size=groups)  # fmt: skip
    whole = build([path], tmp_path / "one")
    monkeypatch.setattr(parquet, "PART", 9)
    assert sum(item.figures for item in parquet.list_items(path)[0]) == 50
    assert build([path], tmp_path / "two", workers=1 + (groups == 7))["hash"] == whole["hash"]
    assert whole["figures"]["kept"] == 50


@pytest.fixture
def corpora(tmp_path):
    for name in ("PMC1", "PMC2", "PMC3"):
        package(tmp_path / name, name)
    build([tmp_path / "PMC1", tmp_path / "PMC2"], tmp_path / "a")
    build([tmp_path / "PMC2", tmp_path / "PMC3"], tmp_path / "b")
    return tmp_path / "a", tmp_path / "b"


def test_corpora_are_joined_without_a_second_jpeg(corpora, tmp_path):
    a, b = corpora
    result = build([a, b], tmp_path / "out")
    assert result["figures"] == {"in": 8, "kept": 6, "excluded": {"duplicate_figure": 2}}
    found, before = rows(tmp_path / "out"), rows(b) | rows(a)
    assert found == before
    parents = artifact.read_manifest(tmp_path / "out")["parents"]
    assert [parent["manifest"]["kind"] for parent in parents] == ["corpus", "corpus"]
    assert rehash(tmp_path / "out") == []


def test_a_corpus_chosen_from_again(corpora, tmp_path):
    a, _ = corpora
    assert build([a], tmp_path / "none", choice=Choice(kinds=("ct",)))["figures"]["excluded"] == {"kind": 4}
    build([a], tmp_path / "small", max_side=32)
    for row in rows(tmp_path / "small").values():
        assert max(row["width"], row["height"]) == 32
        with Image.open(io.BytesIO(row["image"]["bytes"])) as image:
            assert image.size == (row["width"], row["height"])


def test_panels_of_a_corpus_are_those_it_has(tmp_path):
    whole = Image.new("RGB", (420, 200), "white")
    for n in range(2):
        whole.paste(pixels(n, 200), (220 * n, 0))
    folder = package(
        tmp_path / "in", "PMC1", n=1, xml=jats(fig(1, "Findings. (A) A CT scan. (B) An MRI."), ids="pmc:1")
    )
    whole.save(folder / "g1.jpg", quality=95)
    build([tmp_path / "in"], tmp_path / "whole")
    build([tmp_path / "in"], tmp_path / "split", panels="split")
    assert sorted(rows(tmp_path / "split")) == ["PMC1_F1_A", "PMC1_F1_B"]
    build([tmp_path / "whole"], tmp_path / "later", panels="split")
    build([tmp_path / "split"], tmp_path / "again", panels="split")
    assert rows(tmp_path / "again") == rows(tmp_path / "split")
    for key, row in rows(tmp_path / "later").items():
        before = rows(tmp_path / "split")[key]
        assert [row[name] for name in ("fig_caption", "width", "height")] == [
            before[name] for name in ("fig_caption", "width", "height")
        ]
    build([tmp_path / "whole"], tmp_path / "small", max_side=210)
    assert rows(tmp_path / "small")["PMC1_F1"]["panels"][1]["box"][2] <= 210


def test_what_was_stated_stays(tmp_path):
    package(tmp_path / "in", "PMC1")
    pixels(5).save(tmp_path / "x.png")
    (tmp_path / "list.csv").write_text("file,caption,modality,patient\nx.png,A ball.,mri,7\n")
    build([tmp_path / "list.csv"], tmp_path / "a")
    build([tmp_path / "a"], tmp_path / "b")
    assert rows(tmp_path / "a") == rows(tmp_path / "b")
    assert rows(tmp_path / "b")["x.png"]["modality"][0]["source"] == "label: mri"


def test_a_corpus_without_its_manifest(corpora, tmp_path):
    a, _ = corpora
    (a / "manifest.json").unlink()
    build([a], tmp_path / "out")
    assert rows(tmp_path / "out") == rows(a)


def test_a_corpus_that_was_tampered_with(corpora, tmp_path):
    """Its split names a file to write, its types are ours: neither is believed."""
    path = sorted((corpora[0] / "data").glob("*.parquet"))[0]
    table = pq.read_table(path)
    n = len(table)
    folder = tmp_path / "tampered"
    folder.mkdir()
    for name, column in (("split", pa.array(["../../x"] * n)), ("pair_id", pa.array(["/x"] * n)),
                         ("flags", pa.array([[None]] * n)), ("fig_caption", pa.array([[1]] * n))):  # fmt: skip
        changed = table.set_column(table.column_names.index(name), name, column)
        pq.write_table(changed, folder / f"{name}.parquet")
    result = build([folder], tmp_path / "out")
    assert result["figures"] == {"in": 4 * n, "kept": 0, "excluded": {"record_broken": 4 * n}}
    assert not [*tmp_path.rglob("x-*.parquet")]
