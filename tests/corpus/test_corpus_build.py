import errno
import gzip
import io
import lzma
import os
import re
import shutil
from pathlib import Path

import pytest
from packages import archive, cite, encoded, fig, jats, package, pixels
from PIL import Image

from llavamed import artifact, storage
from llavamed.corpus import problem
from llavamed.corpus.build import build
from llavamed.corpus.schema import split_of
from llavamed.errors import InputError
from llavamed.verify import rehash


def rows(folder, prefix="data"):
    return list(storage.read_rows(folder, prefix))


def figures(folder, reason=None):
    found = [r for path in sorted((folder / "excluded").glob("figures-*")) for r in _read(path)]
    return [r for r in found if reason in (None, r["reason"])]


def articles(folder):
    return [r for path in sorted((folder / "excluded").glob("articles-*")) for r in _read(path)]


def _read(path):
    import pyarrow.parquet as pq

    return pq.read_table(path).to_pylist()


@pytest.fixture
def src(tmp_path):
    folder = tmp_path / "src"
    package(folder, "PMC1")
    package(folder / "deep" / "er", "PMC2", n=3)
    return folder


def test_packages_at_any_depth(src, tmp_path):
    result = build([src], tmp_path / "out")
    assert result["articles"] == 2
    assert result["figures"] == {"in": 5, "kept": 5, "excluded": {}}
    assert result["images"] == 5
    found = {row["pair_id"]: row for row in rows(tmp_path / "out")}
    assert sorted(found) == ["PMC1_F1", "PMC1_F2", "PMC2_F1", "PMC2_F2", "PMC2_F3"]
    row = found["PMC1_F2"]
    assert row["in_text_mention"] == ["Seen (Fig. 2)."]
    assert row["split"] == split_of("PMC1")
    assert row["modality"][0]["name"] == "chest_xray"
    assert row["domain"]["chest_xray"]
    assert row["single_plot"]
    with Image.open(io.BytesIO(row["image"]["bytes"])) as image:
        assert image.size == (row["width"], row["height"]) == (48, 48)


def test_manifest_counts_and_histograms_follow_from_the_tables(src, tmp_path):
    build([src], tmp_path / "out")
    manifest = artifact.read_manifest(tmp_path / "out")
    assert manifest["kind"] == "corpus"
    assert manifest["counts"]["figures"]["in"] == 5
    assert manifest["histograms"]["licence"] == {"CC-BY-4.0": 5}
    assert manifest["histograms"]["modality"] == {"chest_xray": 5}
    assert manifest["histograms"]["year"] == {"2019": 5}
    assert sum(manifest["histograms"]["split"].values()) == 5
    assert sum(manifest["histograms"]["collected"].values()) == 5
    assert rehash(tmp_path / "out") == []


def test_collected_is_the_files_date(src, tmp_path):
    for path in src.rglob("*.nxml"):
        os.utime(path, (0, 86400 * 365))
    build([src], tmp_path / "out")
    assert artifact.read_manifest(tmp_path / "out")["histograms"]["collected"] == {"1971-01-01": 5}


def test_content_does_not_depend_on_the_place_or_workers(src, tmp_path):
    for n in range(3, 40):
        package(src, f"PMC{n}", n=1)
    one = build([src], tmp_path / "one")
    shutil.copytree(src, tmp_path / "elsewhere" / "src")
    two = build([tmp_path / "elsewhere" / "src"], tmp_path / "two", workers=2)
    assert one["hash"] == two["hash"]
    assert one["figures"]["in"] == 42


def test_again_changes_nothing(src, tmp_path):
    first = build([src], tmp_path / "out")
    before = {path: path.stat().st_mtime_ns for path in (tmp_path / "out").rglob("*")}
    assert build([src], tmp_path / "out") == first
    assert {path: path.stat().st_mtime_ns for path in (tmp_path / "out").rglob("*")} == before
    with pytest.raises(InputError):
        build([src], tmp_path / "out", max_side=64)
    assert build([src], tmp_path / "out", max_side=32, force=True)["hash"] != first["hash"]


