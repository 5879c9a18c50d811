"""Small articles in PMC's layout, with pictures that anyone could tell apart."""

from pathlib import Path

import numpy as np
from PIL import Image

KINDS = {
    "Axial CT of the chest with a nodule in the left upper lobe.": (40, 0),
    "Sagittal T2-weighted MRI of the brain.": (120, 1),
    "Haematoxylin and eosin section of the liver, 20x.": (200, 2),
}
XML = """<?xml version="1.0" encoding="UTF-8"?>
<article article-type="case-report" xmlns:xlink="http://www.w3.org/1999/xlink"><front><journal-meta>
<journal-title-group><journal-title>Small Tests</journal-title></journal-title-group></journal-meta><article-meta>
<article-id pub-id-type="pmc">{id}</article-id><title-group><article-title>Case {id}</article-title></title-group>
<pub-date pub-type="epub"><year>2020</year></pub-date><permissions>
<license xlink:href="https://creativecommons.org/licenses/by/4.0/"><license-p>CC BY</license-p></license></permissions>
</article-meta></front><body>{body}</body></article>
"""
FIGURE = """<p>Imaging was done (<xref ref-type="fig" rid="F{n}">Fig. {n}</xref>).</p>
<fig id="F{n}"><label>Figure {n}</label><caption><p>{caption}</p></caption><graphic xlink:href="g{n}"/></fig>"""


def write_articles(folder: Path, n: int = 24) -> Path:
    """`n` articles with three figures each; about one in ten in the test split."""
    rng = np.random.default_rng(0)
    for article in range(n):
        name = f"PMC{9_000_000 + article}"
        (folder / name).mkdir(parents=True)
        body = ""
        for number, (caption, (grey, channel)) in enumerate(KINDS.items(), start=1):
            pixels = rng.integers(0, 40, (80, 80, 3), dtype=np.uint8) + grey
            pixels[:, :, channel] = 255
            Image.fromarray(pixels.astype(np.uint8)).save(folder / name / f"g{number}.png")
            body += FIGURE.format(n=number, caption=caption)
        (folder / name / f"{name}.nxml").write_text(XML.format(id=name, body=body))
    return folder
