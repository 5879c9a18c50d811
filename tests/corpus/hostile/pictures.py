"""Image files: bent bytes, sizes that lie, every mode and wrong suffix."""

import io
import random
import struct
import zlib

import numpy as np
from packages import cite, encoded, fig, jats, pixels
from PIL import Image

from hostile import Where, cut, flip, splice

ARTICLE = jats(f"<p>As {cite(1)} shows.</p>{fig(1)}")
FORMATS = {"JPEG": "jpg", "PNG": "png", "TIFF": "tif", "GIF": "gif", "BMP": "bmp", "WEBP": "webp", "JPEG2000": "jp2"}


def _files(data: bytes, suffix: str) -> dict:
    return {"PMC77.nxml": ARTICLE, f"g1.{suffix}": data}


def _good(kind: str, rng: random.Random) -> bytes:
    image = pixels(rng.randrange(5), 40)
    if kind == "PNG" and rng.random() < 0.5:
        image = image.quantize(16)
    if kind == "TIFF" and rng.random() < 0.6:
        return encoded(image, kind, compression=rng.choice(["tiff_lzw", "jpeg", "tiff_deflate", "packbits"]))
    if kind == "JPEG" and rng.random() < 0.5:
        return encoded(image, kind, progressive=True, exif=_exif(rng))
    if kind == "GIF":
        return encoded(image, kind, save_all=True, append_images=[pixels(9, 40)] * 3)
    return encoded(image, kind)


def _exif(rng: random.Random) -> Image.Exif:
    exif = Image.Exif()
    exif[0x0112] = rng.choice([1, 6, 3, 99])
    exif[0x010E] = "x" * rng.choice([1, 30_000])
    return exif


def _bent(kind: str, bend):
    return lambda rng, where: _files(bend(_good(kind, rng), rng), FORMATS[kind])


def _chunk(kind: bytes, data: bytes, length: int | None = None) -> bytes:
    return (
        struct.pack(">I", len(data) if length is None else length)
        + kind
        + data
        + struct.pack(">I", zlib.crc32(kind + data))
    )


def _png(width: int, height: int, depth: int, colour: int, *chunks: bytes, data: bytes | None = None) -> bytes:
    data = zlib.compress(b"\0" * 5000) if data is None else data
    head = struct.pack(">IIBBBBB", width, height, depth, colour, 0, 0, 0)
    return (
        b"\x89PNG\r\n\x1a\n" + _chunk(b"IHDR", head) + b"".join(chunks) + _chunk(b"IDAT", data) + _chunk(b"IEND", b"")
    )


def _png_sizes(rng: random.Random, where: Where) -> dict:
    width, height = rng.choice(
        [(2**31 - 1, 2**31 - 1), (100_000, 1000), (1, 2**31 - 1), (0, 5), (13_300, 13_300), (178_000_000, 1)]
    )
    return _files(_png(width, height, rng.choice([1, 8, 16, 3]), rng.choice([0, 2, 3, 4, 6, 9])), "png")


