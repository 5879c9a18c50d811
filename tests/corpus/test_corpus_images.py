import hashlib
import io
from contextlib import suppress

import imagehash
import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from packages import encoded, pixels
from PIL import Image

from llavamed.corpus.images import by_stem, decode, find, phash, picture
from llavamed.corpus.problem import Problem


@pytest.mark.parametrize(
    ("href", "names", "found"),
    [
        ("a.g001", ["a.g001.gif", "a.g001.jpg", "a.g002.jpg"], ["a.g001.jpg", "a.g001.gif"]),
        ("a.g001.jpg", ["a.g001.jpg"], ["a.g001.jpg"]),
        ("a.g001.tif", ["a.g001.jpg"], ["a.g001.jpg"]),
        ("a", ["a.jpg", "a.tif", "a.gif"], ["a.tif", "a.jpg", "a.gif"]),
        ("Fig1", ["fig1.JPG"], ["fig1.JPG"]),
        ("fig%201", ["fig 1.png"], ["fig 1.png"]),
        ("sub/fig1.jpg", ["fig1.jpg"], ["fig1.jpg"]),
        ("fig1", ["sub/fig1.jpg", "fig1.gif"], ["fig1.gif", "sub/fig1.jpg"]),
        ("info:doi/10.1371/journal.pone.1.g001", ["pone.1.g001.tif", "x.tif"], ["pone.1.g001.tif"]),
        ("info:doi/10.1371/journal.pone.1.g001", ["journal.pone.1.g001.PNG"], ["journal.pone.1.g001.PNG"]),
        ("e\u0301.jpg", ["\u00e9.jpg"], ["\u00e9.jpg"]),
        ("fig1.eps", ["fig1.eps", "fig1.png"], ["fig1.png", "fig1.eps"]),
        ("fig1", ["fig10.jpg", "fig1.txt", "xfig1.jpg"], []),
        ("", ["a.jpg"], []),
    ],
)
def test_find(href, names, found):
    assert find(href, by_stem(names)) == found


@given(st.text(max_size=30), st.lists(st.text(max_size=20), max_size=5))
def test_find_never_fails(href, names):
    assert set(find(href, by_stem(names))) <= set(names)


MODES = {
    "1": lambda: pixels().convert("1"),
    "L": lambda: pixels().convert("L"),
    "LA": lambda: pixels().convert("LA"),
    "P": lambda: pixels().quantize(16),
    "RGB": pixels,
    "RGBA": lambda: pixels().convert("RGBA"),
    "CMYK": lambda: pixels().convert("CMYK"),
    "I;16": lambda: Image.fromarray(np.arange(48 * 48, dtype=np.uint16).reshape(48, 48)),
    "F": lambda: Image.fromarray(np.full((48, 48), np.nan, dtype=np.float32)),
}


@pytest.mark.parametrize("mode", MODES)
def test_any_mode(mode):
    kind = "TIFF" if mode in ("F", "CMYK") else "PNG"
    image = picture(encoded(MODES[mode](), kind), "x", 1024)
    with Image.open(io.BytesIO(image.data)) as stored:
        stored.load()
        assert stored.size == (image.width, image.height) == (48, 48)
        assert stored.mode == "RGB"
        assert image.path == ("x.png" if stored.format == "PNG" else "x.jpg")


def test_deep_grey_is_stretched():
    image, _ = decode(encoded(MODES["I;16"]()), 1024)
    assert image.getextrema() == ((0, 255),) * 3


def test_transparent_is_white():
    layer = Image.new("RGBA", (8, 8), (255, 0, 0, 0))
    assert decode(encoded(layer), 1024)[0].getpixel((0, 0)) == (255, 255, 255)


def test_small_enough_upright_and_without_metadata():
    exif = Image.Exif()
    exif[0x0112] = 6  # turned
    exif[0x010E] = "name of a patient"
    wide = pixels(side=64).resize((300, 100))
    image = picture(encoded(wide, "JPEG", exif=exif, icc_profile=b"x" * 200, comment=b"patient"), "x", 150)
    assert (image.width, image.height) == (50, 150)
    with Image.open(io.BytesIO(image.data)) as stored:
        assert not stored.getexif()
        assert "icc_profile" not in stored.info
    assert b"patient" not in image.data


def test_line_art_stays_lossless_and_photographs_become_jpeg():
    plot = Image.new("RGB", (40, 40), "white")
    plot.putpixel((3, 3), (255, 0, 0))
    art = picture(encoded(plot), "x", 1024)
    assert art.path == "x.png"
    with Image.open(io.BytesIO(art.data)) as stored:
        assert stored.convert("RGB").tobytes() == plot.tobytes()
    assert picture(encoded(pixels()), "x", 1024).path == "x.jpg"


def test_same_bytes_each_time():
    data = encoded(pixels(3, 200), "JPEG")
    first, again = picture(data, "x", 100), picture(data, "x", 100)
    assert first == again
    assert first.sha256 == hashlib.sha256(first.data).hexdigest()


@settings(deadline=None, max_examples=30)
@given(st.integers(0, 10_000), st.integers(1, 300), st.integers(1, 300), st.booleans())
def test_phash_is_imagehashs(seed, width, height, noisy):
    rng = np.random.default_rng(seed)
    smooth = Image.fromarray(rng.integers(0, 256, (5, 7, 3), dtype=np.uint8)).resize((width, height))
    image = pixels(seed, max(width, height)) if noisy else smooth
    stored = picture(encoded(image), "x", 256)
    with Image.open(io.BytesIO(stored.data)) as again:
        assert stored.phash == str(imagehash.phash(again))


@pytest.mark.parametrize("grey", [0, 100, 255])
def test_phash_of_one_colour(grey):
    image = Image.new("RGB", (50, 40), (grey, grey, grey))
    assert phash(image) == str(imagehash.phash(image))


@pytest.mark.parametrize(
    ("data", "reason"),
    [
        (b"", "image_broken"),
        (b"not an image", "image_broken"),
        (encoded(pixels(), "JPEG")[:-600], "image_broken"),
        (encoded(pixels())[:3000], "image_broken"),
        (b"%!PS-Adobe-3.0 EPSF-3.0\n%%BoundingBox: 0 0 10 10\n", "image_broken"),  # never handed to Ghostscript
        (encoded(Image.new("1", (20_000, 20_000))), "image_too_large"),
        (encoded(Image.new("1", (13_000, 14_000))), "image_too_large"),
    ],
)
def test_refused(data, reason):
    with pytest.raises(Problem) as caught:
        decode(data, 1024)
    assert caught.value.reason == reason


@settings(deadline=None, max_examples=60)
@given(st.sampled_from(["JPEG", "PNG", "TIFF", "GIF"]), st.integers(0, 3000), st.binary(min_size=1, max_size=30))
def test_broken_bytes_never_raise_anything_else(kind, place, noise):
    data = bytearray(encoded(pixels(side=24), kind))
    data[place : place + len(noise)] = noise
    with suppress(Problem):
        assert max(decode(bytes(data), 64)[0].size) <= 64
