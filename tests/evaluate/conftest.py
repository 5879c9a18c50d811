"""A small set of conversations: grey discs that are CT scans, bright stripes that are histology images."""

from io import BytesIO
from pathlib import Path

import numpy as np
import pytest
from PIL import Image

from llavamed import artifact
from llavamed.instruct.schema import CONVERSATIONS

TURNS = {
    "CT scan": [
        ("What kind of image is this?", "CT scan"),
        ("Is this a CT scan?", "Yes"),
        ("Is this axial or coronal?", "axial"),
        ("What does it show?", "A round mass in the liver."),
    ],
    "histology image": [
        ("What type of image is shown?", "Histology image."),
        ("Is this a CT scan?", "No"),
        ("What does it show?", "Stripes of pink tissue."),
    ],
}


def picture(kind: str, n: int) -> bytes:
    y, x = np.mgrid[:40, : 40 + n]
    values = (60 * ((x - 20) ** 2 + (y - 20) ** 2 < 200) if kind == "CT scan" else 150 + 80 * (x // 5 % 2)) + n
    stream = BytesIO()
    Image.fromarray(values.astype(np.uint8)).convert("RGB").save(stream, "PNG")
    return stream.getvalue()


def row(split: str, n: int, **changes) -> artifact.Json:
    kind = list(TURNS)[n % 2]
    turns = []
    for place, (question, answer) in enumerate(TURNS[kind]):
        turns.append({"from": "human", "value": question if place else f"<image>\n{question}"})
        turns.append({"from": "gpt", "value": answer})
    made = {"id": f"{split}{n}", "pair_id": f"{split}{n}_F1", "image": {"bytes": picture(kind, n), "path": None}}
    made |= {"domain": None, "conversations": turns, "teacher": "test", "prompt_hash": "0", "split": split}
    return made | changes


def shard(rows: list[artifact.Json]) -> tuple[artifact.Tables, artifact.Json]:
    tables: artifact.Tables = {}
    for one in rows:
        tables.setdefault(f"data/{one['split']}", []).append(one)
    return tables, {"kept": len(rows)}


def publish(folder: Path, rows: list[artifact.Json]) -> Path:
    job = artifact.start(folder, "conversations", {"rows": len(rows)})
    artifact.run_shards(job, shard, [rows], {"data": CONVERSATIONS})
    counts = {"conversations": {"in": len(rows), "kept": len(rows), "excluded": {}}}
    artifact.publish(job, counts=counts)
    return folder


@pytest.fixture
def make_row():
    return row


@pytest.fixture
def make_conversations():
    return publish


@pytest.fixture(scope="session")
def conversations(tmp_path_factory) -> Path:
    rows = [row("train", n) for n in range(6)] + [row("test", n) for n in range(4)]
    return publish(tmp_path_factory.mktemp("set") / "conversations", rows)


@pytest.fixture(scope="session")
def tiny(tmp_path_factory) -> Path:
    from llavamed.model.build import build

    folder = tmp_path_factory.mktemp("model") / "tiny"
    build("tiny", folder)
    return folder
