"""One folder is one kind of source; what would be passed over is an error."""

import gzip
import json

import pyarrow as pa
import pyarrow.parquet as pq
import pytest
from packages import archive, encoded, fig, jats, package, pixels

from llavamed.corpus.build import build
from llavamed.errors import InputError

JPEG = encoded(pixels(1), "JPEG")


def parquet(folder):
    pq.write_table(pa.table({"image": [JPEG], "caption": ["A scan."]}), folder / "p.parquet")


def shards(folder):
    archive(folder / "s.tar", {"0.jpg": JPEG, "0.txt": b"A scan."}, "w")


def articles(folder):
    (folder / "PMC1.nxml").write_bytes(jats(fig(1), ids="pmc:1"))


def packed_article(folder):
    archive(folder / "PMC2.tar.gz", {"d/a.nxml": jats(fig(1), ids="pmc:2"), "d/g1.jpg": JPEG})


def unnamed_article(folder):
    archive(folder / "x.tar.gz", {"d/g1.jpg": JPEG, "d/a.xml": jats(fig(1), ids="pmc:2")})


def table(folder):
    (folder / "c.csv").write_text("file,caption\nx.jpg,A scan.\n")
    (folder / "x.jpg").write_bytes(JPEG)


def lines(folder):
    (folder / "c.jsonl").write_text(json.dumps({"image": "x.jpg", "caption": "A scan."}))
    (folder / "x.jpg").write_bytes(JPEG)


def corpus(folder):
    package(folder.parent.parent / "src", "PMC7")
    build([folder.parent.parent / "src"], folder)


@pytest.mark.parametrize(
    "kinds",
    [
        {articles: "PMC1.nxml", parquet: "p.parquet"},
        {articles: "PMC1.nxml", shards: "s.tar"},
        {packed_article: "PMC2.tar.gz", shards: "s.tar"},
        {unnamed_article: "x.tar.gz", shards: "s.tar"},
        {parquet: "p.parquet", shards: "s.tar"},
        {table: "c.csv", lines: "c.jsonl"},
        {table: "c.csv", articles: "PMC1.nxml"},
        {articles: "PMC1.nxml", corpus: "manifest.json"},
        {lines: "c.jsonl", corpus: "manifest.json"},
    ],
    ids=lambda kinds: "-".join(kind.__name__ for kind in kinds),
)
@pytest.mark.parametrize("deep", [False, True])
def test_two_kinds_in_a_folder_are_refused(tmp_path, kinds, deep):
    for kind in kinds:
        place = tmp_path / "in" / kind.__name__ if deep or kind is corpus else tmp_path / "in"
        place.mkdir(parents=True, exist_ok=True)
        kind(place)
    with pytest.raises(InputError, match="several sources") as error:
        build([tmp_path / "in"], tmp_path / "out")
    assert all(name in str(error.value) for name in kinds.values())


@pytest.mark.parametrize(("kind", "file"), [(table, "c.csv"), (lines, "c.jsonl"), (corpus, "manifest.json")])
def test_a_list_or_a_corpus_further_below_is_named(tmp_path, kind, file):
    place = tmp_path / "in" / "deep"
    place.mkdir(parents=True)
    kind(place)
    with pytest.raises(InputError, match=f"deep/{file} .*: name {place} as"):
        build([tmp_path / "in"], tmp_path / "out")
    assert build([place], tmp_path / "out")["figures"]["kept"] > 0


def test_what_lies_with_an_article_is_no_second_source(tmp_path):
    place = package(tmp_path / "in", "PMC1")
    (place / "supplement").mkdir()
    for kind in (parquet, shards, table, lines):
        kind(place)
        kind(place / "supplement")
    package(tmp_path / "in", "PMC2")
    result = build([tmp_path / "in"], tmp_path / "out")
    assert (result["articles"], result["figures"]["in"], result["figures"]["kept"]) == (2, 4, 4)
    assert result["articles_excluded"] == {"no_article": 2}  # archives are looked into


def test_strays_are_no_second_source(tmp_path):
    """An archive of who knows what, XML and JSON of other programs, a table without captions."""
    for kind in (articles, parquet, table):
        place = tmp_path / kind.__name__
        place.mkdir()
        kind(place)
        (place / "notes.tar.gz").write_bytes(gzip.compress(b"hello"))
        archive(place / "pictures.tar", {"a.jpg": JPEG}, "w")
        (place / "settings.xml").write_text("<settings/>")
        (place / "sizes.json").write_text('{"image": 3}')
        (place / "table.csv").write_text("a,b\n1,2\n")
        (place / "wide.csv").write_text("a,b\n1,2\n", encoding="utf-16")
        (place / "sub").mkdir()
        (place / "sub" / "manifest.json").write_text('{"kind": "corpus"}')
    assert build([tmp_path / "parquet"], tmp_path / "p")["figures"]["kept"] == 1
    assert build([tmp_path / "table"], tmp_path / "t")["figures"]["kept"] == 1
    told = build([tmp_path / "articles"], tmp_path / "a")["articles_excluded"]
    assert told == {"archive_broken": 1, "no_article": 1, "not_jats": 1}


def test_the_corpus_that_is_written_is_no_source(tmp_path):
    package(tmp_path / "in", "PMC1")
    first = build([tmp_path / "in"], tmp_path / "in" / "out")
    assert build([tmp_path / "in"], tmp_path / "in" / "out") == first
