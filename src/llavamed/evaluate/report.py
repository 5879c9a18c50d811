"""Scores of several models on one page: beside published ones, controls and each other, and where they differ."""

import csv
import hashlib
import io
import json
from collections import Counter
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from itertools import combinations
from pathlib import Path
from typing import Any

from markupsafe import Markup

from llavamed import artifact, pages, storage
from llavamed.errors import InputError
from llavamed.evaluate import published, relative
from llavamed.evaluate.closed import asserted
from llavamed.evaluate.metrics import CLOSED, OPEN, Interval, Item, difference, mcnemar
from llavamed.evaluate.predictions import PROBLEMS
from llavamed.evaluate.score import CONTROLS, read
from llavamed.evaluate.tables import FIGURES
from llavamed.storage import Json

CHAT = "judgements"
SHOWN = 120  # questions with their picture, of each benchmark
APART = 0.5  # recalls of an open question that differ by so much
MAIN = {"open_recall": OPEN, "closed_accuracy": CLOSED}
FILES = ("report.html", "report.md", "differences.csv")
TEXT = ("id", "pair_id", "question", "reference", "kind", "question_type", "options", "answer", "right", "recall")
WORDS = {
    "blank": "grey picture",
    "shuffled": "another picture",
    "against": "another model",
    "majority": "commonest answer",
    "random": "random answer",
}
TEXTS = {"same": "text as published", "other": "text not as published", "unknown": "text not compared"}
BASELINES = ("majority", "random")
HOW = (
    "Paper: by the rules of LLaVA-Med's scorer, as published numbers are. Strict: whole words, negation read, each "
    "question once; 95 % intervals over pictures. Compare the paper's with published numbers; believe the strict ones."
)
DIFFER = (
    "Closed questions that one model has right and another wrong, and open ones where the shares of the reference's "
    "words that they found are at least half apart."
)


@dataclass(frozen=True)
class Model:
    """One score: what it is called here, its figures, and its answers by question."""

    name: str
    result: Json
    rows: dict[str, Json]
    folder: Path

    def items(self) -> list[Item]:
        """Its answers, to be compared."""
        return [
            Item(r["id"], r["question"], r["reference"], r["answer"], r["kind"], tuple(r["options"]), r["pair_id"])
            for r in self.rows.values()
        ]


@dataclass(frozen=True)
class Grid:
    """A table, for the page and for Markdown. `numeric`: its columns of numbers."""

    title: str
    headers: Sequence[str]
    rows: Sequence[Sequence[Any]]
    numeric: Sequence[int]

    def html(self) -> Markup:
        """For the page."""
        return pages.table(self.title, self.headers, self.rows, self.numeric)

    def markdown(self) -> str:
        """For a text."""
        rule = ["---:" if n in self.numeric else "---" for n in range(len(self.headers))]
        cells = [
            [str(cell).replace("|", "\\|").replace("\n", " ") for cell in row] for row in (self.headers, *self.rows)
        ]
        lines = [cells[0], rule, *cells[1:]]
        return f"**{self.title}**\n\n" + "\n".join(f"| {' | '.join(line)} |" for line in lines) + "\n"


Part = Grid | str
Groups = dict[str, list[Model]]  # benchmark -> models


def report(folders: Sequence[Path], output: Path) -> Json:
    """Write the report of the scores in `folders` to `output`, and return `{models, benchmarks, differences, files}`.

    `folders`: of `evaluate vqa`, `score` or `chat`. `output`: an .html or .md file, or a folder for both and for a CSV
    of all questions where models differ.

    Raises:
        InputError: a folder is no score, or one made by older rules; one is named twice.
    """
    names = _names(folders)
    kinds = {folder: artifact.require(folder, "scores", CHAT)["kind"] for folder in names}
    groups = _load({folder: name for folder, name in names.items() if kinds[folder] != CHAT})
    sections = [(name, _parts(name, models)) for name, models in groups.items()]
    if judged := {name: folder for folder, name in names.items() if kinds[folder] == CHAT}:
        sections.append(("Visual chat", [_chat(judged)]))
    apart = {name: _apart(models) for name, models in groups.items()}
    wanted = {output: output.suffix.lower()} if output.suffix.lower() in (".html", ".md") else {
        output / name: Path(name).suffix for name in FILES
    }  # fmt: skip
    makers: dict[str, Callable[[], str]] = {
        ".html": lambda: _page(groups, sections, apart),
        ".md": lambda: _text(sections),
        ".csv": lambda: _csv(groups, apart),
    }
    for path, kind in wanted.items():
        storage.write_text(path, makers[kind]())
    return {
        "models": len(names),
        "benchmarks": [name for name, _ in sections],
        "differences": {name: len(ids) for name, ids in apart.items()},
        "files": [str(path) for path in wanted],
    }


