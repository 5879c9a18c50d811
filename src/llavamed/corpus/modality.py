"""What kind of image a figure is, by the words of its caption and of the sentences that cite it (modality.yaml)."""

import re
from collections.abc import Iterator
from dataclasses import dataclass, field
from functools import cache, lru_cache
from itertools import product
from pathlib import Path
from typing import Any

import yaml

from llavamed.corpus.schema import DOMAINS, KINDS

Json = dict[str, Any]
_RULES = Path(__file__).with_name("modality.yaml")
_NOTHING, _TELLING = "nothing", "telling"
_LONGEST = 30  # letters of a word in the rules
_CERTAIN = 0.99  # words are never sure
# A word, a sign, the end of a sentence, or the bracket before a panel's letter.
_TOKEN = re.compile(r"[^\W_]+(?:['’]s\b)?|[±×<>≤≥=&]|[.;](?=\s)|\((?=[A-Za-z]\b[^()]{0,9}\))")
_ENDS, _PANEL = (".", ";", "("), "("


@dataclass(frozen=True, eq=False)  # a line is itself alone
class Line:
    """A line of the rules, and what its words tell."""

    name: str  # a kind, `nothing` or `telling`
    confidence: float
    phrase: str


@dataclass
class Node:
    """A word of a phrase: the words that may follow (`_`: any), and the lines that end here."""

    next: dict[str, "Node"] = field(default_factory=dict)
    lines: list[Line] = field(default_factory=list)


Found = tuple[tuple[int, ...], Line]  # the places of the phrase's words among the tokens
Evidence = dict[Line, tuple[float, str]]  # its confidence here, and the words


def modality_of(caption: str, mentions: list[str]) -> list[Json]:
    """`[{name, confidence, source}]`, the surest first; `source` quotes the words: "caption: chest X-ray".

    Empty where no words tell.
    """
    rules = _rules()
    evidence = _evidence(caption, "caption", 1.0)
    found = _sum(evidence)
    if all(entry["confidence"] < rules["least"] for entry in found):
        for text in mentions:
            for line, said in _evidence(text, "mention", rules["mention"]).items():
                evidence[line] = max(evidence.get(line, said), said)
        found = _sum(evidence)
    return [entry for entry in found if entry["confidence"] >= _least(entry["name"], found)]


def _least(kind: str, found: list[Json]) -> float:
    """From which confidence a figure is listed under `kind`, beside the others `found`."""
    rules = _rules()
    passed = rules["beside"] if kind in rules["photographs"] else ()
    surest = max((entry["confidence"] for entry in found if entry["name"] not in passed), default=0.0)
    return float(max(rules["least"], rules["share"] * surest))


def domain_of(modality: list[Json]) -> dict[str, bool]:
    """The five domains of LLaVA-Med's instruction data, from `modality_of`."""
    names = {entry["name"] for entry in modality}
    return {domain: kind in names for domain, kind in DOMAINS.items()}


def _sum(evidence: Evidence) -> list[Json]:
    """One entry per kind, the surest first: the chances of its surest lines added, the words of the first of them.

    Lines seldom are independent of each other: the second counts half, the third a third.
    """
    by_kind: dict[str, list[tuple[float, str]]] = {}
    for line, words in evidence.items():
        by_kind.setdefault(line.name, []).append(words)
    found = []
    for name in KINDS:
        surest = sorted(by_kind.get(name, ()), reverse=True)[: _rules()["lines"]]
        if surest:
            doubt = 1.0
            for nth, (confidence, _) in enumerate(surest, start=1):
                doubt *= 1 - confidence / nth
            found.append({"name": name, "confidence": min(_CERTAIN, round(1 - doubt, 3)), "source": surest[0][1]})
    return sorted(found, key=lambda entry: -entry["confidence"])  # a stable sort: equals in the order of KINDS


