"""Every count of a real run, by a script that reads the Parquet files and the tokenizer alone."""

import runpy
import shutil
from pathlib import Path

import pytest

from llavamed.recipe import read_recipe
from llavamed.run import run as run_all
from llavamed.summary.register import ABOUT, register
from llavamed.summary.trace import articles
from llavamed.verify import verify

TOP = Path(__file__).parents[2]
TINY, SCRIPT = TOP / "recipes" / "tiny.yaml", TOP / "benchmarks" / "recount.py"


@pytest.fixture(scope="module")
def real(data, tmp_path_factory):
    folder = tmp_path_factory.mktemp("real") / "run"
    run_all(read_recipe(TINY), folder, articles=[data / "articles"])
    return folder


@pytest.mark.slow
def test_every_figure_equals_a_count_of_tables_and_tokens(real):
    pytest.importorskip("transformers")
    script = runpy.run_path(str(SCRIPT))
    found = script["compare"](real)
    untold = {name for name, said in found.items() if said == "not in the tables"}
    assert {name: said for name, said in found.items() if name not in untold and said != "equal"} == {}
    assert untold == {"model.hash", "model.finished", "training.first", "lineage", "base", "collected.max_side",
                      "made_by", "unknown"}  # fmt: skip
    counted = script["count"](real)
    listed = articles(register(real / "assistant", more=ABOUT))
    assert sum(row["text_tokens"] for row in listed) == counted["seen.text_tokens"]
    assert len({row["article"] for row in listed}) == counted["seen.articles"]


@pytest.mark.slow
def test_it_is_as_published_counted_again(real):
    found = verify(real, recount=True)
    assert found["problems"] == []
    assert not [note for note in found["notes"] if "token" in note["what"]], "tokens were not counted"


@pytest.mark.slow
def test_an_unknown_tokenizer_and_other_tokens_are_errors(real, tmp_path):
    run = tmp_path / "run"
    shutil.copytree(real, run)
    path = run / "assistant" / "chat_template.jinja"
    path.write_text(path.read_text().replace("'<|im_start|>'", "'<|im_start|> '"))
    assert any("have other text tokens" in said for said in said_of(run))
    (run / "assistant" / "tokenizer.json").write_text("{}")
    assert any("tokenizer is unknown or cannot be read" in said for said in said_of(run))


def said_of(run):
    """What is wrong with what the last model saw."""
    found = verify(run / "assistant", recount=True)
    return [problem["what"] for problem in found["problems"] if problem["path"] == "seen.parquet"]
