"""Tables and shards of image and caption that mean harm: Parquet and WebDataset."""

import datetime
import decimal
import gzip
import io
import json
import random
import struct

import pyarrow as pa
import pyarrow.parquet as pq
from packages import encoded, pixels

from hostile import Files, Where, cut, flip, splice
from hostile.archives import END, _header, _member, _pax
from hostile.lists import DEEP, values

IMAGE = encoded(pixels(1, 16), "JPEG")


# Parquet


def _parquet(table: pa.Table, **options: object) -> bytes:
    out = io.BytesIO()
    pq.write_table(table, out, **options)
    return out.getvalue()


def _good_table(n: int = 5) -> pa.Table:
    images = [{"bytes": encoded(pixels(i, 16), "JPEG"), "path": f"{i}.jpg"} for i in range(n)]
    return pa.table({"image": images, "caption": [f"Scan {i}." for i in range(n)], "id": [str(i) for i in range(n)]})


def _bent_parquet(bend):
    return lambda rng, where: {
        "a.parquet": bend(_parquet(_good_table(), compression=rng.choice(["none", "zstd", "gzip"])), rng),
        "b.parquet": _parquet(_good_table()),
    }


def _column(rng: random.Random, where: Where) -> pa.Array:
    """Five of something."""
    text = ["x" * 100, str(where.canary), "\0", "é", None]
    nested: object = "x"
    for _ in range(30):
        nested = [nested]
    return rng.choice(
        [
            lambda: pa.array(text),
            lambda: pa.array(text, pa.large_string()),
            lambda: pa.array([b"\xff\xfe", IMAGE, b"", None, b"x" * 100]),
            lambda: pa.array([IMAGE[:12]] * 5, pa.binary(12)),
            lambda: pa.array(text).dictionary_encode(),
            lambda: pa.nulls(5),
            lambda: pa.array([1, 2, None, -(2**63), 2**63 - 1]),
            lambda: pa.array([float("nan"), float("inf"), 1e308, None, -0.0]),
            lambda: pa.array([decimal.Decimal("1.5")] * 5),
            lambda: pa.array([datetime.datetime(1, 1, 1), None, None, None, datetime.datetime(9999, 1, 1)]),
            lambda: pa.array([2**62] * 5, pa.timestamp("us")),
            lambda: pa.array([2**30] * 5, pa.date32()),
            lambda: pa.array([[("a", "b")]] * 5, pa.map_(pa.string(), pa.string())),
            lambda: pa.array([{"bytes": "text", "path": 3}] * 5),
            lambda: pa.array([{"bytes": [IMAGE], "path": None}] * 5),
            lambda: pa.array([{"bytes": None, "path": str(where.canary)}] * 5),
            lambda: pa.array([{"bytes": IMAGE}] * 5),
            lambda: pa.array([{"path": str(where.canary)}] * 5),
            lambda: pa.array([[IMAGE, IMAGE]] * 5),
            lambda: pa.array([nested] * 5),
            lambda: pa.array([True, False, None, True, True]),
            lambda: pa.array([{"caption": "inner"}] * 5),
            lambda: pa.array(["[" * DEEP, "{}", '{"caption":"x"}', "1", '{"a":1}{"b":2}']),
            lambda: pa.StringArray.from_buffers(5, pa.py_buffer(struct.pack("<6i", *range(6))),
            pa.py_buffer(b"\xff" * 5)),
        ]
    )()  # fmt: skip


def _parquet_types(rng: random.Random, where: Where) -> tuple[Files, int]:
    columns = {name: _good_table()[name] for name in ("image", "caption", "id")}
    names = [
        "image",
        "caption",
        "id",
        "pmcid",
        "date",
        "licence",
        "json",
        "intext_refs",
        "modality",
        "retracted",
        "jpg",
    ]
    for name in rng.sample(names, rng.choice([1, 2, 4])):
        columns[name] = _column(rng, where)
    return {"a.parquet": _parquet(pa.table(columns)), "b.parquet": _parquet(_good_table())}, 10


def _parquet_sizes(rng: random.Random, where: Where) -> tuple[Files, int]:
    n, image = rng.choice([0, 1, 1000]), {"bytes": IMAGE, "path": None}
    columns: dict = {"image": [image] * n, "caption": ["x"] * n}
    how = rng.randrange(5)
    if how == 0:  # text that packs well
        n = 40
        columns = {"image": [image] * n, "caption": ["x" * 5_000_000] * n}
    elif how == 1:
        columns |= {f"c{i}": pa.nulls(n) for i in range(3000)}
    elif how == 2:
        columns = {"image": [{"bytes": b"\xff\xd8" + bytes(60_000_000), "path": None}] * 3, "caption": ["x"] * 3}
        n = 3
    elif how == 3:
        columns = {"image": pa.nulls(n, pa.binary()), "caption": pa.nulls(n, pa.string())}
    table = pa.table(columns)
    return {"a.parquet": _parquet(table, compression="zstd", row_group_size=rng.choice([1, 64, 10**6]))}, n


