"""WebDataset shards in the layouts that are published, and archives that mean harm."""

import gzip
import json
import tarfile
import time

import pyarrow.parquet as pq
import pytest
from packages import archive, encoded, fig, jats, pixels

from llavamed import storage
from llavamed.corpus.build import build
from llavamed.corpus.sources import archives, webdataset

JPEG = encoded(pixels(1), "JPEG")


def shard(path, members, mode="w"):
    return archive(path, members, mode)


def samples(n, begin=0):
    return [member for i in range(begin, begin + n) for member in (
        (f"{i:05d}.jpg", encoded(pixels(i), "JPEG")), (f"{i:05d}.txt", f"Caption {i}.".encode()))]  # fmt: skip


def rows(out):
    return {row["pair_id"]: row for row in storage.read_rows(out)}


def excluded(out):
    paths = sorted((out / "excluded").glob("*.parquet"))
    return [row for path in paths for row in pq.read_table(path).to_pylist()]


def test_biomedica(tmp_path):
    about = {
        "image_cluster_id": "f1",
        "image_context": {"f1": ['<p>As <xref ref-type="fig">Fig 1</xref> shows.</p>'], "f2": ["<p>Other.</p>"]},
        "article_accession_id": "PMC123456", "article_title": "A title",
        "article_journal": "J Test", "article_date": "1500000000", "article_license": "CC BY-NC",
        "article_subject": ["Research Article"], "image_primary_label": ["Clinical imaging"],
    }  # fmt: skip
    key = "0-PMC123456-0-f1"
    shard(tmp_path / "in" / "commercial" / "0.tar", [
        (f"{key}.jpg", JPEG), (f"{key}.json", json.dumps(about).encode()), (f"{key}.txt", b"A CT scan.")])  # fmt: skip
    result = build([tmp_path / "in"], tmp_path / "out")
    assert result["figures"] == {"in": 1, "kept": 1, "excluded": {}}
    row = rows(tmp_path / "out")[key]
    assert {key: row[key] for key in ("pmcid", "title", "journal", "year", "published", "licence", "fig_caption")} == {
        "pmcid": "PMC123456", "title": "A title", "journal": "J Test", "year": 2017, "published": "2017-07-14",
        "licence": "CC-BY-NC", "fig_caption": "A CT scan.",
    }  # fmt: skip
    assert row["in_text_mention"] == ["As Fig 1 shows."]
    assert row["subjects"] == ["Research Article"]
    assert row["source"] == f"commercial/0.tar/{key}"


def test_open_pmc(tmp_path):
    about = {"PMC_ID": "PMC77", "image": "train-0000-000000.jpg", "sub_caption": "Only this.", "full_caption": "Both.",
             "intext_refs_summary": "", "intext_refs": "See Fig 1.", "modality": "R"}  # fmt: skip
    key = "train-0000-000000"
    path = shard(tmp_path / "0.tar", [(f"{key}.jpg", JPEG), (f"{key}.jsonl", json.dumps(about).encode() + b"\n")])
    build([path], tmp_path / "out")
    row = rows(tmp_path / "out")["train-0000-000000"]
    assert (row["pmcid"], row["fig_caption"], row["in_text_mention"]) == ("PMC77", "Only this.", ["See Fig 1."])


@pytest.mark.parametrize("mode", ["w", "w:gz"])
@pytest.mark.parametrize("form", [tarfile.GNU_FORMAT, tarfile.PAX_FORMAT])
def test_parts_give_the_same_as_one(tmp_path, monkeypatch, mode, form):
    monkeypatch.setattr(tarfile.TarFile, "format", form)
    suffix = ".tar.gz" if mode == "w:gz" else ".tar"
    long = [("deep/" * 40 + name, data) for name, data in samples(3, 50)]
    path = shard(tmp_path / f"x{suffix}", samples(20) + long, mode)
    whole = build([path], tmp_path / "one")
    monkeypatch.setattr(webdataset, "PART", 4)
    assert [item.figures for item in webdataset.list_items(path)[0]] == [4] * 5 + [3]
    assert build([path], tmp_path / "two")["hash"] == whole["hash"]
    assert whole["figures"]["kept"] == 23


def test_articles_and_samples_are_told_apart(tmp_path):
    article = [("d/a.nxml", jats(fig(1), ids="pmc:5")), ("d/g1.jpg", JPEG)]
    for name, mode in (("PMC5.tar", "w"), ("PMC5.tar.gz", "w:gz")):
        result = build([shard(tmp_path / name, article, mode)], tmp_path / f"out-{name}")
        assert (result["articles"], result["figures"]["kept"]) == (1, 1)
    shard(tmp_path / "in" / "PMC5.tar", article)
    assert build([tmp_path / "in"], tmp_path / "three")["articles"] == 1