def test_load_dataset_shows_pictures(src, tmp_path):
    from datasets import load_dataset

    build([src], tmp_path / "out")
    loaded = load_dataset(str(tmp_path / "out"), cache_dir=str(tmp_path / "cache"))
    assert sum(len(split) for split in loaded.values()) == 5
    split = next(iter(loaded.values()))
    assert split[0]["image"].size == (48, 48)


def test_archive(tmp_path):
    members = {"dir/a.nxml": jats(fig(1), ids="pmc:5"), "dir/g1.gif": encoded(pixels(), "GIF")}
    members["dir/g1.jpg"] = encoded(pixels(side=60), "JPEG")
    path = archive(tmp_path / "PMC5.tar.gz", members)
    build([path], tmp_path / "out")
    (row,) = rows(tmp_path / "out")
    assert (row["pair_id"], row["width"]) == ("PMC5_F1", 60)


GOOD = {"d/a.nxml": jats(fig(1), ids="pmc:5"), "d/g1.jpg": encoded(pixels(), "JPEG")}


@pytest.mark.parametrize("member", ["../evil.jpg", "/etc/evil.jpg", "d/../../evil.jpg", "C:\\evil.jpg"])
def test_archive_member_outside(tmp_path, member):
    path = archive(tmp_path / "PMC5.tar.gz", {**GOOD, member: b"x"})
    result = build([path], tmp_path / "out")
    assert result["articles_excluded"] == {"unsafe_archive": 1}
    assert result["figures"] == {"in": 1, "kept": 0, "excluded": {"unsafe_archive": 1}}
    assert member in articles(tmp_path / "out")[0]["detail"]
    assert not list(tmp_path.rglob("evil*"))


def test_links_are_not_followed(tmp_path):
    (tmp_path / "secret.jpg").write_bytes(encoded(pixels(), "JPEG"))
    inside = archive(tmp_path / "PMC5.tar.gz", {"d/a.nxml": GOOD["d/a.nxml"], "d/g1.jpg": "other.jpg"})
    assert build([inside], tmp_path / "one")["figures"]["excluded"] == {"image_missing": 1}
    outside = archive(tmp_path / "PMC6.tar.gz", {"d/a.nxml": GOOD["d/a.nxml"], "d/g1.jpg": "../../secret.jpg"})
    assert build([outside], tmp_path / "two")["figures"]["excluded"] == {"unsafe_archive": 1}
    folder = package(tmp_path / "src", "PMC7", n=1)
    (folder / "g1.jpg").unlink()
    (folder / "g1.jpg").symlink_to(tmp_path / "secret.jpg")
    assert build([folder], tmp_path / "three")["figures"]["excluded"] == {"image_missing": 1}


@pytest.mark.parametrize("cut", [10, 300, -20, -4])
def test_truncated_archive(tmp_path, cut):
    data = archive(tmp_path / "PMC5.tar.gz", GOOD).read_bytes()
    (tmp_path / "PMC5.tar.gz").write_bytes(data[:cut])
    package(tmp_path / "ok", "PMC1")
    result = build([tmp_path / "PMC5.tar.gz", tmp_path / "ok"], tmp_path / "out")
    assert result["articles_excluded"] == {"archive_broken": 1}
    assert result["figures"]["kept"] == 2
    assert "PMC5.tar.gz" in articles(tmp_path / "out")[0]["source"]


@pytest.mark.parametrize("suffix", ["tar", "tgz", "tar.bz2", "tar.xz", "TAR.GZ"])
def test_every_packing_of_an_archive(tmp_path, suffix):
    members = {"a/a.nxml": jats(fig(1), ids="pmc:5"), "a/g1.jpg": GOOD["d/g1.jpg"],
               "b/b.xml": jats(fig(1, graphic="b1"), ids="pmc:6"), "b/b1.jpg": encoded(pixels(3), "JPEG")}  # fmt: skip
    kind = {"tgz": "gz", "TAR.GZ": "gz"}.get(suffix, suffix.removeprefix("tar").removeprefix("."))
    archive(tmp_path / "in" / f"some.{suffix}", members, f"w:{kind}")
    result = build([tmp_path / "in"], tmp_path / "out")
    assert (result["articles"], result["figures"]) == (2, {"in": 2, "kept": 2, "excluded": {}})


