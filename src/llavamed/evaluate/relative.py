"""The relative score of visual chat: the model's mark divided by the reference's, and what their order does."""

from collections import defaultdict
from collections.abc import Iterable, Sequence
from dataclasses import dataclass
from statistics import fmean

from rich import box
from rich.table import Table

from llavamed.evaluate.judge import MODEL_FIRST, ORDERS, REFERENCE_FIRST
from llavamed.evaluate.metrics import Interval, bootstrap
from llavamed.storage import Json

ALL = "all"
NAMES = {
    "conversation": "conv.",
    "detailed_description": "descr.",
    "chest_xray": "CXR",
    "mri": "MRI",
    "histology": "histology",
    "gross": "gross",
    "ct_scan": "CT",
    ALL: "all",
}
# Relative scores as published (arXiv 2306.00890, table 3; judge: GPT-4, reference first).
PUBLISHED = {
    row: dict(zip(NAMES, values, strict=True))
    for row, *values in (
        ("LLaVA", 39.4, 26.2, 41.6, 33.4, 38.4, 32.9, 33.4, 36.1),
        ("stage 1", 22.6, 25.2, 25.8, 19.0, 24.8, 24.7, 22.2, 23.3),
        ("10K", 42.4, 32.5, 46.1, 36.7, 43.5, 34.7, 37.5, 39.9),
        ("60K", 53.7, 36.9, 57.3, 39.8, 49.8, 47.4, 52.4, 49.4),
        ("60K-IM", 55.1, 36.4, 56.2, 40.4, 52.7, 51.8, 50.1, 50.2),
    )
}


@dataclass(frozen=True)
class Marked:
    """A question that both orders gave marks for: the model's and the reference's by order, each 1 to 10."""

    id: str
    pair_id: str
    type: str
    domain: str
    model: dict[str, float]
    reference: dict[str, float]

    def ratio(self, order: str) -> float:
        """The model's mark divided by the reference's."""
        return self.model[order] / self.reference[order]


def marked(judgements: Iterable[Json]) -> list[Marked]:
    """The questions that have marks in both orders. A judgement: `{id, pair_id, type, domain, order, model_mark,
    reference_mark}`, marks None where there is no verdict."""
    pairs: dict[str, dict[str, Json]] = defaultdict(dict)
    for row in judgements:
        if row["model_mark"] is not None and row["reference_mark"] is not None:
            pairs[row["id"]][row["order"]] = row
    questions = []
    for name, found in pairs.items():
        if found.keys() == set(ORDERS):
            model, reference = ({o: found[o][key] for o in ORDERS} for key in ("model_mark", "reference_mark"))
            row = found[REFERENCE_FIRST]
            questions.append(Marked(name, row["pair_id"], row["type"], row["domain"], model, reference))
    return questions


def scores(questions: Sequence[Marked]) -> dict[str, Json | None]:
    """By type of question, by domain, and of all: `{n, n_figures, relative, reference_first, model_first, order_effect,
    same_winner, model_mark, reference_mark}`, None where there are no questions.

    `relative`: mean over questions of the mean of both orders' ratios, per cent, with its 95 % interval over figures;
    `reference_first` and `model_first`: of one order alone; `order_effect`: the second minus the first, paired.
    `same_winner`: per cent of questions where both orders prefer the same answer, or neither.
    """
    groups: dict[str, list[Marked]] = defaultdict(list)
    for question in questions:
        for name in (question.type, question.domain, ALL):
            groups[name].append(question)
    names = [*NAMES, *sorted(groups.keys() - NAMES.keys())]
    return {name: _score(groups[name]) if name in groups else None for name in names}


def _score(questions: list[Marked]) -> Json:
    figures = [question.pair_id for question in questions]
    first, second = ([question.ratio(order) for question in questions] for order in (REFERENCE_FIRST, MODEL_FIRST))
    both = list(zip(first, second, strict=True))
    return {
        "n": len(questions),
        "n_figures": len(set(figures)),
        "relative": bootstrap([(a + b) / 2 for a, b in both], figures),
        "reference_first": bootstrap(first, figures),
        "model_first": bootstrap(second, figures),
        "order_effect": bootstrap([b - a for a, b in both], figures),
        "same_winner": 100 * fmean((a > 1) - (a < 1) == (b > 1) - (b < 1) for a, b in both),
        "model_mark": fmean(mark for question in questions for mark in question.model.values()),
        "reference_mark": fmean(mark for question in questions for mark in question.reference.values()),
    }


def table(result: Json) -> Table:
    """The scores for the terminal, beside the published ones."""
    title = f"Visual chat: {result['n']} of {result['of']} questions judged by {result['judge']}"
    notes = (
        "relative score, per cent [95 % interval over figures]; order: model first minus reference first; published: "
        "LLaVA-Med's table, GPT-4 as judge, reference first"
    )
    notes += f"\n{result['contamination']['sentence']}"
    shown = Table(title=title, caption=notes, box=box.SIMPLE_HEAD, pad_edge=False, padding=0)
    shown.add_column("", no_wrap=True)
    for heading in ("n", "both orders", "ref.\nfirst", "order", *PUBLISHED):
        shown.add_column(heading.replace("stage ", "stage\n").replace("-IM", "\n-IM"), justify="right", no_wrap=True)
    others = sorted(result["scores"].keys() - NAMES.keys())
    for name in (*NAMES, *others):
        cells = ["0", "", "", ""]
        if score := result["scores"][name]:
            one = f"{score['reference_first'][0]:.1f}"
            cells = [str(score["n"]), _say(score["relative"]), one, _say(score["order_effect"])]
        published = [f"{row[name]:.1f}" if name in row else "" for row in PUBLISHED.values()]
        shown.add_row(
            NAMES.get(name, name), *cells, *published, end_section=name in ("detailed_description", "ct_scan")
        )
    return shown


def _say(interval: Interval) -> str:
    return "{:.1f} [{:.0f}, {:.0f}]".format(*interval)
