"""DICOM that means harm, each with a good picture beside it."""

import random
import struct
import zlib

from packages import encoded, pixels

from hostile import CANARY, Files, Where, cut, flip, splice
from hostile.lists import images, rows, table

IMAGE = encoded(pixels(1, 16), "JPEG")
DEFLATED = b"1.2.840.10008.1.2.1.99"


# DICOM


def _element(tag: int, kind: bytes, value: bytes, length: int | None = None) -> bytes:
    """An element in explicit little endian."""
    value += b"\0" * (len(value) % 2)
    length = len(value) if length is None else length
    long = kind in (b"OB", b"OW", b"SQ", b"UN", b"UT", b"OF", b"UC")
    size = b"\0\0" + struct.pack("<I", length & 0xFFFFFFFF) if long else struct.pack("<H", length & 0xFFFF)
    return struct.pack("<HH", tag >> 16, tag & 0xFFFF) + kind + size + value


def _short(value: int) -> bytes:
    return struct.pack("<H", value & 0xFFFF)


def _dicom(tags: dict[int, tuple[bytes, bytes]], syntax: bytes = b"1.2.840.10008.1.2.1", data: bytes = b"") -> bytes:
    """A picture of 16 x 16; `data` stands behind the other tags in place of its pixels."""
    found = {
        0x00080016: (b"UI", b"1.2.840.10008.5.1.4.1.1.2"), 0x00080060: (b"CS", b"CT"), 0x00100010: (b"PN",
        CANARY.encode()),
        0x00100020: (b"LO", b"77"), 0x00280002: (b"US", _short(1)), 0x00280004: (b"CS", b"MONOCHROME2 "),
        0x00280010: (b"US", _short(16)), 0x00280011: (b"US", _short(16)), 0x00280100: (b"US", _short(16)),
        0x00280101: (b"US", _short(16)), 0x00280102: (b"US", _short(15)), 0x00280103: (b"US", _short(0)),
    } | tags  # fmt: skip
    body = b"".join(_element(tag, *element) for tag, element in sorted(found.items()))
    body += data or _element(0x7FE00010, b"OW", bytes(range(256)) * 2)
    meta = _element(0x00020010, b"UI", syntax)
    if syntax == DEFLATED:
        packer = zlib.compressobj(9, zlib.DEFLATED, -15)
        body = packer.compress(body) + packer.flush()
    return bytes(128) + b"DICM" + _element(0x00020000, b"UL", struct.pack("<I", len(meta))) + meta + body


def _scan(data: bytes, rng: random.Random) -> tuple[Files, int]:
    name = rng.choice(["x.dcm", "x.dcm", "IM0001", "x.ima"])
    return {"c.csv": table([[name, "A scan.", "", "", ""], *rows(1)]), name: data} | images(1), 2


def _bent_dicom(bend):
    return lambda rng, where: _scan(bend(_dicom({}), rng), rng)


def _dicom_tags(rng: random.Random, where: Where) -> tuple[Files, int]:
    odd = rng.choice([0, 1, 7, 12, 32, 64, 255, 65_535])
    words = [b"", b"-1", b"1e9", b"NaN", b"inf", b"1\\2\\3", b"x", b"9" * 300, b"\xff\xfe", b"0"]
    many = {
        0x00280010: (b"US", _short(odd)), 0x00280011: (b"US", _short(odd)), 0x00280002: (b"US", _short(odd)),
        0x00280100: (b"US", _short(odd)), 0x00280101: (b"US", _short(odd)), 0x00280103: (b"US", _short(odd)),
        0x00280004: (b"CS", rng.choice([b"PALETTE COLOR ", b"YBR_FULL_422", b"RGB ", b"MONOCHROME1 ", b"X ", b""])),
        0x00280008: (b"IS", rng.choice(words)), 0x00281050: (b"DS", rng.choice(words)), 0x00281051: (b"DS",
        rng.choice(words)),
        0x00281052: (b"DS", rng.choice(words)), 0x00281053: (b"DS", rng.choice(words)), 0x00080005: (b"CS",
        rng.choice(words)),
        0x00080060: (b"CS", rng.choice(words)), 0x00280006: (b"US", _short(odd)), 0x00281101: (b"US", _short(odd) * 3),
        0x00281201: (b"OW", bytes(odd)), 0x00100020: (b"LO", rng.choice(words)), 0x0008103E: (b"LO", b"x" * 60_000),
        0x00283000: (b"SQ", rng.choice(words)), 0x00290010: (b"LO", b"Maker"), 0x00291010: (b"UN", b"x" * odd),
    }  # fmt: skip
    return _scan(_dicom({tag: many[tag] for tag in rng.sample(sorted(many), rng.choice([1, 2, 5]))}), rng)


def _dicom_pixels(rng: random.Random, where: Where) -> tuple[Files, int]:
    syntax = rng.choice(
        [
            DEFLATED,
            *(b"1.2.840.10008.1.2" + end for end in (b"", b".2", b".5", b".4.50", b".4.70", b".4.80", b".4.90", b".x")),
        ]
    )
    piece = rng.choice([b"", IMAGE, rng.randbytes(600), struct.pack("<16I", 2**31, *range(15)) + b"\x81" * 500])
    item, stop = struct.pack("<HHI", 0xFFFE, 0xE000, len(piece)) + piece, struct.pack("<HHI", 0xFFFE, 0xE0DD, 0)
    offsets = struct.pack("<HHI", 0xFFFE, 0xE000, 0)
    data = rng.choice(
        [
            _element(0x7FE00010, b"OB", offsets + item + stop, 0xFFFFFFFF),
            _element(0x7FE00010, b"OB", offsets, 0xFFFFFFFF),
            _element(0x7FE00010, b"OW", b"x" * 4), _element(0x7FE00010, b"OW", b"", 2**31),
            _element(0x7FE00010, b"UN", b"x"),
            _element(0x7FE00010, b"OB", offsets + item * 500, 0xFFFFFFFF), _element(0x7FE00008, b"OF", b"x" * 4),
        ]
    )  # fmt: skip
    return _scan(_dicom({}, syntax, data), rng)


def _dicom_nested(rng: random.Random, where: Where) -> tuple[Files, int]:
    begin = _element(0x00081115, b"SQ", b"", 0xFFFFFFFF) + struct.pack("<HHI", 0xFFFE, 0xE000, 0xFFFFFFFF)
    many = b"".join(_element(0x00290000 + (i % 65_536), b"LO", b"x") for i in range(100_000))
    data = rng.choice([begin * rng.choice([50, 2000, 50_000]), many, b"\xfe\xff\x00\xe0" * 10_000])
    return _scan(_dicom({}, data=data + _element(0x7FE00010, b"OW", bytes(512))), rng)


def _dicom_bomb(rng: random.Random, where: Where) -> tuple[Files, int]:
    """A few bytes that unpack to a gigabyte; or the name and nothing more."""
    if rng.random() < 0.5:
        return _scan(_dicom({}, DEFLATED, _element(0x00291010, b"OB", bytes(1_000_000_000))), rng)
    return _scan(bytes(128) + b"DICM" + rng.randbytes(rng.choice([0, 8, 300])), rng)


MAKERS = {
    f"{kind} {name}": bent(bend)
    for kind, bent in (("dicom", _bent_dicom),)
    for name, bend in (("flip", flip), ("cut", cut), ("splice", splice))
} | {
    "dicom tags": _dicom_tags,
    "dicom pixels": _dicom_pixels,
    "dicom nested": _dicom_nested,
    "dicom bomb": _dicom_bomb,
}
