"""The report of several scores: every figure there, safe to open, and true to the scores it is made of."""

import csv
import json

import pytest
from lxml import html
from typer.testing import CliRunner

from llavamed import artifact, storage
from llavamed.cli import app
from llavamed.errors import InputError
from llavamed.evaluate import published
from llavamed.evaluate.questions import questions_of
from llavamed.evaluate.report import _harmless, report
from llavamed.evaluate.score import score
from page_checks import check_safe

HOSTILE = "<script>alert(1)</script>|<img src=http://example.org/a.png onerror=alert(2)>"


def scored(folder, conversations, said):
    path = folder.with_suffix(".json")
    path.write_text(json.dumps({q.id: said(n, q) for n, q in enumerate(questions_of(conversations))}))
    score(path, conversations, folder, blank=path)
    return folder


@pytest.fixture(scope="module")
def folders(conversations, tmp_path_factory):
    home = tmp_path_factory.mktemp("scores")
    return [
        scored(home / "right", conversations, lambda n, q: q.reference),
        scored(home / "half", conversations, lambda n, q: q.reference if n % 2 else HOSTILE),
        scored(home / "never", conversations, lambda n, q: "yes and no"),
    ]


@pytest.fixture(scope="module")
def written(folders, tmp_path_factory):
    output = tmp_path_factory.mktemp("report") / "out"
    return output, report(folders, output)


def rows(page, title):
    figure = next(f for f in page.xpath("//figure[@class='table']") if title in f.xpath("string(figcaption)"))
    return [[cell.text_content().strip() for cell in row] for row in figure.xpath(".//tbody/tr")]


def test_the_page(written, folders):
    output, _ = written
    text = (output / "report.html").read_text()
    check_safe(text)
    assert len(text) < 200_000
    page = html.document_fromstring(text)
    assert page.xpath("//h2/text()") == ["conversations", "conversations: where models differ"]
    found = json.loads((folders[1] / "data/scores.json").read_text())
    half = next(row for row in rows(page, "Results") if row[0] == "half")
    assert half[1] == "4 + 10"
    assert half[4] == f"{found['paper']['closed_accuracy']:.2f}"
    assert half[5] == "{:.1f} [{:.1f}, {:.1f}]".format(*found["strict"]["closed_accuracy"])
    assert [row[0] for row in rows(page, "Results")] == ["right", "half", "never", "commonest answer", "random answer"]
    assert ["right", "open: recall", "100.0 [100.0, 100.0]", "+0.0 [+0.0, +0.0]"] in [
        row[:4] for row in rows(page, "Controls")
    ]
    assert [row[0] for row in rows(page, "Model against model")] == ["right − half", "right − never", "half − never"]
    never = rows(page, "Model against model")[1]
    assert never[2:] == ["+100.0 [+100.0, +100.0]", "10 / 0, p = 0.002"]
    assert found["data"] in text


def test_errors_by_type(written):
    page = html.document_fromstring((written[0] / "report.html").read_text())
    closed = {row[0]: row[1:] for row in rows(page, "Errors, closed")}
    assert closed["yes or no"] == ["4", "0 / 0 / 0", "0 / 2 / 0", "0 / 4 / 0"]
    assert closed["all"][0] == "10"
    assert {row[0]: row[1:] for row in rows(page, "Errors, open")}["all"][3] == "0 / 4 / 0"


def test_where_they_differ_stands_with_picture_reference_and_answers(written):
    output, result = written
    cards = html.document_fromstring((output / "report.html").read_text()).xpath("//ul[@class='gallery']/li[.//img]")
    assert len(cards) == result["differences"]["conversations"] == 14
    words = cards[0].text_content()
    assert "Reference" in words and "right: " in words and "half: " in words and "never: " in words
    lines = list(csv.DictReader((output / "differences.csv").open()))
    assert len(lines) == 14 * 3
    assert {line["verdict"] for line in lines if line["model"] == "right"} == {"right", "recall 100 %"}
    assert _harmless("=1+1") == "'=1+1"


