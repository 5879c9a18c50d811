"""Recipes: every one validates; a mistake is named."""

from pathlib import Path

import pytest

from llavamed.errors import InputError
from llavamed.recipe import read_recipe

RECIPES = sorted((Path(__file__).parent.parent / "recipes").glob("*.yaml"))


@pytest.mark.parametrize("path", RECIPES, ids=lambda p: p.stem)
def test_every_recipe_validates(path):
    assert read_recipe(path).name == path.stem


@pytest.mark.parametrize(
    ("old", "new", "message"),
    [
        ("seed: 0", "sead: 0", "sead: unknown key"),
        ("backbone: tiny", "backbone: huge", "model.backbone: .*unknown backbone"),
        ("epochs: 1", "epochs: many", "epochs"),
        ("epochs: 1", "epoch: 1", "epoch: unknown key"),
        ("name: tiny", "name: [", "is not YAML"),
    ],
)
def test_a_mistake_is_named(tmp_path, old, new, message):
    text = (RECIPES[0].parent / "tiny.yaml").read_text()
    assert old in text
    path = tmp_path / "mine.yaml"
    path.write_text(text.replace(old, new, 1))
    with pytest.raises(InputError, match=rf"mine\.yaml.*{message}"):
        read_recipe(path)


def test_paths_are_relative_to_the_recipe(tmp_path):
    text = (RECIPES[0].parent / "tiny.yaml").read_text()
    (tmp_path / "mine.yaml").write_text(text.replace("articles: sample", "articles: [mine]"))
    assert read_recipe(tmp_path / "mine.yaml").articles == [tmp_path / "mine"]


def test_an_unknown_stage_is_named():
    with pytest.raises(InputError, match="finetune"):
        read_recipe(RECIPES[0].parent / "tiny.yaml").stage("finetune")


def test_corpus_rules_reach_the_build(tmp_path):
    text = next(path for path in RECIPES if path.stem == "tiny").read_text()
    rules = (
        "corpus:\n  licences: commercial\n  years: [2010, 2020]\n  kinds: [ct]\n"
        "  opt_out: out.txt\n  against: [test]\n  images: pictures\n"
    )
    (tmp_path / "r.yaml").write_text(text + rules)
    corpus = read_recipe(tmp_path / "r.yaml").corpus
    assert (corpus.licences, corpus.years, corpus.kinds) == ("commercial", (2010, 2020), ("ct",))
    assert (corpus.opt_out, corpus.against) == (tmp_path / "out.txt", (tmp_path / "test",))
    assert corpus.images == tmp_path / "pictures"
    (tmp_path / "r.yaml").write_text(text + "corpus:\n  kinds: [xray]\n")
    with pytest.raises(InputError, match=r"corpus\.kinds"):
        read_recipe(tmp_path / "r.yaml")
