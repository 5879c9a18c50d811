"""A run's folder as the steps leave it, without training: what the model saw is made up."""

import json
from collections.abc import Callable
from pathlib import Path

import pyarrow as pa

from llavamed import artifact, storage
from llavamed.instruct.align import align
from llavamed.instruct.schema import EXCLUDED
from llavamed.instruct.template import generate_template
from llavamed.manifest import digest, seal
from llavamed.model.backbones import find
from small_corpus import figure, figures, write_corpus

SEEN = pa.schema(
    [("id", pa.string()), ("stage", pa.string())]
    + [(name, pa.int64()) for name in ("times_seen", "text_tokens", "image_tokens")]
)


def model(folder: Path, parents: list[Path], seen: list[dict] | None = None, **extra) -> Path:
    stage = seen[-1]["stage"] if seen else ""
    job = artifact.start(folder, "model", {"name": stage, "folder": folder.name}, parents=parents)
    storage.write_text(job.out / "config.json", f'{{"name": "{folder.name}"}}')
    counts = {}
    if seen is not None:
        storage.write_table(job.out / "seen.parquet", seen, SEEN)
        lost = {"id": "long", "reason": "too_long", "source": "data/train"}
        storage.write_table(job.out / "excluded" / "train-00000.parquet", [lost], EXCLUDED)
        own = sum(row["stage"] == stage for row in seen)
        counts = {"conversations": {"in": own + 1, "kept": own, "excluded": {"too_long": 1}}}
    artifact.publish(job, counts=counts, **extra)
    return folder


def edit(folder: Path, change: Callable[[dict], None]) -> None:
    """Change the manifest in `folder` as if it had been published so, with the hashes that fit."""
    path = folder / "manifest.json"
    manifest = json.loads(path.read_text())
    change(manifest)
    reseal(manifest)
    path.write_text(json.dumps(manifest))


def reseal(manifest: dict) -> None:
    for entry in manifest["parents"]:
        reseal(entry["manifest"])
        entry["sha256"] = digest(entry["manifest"])
    manifest["sha256"] = seal(manifest)


def rows(conversations: Path, stage: str, times: int) -> list[dict]:
    """Every conversation of the train split, with token counts that differ from one to the next."""
    ids = [row["id"] for row in storage.read_rows(conversations, columns=["id", "split"]) if row["split"] == "train"]
    return [
        {"id": id, "stage": stage, "times_seen": times, "text_tokens": 20 + i % 7, "image_tokens": 68}
        for i, id in enumerate(ids)
    ]


def write_run(folder: Path) -> Path:
    job = artifact.start(folder / "articles", "articles", {})
    storage.write_text(job.out / "data" / "a.txt", "an article")
    source = {"package": "pictures", "version": "1.2", "licence": "CC0", "url": "https://example.org/pictures"}
    artifact.publish(job, counts={}, collected={"earliest": "2026-10-01", "latest": "2026-10-05"}, sources=[source])
    photos = [figure(500 + i, "train", "clinical_photo", "Intraoral view of the patient's teeth.") for i in range(3)]
    nothing = figure(600, "train", None, "A view of the cut surface.") | {"licence": None, "year": None}
    empty = figure(601, "train", "ct", "")
    train = [*figures("train", 0, 40), *photos, nothing, empty]
    corpus = write_corpus(
        folder / "corpus",
        [("train", train), ("test", figures("test", 100, 12))],
        parents=[folder / "articles"],
    )
    align(corpus, folder / "alignment")
    generate_template(corpus, folder / "conversations")
    model(folder / "backbone", [], backbone=find("smol").describe() | {"parameters": 1})
    first = rows(folder / "alignment", "align", 1)
    backbone = artifact.read_manifest(folder / "backbone")["backbone"]
    model(folder / "aligned", [folder / "backbone", folder / "alignment"], first, backbone=backbone)
    seen = first + rows(folder / "conversations", "instruct", 3)
    model(folder / "assistant", [folder / "aligned", folder / "conversations"], seen)
    return folder
