"""Scores as tables for the terminal."""

from rich import box
from rich.table import Table

from llavamed.evaluate.contamination import sentences
from llavamed.evaluate.metrics import NAMES, Interval
from llavamed.evaluate.predictions import PROBLEMS
from llavamed.evaluate.score import CONTROLS
from llavamed.storage import Json

FIGURES = {
    "open_recall": "open: recall",
    "open_precision": "open: precision",
    "open_f1": "open: F1",
    "exact_match": "open: exact match",
    "closed_accuracy": "closed: accuracy",
}


def table(result: Json) -> Table:
    """The scores for the terminal: both sets of rules side by side, the controls beside them, then group by group."""
    others = [who for who in CONTROLS if result[who]]
    neighbour = any(part["neighbour"] for part in result["by_question_type"].values())
    scored = result["n_open"] + result["n_closed"]
    of = f" (of {result['n_questions']:,} asked for)" if result.get("n_questions", scored) != scored else ""
    name = " ".join(filter(None, (result.get("benchmark"), result.get("split")))) or "Scores"
    asked = f"{result['n_open']:,} open and {result['n_closed']:,} closed questions{of}"
    title = f"{name}: {asked} on {result['n_images']:,} images"
    notes = "per cent [95 % interval over images]; paper: by LLaVA-Med's rules, all else by strict ones"
    wrong = [f"{n:,} {PROBLEMS.get(name, name)}" for name, n in (result.get("problems") or {}).items()]
    if wrong:
        notes += f"\n{'; '.join(wrong)}"
    if said := sentences(result):
        notes += f"\n{said}"
    shown = Table(title=title, caption=notes, box=box.SIMPLE_HEAD, show_edge=False, padding=0)
    shown.add_column("", overflow="fold")
    for heading in ("n", "paper", "strict", *others, *["neighbour"] * neighbour):
        shown.add_column(heading, justify="right", overflow="fold")
    for name in NAMES:
        if result["strict"][name]:
            n = result["n_closed"] if name == "closed_accuracy" else result["n_open"]
            cells = [_point(result[who]["strict"][name]) for who in others]
            shown.add_row(FIGURES[name], str(n), f"{result['paper'][name]:.2f}", _say(result["strict"][name]), *cells)
    shown.add_section()
    for group in ("by_question_type", "by_organ", "by_modality"):
        for name, part in result[group].items():
            cells = [_point(part[who]) for who in (*others, *["neighbour"] * neighbour)]
            shown.add_row(name, str(part["n"]), f"{part['paper']:.1f}", _say(part["strict"]), *cells)
        shown.add_section()
    return shown


def compared(result: Json) -> Table | None:
    """The model minus each control, paired; None where there is none."""
    others = [who for who in CONTROLS if result[who]]
    names = [name for name in ("open_recall", "closed_accuracy") if result["strict"][name]]
    shown = Table(title="model minus", caption="points [95 % interval, paired]", box=box.SIMPLE_HEAD, pad_edge=False)
    shown.add_column("")
    for name in names:
        shown.add_column(FIGURES[name], justify="right", overflow="fold")
    for who in others:
        shown.add_row(who, *(_say(result[who]["difference"][name], "+") for name in names))
    test = (result["against"] or {}).get("mcnemar")
    if test:
        words = f"{test['only_this']} right here alone, {test['only_other']} there alone; McNemar p = {test['p']:.2g}"
        shown.caption = f"points [95 % interval, paired]; closed, against: {words}"
    return shown if others else None


def _point(interval: Interval | None) -> str:
    return "" if interval is None else f"{interval[0]:.1f}"


def _say(interval: Interval | None, sign: str = "") -> str:
    return "" if interval is None else "{0:{s}.1f} [{1:{s}.1f}, {2:{s}.1f}]".format(*interval, s=sign)