def _png_bomb(rng: random.Random, where: Where) -> dict:
    """A whole picture of one colour: as large as is allowed, in a few kB."""
    depth, colour, samples = rng.choice(
        [(1, 0, 1 / 8), (8, 0, 1), (8, 2, 3), (8, 6, 4), (16, 0, 2), (8, 3, 1), (16, 6, 8), (16, 4, 4)]
    )
    width, height = rng.choice([(13_000, 13_000), (5000, 5000), (178_000, 1000), (1000, 178_000)])
    packer = zlib.compressobj(9)
    row = b"\0" * (1 + int(width * samples + 0.99))
    data = b"".join(packer.compress(row * 100) for _ in range(height // 100)) + packer.flush()
    palette = _chunk(b"PLTE", b"\0\1\2") if colour == 3 else b""
    return _files(_png(width, height, depth, colour, palette, data=data), "png")


def _png_chunks(rng: random.Random, where: Where) -> dict:
    bomb = zlib.compress(b"\0" * 200_000_000, 9)
    chunk = rng.choice(
        [
            _chunk(b"zTXt", b"k\0\0" + bomb),
            _chunk(b"iCCP", b"k\0\0" + bomb),
            _chunk(b"iTXt", b"k\0\1\0\0\0" + bomb),
            _chunk(b"tEXt", b"k\0" + b"x" * 5_000_000),
            _chunk(b"eXIf", b"MM\0*" + b"\xff" * 400),
            _chunk(b"tRNS", b"\0" * 300),
            _chunk(b"PLTE", b"\0" * 3 * 500),
            _chunk(b"gAMA", b""),
            _chunk(b"acTL", struct.pack(">II", 2**31, 0)),
            _chunk(b"tEXt", b"x", 2**31 - 1),
            _chunk(b"\0\0\0\0", b"x") * 1000,
            _chunk(b"zTXt", b"k\0\0x") * 5000,
            _chunk(b"fcTL", b"\0" * 26) * 50,
            _chunk(b"iCCP", b"k\0\0" + zlib.compress(b"x" * 300)),
            _chunk(b"pHYs", b"\0"),
        ]
    )
    return _files(_png(20, 20, 8, rng.choice([0, 2, 3]), chunk, data=zlib.compress(b"\0" * 61 * 20)), "png")


def _jpeg_sizes(rng: random.Random, where: Where) -> dict:
    """Height and width in the frame header changed; lengths of segments too."""
    data = bytearray(encoded(pixels(1, 40), "JPEG", progressive=rng.random() < 0.5))
    place = max(data.find(b"\xff\xc0"), data.find(b"\xff\xc2"))
    data[place + 5 : place + 9] = struct.pack(
        ">HH", *rng.choice([(65_535, 65_535), (65_535, 2700), (0, 40), (13_000, 13_000), (1, 1)])
    )
    if rng.random() < 0.3:
        data[place + 2 : place + 4] = struct.pack(">H", rng.choice([0, 2, 65_535]))
    return _files(bytes(data), "jpg")


def _jpeg_scans(rng: random.Random, where: Where) -> dict:
    """A progressive picture with its last scan a thousand times."""
    side = rng.choice([40, 3000])
    data = encoded(Image.new("RGB", (side, side), (9, 99, 200)), "JPEG", progressive=True)
    place = data.rfind(b"\xff\xda")
    return _files(data[:place] + data[place:-2] * rng.choice([100, 3000]) + b"\xff\xd9", "jpg")


def _jpeg_segments(rng: random.Random, where: Where) -> dict:
    data = encoded(pixels(1, 40), "JPEG")
    segment = rng.choice(
        [
            b"\xff\xe1\xff\xffExif\0\0" + b"\xff" * 65_527,
            b"\xff\xe2\0\x10ICC_PROFILE\0\1\xff",
            b"\xff\xfe\0\2",
            b"\xff\xe1\0\x10Exif\0\0MM\0*\0\0\0\0",
            b"\xff\xed\0\x12Photoshop 3.0\0\0\0",
            b"\xff\xe0\0\2",
            b"\xff\xe2\0\4MP",
            b"\xff\xe2\0\x0aMPF\0MM\0*",
            b"\xff\xe1\0\x1fhttp://ns.adobe.com/xap/1.0/\0",
        ]
    )
    return _files(data[:2] + segment * rng.choice([1, 300]) + data[2:], "jpg")


def _tiff(tags: list[tuple[int, int, int, bytes]], after: int = 0, extra: bytes = b"") -> bytes:
    """A little-endian TIFF: (tag, type, count, four bytes of value), the next directory's place, what follows."""
    body = b"".join(struct.pack("<HHI", tag, kind, count) + value for tag, kind, count, value in tags)
    return b"II*\0" + struct.pack("<IH", 8, len(tags)) + body + struct.pack("<I", after) + extra


def _tiff_tags(rng: random.Random, where: Where) -> dict:
    word = struct.pack
    width, height = rng.choice([(16, 16), (2**31, 2**31), (13_000, 13_000), (2**32 - 1, 1), (0, 0), (60_000, 2900)])
    bits, kind = rng.choice([8, 16, 32, 64, 1, 255]), rng.choice([1, 2, 3, 6])
    tags = [
        (256, 4, 1, word("<I", width)),
        (257, 4, 1, word("<I", height)),
        (258, 3, 1, word("<I", bits)),
        (259, 3, 1, word("<I", rng.choice([1, 5, 7, 8, 4, 32773, 34712, 50000, 9]))),
        (262, 3, 1, word("<I", rng.choice([0, 1, 2, 3, 5, 6, 8]))),
        (273, 4, rng.choice([1, 2**31]), word("<I", rng.choice([8, 200, 2**32 - 1]))),
        (277, 3, 1, word("<I", rng.choice([1, 3, 4, 65_535]))),
        (278, 4, 1, word("<I", rng.choice([16, 1, 0, 2**32 - 1]))),
        (279, 4, 1, word("<I", rng.choice([256, 2**32 - 1, 0]))),
        (339, 3, 1, word("<I", kind)),
    ]
    more = rng.choice(
        [
            (330, 4, 1, word("<I", 8)),
            (34665, 4, 1, word("<I", 8)),
            (270, 2, 2**31, word("<I", 8)),
            (274, 3, 1, word("<I", 6)),
            (34675, 7, 2**30, word("<I", 8)),
            (700, 1, 100, word("<I", 9)),
            (33432, 12, 2**28, word("<I", 0)),
        ]
    )
    return _files(_tiff([*tags, more], rng.choice([0, 8, 2**31]), rng.randbytes(300)), "tif")


def _tiff_many(rng: random.Random, where: Where) -> dict:
    if rng.random() < 0.5:
        pages = [pixels(1, 8)] * rng.choice([10, 2000])
        return _files(encoded(pages[0], "TIFF", save_all=True, append_images=pages[1:]), "tif")
    return _files(_tiff([(n, 4, 1, b"\0\0\0\1") for n in range(65_000)], 8), "tif")


def _floats(rng: random.Random, where: Where) -> dict:
    values = np.zeros((30, 30), np.float32)
    values[3:9] = rng.choice([np.nan, np.inf, -np.inf, 3e38, 1e-40, -3e38])
    values[9:12] = rng.choice([0, -3e38, 1])
    return _files(encoded(Image.fromarray(values), "TIFF"), "tif")


def _modes(rng: random.Random, where: Where) -> dict:
    mode = rng.choice(
        ["1", "L", "LA", "P", "RGB", "RGBA", "CMYK", "YCbCr", "LAB", "HSV", "I", "I;16", "F", "PA", "I;16B"]
    )
    kind = rng.choice(list(FORMATS))
    side = rng.choice([1, 7, 50, 2100])
    source = Image.new("L", (side, rng.choice([1, side])), 99)
    try:
        image = source.convert("RGB").convert(mode) if mode in ("LAB", "HSV") else source.convert(mode)
        return _files(encoded(image, kind), FORMATS[kind])
    except (ValueError, OSError, KeyError):  # a mode that the format cannot hold, or no way to it
        return _files(encoded(source, kind), FORMATS[kind])


def _gif(rng: random.Random, where: Where) -> dict:
    how = rng.randrange(4)
    if how == 0:  # 20,000 frames
        frame = b"\x2c\0\0\0\0\1\0\1\0\0\2\2\x44\x01\0"
        return _files(b"GIF89a\1\0\1\0\x80\0\0\0\0\0\xff\xff\xff" + frame * 20_000 + b";", "gif")
    if how == 1:  # a huge screen, a small frame
        return _files(
            b"GIF89a"
            + struct.pack("<HH", *rng.choice([(65_535, 65_535), (13_000, 13_000), (0, 0)]))
            + b"\x80\0\0\0\0\0\xff\xff\xff"
            b"\x2c\0\0\0\0\1\0\1\0\0\2\2\x44\x01\0;",
            "gif",
        )
    if how == 2:  # a frame outside the screen
        return _files(
            b"GIF89a\2\0\2\0\x80\0\0\0\0\0\xff\xff\xff\x2c\xff\xff\xff\xff\xff\xff\xff\xff\0\2\2\x44\x01\0;", "gif"
        )
    return _files(
        b"GIF89a\1\0\1\0\x80\0\0\0\0\0\xff\xff\xff" + b"\x21\xfe" + (b"\xff" + b"c" * 255) * 20_000 + b"\0;", "gif"
    )


def _jp2(rng: random.Random, where: Where) -> dict:
    side = rng.choice([30, 2000, 9000])
    data = bytearray(
        encoded(Image.new(rng.choice(["L", "RGB"]), (side, side), 0), "JPEG2000", irreversible=rng.random() < 0.5)
    )
    if rng.random() < 0.5:  # another size in SIZ and the box before it
        place = data.find(b"\xff\x51")
        data[place + 6 : place + 14] = struct.pack(">II", *rng.choice([(2**31, 2**31), (13_000, 13_000), (0, 0)]))
    return _files(bytes(data), "jp2")


def _large(rng: random.Random, where: Where) -> dict:
    """One colour, as large as is allowed, in the other formats."""
    kind = rng.choice(["JPEG", "WEBP", "GIF", "TIFF", "BMP"])
    mode = {"JPEG": rng.choice(["L", "RGB", "CMYK"]), "TIFF": rng.choice(["1", "I;16", "F", "CMYK"]), "BMP": "1"}.get(
        kind, "L"
    )
    side = rng.choice([3000, 9000]) if kind in ("TIFF", "BMP") and mode != "1" else 13_000
    options = {"TIFF": {"compression": "tiff_adobe_deflate"}, "WEBP": {"lossless": True, "method": 0}}.get(kind, {})
    return _files(encoded(Image.new(mode, (side, side)), kind, **options), FORMATS[kind])


def _suffix(rng: random.Random, where: Where) -> dict:
    data = rng.choice(
        [
            _good(rng.choice(list(FORMATS)), rng),
            b"",
            b"\0" * 1000,
            ARTICLE,
            b"%PDF-1.4",
            b"%!PS-Adobe-3.0 EPSF-3.0\n",
            b"GIF89a",
            b"<svg xmlns='http://www.w3.org/2000/svg'/>",
            b"\xff\xd8\xff",
            b"RIFF\0\0\0\0WEBP",
            b"P6 99999 99999 255\n",
            b"8BPS\0\1",
            b"\0\0\1\0\xff\xff",
            b"SIMPLE  =  T",
            b"CDF\1",
            b"\x89HDF\r\n\x1a\n",
            b"BM" + b"\xff" * 60,
            rng.randbytes(5000),
        ]
    )
    return _files(data, rng.choice([*FORMATS.values(), "JPG", "jpe", "tiff", "eps", "svg"]))


def _palette(rng: random.Random, where: Where) -> dict:
    """Indices beyond the palette."""
    rows = b"".join(b"\0" + rng.randbytes(20) for _ in range(20))
    return _files(
        _png(
            20,
            20,
            8,
            3,
            _chunk(b"PLTE", b"\1\2\3" * rng.choice([1, 3])),
            _chunk(b"tRNS", b"\x05"),
            data=zlib.compress(rows),
        ),
        "png",
    )


def _webp(rng: random.Random, where: Where) -> dict:
    frames = [pixels(n, 20) for n in range(3)] * rng.choice([1, 100])
    out = io.BytesIO()
    frames[0].save(out, "WEBP", save_all=True, append_images=frames[1:], exif=_exif(rng), icc_profile=b"x" * 999)
    return _files(rng.choice([bytes, lambda data: flip(data, rng)])(out.getvalue()), "webp")


MAKERS = {
    f"{kind} {name}": _bent(kind, bend)
    for kind in FORMATS
    for name, bend in (("flip", flip), ("cut", cut), ("splice", splice))
} | {
    "png sizes": _png_sizes,
    "png bomb": _png_bomb,
    "png chunks": _png_chunks,
    "jpeg sizes": _jpeg_sizes,
    "jpeg scans": _jpeg_scans,
    "jpeg segments": _jpeg_segments,
    "tiff tags": _tiff_tags,
    "tiff many": _tiff_many,
    "floats": _floats,
    "modes": _modes,
    "gif": _gif,
    "jp2": _jp2,
    "large": _large,
    "suffix": _suffix,
    "palette": _palette,
    "webp": _webp,
}
