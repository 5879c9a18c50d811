"""What the rules of cleaning get right on hand-labelled turns, by rule and half, and how fast they are.

    python benchmarks/cleaning.py              # writes results/cleaning.json
    python benchmarks/cleaning.py --errors     # lists what is wrong in the tune half

The labels are tests/instruct/turns.tsv, committed before the rules. The rules were changed for the tune half only. With
../shared/data (or LLAVAMED_DATA) also: how many turns of the published chat evaluation break a rule.
"""

import argparse
import json
import os
import sys
import time
from collections import Counter
from pathlib import Path

ROOT = Path(__file__).parent.parent
sys.path.insert(0, str(ROOT / "tests"))
DATA = Path(os.environ.get("LLAVAMED_DATA", ROOT.parent / "shared" / "data")) / "llava_med_eval"
RESULTS = Path(__file__).parent / "results" / "cleaning.json"

from labelled_turns import judged, read, scores  # noqa: E402
from llavamed.instruct.clean import MEANING, clean_turns, judge, rules_hash  # noqa: E402


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("--errors", action="store_true", help="list the turns of the tune half that are judged wrongly")
    turns = judged()
    if parser.parse_args().errors:
        for turn in turns:
            if turn["half"] == "tune" and turn["true"] != turn["said"]:
                print(sorted(turn["true"]), sorted(turn["said"]), turn["question"], "|", turn["answer"])
        return
    halves = {half: [turn for turn in turns if turn["half"] == half] for half in ("tune", "test")}
    result = {"rules_hash": rules_hash(), "labels": {half: scores(rows) for half, rows in halves.items()}}
    print(f"{'rule':12} " + " ".join(f"{half:>5}  precision  recall" for half in halves))
    for rule in ("any", *MEANING):
        cells = (result["labels"][half][rule] for half in halves)
        print(f"{rule:12} " + " ".join(f"{c['turns']:5}  {c['precision']:9.3f}  {c['recall']:6.3f}" for c in cells))
    result["repairs"] = {half: repairs(rows) for half, rows in halves.items()}
    result["published"] = published()
    result["conversations_a_second"] = round(speed())
    for name in ("repairs", "published", "conversations_a_second"):
        print(name, result[name])
    RESULTS.write_text(json.dumps(result, indent=1) + "\n", encoding="utf-8")


def repairs(turns: list[dict]) -> dict[str, int]:
    """Of the turns for which the labels have a repaired answer: those repaired so; and those repaired otherwise."""
    mended = [turn for turn in turns if turn["repaired"]]
    changed = [turn for turn in turns if turn["left"] not in ("", turn["answer"], turn["repaired"])]
    return {
        "wanted": len(mended),
        "as_wanted": sum(turn["left"] == turn["repaired"] for turn in mended),
        "otherwise": len(changed),
    }


def published() -> dict[str, dict[str, int]] | None:
    """Turns of the published chat evaluation that break each rule: its reference answers, and a model's."""
    if not DATA.is_dir():
        return None
    rows = [json.loads(line) for line in (DATA / "llava_med_eval_qa50_qa.jsonl").open(encoding="utf-8")]
    answers = DATA / "llava_med_qa50_instruct_caption_in_text_cleaned-60k-3epoch.json"
    model = {row["question_id"]: row["text"] for row in map(json.loads, answers.open(encoding="utf-8"))}
    found = {}
    for name in ("reference", "model"):
        counts: Counter[str] = Counter()
        for row in rows:
            answer = row["gpt4_answer"] if name == "reference" else model[row["question_id"]]
            source = "\n".join((row["fig_caption"], *(m["tokens"] for m in row["in_text_mention"] or [])))
            broken = judge(row["text"].replace("<image>", "").strip(), answer, source)
            counts.update([*broken, "turns", *(["any"] if broken else [])])
        found[name] = dict(sorted(counts.items()))
    return found


def speed(seconds: float = 5) -> float:
    """Conversations of three labelled good turns a second of CPU on one core, caption and mention known."""
    figures = {row["figure"]: row for row in read("turn_figures.tsv")}
    conversations = []
    for name, figure in figures.items():
        turns = [
            (t["question"], t["answer"]) for t in read("turns.tsv") if (t["figure"], t["labels"]) == (name, "good")
        ]
        conversations += [
            (turns[n : n + 3], figure["caption"], [figure["mention"]]) for n in range(0, len(turns) - 2, 3)
        ]
    done, best, end = 0, 0.0, time.perf_counter() + seconds
    while time.perf_counter() < end:
        start = time.process_time()
        for _ in range(20):
            for conversation in conversations:
                clean_turns(*conversation)
        done = 20 * len(conversations)
        best = max(best, done / (time.process_time() - start))
    return best


if __name__ == "__main__":
    main()
