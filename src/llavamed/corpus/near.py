"""How alike two pictures are, beyond their perceptual hashes.

Measured on 1,085 figures and radiology test images: at least 99 % of copies that were recompressed, scaled, turned into
GIF, made brighter or of more contrast stay within `BITS`, and nearly all above `COPY`. Slices of one series are within
`BITS` too, so the hash alone would take scans of one kind for copies; a few neighbours still reach `COPY`.
"""

import numpy as np
from numpy.typing import NDArray
from PIL import Image

BITS = 6  # of the 64 of a perceptual hash, at most so many differ
COPY = 0.99  # likeness from which two pictures are one
SIDE = 32

Sketch = NDArray[np.float32]


def sketch(image: Image.Image) -> bytes:
    """The picture at 32 x 32 in grey."""
    return bytes(image.convert("L").resize((SIDE, SIDE), Image.Resampling.LANCZOS).tobytes())


def unit(sketches: list[bytes]) -> Sketch:
    """[n, 1024] sketches with mean 0 and length 1: their products are `likeness` (Pearson's correlation)."""
    values = np.frombuffer(b"".join(sketches), np.uint8).reshape(-1, SIDE * SIDE).astype(np.float32)
    values -= values.mean(axis=1, keepdims=True)
    return np.asarray(values / np.maximum(np.linalg.norm(values, axis=1, keepdims=True), 1e-6))
