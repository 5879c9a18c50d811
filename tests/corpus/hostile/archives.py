"""Archives: paths that lead out, headers that lie, bombs."""

import gzip
import io
import random
import tarfile
import zlib

from packages import cite, encoded, fig, jats, pixels

from hostile import Where, cut, flip, splice

ARTICLE = jats(f"<p>{cite(1)}</p>{fig(1)}")
IMAGE = encoded(pixels(1, 16), "JPEG")
MEGABYTE = b"\0" * 1_000_000


def _header(name: str | bytes, size: int = 0, kind: bytes = b"0", link: str | bytes = "") -> bytes:
    """A ustar header as bytes, with a right checksum; a size of over 8 GB or below 0 in base 256."""
    name, link = (x.encode() if isinstance(x, str) else x for x in (name, link))
    length = b"%011o\0" % size if 0 <= size < 8**11 else b"\x80" + size.to_bytes(11, "big", signed=True)
    head = bytearray(512)
    head[:100] = name[:100].ljust(100, b"\0")
    head[100:108], head[124:136], head[136:148] = b"0000644\0", length, b"%011o\0" % 0
    head[156:157], head[157:257], head[257:265] = kind, link[:100].ljust(100, b"\0"), b"ustar\x0000"
    head[148:156] = b"        "
    head[148:156] = b"%06o\0 " % sum(head)
    return bytes(head)


def _member(name: str | bytes, data: bytes = b"", kind: bytes = b"0", link: str = "", size: int | None = None) -> bytes:
    pad = b"\0" * (-len(data) % 512)
    return _header(name, len(data) if size is None else size, kind, link) + data + pad


GOOD = _member("PMC77/PMC77.nxml", ARTICLE) + _member("PMC77/g1.jpg", IMAGE)
END = b"\0" * 1024


def _packed(*members: bytes, level: int = 1) -> dict:
    return {"PMC77.tar.gz": gzip.compress(b"".join(members) + END, level, mtime=0)}


def _pax(**records: str) -> bytes:
    lines = b""
    for key, value in records.items():
        text = f" {key}={value}\n".encode()
        length = len(text) + len(str(len(text) + len(str(len(text)))))
        lines += str(length).encode() + text
    return _member("PaxHeader/x", lines, b"x")


def _outside(rng: random.Random, where: Where) -> dict:
    out = str(where.outside)
    name = rng.choice(
        [
            f"../{'../' * 9}{out}",
            out,
            f"PMC77/../..{out}",
            "..",
            "C:\\x.nxml",
            "..\\..\\x.nxml",
            "/",
            "//" + out,
            f"PMC77/./../../{where.outside.name}",
            ".",
            "",
            "\\\\server\\x.jpg",
            "PMC77/%2e%2e/x.nxml",
        ]
    )
    how = rng.randrange(3)
    if how == 0:
        return _packed(_member(name + rng.choice(["", ".nxml", ".jpg"]), ARTICLE), GOOD)
    if how == 1:
        return _packed(_pax(path=name + ".jpg"), _member("x.jpg", IMAGE), GOOD)
    return _packed(_member(name + "x" * 120, b"", b"L"), _member("x.nxml", ARTICLE), GOOD)


def _links(rng: random.Random, where: Where) -> dict:
    kind = rng.choice([b"1", b"2"])
    target = rng.choice(
        [str(where.canary), "../" * 12 + str(where.canary), "PMC77/PMC77.nxml", "PMC77/g1.jpg", "l.nxml", "nowhere"]
    )
    name = rng.choice(["l.nxml", "PMC77/g1.jpg", "PMC77", "PMC77/PMC77.nxml"])
    through = _member(f"{name}/deeper.nxml", ARTICLE)
    members = [_member(name, kind=kind, link=target), GOOD, through]
    rng.shuffle(members)
    return _packed(*members)


def _devices(rng: random.Random, where: Where) -> dict:
    kind = rng.choice([b"3", b"4", b"5", b"6", b"7", b"g", b"K", b"M", b"V", b"Z", b"\0", b"\xff", b"D", b"N"])
    return _packed(_member("PMC77/PMC78.nxml", ARTICLE, kind), _member("PMC77/g1.jpg", IMAGE, kind), GOOD)