@pytest.mark.parametrize("suffix", ["tar", "tar.gz", "tar.xz"])
@pytest.mark.parametrize("harm", ["header", "joined"])
def test_what_stands_behind_the_end_of_an_archive_is_told(tmp_path, suffix, harm):
    """`tarfile` takes a broken header, and the end of the first of two, for the end of all."""
    data = archive(tmp_path / "PMC5.tar", GOOD, "w").read_bytes()
    other = archive(tmp_path / "PMC6.tar", {"e/b.nxml": jats(fig(1), ids="pmc:6")}, "w").read_bytes()
    bad = data.rstrip(b"\0") + bytes(-len(data.rstrip(b"\0")) % 512) + b"\x01" * 512
    data = (bad if harm == "header" else data) + other
    pack = {"tar": bytes, "tar.gz": gzip.compress, "tar.xz": lzma.compress}[suffix]
    (tmp_path / "in").mkdir()
    (tmp_path / "in" / f"PMC5.{suffix}").write_bytes(pack(data))
    result = build([tmp_path / "in"], tmp_path / "out")
    assert (result["articles"], result["articles_excluded"]) == (0, {"archive_broken": 1})
    assert "no header at byte" in articles(tmp_path / "out")[0]["detail"]


def test_archive_without_an_article_and_no_archive_at_all(tmp_path):
    archive(tmp_path / "src.tar.gz", {"a.txt": b"x"})
    (tmp_path / "other.tar.gz").write_bytes(gzip.compress(b"hello"))
    (tmp_path / "third.tgz").write_bytes(b"hello")
    result = build([tmp_path], tmp_path / "elsewhere" / "out")
    assert result["articles_excluded"] == {"archive_broken": 2, "no_article": 1}


def test_archive_that_grows(tmp_path, monkeypatch):
    monkeypatch.setattr("llavamed.corpus.sources.archives.MAX_UNPACKED", 10_000)
    path = archive(tmp_path / "PMC5.tar.gz", {**GOOD, "d/movie.avi": bytes(20_000)})
    assert build([path], tmp_path / "out")["articles_excluded"] == {"archive_too_large": 1}


def test_bare_xml_keeps_the_text(tmp_path):
    (tmp_path / "PMC5.nxml").write_bytes(jats(f"<p>See {cite(1)}.</p>" + fig(1, "A mass.") + fig(2, graphic="")))
    result = build([tmp_path / "PMC5.nxml"], tmp_path / "out")
    assert result["figures"] == {"in": 2, "kept": 0, "excluded": {"image_missing": 1, "no_graphic": 1}}
    (row,) = figures(tmp_path / "out", "image_missing")
    assert (row["fig_caption"], row["in_text_mention"], row["pair_id"]) == ("A mass.", ["See Fig. 1."], "88_F1")
    assert rows(tmp_path / "out") == []
    assert (tmp_path / "out" / "data" / "train-00000.parquet").exists()


def test_bad_articles_among_good_ones(src, tmp_path):
    (src / "empty.nxml").touch()
    (src / "page.xml").write_bytes(b"<html/>")
    (src / "cut.nxml").write_bytes(jats(fig(1))[:-50])
    result = build([src], tmp_path / "out")
    assert result["articles_excluded"] == {"empty_file": 1, "not_jats": 1, "not_xml": 1}
    assert result["figures"]["kept"] == 5
    assert {row["source"] for row in articles(tmp_path / "out")} == {"empty.nxml", "page.xml", "cut.nxml"}
    assert all(row["fig_id"] is None for row in articles(tmp_path / "out"))