def _evidence(text: str, where: str, weight: float) -> Evidence:
    """The lines of the rules that `text` bears out."""
    rules = _rules()
    tokens = list(_TOKEN.finditer(text))
    words = [token[0] for token in tokens]
    drawn_kinds, sure, demotion = rules["drawn"], rules["sure"], rules["demotion"]
    evidence: Evidence = {}
    whole = part = False  # has the sentence, or the panel in it, been said to tell of data?
    panel = False
    at = 0
    for places, line in _longest(list(_phrases(words))):
        for word in words[at : places[0]]:
            if word in _ENDS:
                whole, panel, part = (whole, True, False) if word == _PANEL else (False, False, False)
        at = max(at, places[0])
        told = whole or part
        drawn = line.name in drawn_kinds
        if line.name == _TELLING or (drawn and line.confidence >= sure):
            whole, part = whole or not panel, part or panel
        if line.name in (_NOTHING, _TELLING):
            continue
        confidence = line.confidence * weight * (demotion if told and not drawn else 1)
        if confidence > evidence.get(line, (0.0, ""))[0]:
            quoted = text[tokens[places[0]].start() : tokens[places[-1]].end()]
            evidence[line] = confidence, f"{where}: {quoted}"
    return evidence


def _phrases(words: list[str]) -> Iterator[Found]:
    """Every phrase of the rules in `words`."""
    for begin, word in enumerate(words):
        begun = _begun(word)
        if not begun:
            continue
        reached = [(node, (begin,)) for node in begun]
        at = begin
        while reached:
            for node, places in reached:
                for line in node.lines:
                    yield places, line
            at += 1
            if at == len(words) or words[at] in _ENDS:
                break
            names = _names(words[at])
            reached = [
                step
                for node, places in reached
                if node.next
                for step in (
                    *((node.next[name], (*places, at)) for name in names if name in node.next),
                    *([(node.next["_"], places)] if "_" in node.next else ()),
                )
            ]


@lru_cache(1 << 16)
def _begun(word: str) -> tuple[Node, ...]:
    """Where the phrases stand that begin with `word`."""
    root: Node = _rules()["root"]
    return tuple(root.next[name] for name in _names(word) if name in root.next)


def _longest(found: list[Found]) -> list[Found]:
    """Without the phrases all of whose words belong to a longer one."""
    at: dict[int, set[tuple[int, ...]]] = {}
    for places, _ in found:
        for place in places:
            at.setdefault(place, set()).add(places)
    inside = {
        places
        for places, _ in found
        if any(len(other) > len(places) and set(places) <= set(other) for other in at[places[0]])
    }
    return [(places, line) for places, line in found if places not in inside]


@lru_cache(1 << 16)
def _names(word: str) -> tuple[str, ...]:
    """The words of the rules that `word` is."""
    known, plain = _rules()["words"], word.casefold()
    names = {word, plain, *(f"{plain[:end]}*" for end in range(1, min(len(plain), _LONGEST) + 1))} & known
    return (*sorted(names), "\\d") if word[0].isdigit() else tuple(sorted(names))


@cache
def _rules() -> Json:
    rules: Json = yaml.safe_load(_RULES.read_text(encoding="utf-8"))
    lines = [Line(name, 0.0, phrase) for name in (_NOTHING, _TELLING) for phrase in rules[name]]
    for name, groups in rules["kinds"].items():
        lines += [Line(name, confidence, phrase) for confidence, phrases in groups.items() for phrase in phrases]
    root, words = Node(), set()
    for line in lines:
        for spelt in _spellings(line.phrase):
            node = root
            for word in spelt:
                node = node.next.setdefault(word, Node())
            if line not in node.lines:
                node.lines.append(line)
            words.update(spelt)
    return {**rules, "root": root, "words": words}


def _spellings(phrase: str) -> Iterator[list[str]]:
    """The words of a phrase, one way for each alternative and each width of its gaps."""
    ways = [
        [(), ("_",), ("_", "_")] if word == "~" else [(either,) for either in word.split("/")]
        for word in phrase.split()
    ]
    for way in product(*ways):
        yield [word for part in way for word in part]
