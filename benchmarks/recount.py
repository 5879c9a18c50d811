"""Every computed figure of a run's training-data summary beside a count of its Parquet files and its tokenizer.

    python benchmarks/recount.py runs/demo

Reads nothing else: no manifest, and none of the code that made the figures. Prints a line for each fact; exit 1 if one
differs. Of sources what they hold together is counted: whose a picture of the built-in articles is, and when its
package was fetched, no table tells.
Needs the `train` extra for the tokenizer.
"""

import sys
from collections import Counter, defaultdict
from collections.abc import Iterable
from pathlib import Path
from typing import Any

import pyarrow.parquet as pq

from llavamed.summary.facts import gather

# fact -> column of the corpora; of both what was seen and what was collected
COLUMNS = {"licences": "licence", "years": "year", "languages": "language", "journals": "journal",
           "publishers": "publisher", "article_types": "article_type", "versions": "version"}  # fmt: skip
REMOVED = {
    "retracted": ("retracted",), "opt_outs": ("opt_out",), "licence": ("licence",), "in_test_set": ("in_test_set",),
    "duplicates": ("duplicate_article", "duplicate_figure", "duplicate_image", "near_duplicate_image"),
}  # fmt: skip
Rows = list[dict[str, Any]]


def rows(folder: Path, part: str = "data") -> Rows:
    """All rows of a part of a data set."""
    return [row for path in sorted((folder / part).glob("*.parquet")) for row in pq.read_table(path).to_pylist()]


def tally(values: Iterable[object]) -> dict[str, int]:
    """How often each value is there."""
    return dict(Counter(str(value or "unknown") for value in values))


def kind(figure: dict[str, Any]) -> str:
    """The surest kind of image."""
    return figure["modality"][0]["name"] if figure["modality"] else "unknown"


def tokenizer(model: Path) -> Any:
    """The model's, with its chat format."""
    from transformers import AutoTokenizer

    words = AutoTokenizer.from_pretrained(model)
    words.chat_template = (model / "chat_template.jinja").read_text()
    return words


def text_tokens(words: Any, turns: Rows) -> int:
    """Of a conversation in the model's chat format; its one `<image>` is no text."""
    chat = []
    for n, turn in enumerate(turns):
        text = {"type": "text", "text": turn["value"].replace("<image>", "").strip()}
        role = {"human": "user", "gpt": "assistant"}[turn["from"]]
        chat.append({"role": role, "content": [*([] if n else [{"type": "image"}]), text]})
    text = words.apply_chat_template(chat, tokenize=False)
    return len(words(text, add_special_tokens=False)["input_ids"]) - 1


def count(run: Path) -> dict[str, Any]:
    """Fact -> what the tables of the run say."""
    model = run / "assistant"
    seen = pq.read_table(model / "seen.parquet").to_pylist()
    folders = [path.parent for path in sorted(run.glob("*/data")) if rows(path.parent)]
    sets = {folder: rows(folder) for folder in folders if "conversations" in rows(folder)[0]}
    corpora = {folder: rows(folder) for folder in folders if "fig_caption" in rows(folder)[0]}
    talks = {row["id"]: row for folder in sets for row in sets[folder]}
    words = tokenizer(model)
    tokens = {row["id"]: text_tokens(words, talks[row["id"]]["conversations"]) for row in seen}
    pairs = {talks[id_]["pair_id"] for id_ in tokens}
    collected = [row for folder in corpora for row in corpora[folder]]
    figures = [row for row in collected if row["pair_id"] in pairs]
    found = {
        **{f"seen.{name}": value for name, value in sizes(seen, talks, tokens).items()},
        "seen.by_stage": tally(row["stage"] for row in seen),
        "seen.by_stage_counts": by_stage(seen, talks, tokens),
        "seen.synthetic": by_teacher(talks, tokens),
        "seen.sources": (len({talks[id_]["image"]["bytes"] for id_ in tokens}), sum(tokens.values()),
                         tally(row["licence"] for row in figures)),
        "seen.kinds": tally(map(kind, figures)),
        "seen.clinical_photos": sum(any(k["name"] == "clinical_photo" for k in row["modality"]) for row in figures),
        "seen.figures_found": len(figures),
        "seen.articles": len({row["pmcid"] or row["doi"] or row["pair_id"].removesuffix(f"_{row['fig_id']}")
                              for row in figures}),
        "seen.hosts": dict(Counter(host for row in figures for host in {*row["hosts"]})),
        "seen.domains": {name: sum(row["domain"][name] for row in figures) for name in figures[0]["domain"]},
        "collected.figures": len(collected),
        "collected.kinds": tally(map(kind, collected)),
    }  # fmt: skip
    for name, column in COLUMNS.items():
        found[f"seen.{name}"] = tally(row[column] for row in figures)
        found[f"collected.{name}"] = tally(row[column] for row in collected)
    if not (run / "articles").exists():  # which have days of their own
        found |= {f"collected.{name}": pick(row["collected"] for row in collected)
                  for name, pick in (("earliest", min), ("latest", max))}  # fmt: skip
    lost = [row["reason"] for folder in folders for row in rows(folder, "excluded")]
    found |= {f"removed.{name}": sum(reason in reasons for reason in lost) for name, reasons in REMOVED.items()}
    steps = [("figures", len(corpora[f]), [row["reason"] for row in rows(f, "excluded") if row["pair_id"]])
             for f in corpora]  # fmt: skip
    steps += [("conversations", len(sets[f]), [row["reason"] for row in rows(f, "excluded")]) for f in sets]
    for folder, stage in ((run / "aligned", "align"), (model, "instruct")):
        own = sum(row["stage"] == stage for row in seen)
        steps.append(("conversations", own, [row["reason"] for row in rows(folder, "excluded")]))
    return found | {"cleaning": sorted((what, kept, sorted(Counter(out).items())) for what, kept, out in steps)}


