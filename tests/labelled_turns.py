"""The labelled turns of tests/instruct, judged by the rules: what is right, by rule and half."""

import csv
import hashlib
from collections import defaultdict
from pathlib import Path

from llavamed.instruct.clean import MEANING, clean_turns, judge, turn_key

FOLDER = Path(__file__).parent / "instruct"
GOOD = "good"


def read(name: str) -> list[dict[str, str]]:
    with (FOLDER / name).open(encoding="utf-8") as stream:
        lines = (line for line in stream if not line.startswith("#"))
        return list(csv.DictReader(lines, delimiter="\t", quoting=csv.QUOTE_NONE))


def half_of(turn: dict[str, str]) -> str:
    key = "\0".join((turn["figure"], turn["question"], turn["answer"]))
    return "test" if hashlib.sha256(key.encode()).digest()[0] & 1 else "tune"


def judged() -> list[dict]:
    """Each labelled turn with its half, `true` and `said` rules, and what is `left` of its answer, "" if dropped."""
    figures = {row["figure"]: row for row in read("turn_figures.tsv")}
    seen: dict[str, set[str]] = defaultdict(set)
    found = []
    for turn in read("turns.tsv"):
        figure = figures[turn["figure"]]
        question, answer = turn["question"], turn["answer"]
        said = set(judge(question, answer, f"{figure['caption']}\n{figure['mention']}"))
        key = turn_key(question, answer)
        if not said and key in seen[turn["figure"]]:
            said = {"duplicate"}
        if not said:
            seen[turn["figure"]].add(key)
        kept, _ = clean_turns([(question, answer)], figure["caption"], [figure["mention"]])
        left = kept[0][1] if kept and said != {"duplicate"} else ""
        true = set(turn["labels"].split(",")) - {GOOD}
        found.append({**turn, "half": half_of(turn), "true": true, "said": said, "left": left})
    return found


def scores(turns: list[dict]) -> dict[str, dict[str, float]]:
    """Rule (and "any") -> number of turns that break it, precision, recall."""
    found = {}
    for rule in ("any", *MEANING):
        pairs = [(bool(t["true"]), bool(t["said"])) if rule == "any" else (rule in t["true"], rule in t["said"])
                 for t in turns]  # fmt: skip
        right = sum(true and said for true, said in pairs)
        called, there = sum(said for _, said in pairs), sum(true for true, _ in pairs)
        found[rule] = {
            "turns": there,
            "precision": round(right / called, 3) if called else 1.0,
            "recall": round(right / there, 3) if there else 1.0,
        }
    return found
