"""Any picture a user names, as the model takes it: JPEG, PNG, TIFF and more, or DICOM."""

from pathlib import Path

from PIL import Image

from llavamed.console import console
from llavamed.corpus import dicom
from llavamed.corpus.images import decode
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
    if dicom.is_dicom(data) or path.suffix.lower() in (".dcm", ".dicom"):
        return _dicom(path)
    try:
        return decode(data, MAX_SIDE)[0]
    except Problem as problem:
        raise InputError(f"{path}: no readable picture ({problem.detail}): name a JPEG, PNG, TIFF or DICOM") from None


_DICOM = {
    "dicom_broken": "is no whole DICOM file: name a JPEG, PNG, TIFF or DICOM",
    "dicom_without_pixels": "is a DICOM without pixels",
    "dicom_unsupported": "is a DICOM whose pixels cannot be read",
}


def _dicom(path: Path) -> Image.Image:
    try:
        picture, frame, frames = dicom.picture(dicom.read(path))
    except Problem as problem:
        what = _DICOM.get(problem.reason, "is too large")
        raise InputError(f"{path} {what} ({problem.detail})") from None
    if frames > 1:
        console.print(f"{path.name}: frame {frame + 1} of {frames}", highlight=False)
    return picture.convert("RGB")
