"""A teacher that is no model: short conversations by rule, from a figure's kind and its caption.

What is asked stands in template.yaml. Every question is drawn by hash, and so is the right answer of a yes or no
question, whose wrong values are drawn such that the question alone does not give the answer away.
"""

import re
from collections import Counter
from functools import partial
from pathlib import Path
from typing import Any

import pyarrow.parquet as pq
import yaml

from llavamed import artifact
from llavamed.artifact import Json
from llavamed.corpus.schema import KINDS
from llavamed.engine import map_shards
from llavamed.instruct.caption import first_sentence
from llavamed.instruct.write import Excluded, Turns, draw, kind_of, open_set, place, result, write_set

TEMPLATE = Path(__file__).with_name("template.yaml")
VERSION = "1"  # of the rules in this file and in caption.py
COLUMNS = ["pair_id", "fig_caption", "modality", "split"]

CARD = """Short conversations written by rule: no language model was used. The kind of image is the corpus's, other
answers are words found in the caption, and the open question is answered by the caption's first sentence, without panel
letters, citations and references to the text. Yes and no are equally frequent. Each caption keeps its article's
licence."""

Weights = dict[str, float]


def generate_template(corpus: Path, folder: Path, *, seed: int = 0, workers: int = 1, force: bool = False) -> Json:
    """Write the template teacher's conversations on the figures of `corpus` to `folder`.

    Returns `{conversations: {in, kept, excluded}, turns, splits, artifact, hash}`.

    Raises:
        InputError: `corpus` is not a finished corpus, or `folder` holds something else.
    """
    job = open_set(corpus, folder, "template", {"seed": seed, "version": VERSION}, TEMPLATE, force)
    if job.manifest is None:
        template = yaml.safe_load(TEMPLATE.read_text(encoding="utf-8"))
        count = partial(count_values, topics=template["topics"])
        counts: Json = {}
        for part in map_shards(count, artifact.tables(corpus), workers):
            counts = artifact.add(counts, part)
        weights = {split: {t: balance(values) for t, values in topics.items()} for split, topics in counts.items()}
        writer = partial(write_one, template=template, weights=weights, seed=seed)
        model = {
            "name": "template",
            "version": VERSION,
            "prompt_hash": job.settings["prompt_hash"],
            "ai": False,
        }
        job.manifest = write_set(job, corpus, writer, teacher="template", models=[model], text=CARD, workers=workers)
    return result(job.manifest, folder)


def write_one(figure: Json, *, template: Json, weights: dict[str, dict[str, Weights]], seed: int) -> Turns:
    """The figure's turns in a drawn order. Raises Excluded where the caption says nothing."""
    sentence = first_sentence(figure["fig_caption"] or "")
    if not sentence:
        raise Excluded("no_caption")
    key = (seed, figure["pair_id"])
    turns: Turns = []
    kind: tuple[str, str] | None = None
    values = values_of(figure, sentence, template["topics"])
    for topic, value in values.items():
        texts = template["topics"][topic]
        ask = (draw(texts["ask"], "ask", topic, *key), words(topic, value))
        confirm = _confirm(topic, value, texts.get("confirm", []), weights[figure["split"]][topic], key)
        if topic == "kind":
            kind = ask
            turns += [ask, *confirm]
        else:  # either form: the one would give the other away
            turns += confirm if confirm and topic == draw(list(values), "form", *key) else [ask]
    turns.sort(key=lambda turn: place("order", *turn, *key))
    # The caption often names the kind: what it shows is asked anywhere after that.
    first = turns.index(kind) + 1 if kind else 0
    describe = (draw(template["open"], "open", *key), sentence)
    turns.insert(draw(range(first, len(turns) + 1), "place", *key), describe)
    return turns


def values_of(figure: Json, sentence: str, topics: Json) -> dict[str, str]:
    """What is known of the figure: topic -> value, the kind as a key of KINDS."""
    kind = kind_of(figure)
    found = {"kind": kind} if kind else {}
    for topic, rules in topics.items():
        if kind in rules.get("kinds", ()):
            named = {value for value, terms in rules["values"].items() if _names(sentence, terms)}
            if len(named) == 1:
                found[topic] = named.pop()
    return found


def words(topic: str, value: str) -> str:
    """The words for a value: those of KINDS for a kind, else the value itself."""
    return KINDS[value] if topic == "kind" else value


def count_values(path: Path, topics: Json) -> dict[str, dict[str, dict[str, int]]]:
    """How many figures of one file have each value: split -> topic -> value -> number."""
    counts: dict[str, dict[str, Counter[str]]] = {}
    for figure in pq.read_table(path, columns=COLUMNS).to_pylist():
        for topic, value in values_of(figure, first_sentence(figure["fig_caption"] or ""), topics).items():
            counts.setdefault(figure["split"], {}).setdefault(topic, Counter())[value] += 1
    return {split: {topic: dict(values) for topic, values in part.items()} for split, part in counts.items()}


def balance(counts: dict[str, int]) -> Weights:
    """Weights to draw a wrong value by, so that each value is asked for as often wrongly as rightly.

    Found by fixed-point iteration; exact while no value holds more than half. Whoever knows the questions but not the
    picture then guesses right half the time.
    """
    total = sum(counts.values())
    share = {value: n / total for value, n in sorted(counts.items())}
    weights = dict(share)
    if len(weights) < 2:
        return weights
    for _ in range(50):
        wrong = dict.fromkeys(weights, 0.0)
        for true, p in share.items():
            others = sum(w for value, w in weights.items() if value != true)
            for value, w in weights.items():
                if value != true:
                    wrong[value] += p * w / others
        weights = {value: max(w * share[value] / wrong[value], 1e-9) for value, w in weights.items()}
        norm = sum(weights.values())
        weights = {value: w / norm for value, w in weights.items()}
    return weights


def _confirm(topic: str, value: str, texts: list[str], weights: Weights, key: tuple[Any, ...]) -> Turns:
    """A yes or no question on `value`, or none where there are no `texts` or the split knows no other value."""
    others = {other: weight for other, weight in weights.items() if other != value}
    if not texts or not others:
        return []
    right = place("right", topic, *key) < 0.5
    asked = value if right else _weighted(others, place("wrong", topic, *key))
    text = draw(texts, "confirm", topic, *key)
    name = words(topic, asked)
    return [(text.format(value=name, a=f"{_article(name)} {name}"), "Yes" if right else "No")]


def _weighted(weights: Weights, at: float) -> str:
    rest = at * sum(weights.values())
    for value in weights:
        rest -= weights[value]
        if rest < 0:
            break
    return value


def _article(name: str) -> str:
    return "an" if name[0] in "aeiou" or name.startswith("MRI") else "a"


def _names(sentence: str, terms: list[str]) -> bool:
    return re.search(rf"(?<!\w)(?:{'|'.join(map(re.escape, terms))})(?!\w)", sentence, re.IGNORECASE) is not None
