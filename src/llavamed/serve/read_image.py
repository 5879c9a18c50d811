"""Any picture a user names, as the model takes it: JPEG, PNG, TIFF and more, or DICOM."""

import warnings
from collections.abc import Sequence
from pathlib import Path
from typing import Any

import numpy as np
from PIL import Image

from llavamed.console import console
from llavamed.corpus.images import MAX_PIXELS, decode
from llavamed.corpus.problem import Problem
from llavamed.errors import InputError

MAX_SIDE = 2048  # far more than any model here sees


def read_image(path: Path) -> Image.Image:
    """The picture in `path`, RGB. Deep grey values are stretched to 8 bits, DICOM ones by the file's own window.

    Raises:
        InputError: no such file; not a picture, or a broken, too large or unsupported one; a DICOM without pixels.
    """
    if not path.is_file():
        raise InputError(f"{path} is no file: name a JPEG, PNG, TIFF or DICOM")
    data = path.read_bytes()
    if data[128:132] == b"DICM" or path.suffix.lower() in (".dcm", ".dicom"):
        return _dicom(path)
    try:
        return decode(data, MAX_SIDE)[0].convert("RGB")
    except Problem as problem:
        raise InputError(f"{path}: no readable picture ({problem.detail}): name a JPEG, PNG, TIFF or DICOM") from None


def _dicom(path: Path) -> Image.Image:
    import pydicom
    from pydicom.errors import InvalidDicomError

    try:
        with warnings.catch_warnings():
            warnings.simplefilter("ignore")
            dataset = pydicom.dcmread(path)
            if "PixelData" not in dataset:
                raise InputError(f"{path} is a DICOM without pixels: name one that holds a picture")
            return Image.fromarray(_pixels(path, dataset)).convert("RGB")
    except (InvalidDicomError, EOFError):
        raise InputError(f"{path} is no whole DICOM file: name a JPEG, PNG, TIFF or DICOM") from None
    except InputError:
        raise
    except Exception as error:  # decoders raise all sorts on broken data
        what = " ".join(str(error).split()) or type(error).__name__
        raise InputError(f"{path}: its DICOM pixels cannot be read ({what}): convert it to PNG") from None


def _pixels(path: Path, dataset: Any) -> np.ndarray:
    """uint8 [rows, columns] or [rows, columns, 3]: the middle frame, rescaled, windowed, MONOCHROME1 inverted."""
    from pydicom.pixels import apply_color_lut, apply_modality_lut, pixel_array

    if int(dataset.Rows) * int(dataset.Columns) > MAX_PIXELS:
        raise InputError(f"{path}: {dataset.Rows} x {dataset.Columns} pixels; at most {MAX_PIXELS:,}: make it smaller")
    frames = int(dataset.get("NumberOfFrames") or 1)
    if frames > 1:
        console.print(f"{path.name}: frame {frames // 2 + 1} of {frames}", highlight=False)
    values: np.ndarray = pixel_array(dataset, index=frames // 2)  # YBR becomes RGB here
    kind = dataset.PhotometricInterpretation
    if kind == "PALETTE COLOR":
        values = apply_color_lut(values, dataset)
    if values.ndim == 3:
        return (values >> (8 * (values.itemsize - 1))).astype(np.uint8)
    values = apply_modality_lut(values, dataset).astype(np.float64)
    low, high = _window(dataset) or (values.min(), values.max())
    shares = np.clip((values - low) / (high - low or 1), 0, 1)
    return np.asarray(255 * (1 - shares if kind == "MONOCHROME1" else shares) + 0.5, dtype=np.uint8)


def _window(dataset: Any) -> tuple[float, float] | None:
    """The first window's ends (DICOM PS3.3 C.11.2.1.2), if the file names one."""
    centre, width = (dataset.get(name) for name in ("WindowCenter", "WindowWidth"))
    first = [value[0] if isinstance(value, Sequence) and value else value for value in (centre, width)]
    if not all(isinstance(value, int | float) for value in first) or first[1] <= 1:
        return None
    return first[0] - 0.5 - (first[1] - 1) / 2, first[0] - 0.5 + (first[1] - 1) / 2