def test_markdown_holds_the_same_tables(written):
    text = (written[0] / "report.md").read_text()
    assert "| right − half |" in text
    table = [line for line in text.splitlines() if line.startswith("|")]
    assert all(line.replace("\\|", "").count("|") >= 5 for line in table)
    assert "| right | 4 + 10 |" in text


def test_one_file_and_one_model(folders, tmp_path):
    assert report(folders[:1], tmp_path / "a.html")["files"] == [str(tmp_path / "a.html")]
    assert "where models differ" not in (tmp_path / "a.html").read_text()
    report(folders, tmp_path / "a.md")
    assert (tmp_path / "a.md").read_text().startswith("# Scores")


def test_the_same_scores_give_the_same_bytes(written, folders, tmp_path):
    report(folders, tmp_path)
    for name in ("report.html", "report.md", "differences.csv"):
        assert (tmp_path / name).read_bytes() == (written[0] / name).read_bytes()


def test_published_rows_stand_beside_a_published_benchmark(tmp_path, data):
    said = {str(row["qid"]): "yes" for row in json.loads((data / "vqa_rad/testset.json").read_text())}
    (tmp_path / "yes.json").write_text(json.dumps(said))
    score(tmp_path / "yes.json", data / "vqa_rad", tmp_path / "yes")
    report([tmp_path / "yes"], tmp_path / "out.html")
    text = (tmp_path / "out.html").read_text()
    check_safe(text)
    page = html.document_fromstring(text)
    assert page.xpath("string(//h2)") == "VQA-RAD"
    row = next(row for row in rows(page, "Results") if row[0].startswith("LLaVA-Med from Vicuna"))
    assert row == ["LLaVA-Med from Vicuna, fine-tuned [published]", "179 + 272", "64.39", "", "81.98", ""]
    assert "all 203 test images are training images" in text


def test_published_numbers():
    assert published.rows("SLAKE")[0] == ("LLaVA, zero-shot", 26.82, 50.24)
    assert published.rows("PathVQA")[-1] == ("LLaVA-Med with BiomedCLIP, fine-tuned", 39.60, 91.09)
    assert published.rows("my own") == []


def judgements(folder):
    job = artifact.start(folder, "judgements", {})
    found = {"relative": [50.25, 45, 55], "n": 193}
    result = {"n": 193, "of": 193, "judge": "a judge", "scores": {"all": found, "mri": None}}
    storage.write_json(job.out / "data/scores.json", result)
    artifact.publish(job, counts={})
    return folder


def test_visual_chat_beside_the_published_scores(folders, tmp_path):
    result = report([folders[0], judgements(tmp_path / "chat")], tmp_path / "out.html")
    assert result["benchmarks"] == ["conversations", "Visual chat"]
    page = html.document_fromstring((tmp_path / "out.html").read_text())
    shown = rows(page, "Relative score")
    assert (shown[0][0], shown[0][-1]) == ("chat", "50.2 [45.0, 55.0]")
    assert shown[-1][0] == "60K-IM [published]" and shown[-1][-1] == "50.2"


def test_wrong_calls(folders, conversations, tmp_path):
    with pytest.raises(InputError, match="named twice"):
        report([folders[0], folders[0]], tmp_path)
    with pytest.raises(InputError, match="is of kind conversations"):
        report([conversations], tmp_path)
    job = artifact.start(tmp_path / "old", "scores", {})
    storage.write_json(job.out / "data/scores.json", {"n_open": 1})
    artifact.publish(job, counts={})
    with pytest.raises(InputError, match="older rules"):
        report([tmp_path / "old"], tmp_path)


def test_two_of_one_name_get_their_parents_too(folders, conversations, tmp_path):
    (tmp_path / "mine").mkdir()
    mine = scored(tmp_path / "mine/right", conversations, lambda n, q: q.reference)
    report([folders[0], mine], tmp_path / "out.md")
    assert f"| {folders[0].parent.name}/right |" in (tmp_path / "out.md").read_text()


def test_command(folders, tmp_path):
    run = CliRunner().invoke(app, ["evaluate", "report", *map(str, folders), "-o", str(tmp_path / "out"), "--json"])
    assert run.exit_code == 0, run.output
    assert json.loads(run.stdout)["models"] == 3
