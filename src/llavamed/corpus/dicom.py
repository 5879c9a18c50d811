"""DICOM: its picture as people see it, and what may not be taken over from it."""

import hashlib
import io
import re
import warnings
import zlib
from collections.abc import Sequence
from contextlib import suppress
from pathlib import Path
from typing import Any

import numpy as np
from PIL import Image

from llavamed.corpus.images import MAX_PIXELS
from llavamed.corpus.problem import Problem

MAX_BYTES = 1_000_000_000
MAX_INFLATED = 200_000_000  # bytes that a deflated file may unpack to
# What identifies a person, a place or an examination: the chief attributes of the Basic Application Level
# Confidentiality Profile (DICOM PS3.15, table E.1-1), by keyword.
_LINES = (
    "PatientName PatientID OtherPatientIDs OtherPatientIDsSequence OtherPatientNames IssuerOfPatientID",
    "PatientBirthDate PatientBirthTime PatientBirthName PatientMotherBirthName PatientSex PatientAge PatientSize",
    "PatientWeight PatientAddress PatientTelephoneNumbers CountryOfResidence RegionOfResidence EthnicGroup",
    "Occupation MilitaryRank MedicalRecordLocator AdditionalPatientHistory PatientComments PregnancyStatus",
    "SmokingStatus ReferringPhysicianName ReferringPhysicianAddress PerformingPhysicianName PhysiciansOfRecord",
    "NameOfPhysiciansReadingStudy RequestingPhysician OperatorsName PersonName InstitutionName InstitutionAddress",
    "InstitutionalDepartmentName StationName DeviceSerialNumber AccessionNumber StudyID AdmissionID",
    "RequestedProcedureID PerformedProcedureStepID StudyDate StudyTime SeriesDate SeriesTime AcquisitionDate",
    "AcquisitionTime AcquisitionDateTime ContentDate ContentTime InstanceCreationDate InstanceCreationTime",
    "AdmittingDate PerformedProcedureStepStartDate StudyInstanceUID SeriesInstanceUID SOPInstanceUID",
    "FrameOfReferenceUID InstanceCreatorUID StudyDescription SeriesDescription ProtocolName ImageComments",
    "DerivationDescription RequestAttributesSequence",
)
IDENTIFYING = frozenset(name for line in _LINES for name in line.split())
PRIVATE = "private"  # how tags that only their maker understands are counted, all as one

# Modality (PS3.3 C.7.3.1.1.1) -> kind of image; those that are none of ours are missing.
_KINDS = {
    **{code: "radiograph" for code in ("CR", "DX", "MG", "RG", "IO", "PX", "XA", "RF")},
    **{code: "nuclear" for code in ("NM", "PT")},
    **{code: "ultrasound" for code in ("US", "IVUS")},
    **{code: "fundus_oct" for code in ("OP", "OPT", "OCT")},
    **{"CT": "ct", "MR": "mri", "ES": "endoscopy", "SM": "histology", "GM": "microscopy", "XC": "clinical_photo"},
}
_WRITES_ON_PICTURES = {"US", "IVUS", "XA", "RF", "ES", "OT", "SC"}
_SECONDARY_CAPTURE = "1.2.840.10008.5.1.4.1.1.7"  # SOP class: a picture of a screen or a film (PS3.4 B.5)


def is_dicom(head: bytes) -> bool:
    """Whether a file that begins so is a DICOM (PS3.10 7.1)."""
    return head[128:132] == b"DICM"


def read(path: Path, pixels: bool = True) -> Any:
    """A DICOM file as pydicom's dataset, with or without its pixels.

    Raises:
        Problem: image_too_large, dicom_broken.
    """
    import pydicom
    from pydicom.errors import InvalidDicomError

    try:
        if pixels and path.stat().st_size > MAX_BYTES:
            raise Problem("image_too_large", f"over {MAX_BYTES:,} bytes: split its frames")
        with warnings.catch_warnings():
            warnings.simplefilter("ignore")
            with _Checked(path.open("rb", buffering=0)) as stream:
                return pydicom.dcmread(stream, stop_before_pixels=not pixels)
    except (InvalidDicomError, EOFError):
        raise Problem("dicom_broken", "no whole DICOM file") from None
    except Problem:
        raise
    except Exception as error:  # pydicom raises all sorts on broken data
        raise Problem("dicom_broken", _said(error)) from None


def about(path: Path) -> tuple[str, list[str], dict[str, int], list[dict[str, Any]]]:
    """What the header tells: `group`, `flags`, `identifying`, `modality`. Raises what `read` raises."""
    header = read(path, pixels=False)
    try:
        return group(header), flags(header), identifying(header), modality(header)
    except Exception as error:  # values are only read now, and pydicom raises all sorts on broken ones
        raise Problem("dicom_broken", _said(error)) from None


class _Checked(io.BufferedReader):
    """A file that is refused when pydicom reads the whole rest of it, to inflate it, and that is a bomb."""

    def read(self, size: int | None = -1) -> bytes:
        """The next bytes. Raises Problem: image_too_large."""
        data = super().read(size)
        if size is None or size < 0:
            packer = zlib.decompressobj(-zlib.MAX_WBITS)
            with suppress(zlib.error):
                packer.decompress(data, MAX_INFLATED)
                if packer.unconsumed_tail:
                    raise Problem("image_too_large", f"over {MAX_INFLATED:,} bytes inflated: convert it")
        return data