def _sizes(rng: random.Random, where: Where) -> dict:
    size = rng.choice([-1, -512, 2**40, 2**62, 8**11 - 1, 10**9, 1, 511])
    name = rng.choice(["a.nxml", "g1.jpg", "x.txt"])
    if rng.random() < 0.4:
        return _packed(_pax(size=rng.choice([str(size), "x", "", "1e9", "0x10", "٣"])), _member(name, IMAGE), GOOD)
    return _packed(_member(name, IMAGE, size=size), GOOD)


def _pax_junk(rng: random.Random, where: Where) -> dict:
    how = rng.randrange(6)
    if how == 0:
        return _packed(_pax(path="x/" * 200_000 + "a.nxml"), GOOD)
    if how == 1:
        return _packed(
            _member(
                "p", rng.choice([b"99999999999 path=x\n", b"0 a=b\n", b"-1 a=b\n", b"x", b"5 \n\n", b"9" * 5000]), b"x"
            ),
            GOOD,
        )
    if how == 2:
        return _packed(_member("p", b"", b"x", size=2**33), GOOD)
    if how == 3:
        return _packed(_pax(**{f"k{n}": "v" for n in range(20_000)}), GOOD)
    if how == 4:
        return _packed(
            _pax(hdrcharset="BINARY", path="\udcff".encode("utf-8", "surrogatepass").decode("latin-1")), GOOD
        )
    return _packed(_member("n" * 99, b"y" * 5_000_000, b"L"), GOOD)


def _sparse(rng: random.Random, where: Where) -> dict:
    """A few bytes that say they are gigabytes."""
    real = rng.choice([10**6, 10**9, 10**12, 2**62])
    names = ["g1.jpg", *(f"PMC77/g{n}.png" for n in range(rng.choice([1, 200])))]
    parts = []
    for name in names:
        if rng.random() < 0.5:
            records = {"GNU.sparse.major": "1", "GNU.sparse.minor": "0", "GNU.sparse.name": name}
            parts += [
                _pax(**records, **{"GNU.sparse.realsize": str(real)}),
                _member("x", b"1\n0\n1\n".ljust(513, b"\0")),
            ]
        else:
            records = {"GNU.sparse.size": str(real), "GNU.sparse.numblocks": "1", "GNU.sparse.map": "0,1"}
            parts += [_pax(**records), _member(name, b"x")]
    return _packed(*parts, GOOD)


def _old_sparse(rng: random.Random, where: Where) -> dict:
    head = bytearray(_header("g1.jpg", 512, b"S"))
    head[386:398], head[398:410] = b"%011o\0" % 0, b"%011o\0" % 512
    head[482] = rng.choice([0, 1])
    head[483:495] = b"%011o\0" % rng.choice([512, 8**11 - 1])
    head[148:156] = b"        "
    head[148:156] = b"%06o\0 " % sum(head)
    return _packed(bytes(head) + b"x" * 512, GOOD)


