"""A whole run: the steps one after another, from articles to report.html."""

from pathlib import Path
from typing import Any

from llavamed import artifact, storage
from llavamed.console import console
from llavamed.errors import InputError
from llavamed.recipe import Recipe


def run(
    recipe: Recipe,
    folder: Path,
    *,
    articles: list[Path] | None = None,
    workers: int = 1,
    device: str = "auto",
    force: bool = False,
) -> dict[str, Any]:
    """Run `recipe` in `folder`, on `articles` instead of its own if given; a finished step is not done again.

    Writes the artifacts articles, corpus, alignment, conversations, backbone (none where the recipe names a model's
    folder), aligned, assistant and scores, then summary.md, summary.json and report.html. Returns each step's result by
    the name of its folder, and the page.

    Raises:
        InputError: from the step whose input is wrong; the sources are looked at before the first one starts.
    """
    from llavamed.corpus.build import build as build_corpus
    from llavamed.corpus.builtin import sample
    from llavamed.corpus.choose import Choice
    from llavamed.evaluate.vqa import evaluate
    from llavamed.instruct.align import align
    from llavamed.instruct.template import generate_template
    from llavamed.model.build import build as build_model
    from llavamed.report import report
    from llavamed.summary.write import write as write_summary
    from llavamed.train.loop import train

    common: dict[str, Any] = {"force": force}
    seed, size, stages = recipe.seed, recipe.model.image_size, recipe.train
    corpus, conversations, assistant = folder / "corpus", folder / "conversations", folder / "assistant"
    done = {}

    start = recipe.model.folder or folder / "backbone"
    if recipe.model.folder:
        _check(recipe.name, recipe.model.folder)
    sources = articles or recipe.articles
    if sources == "sample":
        _say("articles")
        done["articles"] = sample(folder / "articles", **common)
        sources = [folder / "articles"]
    for source in sources:
        if not Path(source).exists():
            raise InputError(f"{source} does not exist: name articles with --articles")
    if recipe.model.backbone:  # before the long work: its weights may have to be fetched
        _say("backbone")
        done["backbone"] = build_model(recipe.model.backbone, start, image_size=size, seed=seed, **common)
    _say("corpus")
    chosen = recipe.corpus.model_dump()
    how = {name: chosen.pop(name) for name in ("images", "max_side", "panels", "duplicates", "opt_out", "against")}
    done["corpus"] = build_corpus(sources, corpus, choice=Choice(**chosen), workers=workers, **how, **common)
    _say("alignment")
    done["alignment"] = align(corpus, folder / "alignment", seed=seed, workers=workers, **common)
    _say("conversations")
    done["conversations"] = generate_template(corpus, conversations, seed=seed, workers=workers, **common)
    common["device"] = device
    _say("aligned")
    done["aligned"] = train(start, folder / "alignment", folder / "aligned", stages.align, **common)
    _say("assistant")
    done["assistant"] = train(folder / "aligned", conversations, assistant, stages.instruct, **common)
    asked = dict(recipe.evaluate)
    if not storage.has_rows(conversations, asked["split"]):  # few articles: the hash may put none there
        asked["split"] = "validation"
    if storage.has_rows(conversations, asked["split"]):
        _say("scores")
        done["scores"] = evaluate(assistant, conversations, folder / "scores", **asked, **common)
    else:
        console.print("no scores: no article fell into the test or the validation split")
    _say("summary and report")
    done["summary"] = write_summary(assistant, folder / "summary.md", profile=recipe.profile)
    page = folder / "report.html"
    text = report(folder)
    if not page.exists() or page.read_text(encoding="utf-8") != text:
        storage.write_text(page, text)
    return {**done, "report": str(page)}


def _check(recipe: str, model: Path) -> None:
    if not model.is_dir():
        raise InputError(
            f"{model} does not exist: the recipe {recipe} starts from a LLaVA model in that folder, and no backbone "
            "builds it: put the model there, or name a backbone in the recipe"
        )
    artifact.require(model, "model")


def _say(step: str) -> None:
    console.print(f"[bold]{step}[/bold]")
