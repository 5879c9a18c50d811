"""The image of a figure: find its file, decode it safely, store it small and without metadata, fingerprint it."""

import hashlib
import io
import unicodedata
import warnings
from collections.abc import Iterable
from dataclasses import dataclass
from pathlib import Path, PurePosixPath
from urllib.parse import unquote

import numpy as np
from PIL import Image, ImageOps

from llavamed.corpus.problem import Problem

RANKS = {
    ".tif": 0,
    ".tiff": 0,
    ".png": 1,
    ".jpg": 1,
    ".jpeg": 1,
    ".jpe": 1,
    ".webp": 1,
    ".jp2": 1,
    ".bmp": 1,
    ".gif": 2,
}
VECTORS = (".eps", ".svg", ".pdf", ".ps", ".ai", ".wmf", ".emf")
FORMATS = ("JPEG", "PNG", "TIFF", "GIF", "BMP", "WEBP", "JPEG2000")  # nothing that runs another program
MAX_BYTES = 256_000_000
MAX_PIXELS = 100_000_000
# A JPEG is decoded at a half, a quarter ...; JPEG 2000 is slow.
_PIXELS = {"JPEG": 178_000_000, "JPEG2000": 30_000_000}
_SCANNED = 2_000_000_000  # pixels times scans of a progressive JPEG
LOSSLESS = ("PNG", "TIFF", "GIF", "BMP")
GAP = 16  # pixels between the parts of a figure


@dataclass(frozen=True)
class Picture:
    """A stored image: JPEG or PNG bytes, size in pixels, SHA-256 of the bytes, 64-bit perceptual hash in hex."""

    data: bytes
    path: str
    width: int
    height: int
    sha256: str
    phash: str


def by_stem(names: Iterable[str]) -> dict[str, list[str]]:
    """The images and vector drawings among a package's files (POSIX paths), by name in lower case without suffix."""
    found: dict[str, list[str]] = {}
    for name in names:
        path = PurePosixPath(name)
        suffix = path.suffix.lower()
        if suffix in RANKS or suffix in VECTORS:
            found.setdefault(_plain_name(path).removesuffix(suffix), []).append(name)
    return found


def find(href: str, files: dict[str, list[str]], folder: str = "") -> list[str]:
    """Which of `files` (see `by_stem`) may be the graphic that an article in `folder` names: the best first.

    The suffix may be missing or another, letters in other case, the name percent-encoded. TIFF is the original, a GIF
    most often a thumbnail.
    """
    wanted = PurePosixPath(folder, unquote(href).replace("\\", "/").split("?")[0])
    suffix = wanted.suffix.lower()
    name = _plain_name(wanted)
    stem = name.removesuffix(suffix) if suffix in RANKS or suffix in VECTORS else name
    found = []
    same = files.get(stem) or files.get(stem.removeprefix("journal.")) or []  # "info:doi/10.1371/journal.pone.1.g001"
    for file in same:
        path = PurePosixPath(file)
        beside = path.parent in (wanted.parent, PurePosixPath(folder))
        found.append((not beside, RANKS.get(path.suffix.lower(), 3), path.name != wanted.name, file))
    return [file for *_, file in sorted(found)]


def _plain_name(path: PurePosixPath) -> str:
    return unicodedata.normalize("NFC", path.name).casefold()


def load(content: bytes | Path) -> bytes:
    """The bytes of an image file; one longer than `MAX_BYTES` is cut just behind.

    Raises:
        Problem: image_broken: it cannot be read.
    """
    if isinstance(content, bytes):
        return content
    try:
        with content.open("rb") as stream:
            return stream.read(MAX_BYTES + 1)
    except OSError as error:
        raise Problem("image_broken", f"{error.strerror}") from None


def decode(data: bytes, max_side: int) -> tuple[Image.Image, bool]:
    """An image file (the first of several pages) as RGB, upright, its long side at most `max_side`.

    With it whether the file is lossless.

    Raises:
        Problem: image_too_large, image_broken.
    """
    if len(data) > MAX_BYTES:
        raise Problem("image_too_large", f"{len(data):,} bytes; at most {MAX_BYTES:,}")
    try:
        with warnings.catch_warnings():
            warnings.simplefilter("ignore")
            with Image.open(io.BytesIO(data), formats=FORMATS) as image:
                _check_size(image, data)
                lossless = image.format in LOSSLESS
                image.draft(None, (2 * max_side, 2 * max_side))  # a huge JPEG is decoded at a half, a quarter ...
                ImageOps.exif_transpose(image, in_place=True)
                plain = _plain(image, max_side)
    except Image.DecompressionBombError as error:
        raise Problem("image_too_large", str(error)) from None
    except Problem:
        raise
    except Exception as error:  # decoders raise all sorts on broken data
        raise Problem("image_broken", f"{type(error).__name__}: {error}") from None
    plain = shrink(plain, max_side).convert("RGB")
    plain.info.clear()  # what is left in it would be written again
    return plain, lossless


