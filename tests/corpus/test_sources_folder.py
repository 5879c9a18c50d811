"""A folder of one's own pictures with a CSV of captions."""

import csv
import io
import shutil
from pathlib import Path

import numpy as np
import pyarrow.parquet as pq
import pytest
from packages import encoded, pixels
from PIL import Image
from pydicom import dcmread
from pydicom.data import get_testdata_file
from pydicom.dataset import Dataset
from pydicom.uid import DeflatedExplicitVRLittleEndian

from dicoms import dicom
from llavamed import artifact, storage
from llavamed.corpus.build import build
from llavamed.corpus.dicom import IDENTIFYING
from llavamed.corpus.sources import folder as reader
from llavamed.errors import InputError

RAMP = np.arange(4096, dtype=np.uint16).reshape(64, 64)


def rows(out):
    return {row["source"]: row for row in storage.read_rows(out)}


def excluded(out):
    found = [row for path in sorted((out / "excluded").glob("*.parquet")) for row in pq.read_table(path).to_pylist()]
    return {row["detail"].split(":")[0]: row["reason"] for row in found}


@pytest.fixture
def scans(tmp_path):
    """Pictures of several formats; the CSV is written by each test."""
    src = tmp_path / "src"
    (src / "deep").mkdir(parents=True)
    pixels(1).save(src / "a.png")
    pixels(2).save(src / "b.jpg", quality=95)
    pixels(3).save(src / "deep" / "c.TIFF")
    dicom(src / "d.dcm", RAMP, Modality="CT", PatientID="7", PatientName="Doe^Jane", PatientBirthDate="19500101")
    return src


def test_every_format_with_its_caption(scans, tmp_path):
    (scans / "captions.csv").write_text(
        "file,caption,patient,licence,id,language\na.png,A ball.,p1,CC BY 4.0,one,en\nb.jpg,A box.,p1,MIT,two,en\n"
        "deep/c.TIFF,,p2,,,\nd.dcm,A nodule.,,,,de\n"
    )
    result = build([scans], tmp_path / "out")
    assert result["figures"] == {"in": 4, "kept": 4, "excluded": {}}
    found = rows(tmp_path / "out")
    assert [found[name]["fig_caption"] for name in ("a.png", "b.jpg", "deep/c.TIFF", "d.dcm")] == [
        "A ball.", "A box.", "", "A nodule."
    ]  # fmt: skip
    assert [found[name]["licence"] for name in found if name < "c"] == ["CC-BY-4.0", "MIT"]
    assert found["a.png"]["split"] == found["b.jpg"]["split"]
    assert (found["a.png"]["fig_id"], found["a.png"]["pair_id"]) == ("one", "a.png")
    assert found["d.dcm"]["modality"][0] == {"name": "ct", "confidence": 1.0, "source": "DICOM Modality: CT"}
    assert found["d.dcm"]["domain"]["ct_scan"]
    with Image.open(io.BytesIO(found["d.dcm"]["image"]["bytes"])) as image:
        assert (np.diff(np.asarray(image).astype(int).ravel()) >= 0).all()


def test_identifying_tags_are_counted_and_nowhere_in_the_corpus(tmp_path):
    secret = "Zyxwvut"
    item = Dataset()
    item.PatientBirthName = f"{secret}^Inner"
    people = {"PatientName": secret, "InstitutionName": secret, "OperatorsName": secret, "StudyDescription": secret}
    for n in range(3):
        path = dicom(tmp_path / "src" / f"{n}.dcm", np.roll(RAMP, 99 * n), Modality="MR", PatientID=secret, **people)
    dicom(path, RAMP.T, Modality="MR", PatientID=secret, **people, OtherPatientIDsSequence=[item])
    (tmp_path / "src" / "list.csv").write_text("file,caption\n0.dcm,One.\n1.dcm,Two.\n2.dcm,Three.\n")
    build([tmp_path / "src"], tmp_path / "out")
    dropped = artifact.read_manifest(tmp_path / "out")["identifying_tags_dropped"]
    assert dropped == {"PatientName": 3, "InstitutionName": 3, "OperatorsName": 3, "StudyDescription": 3,
                       "PatientID": 3, "PatientBirthName": 1, "OtherPatientIDsSequence": 1,
                       "SOPInstanceUID": 3}  # fmt: skip
    assert set(dropped) <= IDENTIFYING
    found = rows(tmp_path / "out")
    assert len(found) == 3
    assert len({row["split"] for row in found.values()}) == 1
    for path in (tmp_path / "out").rglob("*"):
        assert path.is_dir() or secret.encode() not in path.read_bytes()
    assert secret not in repr(found)


