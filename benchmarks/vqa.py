"""VQA for real: `smol` aligned on captions and on SLAKE's questions, fine-tuned on SLAKE, then on VQA-RAD, and scored.

    python benchmarks/vqa.py ../shared/data -o runs/vqa [--recipe recipes/vqa.yaml] [--json FILE]

Every step is an artifact in the output folder: a run that was stopped goes on where it was, and one that is done only
prints. SLAKE is scored on its validation split, whose pictures are not in training; VQA-RAD on its test split, all of
whose pictures are. Each is asked with its pictures, grey ones, and those of other questions.
"""

import argparse
import json
import platform
import subprocess
from datetime import date
from pathlib import Path
from typing import Any

from llavamed import artifact, storage
from llavamed.console import console
from llavamed.corpus.build import build as build_corpus
from llavamed.evaluate.benchmarks.convert import convert
from llavamed.evaluate.metrics import bootstrap
from llavamed.evaluate.published import SIZES, SOURCE, rows
from llavamed.evaluate.score import column
from llavamed.evaluate.vqa import evaluate
from llavamed.instruct.align import align
from llavamed.model.build import build as build_model
from llavamed.recipe import Recipe, read_recipe
from llavamed.storage import Json
from llavamed.train.loop import train

MODELS = {  # each from the one before: stage of the recipe, conversations
    "aligned-captions": ("align", "captions"),
    "aligned-slake": ("instruct", "slake"),
    "tuned-slake": ("finetune", "slake"),
    "tuned-vqa-rad": ("finetune", "vqa-rad"),
}
SCORED = {  # model, questions, split
    "slake": ("tuned-slake", "slake", "validation"),
    "vqa-rad": ("tuned-vqa-rad", "vqa-rad", "test"),
}


def prepare(source: Path, folder: Path, recipe: Recipe) -> None:
    """Captions, questions and the untrained model. SLAKE's and VQA-RAD's pictures are kept out of the captions."""
    against = [source / "slake/imgs", source / "vqa_rad/images"]
    build_corpus([source / "articles", source / "packages"], folder / "corpus", against=against, workers=1)
    align(folder / "corpus", folder / "captions", seed=recipe.seed, workers=1)
    convert(source / "slake", folder / "slake", allow_missing=True)  # most of its test pictures are not there
    convert(source / "vqa_rad", folder / "vqa-rad")
    build_model(recipe.model.backbone or "smol", folder / "model", image_size=recipe.model.image_size)


def run(folder: Path, recipe: Recipe, only: list[str]) -> None:
    """Train and score, as far as `only` names."""
    before = folder / "model"
    for name, (stage, data) in MODELS.items():
        if name in only:
            console.print(f"[bold]{name}[/bold]")
            train(before, folder / data, folder / name, recipe.stage(stage))
        before = folder / name
        for scores, (model, questions, split) in SCORED.items():
            if model == name and name in only:
                asked = recipe.evaluate.model_dump() | {"split": split}
                evaluate(folder / model, folder / questions, folder / f"scores-{scores}", **asked)


def figures(folder: Path) -> Json:
    """What stands in a score: strict figures with their intervals, controls, and the difference over all questions."""
    found = json.loads((folder / "data/scores.json").read_text())
    answers = list(storage.read_rows(folder))
    shown = ("open_recall", "closed_accuracy")
    controls = {
        who: {
            **{figure: found[who]["strict"][figure] for figure in shown},
            "real_minus_it": {figure: found[who]["difference"][figure] for figure in shown}
            | {"all": gap(answers, who)},
        }
        for who in ("blank", "shuffled", "majority")
    }
    return {
        "benchmark": found["benchmark"],
        "split": found["split"],
        "open": found["n_open"],
        "closed": found["n_closed"],
        "pictures": found["n_images"],
        "strict": {figure: found["strict"][figure] for figure in shown},
        "paper": {figure: found["paper"][figure] for figure in shown},
        **controls,
        "by_modality": {
            name: [part["n"], part["strict"], part["blank"]] for name, part in found["by_modality"].items()
        },
        "contamination": found["contamination"]["sentence"],
        "pictures unlike all of training": unlike(answers, set(map(str, found["contamination"].get("seen", ())))),
    }


def unlike(answers: list[Json], seen: set[str]) -> Json:
    """The strict figures of questions whose picture neither was in training nor looks like one that was."""
    left = [row for row in answers if str(row["id"]) not in seen]
    shown = {"closed_accuracy": ("closed", "right"), "open_recall": ("open", "recall")}

    def score(who: str, kind: str, of: str) -> list[float]:
        rows = [row for row in left if row["kind"] == kind]
        return bootstrap([float(row[column(who, of)]) for row in rows], [row["pair_id"] for row in rows])

    figures: Json = {"pictures": len({row["pair_id"] for row in left}), "questions": len(left)}
    if left:
        for who in ("model", "blank", "majority"):
            figures[who] = {figure: score(who, *parts) for figure, parts in shown.items()}
        figures["real_minus_blank"] = gap(left, "blank")
    return figures


def gap(answers: list[Json], who: str) -> list[float]:
    """Real minus `who` over all questions (right or not where closed, recall where open), in per cent, with its 95 %
    interval: bootstrap over pictures."""

    def worth(row: Json, of: str) -> float:
        return float(row[column(of, "right")] if row["kind"] == "closed" else row[column(of, "recall")])

    return bootstrap([worth(row, "model") - worth(row, who) for row in answers], [row["pair_id"] for row in answers])


def trained(folder: Path) -> Json:
    """How a model was trained."""
    return artifact.read_manifest(folder)["training"]  # type: ignore[no-any-return]


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("source", type=Path, help="folder of articles, packages, slake and vqa_rad")
    parser.add_argument("-o", "--output", type=Path, required=True)
    parser.add_argument("--recipe", type=Path, default=Path(__file__).parents[1] / "recipes/vqa.yaml")
    parser.add_argument(
        "--only", nargs="+", choices=list(MODELS), default=list(MODELS), help="models to train and score"
    )
    parser.add_argument("--threads", type=int)
    parser.add_argument("--json", type=Path)
    options = parser.parse_args()
    import torch

    if options.threads:
        torch.set_num_threads(options.threads)
    recipe = read_recipe(options.recipe)
    prepare(options.source, options.output, recipe)
    run(options.output, recipe, options.only)
    result: Json = {
        "scores": {
            name: figures(options.output / f"scores-{name}")
            for name in SCORED
            if (options.output / f"scores-{name}/manifest.json").exists()
        },
        "training": {name: trained(options.output / name) for name in options.only},
        "published": {
            "source": SOURCE,
            "what": "test split, paper rules, other models of 7 billion parameters",
            **{name: [list(row) for row in rows(name)] for name in SIZES if name != "PathVQA"},
        },
        "measured": {
            "date": date.today().isoformat(),
            "commit": _commit(),
            "processor": _processor(),
            "threads": torch.get_num_threads(),
            "torch": torch.__version__,
            "python": platform.python_version(),
        },
    }
    print(json.dumps(result["scores"], indent=1))
    if options.json:
        storage.write_json(options.json, result)


def _commit() -> str:
    answer: Any = subprocess.run(
        ["git", "rev-parse", "--short", "HEAD"], cwd=Path(__file__).parent, capture_output=True, text=True, check=False
    )
    return str(answer.stdout.strip())


def _processor() -> str:
    info = Path("/proc/cpuinfo")
    lines = info.read_text().splitlines() if info.exists() else []
    return next((line.partition(":")[2].strip() for line in lines if line.startswith("model name")), platform.machine())


if __name__ == "__main__":
    main()
