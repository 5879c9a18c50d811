"""The register of articles: the same by another road, and a credit for each."""

import csv
import json
import shutil
from collections import Counter, defaultdict

import pyarrow.parquet as pq
import pytest
from small_run import model, rows
from typer.testing import CliRunner

from llavamed import artifact
from llavamed.cli import app
from llavamed.errors import InputError
from llavamed.instruct.align import align
from llavamed.summary.trace import terms, trace
from small_corpus import figure, write_corpus


def counted(run):
    """Article -> figures, conversations, text tokens, stages: from whole tables."""
    seen = pq.read_table(run / "assistant" / "seen.parquet").to_pylist()
    tokens = {row["id"]: row["text_tokens"] for row in seen}
    talks = {
        row["id"]: row["pair_id"] for name in ("alignment", "conversations")
        for path in (run / name / "data").glob("*.parquet")
        for row in pq.read_table(path, columns=["id", "pair_id"]).to_pylist() if row["id"] in tokens
    }  # fmt: skip
    article = {
        row["pair_id"]: row["pmcid"] for path in (run / "corpus" / "data").glob("*.parquet")
        for row in pq.read_table(path, columns=["pair_id", "pmcid"]).to_pylist()
    }  # fmt: skip
    stages = defaultdict(set)
    for row in seen:
        stages[article[talks[row["id"]]]].add(row["stage"])
    figures = Counter(article[pair] for pair in {*talks.values()})
    conversations = Counter(article[pair] for pair in talks.values())
    text = Counter()
    for id_, pair in talks.items():
        text[article[pair]] += tokens[id_]
    return {a: (figures[a], conversations[a], text[a], sorted(stages[a])) for a in figures}


def test_every_article_with_what_was_made_of_it(run, tmp_path):
    found = trace(run / "assistant", output=tmp_path / "out")
    table = pq.read_table(tmp_path / "out" / "articles.parquet").to_pylist()
    want = counted(run)
    assert {
        row["article"]: (row["figures"], row["conversations"], row["text_tokens"], row["stages"]) for row in table
    } == want
    assert (found["articles"], found["figures"], found["conversations"], found["not_traced"]) == (44, 44, 88, 0)
    assert found["stages"] == {"align": 44, "instruct": 44}
    assert found["licences"] == {"CC BY": 43, "unknown": 1}
    assert found["not_at_hand"] == []
    with (tmp_path / "out" / "articles.csv").open(newline="") as stream:
        cells = list(csv.DictReader(stream))
    assert [row["article"] for row in cells] == [row["article"] for row in table]
    assert cells[0]["stages"] == "align; instruct"
    assert [int(row["text_tokens"]) for row in cells] == [row["text_tokens"] for row in table]


def test_versions_of_an_article_stand_apart_and_each_has_its_credit(tmp_path):
    about = {"title": 'A "small"\n nodule', "journal": "Small Tests", "doi": "10.1000/1", "publisher": "Press"}
    licence = {"licence": "CC-BY-NC-4.0", "licence_url": "https://creativecommons.org/licenses/by-nc/4.0/"}
    some = [figure(n, "train", "ct", "A CT scan of the chest.") | {"pmcid": "PMC7"} | about | licence for n in range(4)]
    some = [row | {"version": str(1 + n // 2)} for n, row in enumerate(some)]
    free = figure(9, "train", "ct", "An MRI scan.") | {"licence": None, "title": None}
    write_corpus(tmp_path / "corpus", [("train", [*some, free])])
    align(tmp_path / "corpus", tmp_path / "alignment")
    model(tmp_path / "model", [tmp_path / "alignment"], rows(tmp_path / "alignment", "align", 1))
    found = trace(tmp_path / "model", output=tmp_path / "out")
    table = pq.read_table(tmp_path / "out" / "articles.parquet").to_pylist()
    assert [(row["article"], row["version"], row["figures"]) for row in table] == [
        ("PMC7", "1", 2), ("PMC7", "2", 2), ("PMC1009", None, 1)
    ]  # fmt: skip
    assert table[0]["credit"] == (
        '“A "small" nodule”. Small Tests (2015). Press. https://doi.org/10.1000/1, PMC7, version 1. '
        "Licence: CC-BY-NC-4.0, https://creativecommons.org/licenses/by-nc/4.0/."
    )
    said = (tmp_path / "out" / "attribution.txt").read_text()
    assert "CC-BY-NC-4.0: 2 articles. Credit is asked for; not for commercial use." in said
    assert "unknown: 1 articles. No licence was found: none may be assumed." in said
    assert "at most 512 pixels" in said
    assert found["licences"] == {"CC-BY-NC-4.0": 2, "unknown": 1}


@pytest.mark.parametrize(
    ("code", "word"),
    [("CC0-1.0", "public domain"), ("CC-BY-4.0", "what was changed"), ("CC-BY", "what was changed"),
     ("CC-BY-NC-ND-3.0", "not for commercial use, and changed"), ("CC-BY-SA-4.0", "same licence"), ("MIT", "notice"),
     ("BSD-3-Clause", "notice"), ("TDM", "mining"), ("other", "own"), ("none-stated", "none may be assumed")],
)  # fmt: skip
def test_what_a_licence_asks_for(code, word):
    assert word in terms(code)


def test_where_the_data_are_elsewhere(run, tmp_path):
    shutil.copytree(run / "assistant", tmp_path / "alone" / "model")
    corpus = artifact.read_manifest(run / "corpus")["hash"][:12]
    with pytest.raises(InputError, match=f"corpus {corpus} is not at hand: .*--data"):
        trace(tmp_path / "alone" / "model")
    there = trace(tmp_path / "alone" / "model", data=[run / "corpus"])
    assert len(there["not_at_hand"]) == 2
    assert there["figures"] == trace(run / "assistant")["figures"]
    with pytest.raises(InputError, match="is a file"):
        trace(run / "assistant", output=run / "assistant" / "config.json")


def test_the_command(run, tmp_path):
    said = CliRunner().invoke(app, ["trace", str(run), "-o", str(tmp_path / "out"), "--json"])
    assert json.loads(said.stdout)["articles"] == 44
    said = CliRunner().invoke(app, ["trace", str(run)])
    assert said.exit_code == 0
    assert "CC BY" in said.stdout
    assert "instruct" in said.stdout