def _parquet_ours(rng: random.Random, where: Where) -> tuple[Files, int]:
    """As a corpus has it, but for some columns."""
    from llavamed.corpus.schema import FIGURES

    columns: dict = {field.name: pa.nulls(5, field.type) for field in FIGURES}
    columns |= {"pair_id": pa.array(list("abcde")), "fig_caption": pa.array(["A CT."] * 5), "width": pa.array([16] * 5)}
    columns |= {"image": _good_table()["image"], "split": pa.array(["train", "test", "../x", None, ""])}
    for name in rng.sample(sorted(columns), rng.choice([0, 1, 5])):
        columns[name] = _column(rng, where)
    return {"a.parquet": _parquet(pa.table(columns))}, 5


# WebDataset

SAMPLES = b"".join(
    _member(f"{i}.jpg", encoded(pixels(i, 16), "JPEG")) + _member(f"{i}.txt", b"Scan.") for i in range(3)
)


def _shard(data: bytes, rng: random.Random) -> Files:
    packed = rng.random() < 0.4
    return {"s.tar.gz": gzip.compress(data, 1, mtime=0)} if packed else {"s.tar": data}


def _bent_shard(bend):
    def make(rng: random.Random, where: Where) -> Files:
        if rng.random() < 0.5:
            return _shard(bend(SAMPLES + END, rng), rng) | {"good.tar": SAMPLES + END}
        return {"s.tgz": bend(gzip.compress(SAMPLES + END, mtime=0), rng), "good.tar": SAMPLES + END}

    return make


def _shard_members(rng: random.Random, where: Where) -> tuple[Files, int]:
    name = rng.choice(
        [
            "../x",
            str(where.outside),
            "a/../../x",
            "C:\\x",
            "..",
            "x" * 99,
            ".hidden",
            "\xff",
            "x\ny",
            "0",
            "d/",
            " ",
            "",
        ]
    )
    kind = rng.choice([b"0", b"0", b"1", b"2", b"3", b"5", b"6", b"7", b"S", b"Z"])
    link = rng.choice([str(where.canary), "0.jpg", "x.jpg", ""])
    odd = _member(name + ".jpg", IMAGE, kind, link) + _member(name + ".txt", b"Odd.", rng.choice([b"0", kind]), link)
    return _shard(SAMPLES + odd + SAMPLES.replace(b"Scan", b"Next") + END, rng), 3


def _shard_records(rng: random.Random, where: Where) -> tuple[Files, int]:
    record = {"caption": "Scan.", "PMC_ID": "PMC7", "image_context": {"f1": ["<p>x</p>"]}, "image_cluster_id": "f1"}
    for _ in range(3):
        record[rng.choice([*record, "license", "intext_refs", "article_date", "modality"])] = values(rng, where)
    text = rng.choice(
        [json.dumps(record).encode(), b"[" * DEEP, b"\xff\xfe", b"", b"null", b"9" * 100_000, b'{"a":' * DEEP]
    )
    odd = _member("odd.jpg", IMAGE) + _member(f"odd.{rng.choice(['json', 'jsonl', 'txt', 'text', 'caption'])}", text)
    return _shard(SAMPLES + odd + END, rng), 4


def _shard_headers(rng: random.Random, where: Where) -> tuple[Files, int]:
    size = rng.choice([-1, -512, 2**40, 2**62, 8**11 - 1, 10**9, 511])
    odd = rng.choice(
        [
            lambda: _member("x.jpg", IMAGE, size=size),
            lambda: _pax(size=str(size)) + _member("x.jpg", IMAGE),
            lambda: _pax(path="../x.jpg") + _member("x.jpg", IMAGE),
            lambda: (
                _pax(**{"GNU.sparse.major": "1", "GNU.sparse.minor": "0", "GNU.sparse.realsize": str(size)})
                + _member("x.jpg", IMAGE)
            ),
            lambda: _member("p", rng.choice([b"99999999999 path=x\n", b"0 a=b\n", b"x", b"9" * 5000]), b"x"),
            lambda: _member("n" * 99, b"y" * 900_000, b"L") + _member("x.jpg", IMAGE),
            lambda: _header("x.txt", 0) * 30_000,
            lambda: b"".join(_member(f"{i}.txt", b"x") for i in range(3000)),
            lambda: b"\x01" * 512,
            lambda: END + SAMPLES,
            lambda: bytes(150_000_000),
        ]
    )()
    return _shard(SAMPLES + odd + SAMPLES + END, rng), 3


MAKERS = {
    f"{kind} {name}": bent(bend)
    for kind, bent in (
        ("parquet", _bent_parquet),
        ("shard", _bent_shard),
    )
    for name, bend in (("flip", flip), ("cut", cut), ("splice", splice))
} | {
    "parquet types": _parquet_types,
    "parquet sizes": _parquet_sizes,
    "parquet ours": _parquet_ours,
    "shard members": _shard_members,
    "shard records": _shard_records,
    "shard headers": _shard_headers,
}