def _names(folders: Sequence[Path]) -> dict[Path, str]:
    """What each folder is called: its name; where two share it, with their parents'."""
    places = [folder.resolve() for folder in folders]
    if doubled := next((place for place, n in Counter(places).items() if n > 1), None):
        raise InputError(f"{doubled} is named twice: name each score once")
    shared = Counter(place.name for place in places)
    return {place: f"{place.parent.name}/{place.name}" if shared[place.name] > 1 else place.name for place in places}


def _load(names: dict[Path, str]) -> Groups:
    """The models of each benchmark, in order of the folders."""
    by_data: dict[str, list[Model]] = {}
    for place, name in names.items():
        result = read(place)
        if "contamination" not in result:
            raise InputError(f"{place} was scored by older rules: score it again with --force")
        rows = {row["id"]: row for row in storage.read_rows(place, columns=list(TEXT))}
        by_data.setdefault(result["data"], []).append(Model(name, result, rows, place))
    groups: Groups = {}
    for data, models in by_data.items():
        name = models[0].result["benchmark"]
        groups[f"{name} ({data[:8]})" if name in groups else name] = models
    return groups


def _parts(benchmark: str, models: list[Model]) -> list[Part]:
    """The tables of one benchmark."""
    parts: list[Part] = [
        _results(benchmark, models),
        *_cautions(models),
        _controls(models),
        *([_pairs(models)] if len(models) > 1 else []),
    ]
    for group, words in (("by_question_type", "type of question"), ("by_organ", "organ"), ("by_modality", "modality")):
        if any(model.result[group] for model in models):
            parts.append(_by(group, words, models))
    errors = [_errors(models, kind) for kind in (CLOSED, OPEN)]
    return [*parts, *(grid for grid in errors if grid.rows)]


def _results(benchmark: str, models: list[Model]) -> Grid:
    rows: list[list[Any]] = []
    for model in models:
        paper, strict, result = model.result["paper"], model.result["strict"], model.result
        asked = result["n_open"] + result["n_closed"]
        of = f" of {result['n_questions']:,}" if result["n_questions"] != asked else ""
        both = [cell for name in MAIN for cell in (_number(paper[name]), _interval(strict[name]))]
        rows.append([model.name, f"{result['n_open']:,} + {result['n_closed']:,}{of}", *both])
    for who in BASELINES:
        if control := models[0].result[who]:
            both = [c for name in MAIN for c in (_number(control["paper"][name]), _interval(control["strict"][name]))]
            rows.append([WORDS[who], f"{models[0].result['n_open']:,} + {models[0].result['n_closed']:,}", *both])
    known = published.rows(benchmark) if models[0].result["language"] == "en" else []
    for name, recall, accuracy in known:
        n_open, n_closed = published.SIZES[benchmark]
        rows.append([f"{name} [published]", f"{n_open:,} + {n_closed:,}", f"{recall:.2f}", "", f"{accuracy:.2f}", ""])
    headers = ["model", "open + closed", "open recall: paper", "strict", "closed accuracy: paper", "strict"]
    source = f"; published: {published.SOURCE}" if known else ""
    return Grid(f"Results, per cent [95 % interval]{source}", headers, rows, range(1, 6))


def _cautions(models: list[Model]) -> list[str]:
    """What belongs beside the scores: what the benchmark shares with its training split, what was left out."""
    first = models[0].result
    said = [f"SHA-256 of what is asked: {first['data']}."]
    if known := first["published"]:
        said.append(f"{known['benchmark']}, {known['version']}; {TEXTS[known['text']]}.")
        if known["warning"]:
            said.append(f"Beside every score of a model that was fine-tuned on it: {known['warning']}.")
    said += [f"{model.name}. {model.result['contamination']['sentence']}" for model in models]
    for model in models:
        if problems := model.result["problems"]:
            said.append(
                f"{model.name}: " + ", ".join(f"{n:,} {PROBLEMS.get(name, name)}" for name, n in problems.items())
            )
    return said


