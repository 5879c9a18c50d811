"""Panels against labels: single or compound, boxes of pasted grids, time. `python benchmarks/panels.py [DATA]`.

DATA: the folder with `articles/`, `slake/` and `vqa_rad/` (LLAVAMED_DATA, else ../shared/data). Half of the articles
(by the SHA-256 of their id) chose the thresholds; the other half was looked at afterwards.
"""

import csv
import hashlib
import io
import os
import random
import re
import sys
import time
from collections.abc import Callable
from pathlib import Path

import numpy as np
from PIL import Image

from llavamed.corpus import jats
from llavamed.corpus.images import decode
from llavamed.corpus.panels import Panel, is_compound, letters_of, panels_of

ROOT = Path(__file__).parent.parent
LABELS = ROOT / "tests" / "corpus" / "compound_labels.tsv"
ANY_LETTER = re.compile(r"[(\[]\s*[a-h]\b[^()]{0,12}[)\],;:]|\bpanels?\b|\b[a-h]\)\s", re.IGNORECASE)
RULES: dict[str, Callable[[Image.Image, str, list[Panel]], bool]] = {
    "always single": lambda image, caption, panels: False,
    "any letter or `panel` in the caption": lambda image, caption, panels: ANY_LETTER.search(caption) is not None,
    "letters_of": lambda image, caption, panels: bool(letters_of(caption)),
    "gutters alone": lambda image, caption, panels: bool(panels_of(image, "")),
    "is_compound": is_compound,
}
GUTTERS = {"meeting": (0, 0), "2 px white": (2, 255), "10 px white": (10, 255), "10 px black": (10, 0)}


def figures(data: Path) -> list[dict]:
    captions: dict[tuple[str, str], str] = {}
    for file in sorted((data / "articles").glob("*/*.nxml")):
        for article in jats.parse(file.read_bytes()):
            for figure in article.figures:
                captions |= {
                    (file.stem, href.removesuffix(".jpg")): figure.fig_caption
                    for files in figure.graphics
                    for href in files
                }
    with LABELS.open() as lines:
        rows = list(csv.DictReader((line for line in lines if not line.startswith("#")), delimiter="\t"))
    for row in rows:
        file = data / "articles" / row["article"] / row["image"]
        row["picture"], _ = decode(file.read_bytes(), 1024)
        row["caption"] = captions[row["article"], row["image"][:-4]]
        row["chose"] = hashlib.sha256(row["article"].encode()).digest()[0] % 2 == 0
        start = time.process_time()
        row["found"] = panels_of(row["picture"], row["caption"])
        row["seconds"] = time.process_time() - start
        for name, rule in RULES.items():
            row[name] = rule(row["picture"], row["caption"], row["found"])
    return rows


def balanced(rows: list[dict], rule: str) -> float:
    shares = []
    for label in ("single", "compound"):
        told = [row[rule] == (label == "compound") for row in rows if row["label"] == label]
        if not told:
            return float("nan")
        shares.append(sum(told) / len(told))
    return sum(shares) / 2


def interval(rows: list[dict], rule: str) -> tuple[float, float]:
    """95 %, from 2,000 draws of whole articles."""
    chance = random.Random(0)
    by_article: dict[str, list[dict]] = {}
    for row in rows:
        by_article.setdefault(row["article"], []).append(row)
    groups = list(by_article.values())
    draws = [balanced([row for g in chance.choices(groups, k=len(groups)) for row in g], rule) for _ in range(2000)]
    low, high = np.nanquantile(draws, (0.025, 0.975))
    return float(low), float(high)


def iou(one: tuple[int, ...], other: tuple[int, ...]) -> float:
    across = max(0, min(one[2], other[2]) - max(one[0], other[0]))
    down = max(0, min(one[3], other[3]) - max(one[1], other[1]))
    areas = [(box[2] - box[0]) * (box[3] - box[1]) for box in (one, other)]
    return across * down / (sum(areas) - across * down)


