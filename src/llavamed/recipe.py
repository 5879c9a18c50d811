"""Typed recipes: the settings of a whole run, in YAML."""

from pathlib import Path
from typing import Annotated, Any, Literal, Self, get_args

import yaml
from pydantic import BaseModel, ConfigDict, Field, ValidationError, field_validator, model_validator

from llavamed.corpus.schema import KINDS
from llavamed.errors import InputError
from llavamed.model.backbones import BACKBONES
from llavamed.train.stage import Stage


class _Part(BaseModel):
    model_config = ConfigDict(extra="forbid", frozen=True)


class Corpus(_Part):
    """How articles become figures."""

    images: Annotated[Path | None, Field(description="pictures that a list names, relative to the recipe")] = None
    max_side: Annotated[int, Field(ge=64, description="longest side of a stored image, in pixels")] = 1024
    panels: Annotated[Literal["keep", "split"], Field(description="split: a record for each panel")] = "keep"
    licences: Annotated[Literal["commercial", "open", "all"], Field(description="those taken")] = "all"
    years: Annotated[tuple[int, int] | None, Field(description="first and last year of publication")] = None
    article_types: Annotated[tuple[str, ...], Field(description="as JATS names them; none: all")] = ()
    languages: Annotated[tuple[str, ...], Field(description="ISO 639 codes; none: all")] = ()
    kinds: Annotated[tuple[Literal[*KINDS], ...], Field(description="of image; none: all")] = ()  # type: ignore[valid-type]
    single: Annotated[bool, Field(description="no compound figures")] = False
    min_side: Annotated[int, Field(ge=0, description="least short side of a picture, in pixels")] = 0
    duplicates: Annotated[
        Literal["keep", "exact", "near"], Field(description="pictures that another article has: which are left out")
    ] = "exact"
    opt_out: Annotated[Path | None, Field(description="list of what must not be used, relative to the recipe")] = None
    against: Annotated[tuple[Path, ...], Field(description="test sets to keep away from, relative to the recipe")] = ()


class Model(_Part):
    """What the assistant is made of."""

    backbone: Annotated[str | None, Field(description="smol, or tiny (random weights, for tests)")] = None
    folder: Annotated[
        Path | None, Field(description="instead of a backbone: a LLaVA model, relative to the recipe")
    ] = None
    image_size: Annotated[int, Field(ge=28, description="side of the picture the model sees, in pixels")] = 84

    @field_validator("backbone")
    @classmethod
    def _known(cls, name: str | None) -> str | None:
        if name is not None and name not in BACKBONES:
            raise ValueError(f"unknown backbone {name}; there are: {', '.join(sorted(BACKBONES))}")
        return name

    @model_validator(mode="after")
    def _one(self) -> Self:
        if (self.backbone is None) == (self.folder is None):
            raise ValueError("name either a backbone or a folder")
        return self


class Training(_Part):
    """The stages, each named by its key."""

    align: Stage
    instruct: Stage
    finetune: Annotated[Stage | None, Field(description="on the questions of a benchmark; not part of a run")] = None

    @model_validator(mode="before")
    @classmethod
    def _named(cls, stages: Any) -> Any:
        if not isinstance(stages, dict):
            return stages
        return {key: {"name": key, **stage} if isinstance(stage, dict) else stage for key, stage in stages.items()}


class Evaluation(_Part):
    """How held-out questions are asked."""

    split: Annotated[Literal["validation", "test"], Field(description="whose questions are asked")] = "test"
    max_new_tokens: Annotated[int, Field(ge=1, description="longest answer, in tokens")] = 32
    batch_size: Annotated[int, Field(ge=1, description="questions at once")] = 8


class Recipe(_Part):
    """The settings of a whole run. Unknown keys are refused."""

    name: str
    seed: int = 0
    articles: Annotated[
        Literal["sample"] | list[Path], Field(description="sample, or folders and packages, relative to the recipe")
    ] = "sample"
    corpus: Corpus = Corpus()
    model: Model
    train: Training
    evaluate: Evaluation = Evaluation()
    profile: Annotated[Path | None, Field(description="YAML profile of the data summary, relative to the recipe")] = (
        None
    )

    def stage(self, name: str) -> Stage:
        """The settings of one training stage. Raises InputError for one that the recipe has not."""
        stages: dict[str, Stage] = {key: stage for key, stage in self.train if stage}
        if name not in stages:
            raise InputError(f"the recipe {self.name} has no stage {name}: there are {', '.join(stages)}")
        return stages[name]


def read_recipe(path: Path) -> Recipe:
    """Read and check a recipe.

    Raises:
        InputError: no such file, not YAML, an unknown key or a value out of range; the message names the key.
    """
    try:
        settings = yaml.safe_load(path.read_text(encoding="utf-8"))
        recipe = Recipe.model_validate(settings)
    except FileNotFoundError:
        raise InputError(f"{path} does not exist: name a recipe, such as recipes/demo.yaml") from None
    except (yaml.YAMLError, UnicodeDecodeError, IsADirectoryError) as error:
        raise InputError(f"{path} is not YAML: {' '.join(str(error).split())}") from None
    except ValidationError as error:
        raise InputError(f"{path}: {_first(error)}") from None
    beside, corpus = path.parent, recipe.corpus
    articles = recipe.articles if recipe.articles == "sample" else [beside / source for source in recipe.articles]
    profile = recipe.profile and beside / recipe.profile
    paths = {
        "images": corpus.images and beside / corpus.images,
        "opt_out": corpus.opt_out and beside / corpus.opt_out,
        "against": tuple(beside / source for source in corpus.against),
    }
    corpus = corpus.model_copy(update=paths)
    model = recipe.model.model_copy(update={"folder": recipe.model.folder and beside / recipe.model.folder})
    return recipe.model_copy(update={"articles": articles, "profile": profile, "corpus": corpus, "model": model})


def _first(error: ValidationError) -> str:
    """The first mistake: its key, what is wrong, and what is possible."""
    first = error.errors()[0]
    key = ".".join(str(part) for part in first["loc"]) or "recipe"
    if first["type"] != "extra_forbidden":
        return f"{key}: {first['msg'].removeprefix('Value error, ')}"
    return f"{key}: unknown key: remove it, or name one of {', '.join(_keys(first['loc'][:-1]))}"


def _keys(place: tuple[int | str, ...]) -> list[str]:
    """The keys that a recipe may have at `place`."""
    model: Any = Recipe
    for name in place:
        kind = model.model_fields[name].annotation
        model = next(one for one in (kind, *get_args(kind)) if hasattr(one, "model_fields"))
    return [name for name in model.model_fields if not (model is Stage and name == "name")]
