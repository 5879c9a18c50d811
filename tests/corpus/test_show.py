"""`corpus show`: counts, pictures, escaping, the same page every time, bad input."""

import io
import re
from collections import Counter
from pathlib import Path

import pytest
from lxml import html
from PIL import Image
from rich.console import Console

from llavamed import artifact, storage
from llavamed.corpus.schema import DOMAINS, EXCLUDED, FIGURES, KINDS
from llavamed.corpus.show import EXCLUDED as EXAMPLES
from llavamed.corpus.show import PICTURES, show, survey
from llavamed.errors import InputError
from llavamed.verify import rehash
from page_checks import check_safe

HOSTILE = '<script>alert("x")</script><img src="http://example.org/a.png"> [bold]not markup[/bold] {{ 1 }}'
NAMES = ("ct", "ct", "ct", "mri", "histology", None)


def figure(n: int, split: str, **more) -> dict:
    picture = io.BytesIO()
    Image.new("RGB", (400 + n % 7, 300), (n % 256, 90, 30)).save(picture, "PNG")
    kind = NAMES[n % 6]
    return {
        **{"pair_id": f"{n}_F1", "pmcid": f"PMC{n}", "title": f"Case {n}", "journal": "Cases", "language": "en"},
        **{"year": 2010 + n % 4, "licence": ("CC-BY-4.0", "CC0-1.0")[n % 2], "fig_label": "Figure 1."},
        **{"fig_caption": f"A finding in case {n}.", "in_text_mention": [f"See Figure 1 of {n}."] * (n % 4)},
        "image": {"bytes": picture.getvalue(), "path": f"{n}.png"},
        "modality": [{"name": kind, "confidence": 1.0, "source": "caption"}] if kind else [],
        "domain": {name: key == kind for name, key in DOMAINS.items()},
        "split": split,
        **more,
    }


def corpus(folder: Path, train: list[dict], test: list[dict], excluded: list[dict] = ()) -> Path:
    job = artifact.start(folder, "corpus", {})
    shards = [{"data/train": train, "excluded/figures": list(excluded)}, {"data/test": test}]
    artifact.run_shards(job, lambda tables: (tables, {}), shards, {"data": FIGURES, "excluded": EXCLUDED})
    kept, reasons = len(train) + len(test), Counter(row["reason"] for row in excluded)
    figures = {"in": kept + reasons.total(), "kept": kept, "excluded": dict(reasons)}
    artifact.publish(job, counts={"articles": {"in": kept, "kept": kept, "excluded": {}}, "figures": figures})
    return folder


@pytest.fixture(scope="module")
def folder(tmp_path_factory) -> Path:
    bad = figure(500, "train", fig_caption=HOSTILE, title=HOSTILE, fig_label=HOSTILE, licence=HOSTILE, language=HOSTILE)
    unread = figure(501, "train", image={"bytes": b"no picture", "path": "a.png"}, fig_caption=None, journal=None)
    left_out = [
        {
            "pair_id": f"{n}_F9",
            "source": f"PMC{n}.nxml",
            "reason": ("no_image", "broken_image")[n > 0],
            "detail": HOSTILE,
        }
        for n in range(90)
    ]
    train = [figure(n, "train") for n in range(100)] + [bad, unread]
    return corpus(
        tmp_path_factory.mktemp("a") / "corpus", train, [figure(n, "test") for n in range(100, 120)], left_out
    )


def texts(page: str) -> dict[str, list[list[str]]]:
    """Title of each table -> its rows."""
    found = {}
    for table in html.document_fromstring(page).iter("table"):
        title = table.find("caption")
        title = title if title is not None else table.getparent().getparent().find("figcaption")
        found[title.text_content()] = [[cell.text_content() for cell in row] for row in table.find("tbody")]
    return found


def test_page_and_terminal_show_the_counts(folder: Path):
    parts, page = show(folder)
    assert page == folder.with_name("corpus.html")
    text = page.read_text(encoding="utf-8")
    found = texts(text)
    assert found["Kept and left out"] == [["articles", "122", "122", "0"], ["figures", "212", "122", "90"]]
    assert [row[:2] for row in found["Left out: figures, by reason"]] == [["broken_image", "89"], ["no_image", "1"]]
    figures = list(storage.read_rows(folder, columns=["modality", "year", "licence"]))
    kinds = Counter(KINDS[row["modality"][0]["name"]] if row["modality"] else "not known" for row in figures)
    assert {row[0]: int(row[1]) for row in found["Kinds of image"]} == kinds
    assert [row[:2] for row in found["Years"]] == [[str(year), str(n)] for year, n in years(figures)]
    assert [row[:2] for row in found["Splits"]] == [["train", "102"], ["test", "20"]]
    console = Console(record=True, width=160, file=io.StringIO())
    console.print(*parts, sep="\n")
    said = console.export_text()
    for words in ("broken_image +89", r"CT scan +\d+", "train +102", r"\[bold\]not markup", "CC0-1.0 +61"):
        assert re.search(words, said), words


