"""What a picture is known by: its pixels, and how it looks."""

import hashlib
from collections.abc import Sequence
from dataclasses import dataclass, field

import numpy as np
from PIL import Image

from llavamed.corpus.images import decode, phash
from llavamed.corpus.near import BITS, Sketch, sketch, unit
from llavamed.corpus.test_sets import ALIKE

MAX_SIDE = 2048


@dataclass(frozen=True)
class Look:
    """SHA-256 of a picture's size and RGB pixels, its perceptual hash (64 bits) and its sketch (32 x 32 grey)."""

    pixels: str
    phash: int
    sketch: bytes = field(repr=False)


def look(data: bytes) -> Look:
    """How the picture in a file looks; a very large one, at a long side of `MAX_SIDE`.

    Raises:
        Problem: image_too_large, image_broken.
    """
    return look_of(decode(data, MAX_SIDE)[0])


def look_of(image: Image.Image) -> Look:
    """How a picture looks."""
    plain = image.convert("RGB")
    digest = hashlib.sha256(f"{plain.width}x{plain.height}\n".encode() + plain.tobytes()).hexdigest()
    return Look(digest, int(phash(plain), 16), sketch(plain))


def near(hashes: Sequence[int], others: Sequence[int]) -> list[tuple[int, int]]:
    """Pairs (place in `hashes`, place in `others`) of perceptual hashes that differ in at most `BITS` bits."""
    wanted = np.array(others, np.uint64)
    pairs = []
    for n, value in enumerate(hashes):
        for other in np.flatnonzero(np.bitwise_count(wanted ^ np.uint64(value)) <= BITS):
            pairs.append((n, int(other)))
    return pairs


def alike(looks: Sequence[Look], others: Sequence[Look]) -> list[tuple[int, int]]:
    """Pairs of pictures too much alike to be apart, by the rule of `corpus build --against`."""
    if not looks or not others:
        return []
    sketches, theirs = units(looks), units(others)
    pairs = near([x.phash for x in looks], [x.phash for x in others])
    return [(a, b) for a, b in pairs if float(sketches[a] @ theirs[b]) >= ALIKE]


def units(looks: Sequence[Look]) -> Sketch:
    """[n, 1024]: the sketches with mean 0 and length 1."""
    return unit([x.sketch for x in looks])