def _controls(models: list[Model]) -> Grid:
    shown = [who for who in CONTROLS if any(model.result[who] for model in models)]
    rows = []
    for model in models:
        for name in MAIN:
            if strict := model.result["strict"][name]:
                beside = [(model.result[who] or {}).get("difference", {}).get(name) for who in shown]
                rows.append(
                    [model.name, FIGURES[name], _interval(strict), *(_interval(value, "+") for value in beside)]
                )
    headers = ["model", "figure", "strict", *(f"minus {WORDS[who]}" for who in shown)]
    title = "Controls: points more than without the picture, or without a model; paired"
    return Grid(title, headers, rows, range(2, len(headers)))


def _pairs(models: list[Model]) -> Grid:
    rows = []
    for one, other in combinations(models, 2):
        here, there = one.items(), other.items()
        found, test = difference(here, there), mcnemar(here, there)
        tested = f"{test['only_this']} / {test['only_other']}, p = {test['p']:.2g}" if test else ""
        rows.append([f"{one.name} − {other.name}", *(_interval(found[name], "+") for name in MAIN), tested])
    headers = ["models", "open recall", "closed accuracy", "right alone: first / second, McNemar"]
    return Grid("Model against model: points [95 % interval], paired, strict rules", headers, rows, range(1, 4))


def _by(group: str, words: str, models: list[Model]) -> Grid:
    names = sorted({name for model in models for name in model.result[group]})
    rows = []
    for name in names:
        parts = [model.result[group].get(name) for model in models]
        first = next(part for part in parts if part)
        cells = [_interval(part["strict"]) if part else "" for part in parts]
        rows.append([name, "recall" if first["kind"] == OPEN else "accuracy", first["n"], *cells])
    headers = [words, "figure", "n", *(model.name for model in models)]
    return Grid(f"By {words}, strict rules", headers, rows, range(2, len(headers)))


def _errors(models: list[Model], kind: str) -> Grid:
    """How each model fails, on each type of question and on all."""
    judge, outcomes = (_closed, CLOSED_OUTCOMES) if kind == CLOSED else (_open, OPEN_OUTCOMES)
    counts: dict[str, dict[str, Counter[str]]] = {}
    for model in models:
        for row in model.rows.values():
            if row["kind"] == kind:
                for name in ("all", row["question_type"]):
                    counts.setdefault(name, {}).setdefault(model.name, Counter())[judge(row)] += 1
    rows = []
    for name, found in sorted(counts.items(), key=lambda pair: (pair[0] == "all", pair[0])):
        cells = [found.get(model.name, Counter()) for model in models]
        shown = [" / ".join(str(cell[outcome]) for outcome in outcomes) for cell in cells]
        rows.append([name, max(cell.total() for cell in cells), *shown])
    headers = ["type of question", "n", *(model.name for model in models)]
    return Grid(f"Errors, {kind} questions: {' / '.join(outcomes)}", headers, rows, range(1, len(headers)))


CLOSED_OUTCOMES = ("another option", "none or several", "no answer")
OPEN_OUTCOMES = ("part of the reference", "nothing of it", "no answer")


def _closed(row: Json) -> str:
    other, none, silent = CLOSED_OUTCOMES
    if not row["answer"].strip():
        return silent
    if row["right"]:
        return "right"
    return other if asserted(row["answer"], tuple(row["options"]), row["question"]) else none


def _open(row: Json) -> str:
    part, nothing, silent = OPEN_OUTCOMES
    if not row["answer"].strip():
        return silent
    return "right" if row["recall"] >= 1 else part if row["recall"] > 0 else nothing


def _chat(judged: dict[str, Path]) -> Grid:
    """Relative scores of visual chat, beside the published ones."""
    rows = []
    for name, folder in judged.items():
        result = json.loads((folder / "data/scores.json").read_text(encoding="utf-8"))
        cells = [result["scores"].get(key) for key in relative.NAMES]
        shown = [_interval(cell["relative"]) if cell else "" for cell in cells]
        rows.append([name, f"{result['n']} of {result['of']}", result["judge"], *shown])
    for name, values in relative.PUBLISHED.items():
        rows.append(
            [
                f"{name} [published]",
                "193 of 193",
                "GPT-4, reference first",
                *(f"{values[key]:.1f}" for key in relative.NAMES),
            ]
        )
    headers = ["model", "questions", "judge", *relative.NAMES.values()]
    title = f"Relative score, per cent of the reference's [95 % interval]; published: {published.SOURCE}"
    return Grid(title, headers, rows, range(3, len(headers)))


def _apart(models: list[Model]) -> list[str]:
    """The questions that the models differ on, in order."""
    found = []
    for name in dict.fromkeys(name for model in models for name in model.rows):
        rows = [model.rows[name] for model in models if name in model.rows]
        marks = [float(row["right"]) if row["kind"] == CLOSED else row["recall"] for row in rows]
        if max(marks) - min(marks) >= (1 if rows[0]["kind"] == CLOSED else APART):
            found.append(name)
    return found


