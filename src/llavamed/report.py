"""`report.html`: a run on one page, from the corpus in pictures to the answers beside their pictures."""

import json
from collections.abc import Sequence
from itertools import zip_longest
from pathlib import Path

from markupsafe import Markup

from llavamed import artifact, pages, storage
from llavamed.corpus.show import counted, gallery, survey
from llavamed.errors import InputError
from llavamed.markdown import markdown
from llavamed.pick import pick
from llavamed.storage import Json

FOLDERS = ("articles", "corpus", "alignment", "conversations", "backbone", "aligned", "assistant", "scores")
FIGURES, ANSWERS = 24, 24  # shown
TALKS = {
    "alignment": (4, "For alignment: the caption as the answer."),
    "conversations": (8, "For instruction tuning: questions and short answers."),
}
WHO = {"strict": "model", "blank": "blank picture", "majority": "majority", "neighbour": "neighbour"}
BESIDE = {"blank": "a grey picture", "shuffled": "another picture"}
MEASURES = {
    "open_recall": "open: recall",
    "open_precision": "open: precision",
    "open_f1": "open: F1",
    "exact_match": "open: exact match",
    "closed_accuracy": "closed: accuracy",
}
CONTROLS = (
    "Every question is asked with its picture, with a grey one of the same size, and with the picture of another "
    "question. A model that does not look does as well on those. The majority answer is the commonest one in the "
    "training split; the nearest neighbour gives the answer of the training picture that is closest at 16 × 16 pixels. "
    "Lines are 95 % intervals over pictures."
)
PICKED = "Chosen to show right and wrong answers to each type of question, so not in proportion to the scores."

Section = tuple[str, Sequence[Markup]]
Manifests = dict[str, Json]


def report(run: Path) -> str:
    """The page of the run in `run`; a part that is not there is said not to be. The same run gives the same bytes.

    Raises:
        InputError: `run` holds no finished step, or a manifest that cannot be read.
    """
    found = {name: artifact.read_manifest(run / name) for name in FOLDERS if (run / name / "manifest.json").exists()}
    if not found:
        raise InputError(f"{run} holds no finished step of a run: name the folder given to `llavamed run -o`")
    sections: list[Section] = [
        ("What this is", _about(found)),
        ("Corpus", _corpus(run, found)),
        ("Conversations", _conversations(run, found)),
        ("Training", _training(run, found)),
        ("Scores", _scores(run, found)),
        ("Answers", _answers(run, found)),
        ("Training-data summary", _summary(run)),
        ("Artifacts", _artifacts(found)),
    ]
    return pages.page(
        "A vision-language assistant and what it was trained on",
        sections,
        "The report of one run: articles, figures, conversations, training, scores with their controls, summary.",
    )


def _about(found: Manifests) -> list[Markup]:
    backbone = found.get("assistant", found.get("backbone", {})).get("backbone") or {}
    parts = [(part["role"], part["name"], part["licence"], part["note"]) for part in backbone.get("parts", [])]
    words = (
        "An assistant that answers questions about biomedical pictures, trained on figures of open articles. It is "
        "for research use only: its answers are often wrong, it is no medical device, and nothing here says that it "
        "is fit for diagnosis or care. Everything on this page is read from the artifacts of the run."
    )
    rows = [
        (what, name, count["in"], count["kept"], sum(count["excluded"].values()))
        for name, manifest in found.items()
        for what, count in manifest["counts"].items()
    ]
    shown = [pages.text(words)]
    if parts:
        shown.append(pages.table("Made of", ["part", "weights", "licence", "to know"], parts))
    elif backbone:
        shown.append(pages.text("All its weights started random: it is made to test the path, not to answer."))
    headers = ["record", "step", "in", "kept", "left out"]
    return [*shown, pages.table("From step to step", headers, rows, numeric=(2, 3, 4))]


def _corpus(run: Path, found: Manifests) -> list[Markup]:
    if "corpus" not in found:
        return [_missing("the corpus")]
    return [*counted(survey(run / "corpus")), pages.heading("Figures"), gallery(run / "corpus", FIGURES)]


def _conversations(run: Path, found: Manifests) -> list[Markup]:
    shown = []
    for name, (n, words) in TALKS.items():
        shown.append(pages.heading(name.capitalize()))
        if name in found:
            rows = pick(storage.tables(run / name), n, _domain, ["domain", "split"])
            shown += [pages.note(f"{words} {_by(found[name])}"), pages.gallery(map(_talk, rows))]
        else:
            shown.append(_missing(f"the {name} set"))
    return shown


def _by(manifest: Json) -> str:
    models = [f"{model['name']} {model.get('version') or ''}".strip() for model in manifest["models"]]
    return f"Written by: {', '.join(models)}." if models else "Written by rules, without a language model."


def _domain(row: Json) -> str:
    return next((name for name, is_so in sorted((row["domain"] or {}).items()) if is_so), "other")


def _talk(row: Json) -> pages.Card:
    said = [(turn["value"] or "").replace("<image>", "").strip() for turn in row["conversations"] or []]
    turns = list(zip_longest(said[::2], said[1::2], fillvalue=""))  # question, answer
    picture = (row["image"] or {}).get("bytes")
    return pages.Card(picture, lines=turns, tags=[row["split"]], alt=f"figure {row['pair_id']}", long=400)


