"""What kind of image a figure is, by the words of its caption and of the sentences that cite it (modality.yaml)."""

import re
from functools import cache
from pathlib import Path
from typing import Any

import yaml

from llavamed.corpus.schema import DOMAINS, KINDS

Json = dict[str, Any]
_RULES = Path(__file__).with_name("modality.yaml")


def modality_of(caption: str, mentions: list[str]) -> list[Json]:
    """`[{name, confidence, source}]`, the surest first; `source` quotes the words: "caption: chest X-ray".

    Empty where no words tell.
    """
    rules = _rules()
    found = _match(caption, "caption", 1.0)
    if not any(entry["confidence"] >= rules["least"] for entry in found.values()):
        for text in mentions:
            for name, entry in _match(text, "mention", rules["mention"]).items():
                if name not in found or found[name]["confidence"] < entry["confidence"]:
                    found[name] = entry
    chest, other = found.get("chest_xray"), found.get("radiograph")
    if chest and other and other["source"].split(": ", 1)[1] in chest["source"]:  # the same words, seen as less
        del found["radiograph"]
    surest = max((entry["confidence"] for entry in found.values()), default=0.0)
    least = max(rules["least"], rules["share"] * surest)
    kept = [entry for entry in found.values() if entry["confidence"] >= least]
    order = list(KINDS)
    return sorted(kept, key=lambda entry: (-entry["confidence"], order.index(entry["name"])))


def domain_of(modality: list[Json]) -> dict[str, bool]:
    """The five domains of LLaVA-Med's instruction data, from `modality_of`."""
    names = {entry["name"] for entry in modality}
    return {domain: kind in names for domain, kind in DOMAINS.items()}


def _match(text: str, where: str, weight: float) -> dict[str, Json]:
    """The best entry of each kind whose words are in `text`."""
    plain = _HYPHENS.sub(" ", text)  # as long as `text`: what matches in one is quoted from the other
    rules = _rules()
    found: dict[str, Json] = {}
    first: dict[str, int] = {}
    for name, patterns in rules["kinds"].items():
        for confidence, pattern in patterns:
            match = pattern.search(plain)
            if match and confidence * weight > found.get(name, {"confidence": 0})["confidence"]:
                words = text[match.start() : match.end()].strip()[:80]
                found[name] = {"name": name, "confidence": confidence * weight, "source": f"{where}: {words}"}
                first[name] = match.start()
    drawn = [first[name] for name in rules["demoted_by"] if name in found and found[name]["confidence"] >= 0.9 * weight]
    for name, entry in found.items():
        if drawn and name not in rules["demoted_by"] and min(drawn) < first[name]:
            entry["confidence"] *= rules["demotion"]
    return found


_HYPHENS = re.compile(r"[-‐‑‒–\s]")


@cache
def _rules() -> Json:
    rules: Json = yaml.safe_load(_RULES.read_text(encoding="utf-8"))
    rules["kinds"] = {
        name: [(confidence, re.compile(pattern, re.IGNORECASE)) for confidence, pattern in patterns]
        for name, patterns in rules["kinds"].items()
    }
    return rules
