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
        ("epochs: 1", "epoch: 1", "train.align.epoch: unknown key.* one of vision, projector, language, epochs"),
        ("backbone: tiny", "folder: a, backbone: b", "is not YAML"),
        ("backbone: tiny", "folder: a\n  backbone: tiny", "model: name either a backbone or a folder"),
        ("image_size: 56", "side: 56", "model.side: unknown key.* one of backbone, folder, image_size$"),
        ("epochs: 1", "language: some", "train.align.language.train: .*'frozen', 'full' or 'lora'"),
        ("epochs: 1", "language: {train: full, rank: 4}", "train.align.language: rank beside train: full: .*lora only"),
        ("epochs: 1", "language: {train: lora, ranks: 4}", "align.language.ranks: unknown key.* train, learning_rate"),
        ("epochs: 1", "vision: {learning_rate: 1, train: frozen}", "align.vision: .*nothing of it is trained"),
        ("epochs: 1", "projector: frozen", "train.align: nothing to train: vision, projector and language"),
        ("epochs: 1", "projector: {train: full, layers: 1}", "projector.layers"),
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


@pytest.mark.parametrize("name", ["finetune", "pretrain"])
def test_a_stage_that_the_recipe_has_not_is_named(name):
    with pytest.raises(InputError, match=f"tiny has no stage {name}: there are align, instruct$"):
        read_recipe(RECIPES[0].parent / "tiny.yaml").stage(name)


@pytest.mark.parametrize("name", ["llava-med-7b", "llava-med-v1.5"])
def test_the_published_numbers(name):
    recipe = read_recipe(RECIPES[0].parent / f"{name}.yaml")
    stages = [recipe.stage(stage) for stage in ("align", "instruct", "finetune")]
    assert [(s.learning_rate, s.epochs, s.batch_size) for s in stages] == [
        (2e-3, 1, 128),
        (2e-5, 3, 128),
        (2e-5, 15, 64),
    ]
    for stage in stages:
        assert (stage.warmup, stage.weight_decay, stage.max_length, stage.precision) == (0.03, 0, 2048, "bf16")
        assert [p.train for p in stage.parts().values()] == [
            "frozen", "full", "frozen" if stage.name == "align" else "full"
        ]  # fmt: skip


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
