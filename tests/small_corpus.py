"""A small corpus, made as the corpus step makes one."""

import io
from collections import Counter
from pathlib import Path

from PIL import Image

from llavamed import artifact, storage
from llavamed.corpus.schema import DOMAINS, EXCLUDED, FIGURES

TEXTS = {
    "ct": "Axial CT of the chest shows a nodule in the upper lobe (arrow).",
    "mri": "Figure 2. Sagittal MRI of the brain (a) with a small lesion [12].",
    "histology": "Liver biopsy, H&E stain, with bridging fibrosis; scale bar 50 μm.",
    "chest_xray": "Chest X-ray with cardiomegaly.",
    "plot": "Survival of mice after treatment. " + "Bars are means of three runs. " * 8,
}
SHARE = {"ct": 4, "mri": 3, "histology": 2, "chest_xray": 1, "plot": 2}  # of 12


def figure(number: int, split: str, kind: str | None, caption: str) -> dict:
    picture = io.BytesIO()
    Image.new("L", (8, 8), number % 256).save(picture, "PNG")
    text = {
        "pair_id": f"{1000 + number}_F{number}",
        "pmcid": f"PMC{1000 + number}",
        "licence": "CC BY",
        "language": "en",
    }
    modality = [{"name": kind, "confidence": 1.0, "source": "test"}] if kind else []
    domain = {name: key == kind for name, key in DOMAINS.items()}
    image = {"bytes": picture.getvalue(), "path": f"{number}.png"}
    return {**text, "year": 2015 + number % 3, "fig_caption": caption, "image": image, "modality": modality,
            "domain": domain, "single_plot": True, "split": split}  # fmt: skip


def write_corpus(folder: Path, files: list[tuple[str, list[dict]]], parents: list[Path] | None = None) -> Path:
    job = artifact.start(folder, "corpus", {"max_side": 512}, parents=parents or [])
    for index, (split, rows) in enumerate(files):
        storage.write_table(job.out / f"data/{split}-{index:05d}.parquet", rows, FIGURES)
    lost = [{"pair_id": f"{n}_F{n}", "reason": "no_image"} for n in (1, 2)]
    storage.write_table(job.out / "excluded/figures-00000.parquet", lost, EXCLUDED)
    every = [row for _, rows in files for row in rows]
    histograms = {
        name: Counter(str(row[name] or "unknown") for row in every) for name in ("licence", "year", "language")
    }
    histograms["modality"] = Counter(row["modality"][0]["name"] if row["modality"] else "unknown" for row in every)
    counts = {"figures": {"in": len(every) + 2, "kept": len(every), "excluded": {"no_image": 2}}}
    artifact.publish(job, counts=counts, histograms=histograms)
    return folder


def figures(split: str, begin: int, n: int) -> list[dict]:
    kinds = [kind for kind, share in SHARE.items() for _ in range(share)]
    return [figure(begin + i, split, kinds[i % 12], TEXTS[kinds[i % 12]]) for i in range(n)]
