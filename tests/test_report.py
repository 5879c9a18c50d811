"""The report of a run: every part there or said not to be, safe, the same bytes every time."""

import json
import re
import shutil
from pathlib import Path

import pytest
from lxml import html

from llavamed import artifact, storage
from llavamed.errors import InputError
from llavamed.evaluate.questions import questions_of
from llavamed.evaluate.score import publish
from llavamed.instruct.align import align
from llavamed.instruct.template import generate_template
from llavamed.report import FOLDERS, report
from page_checks import check_safe
from small_corpus import figure, figures, write_corpus

HOSTILE = "<script>alert(1)</script> <img src=http://example.org/a.png onerror=alert(2)>"
PARTS = [{"role": "language", "name": "small words", "licence": "Apache-2.0", "note": HOSTILE, "source": "somewhere"}]


def model(folder: Path, parent: Path, steps: int) -> None:
    job = artifact.start(folder, "model", {"steps": steps}, parents=[parent])
    log = [{"step": n + 1, "loss": 5 - n / steps, "lr": 1e-3, "grad_norm": 1.0, "tokens": 7} for n in range(steps)]
    storage.write_text(job.out / "loss.jsonl", "".join(json.dumps(entry) + "\n" for entry in log))
    artifact.publish(job, counts={}, backbone={"parts": PARTS}, training={})


def evaluation(folder: Path, conversations: Path) -> None:
    """Answers of a model that is right in every other case, and says "no" to a blank picture."""
    job = artifact.start(folder, "scores", {}, parents=[conversations])
    questions = questions_of(conversations)
    said = [q.reference if n % 2 else HOSTILE for n, q in enumerate(questions)]
    publish(job, questions, {"answer": said, "blank_answer": ["no"] * len(said)}, [], {}, conversations)


@pytest.fixture(scope="module")
def run(tmp_path_factory) -> Path:
    folder = tmp_path_factory.mktemp("a") / "run"
    hostile = figure(400, "train", "ct", HOSTILE)
    corpus = write_corpus(
        folder / "corpus", [("train", [*figures("train", 0, 48), hostile]), ("test", figures("test", 100, 24))]
    )
    align(corpus, folder / "alignment")
    generate_template(corpus, folder / "conversations")
    model(folder / "backbone", corpus, 1)
    model(folder / "aligned", folder / "backbone", 10)
    model(folder / "assistant", folder / "aligned", 120)
    evaluation(folder / "scores", folder / "conversations")
    (folder / "summary.md").write_text(f"# Summary\n\n## Fields\n\n- **1** (*computed*): {HOSTILE}\n")
    return folder


@pytest.fixture(scope="module")
def page(run: Path) -> str:
    return report(run)


def section(page: str, title: str) -> html.HtmlElement:
    return html.document_fromstring(page).xpath(f'//section[h2="{title}"]')[0]


def test_safe_and_whole(page: str):
    check_safe(page)
    titles = html.document_fromstring(page).xpath("//h2/text()")
    assert titles == ["What this is", "Corpus", "Conversations", "Training", "Scores", "Answers",
                      "Training-data summary", "Artifacts"]  # fmt: skip
    assert "Not in this run" not in page
    assert "research use only" in page
    assert len(page) < 1_000_000


def test_same_run_same_bytes_wherever_it_lies(run: Path, page: str, tmp_path: Path):
    shutil.copytree(run, tmp_path / "elsewhere")
    assert report(tmp_path / "elsewhere") == page
    assert str(run) not in page


def test_counts_and_hashes(run: Path, page: str):
    rows = [[cell.text_content() for cell in row] for row in section(page, "What this is").xpath(".//tbody/tr")]
    assert ["figures", "corpus", "75", "73", "2"] in rows
    assert ["language", "small words", "Apache-2.0", HOSTILE] in rows
    for name in ("corpus", "assistant", "scores"):
        assert artifact.read_manifest(run / name)["hash"] in page


def test_pictures_beside_their_words(page: str):
    assert len(section(page, "Corpus").xpath(".//ul[@class='gallery']/li[.//img]")) == 24
    assert len(section(page, "Conversations").xpath(".//ul[@class='gallery']/li[.//img]")) == 12
    cards = section(page, "Answers").xpath(".//ul[@class='gallery']/li[.//img]")
    assert len(cards) == 24
    verdicts = {card.xpath("string(.//ul[@class='tags']/li[1])") for card in cards}
    assert {"right", "wrong"} <= verdicts and any(words.startswith("recall") for words in verdicts)
    for card in cards:
        words = [dd.text_content().strip() for dd in card.xpath(".//dd")]
        said = dict(zip(card.xpath(".//dt/text()"), words, strict=True))
        if card.xpath("string(.//ul[@class='tags']/li[1])") == "right":
            assert said["Answered"] == said["Expected"]


def test_scores_stand_beside_their_controls(run: Path, page: str):
    found = json.loads((run / "scores/data/scores.json").read_text())
    table = section(page, "Scores").xpath(".//table[@class='intervals']")[0]
    rows = [" ".join(" ".join(row.itertext()).split()) for row in table.xpath(".//tbody/tr")]
    part = found["by_question_type"]["kind of image"]
    start = rows.index(f"kind of image: accuracy on {part['n']} questions")
    for row, (key, who) in zip(rows[start + 1 : start + 5], NAMES.items(), strict=True):
        assert row == "{} {:.1f} [{:.1f}, {:.1f}]".format(who, *part[key])
    assert "it uses the picture" in section(page, "Scores").text_content()
    assert f"{found['paper']['closed_accuracy']:.1f}" in section(page, "Scores").text_content()


NAMES = {"strict": "model", "blank": "blank picture", "majority": "majority", "neighbour": "neighbour"}


def test_loss_curves(page: str):
    charts = section(page, "Training").xpath(".//figure[@class='chart']")
    assert len(charts) == 2
    points = charts[1].xpath(".//polyline/@points")
    assert [len(line.split()) for line in points] == [120, 117]  # each step, and its mean over 4
    assert re.search(r"assistant\s+120\s+840\s+0.001\s+5.000\s+4.008", section(page, "Training").text_content())


@pytest.mark.parametrize(("gone", "said"), [
    ("corpus", "the corpus"), ("conversations", "the conversations set"), ("alignment", "the alignment set"),
    ("aligned", "the training of stage “aligned”"), ("scores", "the scores"), ("summary.md", "the summary"),
])  # fmt: skip
def test_a_missing_part_is_said(run: Path, tmp_path: Path, gone: str, said: str):
    for path in run.iterdir():
        if path.name != gone:
            (tmp_path / path.name).symlink_to(path)
    page = report(tmp_path)
    check_safe(page)
    assert f"Not in this run: {said}." in page


def test_only_one_step(run: Path, tmp_path: Path):
    (tmp_path / "backbone").symlink_to(run / "backbone")
    assert report(tmp_path).count("Not in this run") == 8


def test_nothing_there(tmp_path: Path):
    with pytest.raises(InputError, match="no finished step"):
        report(tmp_path)
    assert FOLDERS[-1] == "scores"
