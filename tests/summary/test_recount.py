"""Every count of a real run, by a short script that reads the Parquet files and the tokenizer alone."""

import shutil
from collections import Counter
from pathlib import Path

import pyarrow.parquet as pq
import pytest

from llavamed.recipe import read_recipe
from llavamed.run import run as run_all
from llavamed.summary.facts import gather
from llavamed.summary.register import ABOUT, register
from llavamed.summary.trace import articles
from llavamed.verify import verify

TINY = Path(__file__).parents[2] / "recipes" / "tiny.yaml"


def tables(folder, columns=None):
    return [row for path in sorted((folder / "data").glob("*.parquet"))
            for row in pq.read_table(path, columns=columns).to_pylist()]  # fmt: skip


def text_tokens(words, turns):
    """Of a conversation in the model's chat format; its one `<image>` is no text."""
    chat = []
    for n, turn in enumerate(turns):
        text = {"type": "text", "text": turn["value"].replace("<image>", "").strip()}
        role = {"human": "user", "gpt": "assistant"}[turn["from"]]
        chat.append({"role": role, "content": [*([] if n else [{"type": "image"}]), text]})
    text = words.apply_chat_template(chat, tokenize=False)
    return len(words(text, add_special_tokens=False)["input_ids"]) - 1


def tally(values):
    return dict(Counter(str(value or "unknown") for value in values))


@pytest.fixture(scope="module")
def real(data, tmp_path_factory):
    folder = tmp_path_factory.mktemp("real") / "run"
    run_all(read_recipe(TINY), folder, articles=[data / "articles"])
    return folder


@pytest.mark.slow
def test_every_figure_equals_a_count_of_tables_and_tokens(real):
    transformers = pytest.importorskip("transformers")
    words = transformers.AutoTokenizer.from_pretrained(real / "assistant")
    words.chat_template = (real / "assistant" / "chat_template.jinja").read_text()
    seen = pq.read_table(real / "assistant" / "seen.parquet").to_pylist()
    talks = {row["id"]: row for name in ("alignment", "conversations") for row in tables(real / name)}
    once = {row["id"]: talks[row["id"]] for row in seen}
    tokens = {id_: text_tokens(words, row["conversations"]) for id_, row in once.items()}
    pairs = {row["pair_id"] for row in once.values()}
    images = {row["image"]["bytes"] for row in once.values()}
    figures = [row for row in tables(real / "corpus") if row["pair_id"] in pairs]
    [patches] = {row["image_tokens"] for row in seen}
    want = {
        "conversations": len(once),
        "images": len(images),
        "text_tokens": sum(tokens.values()),
        "image_tokens": patches * len(images),
        "passes": sum(row["times_seen"] for row in seen),
        "text_tokens_read": sum(tokens[row["id"]] * row["times_seen"] for row in seen),
        "image_tokens_read": sum(patches * row["times_seen"] for row in seen),
        "kinds": tally(row["modality"][0]["name"] if row["modality"] else None for row in figures),
        "clinical_photos": sum(any(k["name"] == "clinical_photo" for k in row["modality"]) for row in figures),
        "figures_found": len(figures),
        "articles": len({row["pmcid"] for row in figures}),
        "hosts": dict(Counter(host for row in figures for host in {*row["hosts"]})),
        "domains": {name: sum(row["domain"][name] for row in figures) for name in figures[0]["domain"]},
    }
    for fact, column in (("licences", "licence"), ("years", "year"), ("languages", "language"), ("journals", "journal"),
                         ("publishers", "publisher"), ("article_types", "article_type"),
                         ("versions", "version")):  # fmt: skip
        want[fact] = tally(row[column] for row in figures)
    facts = {name.removeprefix("seen."): fact.value for name, fact in gather(real / "assistant").items()}
    for name, value in want.items():
        assert facts.get(name, {}) == value, name  # no fact says that no figure has one
    [source] = facts["sources"]
    assert (source["images"], source["text_tokens"], source["licences"]) == (
        want["images"], want["text_tokens"], want["licences"]
    )  # fmt: skip
    stages = Counter(row["stage"] for row in seen)
    assert {stage: counts["conversations"] for stage, counts in facts["by_stage_counts"].items()} == stages
    listed = articles(register(real / "assistant", more=ABOUT))
    assert sum(row["text_tokens"] for row in listed) == want["text_tokens"]
    assert {row["article"] for row in listed} == {row["pmcid"] for row in figures}


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
