"""`instruct show`: counts, pictures beside conversations, what was left out, the same page every time."""

import io

import pytest
from lxml import html
from rich.console import Console

from llavamed.errors import InputError
from llavamed.instruct.clean.again import clean_set
from llavamed.instruct.show import opening, show, survey
from llavamed.instruct.template import generate_template
from page_checks import check_safe
from small_set import record, said, write_conversations

HOSTILE = '<script>alert("x")</script> [bold]not markup[/bold] {{ 1 }}'
LONG = " ".join(f"part{i}" for i in range(60)) + "."
KINDS = ("ct", "mri", "histology", "plot")


@pytest.fixture
def small(tmp_path, corpus):
    train = [
        record(
            n, "train", said(("What is shown?", f"A lesion, number {n}."), ("Is it large?", "Yes.")), kind=KINDS[n % 4]
        )
        for n in range(12)
    ]
    test = [record(n, "test", said(("Describe it.", LONG))) for n in range(20, 23)]
    bad = record(50, "train", said(("What now?", f"{HOSTILE} You should see a doctor.")), kind="mri")
    bad["image"] = {"bytes": b"no picture", "path": "x.png"}
    hostile = record(51, "train", said((HOSTILE, "It is a lesion.")), kind="mri")
    return write_conversations(tmp_path / "set", [[*train, bad, hostile], test], corpus)


def printed(parts) -> str:
    out = io.StringIO()
    Console(file=out, width=160).print(*parts, sep="\n")
    return out.getvalue()


def test_what_is_counted(small):
    found = survey(small)
    assert found.of_records["Domains"] == {"CT scan": 6, "MRI scan": 5, "histology image": 3, "none of the five": 3}
    assert found.of_records["Turns of a conversation"] == {"1": 5, "2": 12}
    assert found.of_records["Splits"] == {"train": 14, "test": 3}
    assert found.of_turns["How questions open"]["what is"] == 12
    assert found.of_turns["Words of an answer"]["40-79"] == 3


def test_first_two_words():
    assert opening("<image>\nWhat's this, then?") == "what's this"
    assert opening("Why?") == "why"
    assert opening("<image>") == "(empty)"


def test_terminal_and_page_of_a_cleaned_set(small, tmp_path):
    clean_set(small, tmp_path / "out")
    parts, target = show(tmp_path / "out")
    text = printed(parts)
    assert "advice" in text
    assert "tells somebody what to do about their health" in text
    page = target.read_text(encoding="utf-8")
    check_safe(page)
    tree = html.document_fromstring(page)
    words = tree.text_content()
    assert "You should see a doctor." in words
    assert HOSTILE in words
    assert len(tree.xpath("//img")) == 16
    assert words.count("You should see a doctor.") == 1
    assert "1 of 1 that were left out" in words


def test_the_seed_draws_the_sample(small, tmp_path, monkeypatch):
    monkeypatch.setattr("llavamed.instruct.show.PICTURES", 4)
    pages = [show(small, page=tmp_path / f"{n}.html", seed=seed)[1].read_bytes() for n, seed in enumerate((0, 0, 1))]
    assert pages[0] == pages[1] != pages[2]


def test_sets_that_were_not_cleaned(corpus, tmp_path):
    generate_template(corpus, tmp_path / "set")
    parts, target = show(tmp_path / "set")
    assert "no_caption" in printed(parts)
    assert "no_caption" in target.read_text(encoding="utf-8")


def test_only_a_set_is_shown_and_never_into_it(small, corpus):
    with pytest.raises(InputError, match="kind corpus; this step reads conversations"):
        show(corpus)
    with pytest.raises(InputError, match="name a file outside the set"):
        show(small, page=small / "page.html")
