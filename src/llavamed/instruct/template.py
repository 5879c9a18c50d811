"""A teacher that is no model: short conversations by rule, from a figure's kind and its caption.

What is asked stands in template.yaml. Questions, their order and their wording are drawn by hash. Which yes or no
question a figure gets is planned over its whole split, so that the question alone does not give the answer away.
"""

import re
from collections import Counter
from functools import partial
from pathlib import Path

import pyarrow.parquet as pq
import yaml

from llavamed import storage
from llavamed.corpus.schema import KINDS
from llavamed.engine import map_shards
from llavamed.instruct.caption import first_sentence
from llavamed.instruct.write import Excluded, Turns, draw, kind_of, open_set, place, result, write_set
from llavamed.storage import Json

TEMPLATE = Path(__file__).with_name("template.yaml")
VERSION = "2"  # of the rules in this file and in caption.py
COLUMNS = ["pair_id", "fig_caption", "modality", "single_plot", "split"]

CARD = """Short conversations written by rule: no language model was used. The kind of image is the corpus's, other
answers are words found in the caption, and the open question is answered by the caption's first sentence, without panel
letters, citations and references to the text. Yes and no are equally frequent for each kind asked about. Each caption
keeps its article's licence."""

Found = list[tuple[str, str, str, str]]  # split, topic, pair_id, value
Asked = dict[tuple[str, str], str]  # (topic, pair_id) -> the value that the yes or no question names


def generate_template(corpus: Path, folder: Path, *, seed: int = 0, workers: int = 1, force: bool = False) -> Json:
    """Write the template teacher's conversations on the figures of `corpus` to `folder`.

    Returns `{conversations: {in, kept, excluded}, turns, splits, artifact, hash}`.

    Raises:
        InputError: `corpus` is not a finished corpus, or `folder` holds something else.
    """
    job = open_set(corpus, folder, "template", {"seed": seed, "version": VERSION}, TEMPLATE, force)
    if job.manifest is None:
        template = yaml.safe_load(TEMPLATE.read_text(encoding="utf-8"))
        find = partial(find_values, topics=template["topics"])
        found = dict(sorted(map_shards(find, storage.tables(corpus), workers)))
        asked = plan([entry for entries in found.values() for entry in entries], template["topics"], seed)
        writers = {}
        for name, entries in found.items():
            keys = ((topic, pair) for _, topic, pair, _ in entries)
            own = {key: asked[key] for key in keys if key in asked}
            writers[f"data/{name}"] = partial(write_one, template=template, asked=own, seed=seed)
        prompt_hash = job.settings["prompt_hash"]
        model = {"name": "template", "version": VERSION, "prompt_hash": prompt_hash, "ai": False}
        job.manifest = write_set(job, corpus, writers, teacher="template", models=[model], text=CARD, workers=workers)
    return result(job.manifest, folder)


def write_one(figure: Json, *, template: Json, asked: Asked, seed: int) -> Turns:
    """The figure's turns. What is asked first, only the picture answers: the kind, or at times yes or no about it.

    The other turns follow in a drawn order. Raises Excluded where the caption says nothing.
    """
    sentence = first_sentence(figure["fig_caption"] or "")
    if not sentence:
        raise Excluded("no_caption")
    key = (seed, figure["pair_id"])
    turns: Turns = []
    kind: tuple[str, str] | None = None
    leads: Turns = []
    values = values_of(figure, sentence, template["topics"])
    for topic, value in values.items():
        texts = template["topics"][topic]
        ask = (draw(texts["ask"], "ask", topic, *key), words(topic, value))
        confirm = _confirm(topic, value, asked.get((topic, figure["pair_id"])), texts, key)
        if topic == "kind":
            kind = ask
            turns += [ask, *confirm]
            leads = [ask, ask, *(confirm or [ask])]
        else:  # either form: the one would give the other away
            turns += confirm if confirm and topic == draw(list(values), "form", *key) else [ask]
    turns.sort(key=lambda turn: place("order", *turn, *key))
    if leads:  # an earlier answer would give a later one away
        lead = draw(leads, "lead", *key)
        turns.remove(lead)
        turns.insert(0, lead)
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


def find_values(path: Path, topics: Json) -> tuple[str, Found]:
    """The file's name, and all that is known of its figures."""
    found = []
    for figure in pq.read_table(path, columns=COLUMNS).to_pylist():
        sentence = first_sentence(figure["fig_caption"] or "")
        values = values_of(figure, sentence, topics) if sentence else {}  # no conversation, no question
        found += [(figure["split"], topic, figure["pair_id"], value) for topic, value in values.items()]
    return path.name, found


def plan(found: Found, topics: Json, seed: int) -> Asked:
    """What each figure's yes or no question names: in each split, a value is asked for as often wrongly as rightly.

    About half of a value's figures are asked for it, the other half for another value, but never for one that is
    `alike`. Where that cannot be, as where one value holds more than half of a split, figures get no question.
    """
    asked: Asked = {}
    groups: dict[tuple[str, str], list[tuple[str, str]]] = {}
    for split, topic, pair, value in found:
        groups.setdefault((split, topic), []).append((pair, value))
    for (_, topic), figures in sorted(groups.items()):
        alike = {value: names[0] for names in topics[topic].get("alike", ()) for value in names}
        right, wrong = [], []
        for value in sorted({value for _, value in figures}, key=lambda value: (alike.get(value, value), value)):
            own = sorted((pair for pair, v in figures if v == value), key=lambda pair: place("plan", topic, seed, pair))
            right += [(pair, value) for pair in own[::2]]
            wrong += [(pair, value) for pair in own[1::2]]
        names = _derange([(value, alike.get(value, value)) for _, value in wrong], (topic, seed))
        asked |= {(topic, pair): name for (pair, _), name in zip(wrong, names, strict=True) if name}
        left = Counter(names)
        for pair, value in right:
            if left[value] > 0:
                left[value] -= 1
                asked[topic, pair] = value
    return asked


def _derange(values: list[tuple[str, str]], key: tuple[object, ...]) -> list[str | None]:
    """The values (with their groups, sorted by group) in an order in which none stands where its group was; None where
    there is no such order."""
    n = len(values)
    shift = max(Counter(group for _, group in values).values(), default=0)
    moved = [values[(i + shift) % n] for i in range(n)]
    for i in range(n):  # mixed, so that not every value is replaced by the same one
        j = draw(range(n), "mix", i, *key)
        if moved[j][1] != values[i][1] and moved[i][1] != values[j][1]:
            moved[i], moved[j] = moved[j], moved[i]
    return [new if group != old else None for (new, group), (_, old) in zip(moved, values, strict=True)]


def _confirm(topic: str, value: str, asked: str | None, texts: Json, key: tuple[object, ...]) -> Turns:
    if asked is None or "confirm" not in texts:
        return []
    name = words(topic, asked)
    question = draw(texts["confirm"], "confirm", topic, *key)
    return [(question.format(value=name, a=f"{_article(name)} {name}"), "Yes" if asked == value else "No")]


def _article(name: str) -> str:
    return "an" if name[0] in "aeiou" or name.startswith("MRI") else "a"


def _names(sentence: str, terms: list[str]) -> bool:
    return re.search(rf"(?<!\w)(?:{'|'.join(map(re.escape, terms))})(?!\w)", sentence, re.IGNORECASE) is not None