def _page(groups: Groups, sections: list[tuple[str, list[Part]]], apart: dict[str, list[str]]) -> str:
    shown: list[tuple[str, Sequence[Markup]]] = []
    for name, parts in sections:
        models = groups.get(name, [])
        tables = [part.html() if isinstance(part, Grid) else pages.note(part) for part in parts]
        shown.append((name, [pages.note(HOW), *_chart(models), *tables] if models else tables))
        if len(models) > 1:
            shown.append((f"{name}: where models differ", _gallery(models, apart[name])))
    return pages.page("Scores", shown, "Models beside each other, beside published scores, and beside their controls.")


def _chart(models: list[Model]) -> list[Markup]:
    """The main figures with their intervals; a chart tells four models apart."""
    if len(models) > 4:
        return []
    groups = {
        FIGURES[name]: {model.name: model.result["strict"][name] for model in models}
        for name in MAIN
        if any(model.result["strict"][name] for model in models)
    }
    return [pages.intervals("Strict rules", groups, "model")]


def _gallery(models: list[Model], apart: list[str]) -> list[Markup]:
    chosen = set(sorted(apart, key=lambda name: hashlib.sha256(name.encode()).digest())[:SHOWN])
    pictures: dict[str, bytes] = {}
    for model in models:
        if missing := chosen - pictures.keys():
            for row in storage.read_rows(model.folder, columns=["id", "image"]):
                if row["id"] in missing and row["image"]["bytes"]:
                    pictures[row["id"]] = row["image"]["bytes"]
    some = f" {len(chosen)} of them are shown, drawn by hash." if len(chosen) < len(apart) else ""
    total = len({name for model in models for name in model.rows})
    words = f"{DIFFER} {len(apart):,} of {total:,} questions.{some}"
    order = {name: n for n, name in enumerate(apart)}
    first = {name: next(model.rows[name] for model in models if name in model.rows) for name in chosen}
    cards = [
        _card(models, name, pictures.get(name))
        for name in sorted(chosen, key=lambda name: (first[name]["question_type"], order[name]))
    ]
    return [pages.note(words), pages.gallery(cards)]


def _card(models: list[Model], name: str, picture: bytes | None) -> pages.Card:
    rows = {model.name: model.rows[name] for model in models if name in model.rows}
    about = next(iter(rows.values()))
    said = [(f"{who}: {_verdict(row)}", row["answer"] or "(nothing)") for who, row in rows.items()]
    tags = list(dict.fromkeys((about["question_type"], about["kind"])))
    lines = [("Reference", about["reference"]), *said]
    return pages.Card(picture, about["question"], lines, tags, alt=f"picture {about['pair_id']}", long=200)


def _verdict(row: Json) -> str:
    if row["kind"] == CLOSED:
        return "right" if row["right"] else "wrong"
    return f"recall {100 * row['recall']:.0f} %"


def _text(sections: list[tuple[str, list[Part]]]) -> str:
    lines = ["# Scores", "", HOW, ""]
    for name, parts in sections:
        lines += [f"## {name}", ""]
        lines += [part.markdown() if isinstance(part, Grid) else f"{part}\n" for part in parts]
    return "\n".join(lines).rstrip() + "\n"


def _csv(groups: Groups, apart: dict[str, list[str]]) -> str:
    """A line for each question and model, of all questions that models differ on."""
    stream = io.StringIO()
    writer = csv.writer(stream, lineterminator="\n")
    writer.writerow(["benchmark", "id", "question", "reference", "kind", "question_type", "model", "answer", "verdict"])
    for benchmark, models in groups.items():
        for name in apart[benchmark]:
            for model in models:
                if row := model.rows.get(name):
                    about = [row[key] for key in ("id", "question", "reference", "kind", "question_type")]
                    writer.writerow([benchmark, *map(_harmless, (*about, model.name, row["answer"])), _verdict(row)])
    return stream.getvalue()


def _harmless(cell: str) -> str:
    """A cell that no spreadsheet takes for a formula."""
    return f"'{cell}" if cell[:1] in ("=", "+", "-", "@") else cell


def _interval(value: Interval | None, sign: str = "") -> str:
    return "" if value is None else "{0:{s}.1f} [{1:{s}.1f}, {2:{s}.1f}]".format(*value, s=sign)


def _number(value: float | None) -> str:
    return "" if value is None else f"{value:.2f}"
