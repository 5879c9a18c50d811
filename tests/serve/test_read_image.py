"""Pictures as users have them."""

import subprocess
import sys
from pathlib import Path

import numpy as np
import pytest
from PIL import Image
from pydicom.data import get_testdata_file

from dicoms import dicom
from llavamed.errors import InputError
from llavamed.serve.read_image import read_image

RAMP = np.arange(256, dtype=np.uint16).reshape(16, 16)


def grey(picture):
    assert picture.mode == "RGB"
    return np.asarray(picture)[..., 0]


@pytest.mark.parametrize("name", ["a.png", "a.jpg", "a.tiff", "picture"])
def test_ordinary_pictures(tmp_path, name):
    path = tmp_path / name
    Image.new("L", (30, 20), 77).save(path, None if "." in name else "PNG")
    picture = read_image(path)
    assert picture.size == (30, 20)
    assert abs(int(grey(picture)[0, 0]) - 77) < 2


def test_deep_tiff_is_stretched(tmp_path):
    Image.fromarray(RAMP * 100 + 3000).save(tmp_path / "a.tif")
    assert np.abs(grey(read_image(tmp_path / "a.tif")).astype(int) - RAMP).max() <= 1


def test_dicom_without_a_window_is_stretched(tmp_path):
    assert np.array_equal(grey(read_image(dicom(tmp_path / "a.dcm", RAMP * 7 + 90))), RAMP)


def test_dicom_is_rescaled_then_windowed(tmp_path):
    # Stored 0..255 -> -1024..-769 HU; the window runs from -1000 to -900.
    tags = {"RescaleSlope": 1, "RescaleIntercept": -1024, "WindowCenter": [-949.5, 0], "WindowWidth": [101, 1]}
    values = grey(read_image(dicom(tmp_path / "a.dcm", RAMP, **tags))).ravel()
    assert (values[:25] == 0).all()
    assert (values[124:] == 255).all()
    assert values[74] == 128


def test_monochrome1_is_inverted(tmp_path):
    path = dicom(tmp_path / "no_suffix", RAMP, PhotometricInterpretation="MONOCHROME1")
    assert np.array_equal(grey(read_image(path)), 255 - RAMP)


def test_of_many_frames_the_middle_one(tmp_path, capsys):
    frames = np.stack([np.full((8, 8), n) + np.eye(8) * 100 * n for n in range(5)])
    picture = read_image(dicom(tmp_path / "a.dcm", frames, NumberOfFrames=5, WindowCenter=100.5, WindowWidth=201))
    assert grey(picture)[0, 1] == round(255 * 2 / 200)
    assert "frame 3 of 5" in capsys.readouterr().err


def test_colour_dicom(tmp_path):
    values = np.zeros((4, 4, 3), np.uint8)
    values[..., 1] = 200
    tags = {"SamplesPerPixel": 3, "PhotometricInterpretation": "RGB", "PlanarConfiguration": 0, "Rows": 4, "Columns": 4}
    tags |= {"BitsAllocated": 8, "BitsStored": 8, "HighBit": 7, "PixelData": values.tobytes()}
    assert np.array_equal(np.asarray(read_image(dicom(tmp_path / "a.dcm", RAMP, **tags))), values)


def broken(tmp_path):
    Image.effect_noise((64, 64), 50).save(tmp_path / "whole.png")
    whole = (tmp_path / "whole.png").read_bytes()
    (tmp_path / "cut.png").write_bytes(whole[: len(whole) // 2])
    (tmp_path / "text.jpg").write_text("no picture")
    (tmp_path / "empty.tif").write_bytes(b"")
    (tmp_path / "text.dcm").write_text("no picture")
    dicom(tmp_path / "report.dcm", None)
    dicom(tmp_path / "short.dcm", RAMP, Rows=64)
    scan = dicom(tmp_path / "scan.dcm", RAMP).read_bytes()
    (tmp_path / "cut.dcm").write_bytes(scan[:-300])
    dicom(tmp_path / "huge.dcm", RAMP, Rows=65000, Columns=65000)
    return tmp_path


@pytest.mark.parametrize(
    ("name", "says"),
    [
        ("missing.png", "is no file"),
        (".", "is no file"),
        ("cut.png", "no readable picture"),
        ("text.jpg", "no readable picture"),
        ("empty.tif", "no readable picture"),
        ("text.dcm", "no whole DICOM"),
        ("report.dcm", "without pixels"),
        ("short.dcm", "cannot be read"),
        ("cut.dcm", "cannot be read|no whole DICOM|without pixels"),
        ("huge.dcm", "at most"),
    ],
)
def test_what_cannot_be_read_says_so_in_one_line(tmp_path, name, says):
    with pytest.raises(InputError, match=says) as caught:
        read_image(broken(tmp_path) / name)
    assert "\n" not in str(caught.value)
    assert str(tmp_path / name) in str(caught.value)


def test_reading_needs_no_torch(tmp_path):
    Image.new("L", (3, 3)).save(tmp_path / "a.png")
    code = f"""
import sys, pathlib
from llavamed.serve.read_image import read_image
read_image(pathlib.Path({str(tmp_path / "a.png")!r}))
assert "torch" not in sys.modules
"""
    subprocess.run([sys.executable, "-c", code], check=True)


def test_real_dicoms():
    """Those that pydicom itself carries: compressed, signed, coloured, many frames."""
    for name in ("CT_small.dcm", "MR_small.dcm", "SC_rgb_rle.dcm", "JPEG2000.dcm", "examples_palette.dcm"):
        path = get_testdata_file(name, download=False)
        assert path
        assert np.asarray(read_image(Path(path))).std() > 1
