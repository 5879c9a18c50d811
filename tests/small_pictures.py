"""Figures whose pictures differ, as a corpus stores them."""

import io

import numpy as np
from PIL import Image, ImageFilter

from llavamed.corpus.images import store


def scene(number: int, side: int = 64) -> Image.Image:
    """A picture of its own for every number: soft blots."""
    values = np.random.default_rng(number).integers(0, 256, (8, 8), np.uint8)
    image = Image.fromarray(values).resize((side, side), Image.Resampling.BICUBIC)
    return image.filter(ImageFilter.GaussianBlur(1)).convert("RGB")


def pictured(row: dict, number: int) -> dict:
    """The row with a picture of its own, and its hashes."""
    picture = store(scene(number), row["pair_id"], lossless=False)
    image = {"bytes": picture.data, "path": picture.path}
    return row | {"image": image, "sha256": picture.sha256, "phash": picture.phash, "width": 64, "height": 64}


def recompressed(number: int) -> bytes:
    """The same picture as another file, smaller and of less quality."""
    stream = io.BytesIO()
    scene(number, 56).save(stream, "JPEG", quality=70)
    return stream.getvalue()
