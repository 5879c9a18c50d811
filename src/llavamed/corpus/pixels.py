"""Scanner files -> 8-bit pictures: DICOM, NIfTI and NumPy and what Pillow reads. For the built-in articles."""

import gzip
import io
import struct
from dataclasses import dataclass
from typing import Any

import numpy as np
from numpy.typing import NDArray
from PIL import Image

Array = NDArray[Any]
PLANES = {"sagittal": 0, "coronal": 1, "axial": 2}
# NIfTI-1 data types that occur: code -> numpy type (https://nifti.nimh.nih.gov/nifti-1)
_NIFTI_TYPES = {2: "u1", 4: "i2", 8: "i4", 16: "f4", 64: "f8", 256: "i1", 512: "u2", 768: "u4"}


@dataclass(frozen=True)
class Pixels:
    """`values`: (frames or slices, height, width) numbers, or (frames, height, width, 3) 8-bit RGB.

    A volume is (x, y, z) and `spacing` its voxel size in mm; else `spacing` is empty.
    """

    values: Array
    spacing: tuple[float, ...] = ()


def read(data: bytes, name: str) -> Pixels:
    """The pixels of one file; `name` tells the format."""
    if name.endswith(".dcm"):
        return _dicom(data)
    if name.endswith((".nii", ".nii.gz")):
        return _nifti(data)
    if name.endswith(".npy"):
        return Pixels(np.load(io.BytesIO(data), allow_pickle=False)[None])
    with Image.open(io.BytesIO(data)) as image:
        plain = image if image.mode in ("L", "I;16", "I", "F") else image.convert("RGB")
        values = np.asarray(plain)
    if values.ndim == 3 and (values == values[..., :1]).all():  # grey, stored as RGB
        values = values[..., 0]
    return Pixels(values[None])


def picture(
    pixels: Pixels,
    *,
    frame: int = 0,
    plane: str = "",
    at: float = 0.5,
    window: tuple[float, float] | None = None,
    crop: tuple[float, float, float, float] = (0, 0, 1, 1),
    upside_down: bool = False,
    max_side: int = 512,
) -> Image.Image:
    """One picture of `pixels`, 8-bit grey or RGB, its long side at most `max_side`.

    `plane` and `at` (0..1) choose a slice of a volume, drawn with square pixels of 1 mm. `window`: centre and width in
    the file's units (Hounsfield for CT); without one, the middle 99 % of the values. `crop`: left, top, right, bottom
    as shares of width and height.
    """
    if plane:
        axis = PLANES[plane]
        values = np.rot90(np.moveaxis(pixels.values, axis, 0)[int(at * pixels.values.shape[axis])])
        across, down = (size for other, size in enumerate(pixels.spacing) if other != axis)
        size = (round(values.shape[1] * across), round(values.shape[0] * down))
        image = Image.fromarray(_grey(values, window)).resize(size, Image.Resampling.BICUBIC)
    else:
        values = pixels.values[frame]
        image = Image.fromarray(values if values.ndim == 3 else _grey(values, window))
    if upside_down:
        image = image.transpose(Image.Transpose.FLIP_TOP_BOTTOM)
    sides = (image.width, image.height) * 2
    image = image.crop(tuple(round(share * side) for share, side in zip(crop, sides, strict=True)))
    image.thumbnail((max_side, max_side), Image.Resampling.LANCZOS)
    return image


def _grey(values: Array, window: tuple[float, float] | None) -> Array:
    if window:
        centre, width = window
        low, high = centre - width / 2, centre + width / 2
    else:
        low, high = (float(v) for v in np.percentile(values, (0.5, 99.5)))
    scaled = (values.astype(np.float32) - low) / max(high - low, 1e-6)
    return np.asarray(np.round(scaled.clip(0, 1) * 255), np.uint8)


def _dicom(data: bytes) -> Pixels:
    from pydicom import dcmread
    from pydicom.pixels import apply_color_lut, apply_modality_lut

    dataset = dcmread(io.BytesIO(data))
    values = dataset.pixel_array
    kind = dataset.PhotometricInterpretation
    if kind == "PALETTE COLOR":
        values = (apply_color_lut(values, dataset) // 256).astype(np.uint8)
    elif kind.startswith("MONOCHROME"):
        values = np.asarray(apply_modality_lut(values, dataset), np.float32)
        if kind == "MONOCHROME1":  # high values are dark
            values = -values
    return Pixels(values if int(dataset.get("NumberOfFrames") or 1) > 1 else values[None])


def _nifti(data: bytes) -> Pixels:
    if data[:2] == b"\x1f\x8b":
        data = gzip.decompress(data)
    order = "<" if struct.unpack_from("<i", data)[0] == 348 else ">"
    dimensions = struct.unpack_from(f"{order}8h", data, 40)
    (code,) = struct.unpack_from(f"{order}h", data, 70)
    spacing = struct.unpack_from(f"{order}8f", data, 76)[1:4]
    offset, slope, intercept = struct.unpack_from(f"{order}3f", data, 108)
    shape = dimensions[1:4]  # of a series, the first volume
    kind = np.dtype(order + _NIFTI_TYPES[code])
    values = np.frombuffer(data, kind, int(np.prod(shape)), int(offset)).reshape(shape, order="F")
    if slope not in (0, 1) or intercept:
        values = values * np.float32(slope or 1) + np.float32(intercept)
    return Pixels(values, spacing)