def pasted(files: list[Path], gutter: int, colour: int, chance: random.Random) -> tuple[Image.Image, list[tuple]]:
    rows, columns = chance.choice([(1, 2), (2, 1), (2, 2), (2, 3), (3, 3)])
    side = (1024 - gutter * (columns - 1)) // columns
    whole = Image.new("RGB", (columns * (side + gutter) - gutter, rows * (side + gutter) - gutter), (colour,) * 3)
    boxes = []
    for i, file in enumerate(chance.sample(files, rows * columns)):
        left, top = i % columns * (side + gutter), i // columns * (side + gutter)
        with Image.open(file) as image:
            whole.paste(image.convert("RGB").resize((side, side)), (left, top))
        boxes.append((left, top, left + side, top + side))
    out = io.BytesIO()
    whole.save(out, "JPEG", quality=90)
    return Image.open(io.BytesIO(out.getvalue())), boxes


def main() -> None:
    data = Path(sys.argv[1] if len(sys.argv) > 1 else os.environ.get("LLAVAMED_DATA", ROOT.parent / "shared" / "data"))
    rows = figures(data)
    compound = [row for row in rows if row["label"] == "compound"]
    print(f"{len(rows)} figures, {len(compound)} compound. Balanced accuracy (95 % interval):")
    print(f"{'':38} {'all':22} {'half that chose':22} other half")
    for rule in RULES:
        cells = []
        for part in (rows, [r for r in rows if r["chose"]], [r for r in rows if not r["chose"]]):
            low, high = interval(part, rule)
            cells.append(f"{balanced(part, rule):.3f} ({low:.3f}-{high:.3f})")
        print(f"{rule:38} {cells[0]:22} {cells[1]:22} {cells[2]}")
    right = sum(len(row["found"]) == int(row["panels"]) for row in compound)
    named = sum(bool(row["found"] and row["found"][0].label) for row in compound)
    print(f"compound figures with every panel found: {right} of {len(compound)}; with letters on the boxes: {named}")
    milliseconds = [1000 * row["seconds"] for row in rows]
    print(f"ms of one core a figure: median {np.median(milliseconds):.1f}, 95 % {np.quantile(milliseconds, 0.95):.1f}")

    print("\nSingle pictures cut by mistake; with a caption of two letters:")
    sets = {"SLAKE": "slake/imgs/*/source.jpg", "VQA-RAD": "vqa_rad/images/*"}
    files = {name: sorted(data.glob(pattern)) for name, pattern in sets.items()}
    for name, paths in files.items():
        cut = [0, 0]
        for path in paths:
            with Image.open(path) as image:
                for i, caption in enumerate(("", "(a) One. (b) Two.")):
                    cut[i] += bool(panels_of(image, caption))
        print(f"{name:10} {cut[0]} of {len(paths)}; {cut[1]}")

    print("\n100 grids of 2 to 9 pictures of either: every panel found, mean IoU of the boxes where so")
    print(f"{'':24} {'no letters':18} letters of as many")
    for name, paths in files.items():
        for gutter, (width, colour) in GUTTERS.items():
            chance = random.Random(0)
            cells = []
            grids = [pasted(paths, width, colour, chance) for _ in range(100)]
            for lettered in (False, True):
                overlaps = []
                for image, boxes in grids:
                    caption = f"(a-{'abcdefghi'[len(boxes) - 1]}) Views." if lettered else ""
                    found = panels_of(image, caption)
                    if len(found) == len(boxes):
                        overlaps.append(np.mean([iou(p.box, box) for p, box in zip(found, boxes, strict=True)]))
                cells.append(f"{len(overlaps):3} %  {np.mean(overlaps) if overlaps else 0:.3f}")
            print(f"{name:10} {gutter:13} {cells[0]:18} {cells[1]}")


if __name__ == "__main__":
    main()