def test_bad_samples_among_good_ones(tmp_path):
    (tmp_path / "secret.jpg").write_bytes(JPEG)
    path = shard(tmp_path / "x.tar", [
        *samples(2), ("alone.txt", b"No picture."), ("words.jpg", encoded(pixels(7), "JPEG")),
        ("../out.jpg", JPEG), ("../out.txt", b"Out."), ("link.jpg", "../secret.jpg"), ("link.txt", b"Link."),
        ("json.jpg", JPEG), ("json.json", b"{no json"), ("bad.jpg", b"no jpeg"), ("bad.txt", b"Bad."),
        ("long.jpg", JPEG), ("long.txt", b"x" * 60_000), (".hidden.jpg", JPEG),
        ("latin.jpg", encoded(pixels(8), "JPEG")),
        ("latin.txt", b"Gr\xf6\xdfe"), ("list.jpg", encoded(pixels(9), "JPEG")),
        ("list.json", b"[1]"), ("list.txt", b"L."),
    ])  # fmt: skip
    result = build([path], tmp_path / "out")
    assert result["figures"]["excluded"] == {"image_missing": 2, "unsafe_archive": 1, "record_broken": 1,
                                             "image_broken": 1, "text_too_long": 1}  # fmt: skip
    assert sorted(rows(tmp_path / "out")) == ["00000", "00001", "latin", "list", "words"]
    assert rows(tmp_path / "out")["words"]["fig_caption"] == ""
    assert not list(tmp_path.rglob("out.jpg"))


@pytest.mark.parametrize("suffix", [".tar", ".tar.gz"])
@pytest.mark.parametrize("harm", ["cut", "cut header", "garbage"])
def test_broken_archives_tell_what_is_lost(tmp_path, suffix, harm):
    data = shard(tmp_path / "whole.tar", samples(30)).read_bytes()
    with tarfile.open(tmp_path / "whole.tar") as tar:
        middle = tar.getmembers()[30]
    if harm == "cut":
        data = data[: middle.offset_data + 100]
    elif harm == "cut header":
        data = data[: middle.offset + 100]
    else:
        data = data[: middle.offset] + b"\x01" * 512 + data[middle.offset + 512 :]
    path = tmp_path / f"x{suffix}"
    path.write_bytes(gzip.compress(data) if suffix == ".tar.gz" else data)
    result = build([path], tmp_path / "out")
    assert result["articles_excluded"] == {"archive_broken": 1}
    assert result["figures"]["kept"] == 15
    assert sum(result["figures"]["excluded"].values()) <= 1


def test_an_archive_that_grows(tmp_path, monkeypatch):
    monkeypatch.setattr(archives, "MAX_UNPACKED", 1_000_000)
    path = shard(tmp_path / "x.tar.gz", [*samples(2), ("bomb.bin", bytes(5_000_000)), *samples(1, 5)], "w:gz")
    result = build([path], tmp_path / "out")
    assert result["articles_excluded"] == {"archive_too_large": 1}
    assert result["figures"]["kept"] == 2


def test_hostile_headers(tmp_path):
    good = shard(tmp_path / "good.tar", samples(2)).read_bytes()
    began = time.process_time()
    for name, size, kind, reason in (
        ("negative", -1024, tarfile.REGTYPE, "archive_broken"),
        ("huge", 2**60, tarfile.REGTYPE, "archive_broken"),
        ("names", 2_000_000, tarfile.XHDTYPE, "archive_too_large"),
    ):
        info = tarfile.TarInfo("x.jpg")
        info.type = kind
        head = bytearray(info.tobuf(tarfile.GNU_FORMAT))
        head[124:136] = (size & (2**96 - 1) if size < 0 else size | 1 << 95).to_bytes(12, "big")
        head[148:156] = b"        "
        head[148:156] = b"%06o\0 " % sum(head)
        path = tmp_path / f"{name}.tar"
        path.write_bytes(good.rstrip(b"\0") + bytes(-len(good.rstrip(b"\0")) % 512) + bytes(head) + good)
        result = build([path], tmp_path / f"out-{name}")
        assert result["articles_excluded"] == {reason: 1}
        assert result["figures"]["kept"] == 2
    assert time.process_time() - began < 5