def test_page_shows_panels_flags_settings_and_dropped_tags(tmp_path):
    train = [figure(1, "train", single_plot=True), figure(2, "train", single_plot=False, flags=["part_missing"])]
    lost = [{"pair_id": "3", "source": "3.dcm", "reason": "opt_out"}]
    job = artifact.start(tmp_path / "a", "corpus", {"licences": "open", "years": None}, inputs={"opt_out": "ab12"})
    shards = [{"data/train": train, "excluded/figures": lost}]
    artifact.run_shards(job, lambda tables: (tables, {}), shards, {"data": FIGURES, "excluded": EXCLUDED})
    count = {"in": 3, "kept": 2, "excluded": {"opt_out": 1}}
    artifact.publish(job, counts={"figures": count, "panels": count}, identifying_tags_dropped={"PatientName": 7})
    page = show(tmp_path / "a")[1].read_text(encoding="utf-8")
    found = texts(page)
    assert "Corpus: 2 panels" in page
    assert found["How it was made"] == [["licences", "open"], ["opt-out", "SHA-256 ab12"]]
    assert {tuple(row[:2]) for row in found["Single or compound"]} == {("single", "1"), ("compound", "1")}
    assert found["Flags"][0][:2] == ["a part of the figure is missing", "1"]
    assert found["Identifying DICOM tags not taken over"][0][:2] == ["PatientName", "7"]
    assert found["Left out: figures, by reason"][0][0] == "opt_out: its owners opted out (--opt-out)"


def years(figures: list[dict]) -> list[tuple[int, int]]:
    return sorted(Counter(row["year"] for row in figures).items())


def test_page_is_safe_and_shows_hostile_text_as_text(folder: Path):
    text = show(folder)[1].read_text(encoding="utf-8")
    check_safe(text)
    assert "&lt;script&gt;" in text
    assert len(text) < 2_000_000


def test_gallery_is_spread_over_kinds(folder: Path):
    text = show(folder)[1].read_text(encoding="utf-8")
    cards = html.document_fromstring(text).xpath('//ul[@class="gallery"]/li')
    assert len(cards) == PICTURES
    kinds = Counter(card.xpath('string(.//ul[@class="tags"]/li[1])') for card in cards)
    assert kinds == {"CT scan": 15, "MRI scan": 15, "histology image": 15, "not known": 15}
    assert len({card.xpath("string(.//dd[last()])") for card in cards}) == PICTURES
    assert all(card.xpath(".//img/@alt") for card in cards if card.xpath(".//img"))


def test_examples_of_every_reason(folder: Path):
    rows = texts(show(folder)[1].read_text(encoding="utf-8"))["Examples"]
    assert Counter(row[0] for row in rows) == {"no_image": 1, "broken_image": EXAMPLES - 1}


def test_same_page_again_and_corpus_unchanged(folder: Path, tmp_path: Path):
    one, two = show(folder)[1], show(folder, page=tmp_path / "deep/page.html")[1]
    assert one.read_bytes() == two.read_bytes()
    assert rehash(folder) == []
    assert {p.name for p in folder.iterdir()} == {"data", "excluded", "manifest.json"}


def test_empty_corpus(tmp_path: Path):
    job = artifact.start(tmp_path / "corpus", "corpus", {})
    storage.write_table(job.out / "data/train-00000.parquet", [], FIGURES)
    artifact.publish(job, counts={"figures": {"in": 0, "kept": 0, "excluded": {}}})
    text = show(tmp_path / "corpus")[1].read_text(encoding="utf-8")
    check_safe(text)
    assert "Corpus: 0 figures" in text and "No pictures." in text and "Nothing was left out." in text
    assert survey(tmp_path / "corpus").kept == 0


def test_bad_input(folder: Path, tmp_path: Path):
    with pytest.raises(InputError, match="does not exist"):
        show(tmp_path / "none")
    with pytest.raises(InputError, match="outside the corpus"):
        show(folder, page=folder / "page.html")
    with pytest.raises(InputError, match="name a file"):
        show(folder, page=tmp_path)
    job = artifact.start(tmp_path / "scores", "scores", {})
    artifact.publish(job, counts={})
    with pytest.raises(InputError, match="kind scores"):
        show(tmp_path / "scores")
