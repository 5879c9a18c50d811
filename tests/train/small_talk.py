"""Conversations about noise."""

from io import BytesIO
from pathlib import Path

import numpy as np
from PIL import Image

from llavamed import artifact, storage
from llavamed.instruct.schema import CONVERSATIONS


def picture(seed: int) -> dict:
    values = np.random.default_rng(seed).integers(0, 255, (40, 60, 3), dtype=np.uint8)
    stream = BytesIO()
    Image.fromarray(values).save(stream, "PNG")
    return {"bytes": stream.getvalue(), "path": f"{seed}.png"}


def turns(*values: str) -> list[dict]:
    return [{"from": ("human", "gpt")[i % 2], "value": value} for i, value in enumerate(values)]


def row(n: int, split: str = "train", **changes) -> dict:
    said = turns(f"<image>\nWhat is it{'?' * n}", "A CT scan.", "Is it red?", "No." + " Never." * (n % 4))
    made = {"id": f"c{n}", "pair_id": f"p{n}", "image": picture(n), "domain": None, "conversations": said}
    return made | {"teacher": "none", "prompt_hash": "0", "split": split} | changes


def publish(folder: Path, rows: list[dict]) -> Path:
    job = artifact.start(folder, "conversations", {})
    for split in {row["split"] for row in rows}:
        chosen = [row for row in rows if row["split"] == split]
        storage.write_table(job.out / "data" / f"{split}-00000.parquet", chosen, CONVERSATIONS)
    artifact.publish(job, counts={"conversations": {"in": len(rows), "kept": len(rows), "excluded": {}}})
    return folder
