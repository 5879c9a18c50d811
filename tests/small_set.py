"""A small set of conversations, made as the steps make one."""

from collections import Counter
from pathlib import Path

from llavamed import artifact, storage
from llavamed.instruct.schema import CONVERSATIONS
from small_corpus import figure


def said(*turns: tuple[str, str]) -> list[dict]:
    parts = [{"from": who, "value": text} for turn in turns for who, text in zip(("human", "gpt"), turn, strict=True)]
    return [{**parts[0], "value": f"<image>\n{parts[0]['value']}"}, *parts[1:]]


def record(number: int, split: str, conversations: list[dict], *, kind: str = "ct", name: str = "gpt") -> dict:
    about = figure(number, split, kind, "")
    return {
        **{key: about[key] for key in ("pair_id", "image", "domain", "split")},
        "id": f"{about['pair_id']}_{name}",
        "conversations": conversations,
        "teacher": "test",
        "prompt_hash": "0",
    }


def write_conversations(folder: Path, files: list[list[dict]], corpus: Path, settings: dict | None = None) -> Path:
    """One file for each list, whose records are of one split."""
    job = artifact.start(folder, "conversations", settings or {"set": "small"}, parents=[corpus])
    for index, rows in enumerate(files):
        storage.write_table(job.out / f"data/{rows[0]['split']}-{index:05d}.parquet", rows, CONVERSATIONS)
    every = [row for rows in files for row in rows]
    counts = {"conversations": {"in": len(every), "kept": len(every), "excluded": {}}}
    artifact.publish(job, counts=counts, splits=Counter(row["split"] for row in every))
    return folder