def test_keywords_are_those_of_the_standard():
    from pydicom.datadict import tag_for_keyword

    assert [name for name in IDENTIFYING if tag_for_keyword(name) is None] == []


@pytest.mark.parametrize(
    ("tags", "flags"),
    [
        ({"Modality": "CT"}, []),
        ({"Modality": "CT", "BurnedInAnnotation": "YES"}, ["burned_in_text"]),
        ({"Modality": "US"}, ["burned_in_text_possible"]),
        ({"Modality": "US", "BurnedInAnnotation": "NO"}, []),
        ({"Modality": "CT", "SOPClassUID": "1.2.840.10008.5.1.4.1.1.7"}, ["burned_in_text_possible"]),
    ],
)
def test_burned_in_text_is_flagged(tmp_path, tags, flags):
    dicom(tmp_path / "src" / "a.dcm", RAMP, **tags)
    (tmp_path / "src" / "list.csv").write_text("file,caption\na.dcm,One.\n")
    build([tmp_path / "src"], tmp_path / "out")
    assert rows(tmp_path / "out")["a.dcm"]["flags"] == flags
    assert artifact.read_manifest(tmp_path / "out")["histograms"]["flags"] == dict.fromkeys(flags, 1)


@pytest.mark.parametrize(
    ("tags", "kind"),
    [
        ({"Modality": "DX", "BodyPartExamined": "CHEST"}, "chest_xray"),
        ({"Modality": "DX", "BodyPartExamined": "KNEE"}, "radiograph"),
        ({"Modality": "US"}, "ultrasound"),
        ({"Modality": "OT"}, None),
        ({}, None),
    ],
)
def test_the_modality_tag_tells_the_kind(tmp_path, tags, kind):
    dicom(tmp_path / "src" / "a.dcm", RAMP, **tags)
    (tmp_path / "src" / "list.csv").write_text("file,caption\na.dcm,One.\n")
    build([tmp_path / "src"], tmp_path / "out")
    assert [m["name"] for m in rows(tmp_path / "out")["a.dcm"]["modality"]] == ([kind] if kind else [])


def test_real_dicoms_of_many_kinds(tmp_path):
    """pydicom's own: CT, MR, ultrasound, palette, frames, compressed; what it cannot decode says so."""
    names = ("CT_small.dcm", "MR_small_RLE.dcm", "examples_rgb_color.dcm", "examples_palette.dcm", "JPEG2000.dcm",
             "examples_ybr_color.dcm", "JPEGLSNearLossless_08.dcm", "JPGExtended.dcm", "MR_truncated.dcm",
             "rtplan.dcm")  # fmt: skip
    (tmp_path / "src").mkdir()
    for name in names:
        shutil.copy(get_testdata_file(name, download=False), tmp_path / "src" / name)
    (tmp_path / "src" / "list.csv").write_text("file,caption\n" + "".join(f"{name},One.\n" for name in names))
    result = build([tmp_path / "src"], tmp_path / "out")
    assert result["figures"] == {"in": 10, "kept": 6,
                                 "excluded": {"dicom_unsupported": 3, "dicom_without_pixels": 1}}  # fmt: skip
    told = [
        row["detail"] for path in (tmp_path / "out" / "excluded").glob("*") for row in pq.read_table(path).to_pylist()
    ]
    assert not [detail for detail in told if "plugins" in detail]
    found = rows(tmp_path / "out")
    kinds = {name: [m["name"] for m in row["modality"]] for name, row in found.items()}
    assert kinds == {"CT_small.dcm": ["ct"], "MR_small_RLE.dcm": ["mri"], "examples_rgb_color.dcm": ["ultrasound"],
                     "examples_palette.dcm": ["ultrasound"], "JPEG2000.dcm": ["nuclear"],
                     "examples_ybr_color.dcm": ["ultrasound"]}  # fmt: skip
    assert all(np.asarray(Image.open(io.BytesIO(row["image"]["bytes"]))).std() > 1 for row in found.values())
    assert b"CompressedSamples" not in b"".join(row["image"]["bytes"] for row in found.values())