def _bomb(rng: random.Random, where: Where) -> dict:
    """Up to 3 GB of zeros in 3 MB, in one member or many."""
    size = rng.choice([50, 300, 3000])
    name = rng.choice(["PMC77/PMC78.nxml", "PMC77/g1.jpg", "PMC77/movie.mov", "PMC77/g%d.png"])
    kind = rng.choice([b"0", b"0", b"x", b"L", b"5"])
    packer = zlib.compressobj(1, wbits=31)
    packed = [packer.compress(GOOD)]
    if "%d" in name:
        for n in range(size // 50):
            packed += [
                packer.compress(_header(name % n, 50 * 2**20)),
                *(packer.compress(MEGABYTE[: 2**19]) for _ in range(100)),
            ]
    else:
        packed += [
            packer.compress(_header(name, size * 10**6, kind)),
            *(packer.compress(MEGABYTE) for _ in range(size)),
        ]
    return {"PMC77.tar.gz": b"".join([*packed, packer.compress(b"\0" * 2048), packer.flush()])}


def _many(rng: random.Random, where: Where) -> dict:
    n = rng.choice([1000, 100_500])
    name = rng.choice(["x%d.txt", "PMC77/g%d.jpg", "d%d/", "g1.jpg", "../x%d.nxml"])
    return _packed(GOOD, *(_header(name % k if "%d" in name else name) for k in range(n)))


def _articles(rng: random.Random, where: Where) -> dict:
    n = rng.choice([50, 1000])
    same = rng.random() < 0.5
    return _packed(*(_member("a.nxml" if same else f"a{k}/a.nxml", ARTICLE) for k in range(n)), GOOD)


def _names(rng: random.Random, where: Where) -> dict:
    names = [
        b"\xff\xfe.nxml",
        b"a\n.nxml",
        b"-rf.nxml",
        b".nxml",
        b"a/.nxml",
        b"\x01\x02.jpg",
        b"a.NXML",
        b"%s.nxml",
        b"con.nxml",
        "e\u0301.nxml".encode(),
        "\u202egpj.nxml".encode(),
        b"g1.jpg/",
        b"g1.jpg/g1.jpg",
        b"a/" * 45 + b"a.nxml",
    ]
    return _packed(*(_member(name, ARTICLE) for name in rng.sample(names, 5)), GOOD)


def _nested(rng: random.Random, where: Where) -> dict:
    inside = _packed(GOOD)["PMC77.tar.gz"]
    for _ in range(rng.choice([1, 20])):
        inside = _packed(_member(rng.choice(["in.tar.gz", "in.nxml", "g1.jpg", "in.tar"]), inside))["PMC77.tar.gz"]
    return {"PMC77.tar.gz": inside}


def _not_gzip(rng: random.Random, where: Where) -> dict:
    import bz2
    import lzma

    tar = GOOD + END
    good = gzip.compress(tar, mtime=0)
    return {
        "PMC77.tar.gz": rng.choice(
            [
                b"",
                b"\x1f\x8b",
                tar,
                bz2.compress(tar),
                lzma.compress(tar),
                good + b"junk",
                good + good,
                good[:-8],
                good[:10],
                ARTICLE,
                gzip.compress(b""),
                gzip.compress(b"x" * 511),
                gzip.compress(tar[:700]),
                gzip.compress(b"\0" * 10_000),
                gzip.compress(good),
                good[:3] + b"\xff" + good[4:],
                good[:-4] + b"\0\0\0\0",
                gzip.compress(tar) * 300,
                b"PK\x03\x04" + good,
                gzip.compress(io.BytesIO(tar).getvalue()[:512] * 100),
            ]
        )
    }


def _bent(bend):
    """The tar, or the gzip around it, changed."""

    def make(rng: random.Random, where: Where) -> dict:
        if rng.random() < 0.5:
            return _packed(bend(GOOD, rng))
        return {"PMC77.tar.gz": bend(_packed(GOOD)["PMC77.tar.gz"], rng)}

    return make


def _written(rng: random.Random, where: Where) -> dict:
    """By another writer: all formats, with directories."""
    out = io.BytesIO()
    kind = rng.choice([tarfile.USTAR_FORMAT, tarfile.GNU_FORMAT, tarfile.PAX_FORMAT])
    with tarfile.open(fileobj=out, mode="w:gz", format=kind, errors="surrogateescape") as tar:
        for name, data in (
            (rng.choice(["d" * 60 + "/" + "e" * 90, "d\udcff", "d\n"]) + "/a.nxml", ARTICLE),
            ("g1.jpg", IMAGE),
        ):
            info = tarfile.TarInfo(name)
            info.size, info.mtime = len(data), rng.choice([0, -1, 10**10] if kind != tarfile.USTAR_FORMAT else [0])
            tar.addfile(info, io.BytesIO(data))
    return {"PMC77.tar.gz": out.getvalue()}


MAKERS = {
    "tar flip": _bent(flip),
    "tar cut": _bent(cut),
    "tar splice": _bent(splice),
    "tar outside": _outside,
    "tar links": _links,
    "tar devices": _devices,
    "tar sizes": _sizes,
    "tar pax": _pax_junk,
    "tar sparse": _sparse,
    "tar old sparse": _old_sparse,
    "tar bomb": _bomb,
    "tar many": _many,
    "tar articles": _articles,
    "tar names": _names,
    "tar nested": _nested,
    "tar not gzip": _not_gzip,
    "tar written": _written,
}