def sizes(seen: Rows, talks: dict[str, Any], tokens: dict[str, int]) -> dict[str, int]:
    """Of rows of `seen.parquet`."""
    once = {row["id"]: row for row in seen}
    image_tokens = {talks[id_]["image"]["bytes"]: row["image_tokens"] for id_, row in once.items()}
    return {
        "conversations": len(once),
        "images": len(image_tokens),
        "text_tokens": sum(tokens[id_] for id_ in once),
        "image_tokens": sum(image_tokens.values()),
        "passes": sum(row["times_seen"] for row in seen),
        "text_tokens_read": sum(tokens[row["id"]] * row["times_seen"] for row in seen),
        "image_tokens_read": sum(row["image_tokens"] * row["times_seen"] for row in seen),
    }


def by_stage(seen: Rows, talks: dict[str, Any], tokens: dict[str, int]) -> dict[str, dict[str, int]]:
    """The sizes of each stage, without what was read over all passes."""
    stages = defaultdict(list)
    for row in seen:
        stages[row["stage"]].append(row)
    told = {stage: sizes(part, talks, tokens) for stage, part in stages.items()}
    return {stage: {key: n for key, n in part.items() if not key.endswith("_read")} for stage, part in told.items()}


def by_teacher(talks: dict[str, Any], tokens: dict[str, int]) -> dict[str, tuple[int, int]]:
    """(conversations, text tokens) of each that wrote any; captions are the articles' own."""
    wrote: dict[str, list[int]] = defaultdict(list)
    for id_, n in tokens.items():
        if talks[id_]["teacher"] not in (None, "", "caption"):
            wrote[talks[id_]["teacher"]].append(n)
    return {name: (len(part), sum(part)) for name, part in wrote.items()}


def as_counted(name: str, value: Any) -> Any:
    """A fact in the shape that the tables give it."""
    if name == "seen.synthetic":
        return {one["name"]: (one["conversations"], one["text_tokens"]) for one in value["teachers"]}
    if name == "seen.sources":
        licences: Counter[str] = Counter()
        for source in value:
            licences.update(source["licences"])
        return (*(sum(source[key] for source in value) for key in ("images", "text_tokens")), dict(licences))
    if name == "cleaning":
        tables = (step for step in value if step["records"] != "articles" and not step["step"].startswith("articles"))
        return sorted((step["records"], step["kept"], sorted(step["excluded"].items())) for step in tables)
    return value


def compare(run: Path) -> dict[str, str]:
    """Fact -> "equal", "not in the tables", or both values."""
    told, counted = {name: fact.value for name, fact in gather(run / "assistant").items()}, count(run)
    found = {}
    for name, value in told.items():
        if name not in counted:
            found[name] = "not in the tables"
        elif as_counted(name, value) == counted[name]:
            found[name] = "equal"
        else:
            found[name] = f"told {as_counted(name, value)}, counted {counted[name]}"
    missing = (name for name, value in counted.items() if name.startswith("seen.") and value and name not in told)
    return found | {name: f"not told, counted {counted[name]}" for name in missing}


def main() -> None:
    """Print the comparison."""
    if len(sys.argv) != 2:
        sys.exit(__doc__)
    found = compare(Path(sys.argv[1]))
    for name, what in found.items():
        print(f"{name}: {what}")
    said = Counter(found.values())
    differ = len(found) - said["equal"] - said["not in the tables"]
    print(f"{said['equal']} facts equal, {differ} differ, {said['not in the tables']} are not in the tables")
    sys.exit(1 if differ else 0)


if __name__ == "__main__":
    main()