def test_a_medium_with_dicomdir_and_files_without_suffix(tmp_path):
    src = tmp_path / "src"
    shutil.copytree(Path(get_testdata_file("DICOMDIR", download=False)).parent / "77654033", src / "77654033")
    shutil.copy(get_testdata_file("DICOMDIR", download=False), src / "DICOMDIR")
    (src / "README").write_text("no picture")
    names = [path.relative_to(src).as_posix() for path in src.rglob("*") if path.parent.parent.name == "77654033"]
    assert len(names) == 7
    (src / "list.csv").write_text("file,caption\n" + "".join(f"{name},One.\n" for name in names[1:]))
    result = build([src], tmp_path / "out", duplicates="keep")
    assert result["figures"] == {"in": 7, "kept": 6, "excluded": {"no_caption_row": 1}}
    assert len({row["split"] for row in rows(tmp_path / "out").values()}) == 1


def test_what_does_not_meet_is_told(scans, tmp_path):
    (scans / "link.png").symlink_to("/etc/hostname")
    (scans / "broken.dcm").write_bytes(b"\0" * 128 + b"DICMxx")
    (scans / "list.csv").write_text(
        "file;caption\na.png;One.\na.png;Again.\n./a.png;Again.\nnone.png;Two.\n../out.png;Three.\n/etc/x.png;Four.\n"
        ";Five.\nlink.png;Six.\nC:\\x.png;Seven.\ndeep\\c.TIFF;Windows.\nd;No suffix.\nbroken.dcm;Eight.\n"
        + "x" * 5000
        + ";Y.\n"
    )
    result = build([scans], tmp_path / "out")
    assert sorted(rows(tmp_path / "out")) == ["a.png", "d.dcm", "deep/c.TIFF"]
    assert result["figures"]["excluded"] == {"duplicate_row": 2, "image_missing": 3, "path_outside": 4,
                                             "no_caption_row": 1, "dicom_without_pixels": 1}  # fmt: skip
    assert result["figures"]["in"] == 14
    told = excluded(tmp_path / "out")
    assert told["no row of the CSV names b.jpg"] == "no_caption_row"
    assert told["list.csv, row 5"] == "path_outside"


@pytest.mark.parametrize("delimiter", [",", ";", "\t", "|"])
@pytest.mark.parametrize("encoding", ["utf-8", "utf-8-sig", "latin-1"])
def test_how_tables_are_written(scans, tmp_path, delimiter, encoding, capsys):
    caption = 'Größe "3" mm,\nzweite; Zeile\t|'
    with (scans / "list.csv").open("w", encoding=encoding, newline="") as stream:
        writer = csv.writer(stream, delimiter=delimiter)
        writer.writerows([("Caption", "Image"), (caption, "a.png"), (), ("x", "b.jpg")])
    build([scans], tmp_path / "out")
    assert rows(tmp_path / "out")["a.png"]["fig_caption"] == " ".join(caption.split())
    assert ("not in UTF-8" in capsys.readouterr().err) == (encoding == "latin-1")


