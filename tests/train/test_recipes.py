"""The stages of every recipe, on the tiny model, cut to two steps."""

from pathlib import Path

import pytest
from safetensors.torch import load_file

from llavamed import artifact
from llavamed.recipe import read_recipe
from llavamed.train.loop import train
from llavamed.verify import rehash

RECIPES = sorted((Path(__file__).parents[2] / "recipes").glob("*.yaml"))
STAGES = [(path, stage) for path in RECIPES for stage in ("align", "instruct", "finetune")
          if getattr(read_recipe(path).train, stage)]  # fmt: skip
LORA = {"train": "lora", "rank": 4, "learning_rate": 1e-2}


def names_of(before: Path, after: Path) -> set[str]:
    """The parts in which a tensor differs; names, shapes and types are the same."""
    old, new = (load_file(folder / "model.safetensors") for folder in (before, after))
    assert {n: (t.shape, t.dtype) for n, t in old.items()} == {n: (t.shape, t.dtype) for n, t in new.items()}
    return {name.split(".")[0] for name in old if not old[name].equal(new[name])}


@pytest.mark.parametrize(("path", "name"), STAGES, ids=lambda value: value if isinstance(value, str) else value.stem)
def test_two_steps(path, name, tiny, talk, tmp_path):
    stage = read_recipe(path).stage(name).model_copy(update={"epochs": 1, "batch_size": 5})
    result = train(tiny, talk, tmp_path / "model", stage)
    assert result["steps"] == 2
    parts = {"vision": "vision_tower", "projector": "multi_modal_projector", "language": "language_model"}
    expected = {parts[part] for part, settings in stage.parts().items() if settings.train != "frozen"}
    assert names_of(tiny, tmp_path / "model") == expected


def test_lora_ends_as_a_plain_checkpoint(tiny, talk, tmp_path):
    stage = read_recipe(RECIPES[-1].with_name("tiny.yaml")).stage("instruct")
    stage = type(stage).model_validate(stage.model_dump() | {"language": LORA})
    result = train(tiny, talk, tmp_path / "model", stage)
    assert names_of(tiny, tmp_path / "model") == {"multi_modal_projector", "language_model"}
    assert result["loss_last"] < result["loss_first"]
    assert artifact.read_manifest(tmp_path / "model")["training"]["language"]["rank"] == 4
    assert rehash(tmp_path / "model") == []