def picture(dataset: Any) -> tuple[Image.Image, int, int]:
    """(the picture, L or RGB; which frame of how many it is, counted from 0).

    Of several frames the middle one; rescaled, seen through the file's own window, MONOCHROME1 turned round.

    Raises:
        Problem: dicom_without_pixels, dicom_broken, image_too_large, dicom_unsupported: pixels that cannot be
            decoded here.
    """
    if "PixelData" not in dataset:
        raise Problem("dicom_without_pixels", "it holds no picture")
    try:
        with warnings.catch_warnings():
            warnings.simplefilter("ignore")
            missing = [name for name in ("Rows", "Columns") if name not in dataset]
            if missing:
                raise Problem("dicom_broken", f"it does not state {', '.join(missing)}")
            if int(dataset.Rows) * int(dataset.Columns) > MAX_PIXELS:
                size = f"{dataset.Rows} x {dataset.Columns} pixels; at most {MAX_PIXELS:,}: make it smaller"
                raise Problem("image_too_large", size)
            frames = int(dataset.get("NumberOfFrames") or 1)
            frame = frames // 2 if frames > 1 else 0
            return Image.fromarray(_pixels(dataset, frame)), frame, frames
    except Problem:
        raise
    except Exception as error:  # decoders raise all sorts on broken data
        raise Problem("dicom_unsupported", f"{_said(error)}: convert it to PNG") from None


def png(path: Path) -> bytes:
    """The picture of a DICOM file as PNG, without a word of its header. Raises what `read` and `picture` raise."""
    out = io.BytesIO()
    picture(read(path))[0].save(out, "PNG", compress_level=1)
    return out.getvalue()


def _pixels(dataset: Any, frame: int) -> np.ndarray:
    """uint8 [rows, columns] or [rows, columns, 3]."""
    from pydicom.pixels import apply_color_lut, apply_modality_lut, pixel_array

    values: np.ndarray = pixel_array(dataset, index=frame)  # YBR becomes RGB here
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
    """The first window's ends (PS3.3 C.11.2.1.2), if the file names one."""
    centre, width = (dataset.get(name) for name in ("WindowCenter", "WindowWidth"))
    first = [value[0] if isinstance(value, Sequence) and value else value for value in (centre, width)]
    if not all(isinstance(value, int | float) for value in first) or first[1] <= 1:
        return None
    return first[0] - 0.5 - (first[1] - 1) / 2, first[0] - 0.5 + (first[1] - 1) / 2


def identifying(dataset: Any) -> dict[str, int]:
    """Which of `IDENTIFYING` a dataset holds with a value, at any depth, each counted once; and `PRIVATE`."""
    found = {}
    with warnings.catch_warnings():
        warnings.simplefilter("ignore")
        for element in _elements(dataset):
            name = PRIVATE if element.tag.is_private else element.keyword
            if name == PRIVATE or (name in IDENTIFYING and not element.is_empty):
                found[name] = 1
    return dict(sorted(found.items()))


def _elements(dataset: Any, depth: int = 0) -> Any:
    for element in dataset:
        yield element
        if element.VR == "SQ" and depth < 8:
            for item in element.value:
                yield from _elements(item, depth + 1)


def group(dataset: Any) -> str:
    """What keeps the pictures of one patient on one side of the split: a hash of the patient's id, else of the series.

    Empty where the file names neither.
    """
    for name in ("PatientID", "StudyInstanceUID", "SeriesInstanceUID"):
        value = str(dataset.get(name) or "").strip()
        if value:
            return hashlib.sha256(f"{name}\0{value}".encode("utf-8", "replace")).hexdigest()
    return ""


def flags(dataset: Any) -> list[str]:
    """burned_in_text: the file says so; burned_in_text_possible: it does not deny it, and its like often has some."""
    stated = str(dataset.get("BurnedInAnnotation") or "").strip().upper()
    if stated == "YES":
        return ["burned_in_text"]
    likely = _code(dataset) in _WRITES_ON_PICTURES or str(dataset.get("SOPClassUID") or "").startswith(
        _SECONDARY_CAPTURE
    )
    return ["burned_in_text_possible"] if likely and stated != "NO" else []


def modality(dataset: Any) -> list[dict[str, Any]]:
    """`[{name, confidence, source}]`: the kind of image that the file states; empty where it is none of ours."""
    code = _code(dataset)
    kind = _KINDS.get(code)
    if not kind:
        return []
    source = f"DICOM Modality: {code}"
    part = str(dataset.get("BodyPartExamined") or "").strip().upper()
    if kind == "radiograph" and part in ("CHEST", "THORAX", "LUNG"):
        kind, source = "chest_xray", f"{source}, BodyPartExamined: {part}"
    return [{"name": kind, "confidence": 1.0, "source": source}]


def _code(dataset: Any) -> str:
    return re.sub(r"\W", "", str(dataset.get("Modality") or "")).upper()[:16]


def _said(error: Exception) -> str:
    """One line, short: without the list of every plugin that was tried or is missing."""
    words = " ".join(str(error).split()).partition(" because all plugins are missing")[0]
    return words.rpartition("all available plugins: ")[2][:200] or type(error).__name__