def test_a_table_alone_and_pictures_elsewhere(scans, tmp_path):
    (tmp_path / "lists").mkdir()
    path = tmp_path / "lists" / "list.tsv"
    path.write_text("path\treport\na.png\tOne.\n")
    result = build([path], tmp_path / "out", images=scans)
    assert result["figures"]["kept"] == 1
    assert build([path], tmp_path / "two")["figures"]["excluded"] == {"image_missing": 1}
    with pytest.raises(InputError, match="no folder"):
        build([path], tmp_path / "three", images=path)


def test_parts_give_the_same_as_one(scans, tmp_path, monkeypatch):
    names = ["a.png", "b.jpg", "deep/c.TIFF", "d.dcm"]
    (scans / "list.csv").write_text("file,caption\n" + "".join(f'{name},"A\nB."\n' for name in names * 3))
    whole = build([scans], tmp_path / "one")
    monkeypatch.setattr(reader, "PART", 2)
    assert len(reader.list_items(scans)[0]) == 6
    assert build([scans], tmp_path / "two", workers=2)["hash"] == whole["hash"]
    assert whole["figures"]["excluded"] == {"duplicate_row": 8}


def test_a_new_picture_makes_another_corpus(scans, tmp_path):
    (scans / "list.csv").write_text("file,caption\na.png,One.\ne.png,Two.\n")
    build([scans], tmp_path / "out")
    (scans / "e.png").write_bytes(encoded(pixels(7)))
    with pytest.raises(InputError, match="sources changed"):
        build([scans], tmp_path / "out")


@pytest.mark.parametrize("make", ["open quote", "long line", "utf-16", "no table", "no rows", "other columns"])
def test_tables_that_cannot_be_read(scans, tmp_path, make):
    path = scans / "list.csv"
    if make == "open quote":
        path.write_text('file,caption\na.png,"One.\n' + "b.jpg,Two.\n" * 200_000)
    elif make == "long line":
        path.write_text("file,caption\na.png," + "x" * 5_000_000)
    elif make == "utf-16":
        path.write_text("file,caption\na.png,One.\n", encoding="utf-16")
    elif make == "no rows":
        scans = tmp_path / "other"
        scans.mkdir()
        (scans / "list.csv").write_text("file,caption\n")
    elif make == "other columns":
        path.write_text("name,words\na.png,One.\n")
    with pytest.raises(InputError) as caught:
        build([scans], tmp_path / "out")
    assert "\n" not in str(caught.value)
    assert str(scans) in str(caught.value)
    assert make != "other columns" or "list.csv does not name the columns" in str(caught.value)
    assert not (tmp_path / "out").exists()


def test_pictures_that_are_none(scans, tmp_path):
    (scans / "a.png").write_bytes(b"no picture")
    (scans / "deep" / "c.TIFF").write_bytes(encoded(Image.new("1", (20_000, 20_000))))
    (scans / "list.csv").write_text("file,caption\na.png,One.\ndeep/c.TIFF,Two.\nb.jpg," + "x" * 60_000 + "\n")
    excluded = build([scans], tmp_path / "out")["figures"]["excluded"]
    assert excluded == {"image_broken": 1, "image_too_large": 1, "text_too_long": 1, "no_caption_row": 1}


def test_a_deflated_dicom_that_grows(scans, tmp_path, monkeypatch):
    monkeypatch.setattr("llavamed.corpus.dicom.MAX_INFLATED", 10_000)
    path = dicom(tmp_path / "in" / "x.dcm", np.zeros((100, 100)))
    found = dcmread(path)
    found.file_meta.TransferSyntaxUID = DeflatedExplicitVRLittleEndian
    found.save_as(path)
    (tmp_path / "in" / "c.csv").write_text("file,caption\nx.dcm,A scan.\n")
    assert build([tmp_path / "in"], tmp_path / "out")["figures"]["excluded"] == {"image_too_large": 1}
    monkeypatch.undo()
    assert build([tmp_path / "in"], tmp_path / "two")["figures"]["kept"] == 1