def _training(run: Path, found: Manifests) -> list[Markup]:
    charts, rows = [], []
    for name, title in (("aligned", "Alignment: the projector"), ("assistant", "Instruction: projector and language")):
        path = run / name / "loss.jsonl"
        if name not in found or not path.exists():
            charts.append(_missing(f"the training of stage “{name}”"))
            continue
        log = [json.loads(line) for line in path.read_text(encoding="utf-8").splitlines() if line]
        charts.append(
            pages.lines(title, pages.with_mean([(entry["step"], entry["loss"]) for entry in log]), "step", "loss")
        )
        if log:
            first, last = log[0]["loss"], log[-1]["loss"]
            tokens, peak = sum(entry["tokens"] for entry in log), max(entry["lr"] for entry in log)
            rows.append((name, len(log), tokens, f"{peak:.2g}", f"{first:.3f}", f"{last:.3f}"))
    how = pages.note("Loss: mean negative log-likelihood, in nats, of a token of the assistant's answers.")
    headers = ["stage", "steps", "tokens", "peak learning rate", "first loss", "last loss"]
    table = [pages.table("Stages", headers, rows, numeric=range(1, 6))] if rows else []
    return [how, pages.row(*charts), *table]


def _scores(run: Path, found: Manifests) -> list[Markup]:
    path = run / "scores/data/scores.json"
    if "scores" not in found or not path.exists():
        return [_missing("the scores")]
    scores = json.loads(path.read_text(encoding="utf-8"))
    asked = f"{scores['n_open']:,} open and {scores['n_closed']:,} closed questions on {scores['n_images']:,} pictures"
    groups, notes = {}, []
    for name, part in scores["by_question_type"].items():
        measure = MEASURES[part["figure"]].partition(": ")[2]
        group = f"{name}: {measure} on {part['n']:,} questions"
        groups[group] = {shown: part.get(key) for key, shown in WHO.items()}
        for other, words in BESIDE.items():
            if difference := part["difference"].get(other):
                points = "{:+.1f} [{:+.1f}, {:+.1f}]".format(*difference)
                notes.append((name, words, points, _meaning(difference)))
    return [
        pages.text(f"{asked}, all from articles outside the training split."),
        pages.note(CONTROLS),
        pages.intervals("Scores by type of question", groups, "answered by"),
        pages.table(
            "With the picture, minus without it", ["type", "minus", "points [95 % interval]", "meaning"], notes, (2,)
        ),
        _both_modes(scores),
    ]


def _meaning(difference: Sequence[float]) -> str:
    if difference[1] > 0:
        return "it uses the picture"
    return "worse with the picture" if difference[2] < 0 else "no sign that it uses the picture"


def _both_modes(scores: Json) -> Markup:
    """Every figure by both sets of rules, of the model and of its controls."""
    sources = [scores, scores.get("blank") or {}, scores.get("majority") or {}]
    rows = []
    for name, title in MEASURES.items():
        if scores["strict"].get(name):
            cells = [_interval((source.get("strict") or {}).get(name)) for source in sources]
            papers = [_value((source.get("paper") or {}).get(name)) for source in sources[:2]]
            rows.append((title, *cells, *papers))
    headers = ["%", "model", "blank picture", "majority answer", "model, paper's rules", "blank, paper's rules"]
    return pages.table("All figures: by strict rules, and by those of the field's papers", headers, rows, range(1, 6))


def _interval(value: Sequence[float] | None) -> str:
    return "{:.1f} [{:.1f}, {:.1f}]".format(*value) if value else "–"


def _value(value: float | None) -> str:
    return "–" if value is None else f"{value:.1f}"


def _answers(run: Path, found: Manifests) -> list[Markup]:
    files = sorted((run / "scores/data").glob("answers-*.parquet"))
    if "scores" not in found or not files:
        return [_missing("the answers")]
    rows = pick(files, ANSWERS, lambda row: f"{row['question_type']} {row['right']}", ["question_type", "right"])
    return [pages.note(PICKED), pages.gallery(map(_answer, rows))]


def _answer(row: Json) -> pages.Card:
    def said(key: str, right: bool | None = None) -> str:
        verdict = "" if right is None else " (right)" if right else " (wrong)"
        return (row[key] or "(nothing)") + verdict

    lines = [
        ("Expected", row["reference"] or ""),
        ("Answered", said("answer")),
        ("With a blank picture", said("blank_answer", row.get("blank_right"))),
    ]
    others = (("Majority answer", "majority_answer"), ("Nearest neighbour", "neighbour_answer"))
    lines += [(title, row[key]) for title, key in others if row.get(key)]
    verdict = [] if row.get("right") is None else ["right" if row["right"] else "wrong"]
    recall = [f"recall {100 * row['recall']:.0f} %"] if row.get("recall") is not None else []
    picture = (row["image"] or {}).get("bytes")
    tags = [*verdict, *recall, row["question_type"]]
    return pages.Card(picture, row["question"], lines, tags, alt=f"figure {row['pair_id']}")


def _summary(run: Path) -> list[Markup]:
    path = run / "summary.md"
    if not path.exists():
        return [_missing("the summary")]
    first, _, rest = path.read_text(encoding="utf-8").partition("\n")
    return [markdown(rest if first.startswith("# ") else f"{first}\n{rest}")]


def _artifacts(found: Manifests) -> list[Markup]:
    rows = [
        (name, manifest["kind"], Markup("<code>{}</code>").format(manifest["hash"])) for name, manifest in found.items()
    ]
    how = "`llavamed verify FOLDER` hashes a folder again and compares."
    return [markdown(how), pages.table("Steps of the run", ["folder", "kind", "content hash (SHA-256)"], rows)]


def _missing(what: str) -> Markup:
    return pages.note(f"Not in this run: {what}.")