def test_bad_images(tmp_path):
    folder = package(tmp_path / "src", "PMC1", n=5)
    data = (folder / "g1.jpg").read_bytes()
    (folder / "g1.jpg").write_bytes(data[: len(data) // 2])
    (folder / "g2.jpg").rename(folder / "g2.eps")
    (folder / "g3.jpg").write_bytes(encoded(Image.new("1", (20_000, 20_000))))
    (folder / "g4.jpg").unlink()
    excluded = build([folder], tmp_path / "out")["figures"]["excluded"]
    assert excluded == {"image_broken": 1, "vector_image": 1, "image_too_large": 1, "image_missing": 1}
    assert "g1.jpg" in figures(tmp_path / "out", "image_broken")[0]["detail"]


def test_the_next_best_image_where_the_best_is_broken(tmp_path):
    folder = package(tmp_path / "src", "PMC1", n=1)
    (folder / "g1.tif").write_bytes(b"II*\0broken")
    assert build([folder], tmp_path / "out")["figures"]["kept"] == 1


def test_same_article_twice(tmp_path):
    folder = package(tmp_path / "src", "PMC1")
    (folder / "again.nxml").write_bytes((folder / "PMC1.nxml").read_bytes())
    (tmp_path / "bare").mkdir()
    shutil.copy(folder / "PMC1.nxml", tmp_path / "bare" / "PMC1.nxml")
    archive(tmp_path / "PMC1.tar.gz", {"x/y.nxml": jats(fig(1), ids="pmc:1"), "x/g1.jpg": GOOD["d/g1.jpg"]})
    sources = [tmp_path / "bare", tmp_path / "src", tmp_path / "PMC1.tar.gz"]
    result = build(sources, tmp_path / "out")
    assert result["articles"] == 1
    assert result["articles_excluded"] == {"duplicate_article": 3}
    assert result["figures"] == {"in": 7, "kept": 2, "excluded": {"duplicate_article": 5}}


def test_latest_version_is_kept(tmp_path):
    for version in (2, 10):
        package(tmp_path / "src", f"PMC7.{version}", n=version // 2, xml=None)
        path = tmp_path / "src" / f"PMC7.{version}" / f"PMC7.{version}.nxml"
        path.write_bytes(path.read_bytes().replace(f">{7}{version}<".encode(), b">7<"))
    result = build([tmp_path / "src"], tmp_path / "out")
    assert result["figures"] == {"in": 6, "kept": 5, "excluded": {"duplicate_article": 1}}


def test_articles_without_ids_get_ids_of_their_own(tmp_path):
    for name in ("a", "b"):
        folder = package(tmp_path / "src" / name, "main", n=1, xml=jats(fig(1), ids=""))
        assert folder.exists()
    package(tmp_path / "src" / "c", "other", n=1, xml=jats(fig(1), ids="doi:10.1000/x/y"))
    build([tmp_path / "src"], tmp_path / "out", duplicates="keep")
    assert sorted(r["pair_id"] for r in rows(tmp_path / "out")) == ["10.1000_x_y_F1", "main-2_F1", "main_F1"]


def test_images_beside_in_a_folder_of_their_own(tmp_path):
    folder = package(tmp_path / "src", "PMC1", n=1)
    (folder / "images").mkdir()
    (folder / "g1.jpg").rename(folder / "images" / "G1.JPG")
    assert build([folder / "PMC1.nxml"], tmp_path / "out")["figures"]["kept"] == 1


def test_file_names_that_are_no_text(tmp_path):
    package(tmp_path / "src", "PMC1", n=1)
    (tmp_path / "src" / "PMC1").rename(tmp_path / "src" / os.fsdecode(b"caf\xe9"))
    (tmp_path / "src" / "empty.xml").touch()
    (tmp_path / "src" / "empty.xml").rename(tmp_path / "src" / os.fsdecode(b"\xff.xml"))
    assert build([tmp_path / "src"], tmp_path / "out")["figures"]["kept"] == 1
    assert articles(tmp_path / "out")[0]["source"] == "?.xml"


def test_thousands_of_files_in_one_folder(tmp_path):
    for n in range(1000):
        (tmp_path / f"g{n}.jpg").write_bytes(b"x")
        (tmp_path / f"a{n}.xml").write_bytes(jats(fig(n), ids=f"pmc:{n}"))
    result = build([tmp_path], tmp_path / "out")
    assert result["figures"]["excluded"] == {"image_broken": 1000}


def test_unpacked_is_kept_rather_than_its_archive(tmp_path):
    (tmp_path / "PMC1.tar.gz").write_bytes(b"broken")
    package(tmp_path / "src", "PMC1")
    assert build([tmp_path / "PMC1.tar.gz", tmp_path / "src"], tmp_path / "out")["figures"]["kept"] == 2


def test_reads_an_articles_artifact(src, tmp_path):
    job = artifact.start(tmp_path / "articles", "articles", {})
    shutil.copytree(src, job.out / "data")
    with pytest.raises(InputError, match="unfinished"):
        build([tmp_path / "articles"], tmp_path / "out")
    artifact.publish(job, counts={})
    result = build([tmp_path / "articles"], tmp_path / "out")
    assert result["figures"]["kept"] == 5
    (parent,) = artifact.read_manifest(tmp_path / "out")["parents"]
    assert parent["manifest"]["kind"] == "articles"
    job = artifact.start(tmp_path / "other", "alignment", {})
    artifact.publish(job, counts={})
    with pytest.raises(InputError, match="kind"):
        build([tmp_path / "other"], tmp_path / "third")


@pytest.mark.parametrize("make", ["missing", "empty", "wrong file", "nothing"])
def test_bad_sources(tmp_path, make):
    path = tmp_path / "in"
    if make == "empty":
        path.mkdir()
    elif make == "wrong file":
        path = tmp_path / "in.pdf"
        path.touch()
    with pytest.raises(InputError) as caught:
        build([] if make == "nothing" else [path], tmp_path / "out")
    assert "\n" not in str(caught.value)
    assert not (tmp_path / "out").exists()


def test_a_corpus_is_not_read_into_itself(src, tmp_path):
    assert build([src], src / "out") == build([src], src / "out")  # articles alone are read there
    (tmp_path / "other").mkdir()
    shutil.copytree(src / "out" / "data", tmp_path / "other" / "parquet")
    with pytest.raises(InputError, match="lies inside a source"):
        build([tmp_path / "other"], tmp_path / "other" / "a"), build([tmp_path / "other"], tmp_path / "other" / "a")


def test_a_folder_that_cannot_be_listed_is_told(src, tmp_path, monkeypatch):
    def scandir(path, real=os.scandir):
        if Path(path).name == "PMC2":
            raise PermissionError(errno.EACCES, "Permission denied", str(path))
        return real(path)

    monkeypatch.setattr(os, "scandir", scandir)
    with pytest.raises(PermissionError, match="PMC2"):
        build([src], tmp_path / "out")


def test_result_and_reasons_are_in_one_order(src, tmp_path):
    first = build([src], tmp_path / "out")
    assert [*build([src], tmp_path / "out")["figures"]] == [*first["figures"]] == ["in", "kept", "excluded"]


def test_every_reason_has_its_meaning_in_the_documentation():
    corpus, docs = Path(problem.__file__).parent, Path(__file__).parents[2] / "docs" / "sources.md"
    code = "".join(p.read_text(encoding="utf-8") for p in [*corpus.glob("*.py"), *corpus.glob("sources/*.py")])
    assert {*re.findall(r'Problem\(\s*"(\w+)"', code)} < problem.REASONS.keys()
    table = re.findall(
        r"^\| `(\w+)` \| (.+) \|$", docs.read_text(encoding="utf-8").partition("## Reasons")[2], re.MULTILINE
    )
    assert dict(table) == problem.REASONS


def test_panel_letters_mean_several_pictures(tmp_path):
    captions = ["A mass.", "(A) A mass. (B) Another.", "Left panel: a mass.", "A. Mass. B. None.", "A man (arrow)."]
    body = "".join(fig(n, text) for n, text in enumerate(captions, start=1))
    folder = package(tmp_path / "src", "PMC1", n=5, xml=jats(body))
    build([folder], tmp_path / "out")
    assert [row["single_plot"] for row in rows(tmp_path / "out")] == [True, False, False, False, True]


def test_real_articles(data: Path, tmp_path):
    from lxml import etree

    paths = [*data.glob("articles/*/*.nxml"), *data.glob("packages/*/*.nxml"), *data.glob("packages/*/*.xml")]
    count = sum(len(etree.parse(path, etree.XMLParser()).xpath("//*[local-name()='fig']")) for path in paths) + 3
    result = build([data / "articles", data / "packages"], tmp_path / "out", workers=2)
    assert result["figures"]["in"] == count == 153
    assert result["figures"] == {"in": 153, "kept": 145, "excluded": {"duplicate_article": 8}}
    found = rows(tmp_path / "out")
    assert sum(Path(row["image"]["path"]).suffix in (".jpg", ".png") for row in found) == 145
    assert len({row["pair_id"] for row in found}) == 145
    assert all(row["licence"].startswith("CC-BY") for row in found)