def _check_size(image: Image.Image, data: bytes) -> None:
    pixels, most = image.width * image.height, _PIXELS.get(image.format or "", MAX_PIXELS)
    if pixels > most:
        raise Problem("image_too_large", f"{image.width} x {image.height} pixels; at most {most:,}")
    if image.format == "JPEG" and pixels * data.count(b"\xff\xda") > _SCANNED:
        raise Problem("image_too_large", f"{image.width} x {image.height} pixels in too many scans")


def _plain(image: Image.Image, max_side: int) -> Image.Image:
    """Any mode -> L or RGB: deep grey stretched to 8 bits, what is transparent on white."""
    if image.mode[0] in "IF":
        values = np.array(image, dtype=np.float32)
        np.nan_to_num(values, copy=False, nan=0.0, posinf=0.0, neginf=0.0)
        values = np.asarray(_coarse(Image.fromarray(values), max_side), dtype=np.float64)
        low, high = float(values.min()), float(values.max())
        return Image.fromarray(np.uint8((values - low) * (255 / (high - low or 1))))
    image = _coarse(image, max_side)
    if image.mode in ("L", "RGB"):
        return image
    if image.mode == "1":
        return image.convert("L")
    if image.mode in ("LA", "La", "PA", "RGBA", "RGBa") or "transparency" in image.info:
        layer = _coarse(image.convert("RGBA"), max_side)
        return Image.alpha_composite(Image.new("RGBA", layer.size, "white"), layer).convert("RGB")
    return image.convert("RGB")


def _coarse(image: Image.Image, max_side: int) -> Image.Image:
    """A huge picture at a half, a third ... of its size, still twice what is stored: the rest takes little memory."""
    factor = max(image.size) // (2 * max_side)
    reducible = image.mode in ("L", "LA", "RGB", "RGBA", "CMYK", "YCbCr", "LAB", "F")
    return image.reduce(factor) if factor > 1 and reducible else image


def shrink(image: Image.Image, max_side: int) -> Image.Image:
    """The image, its long side at most `max_side`."""
    scale = max_side / max(image.size)
    if scale >= 1:
        return image
    size = max(1, round(image.width * scale)), max(1, round(image.height * scale))
    return image.resize(size, Image.Resampling.BICUBIC, reducing_gap=2.0)


def stack(images: list[Image.Image]) -> Image.Image:
    """Several pictures of one figure as one, below each other on white."""
    if len(images) == 1:
        return images[0]
    height = sum(image.height + GAP for image in images) - GAP
    whole = Image.new("RGB", (max(image.width for image in images), height), "white")
    top = 0
    for image in images:
        whole.paste(image, (0, top))
        top += image.height + GAP
    return whole


def picture(data: bytes, name: str, max_side: int) -> Picture:
    """An image file as it is stored under `name`. Raises what `decode` raises."""
    image, lossless = decode(data, max_side)
    return store(image, name, lossless)


def store(image: Image.Image, name: str, lossless: bool) -> Picture:
    """A picture (RGB) as it is stored under `name`.

    Always encoded anew, which drops EXIF, colour profiles and comments: PNG where its file is lossless and it has at
    most 256 colours (line art, plots, grey scans: JPEG would blur them, PNG is smaller), else JPEG of quality 92.
    """
    out = io.BytesIO()
    if lossless and image.getcolors(256) is not None:
        suffix = ".png"
        image.save(out, "PNG")
    else:
        suffix = ".jpg"
        image.save(out, "JPEG", quality=92, subsampling=0)
    return _described(out.getvalue(), name + suffix)


def keep(data: bytes, name: str, max_side: int) -> Picture | None:
    """A picture that `store` wrote before, byte for byte; None where it is none or its long side is over `max_side`."""
    try:
        with Image.open(io.BytesIO(data), formats=("JPEG", "PNG")) as image:
            suffix, small = (".png" if image.format == "PNG" else ".jpg"), max(image.size) <= max_side
    except OSError:
        return None
    return _described(data, name + suffix) if small else None


def _described(data: bytes, path: str) -> Picture:
    with Image.open(io.BytesIO(data)) as image:
        return Picture(data, path, image.width, image.height, hashlib.sha256(data).hexdigest(), phash(image))


def phash(image: Image.Image) -> str:
    """64-bit perceptual hash, 16 hex digits: which of the 8 x 8 lowest DCT terms of a 32 x 32 copy top their median.

    The bits of `imagehash.phash` (Zauner 2010, "Implementation and benchmarking of perceptual image hash functions").
    """
    grey = np.asarray(image.convert("L").resize((32, 32), Image.Resampling.LANCZOS), dtype=np.float64)
    low = np.round(_DCT @ grey @ _DCT.T, 6)  # rounded, so that what is zero but for the last bit is zero
    bits = low > np.median(low)
    return f"{int(''.join('1' if bit else '0' for bit in bits.ravel()), 2):016x}"


# Rows: the 8 lowest frequencies of the unnormalised DCT-II over 32 samples.
_DCT = 2 * np.cos(np.pi * np.outer(np.arange(8), 2 * np.arange(32) + 1) / 64)
