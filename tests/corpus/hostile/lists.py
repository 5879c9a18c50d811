"""Lists of pictures that mean harm: JSON and CSV. A maker may tell how many records it has."""

import csv
import io
import json
import random

from packages import encoded, pixels

from hostile import Files, Where, cut, flip, splice

DEEP = 100_000


def values(rng: random.Random, where: Where) -> object:
    """Something that no caption, no name and no id is."""
    return rng.choice(
        [
            None, True, -1, 1e308, float("nan"), float("inf"), 10**400, "", " ", "\0", "\ud800",
            "x" * 60_000, "é" * 300,
            [], {}, [[]], [None], {"a": {"a": 1}}, ["x"] * 3000, [{"tokens": 3}], [{"from": "gpt"}], {"0": 1},
            "../" * 12 + str(where.canary)[1:], str(where.canary), "C:\\x.jpg", "file://" + str(where.canary),
            where.url,
            "a\nb", "\u202e", "=1+1", "<p>" * 20_000, "10." + "1" * 50_000, "PMC" * 9000, "2" * 5000, "/", ".", "..",
            "-" * 50_000, "1" * 11, "-99999999999", "9999-99-99", "a/" * 3000 + "b", "\U0001f9e0" * 99, "NaN",
        ]
    )  # fmt: skip


def images(n: int) -> Files:
    return {f"{i}.jpg": encoded(pixels(i, 16), "JPEG") for i in range(n)}


# JSON


def _record(i: int, how: int) -> dict:
    if how == 0:
        turns = [{"from": "human", "value": "What?\n<image>"}, {"from": "gpt", "value": f"Scan {i}."}]
        return {"id": str(i), "image": f"{i}.jpg", "conversations": turns}
    if how == 1:
        return {"pair_id": str(i), "pmid": str(1000 + i), "fig_id": "F1", "fig_caption": f"Scan {i}.",
                "in_text_mention": [{"tokens": "See Fig 1."}], "domain": {"ct_scan": True}}  # fmt: skip
    return {"image": f"{i}.jpg", "caption": f"Scan {i}.", "pmcid": "PMC7", "url_name": "x"}


def _json(records: object, rng: random.Random) -> Files:
    if isinstance(records, list) and rng.random() < 0.4:
        return {"c.jsonl": "\n".join(map(json.dumps, records)).encode()} | images(4)
    if isinstance(records, list) and rng.random() < 0.3:
        records = {"ct_scan": records[:2], "mri": records[2:]}
    return {"c.json": json.dumps(records, indent=rng.choice([None, 1])).encode()} | images(4)


def _bent_json(bend):
    def make(rng: random.Random, where: Where) -> Files:
        files = _json([_record(i, rng.randrange(3)) for i in range(4)], rng)
        return {name: bend(data, rng) if name.startswith("c.") else data for name, data in files.items()}

    return make


def _json_values(rng: random.Random, where: Where) -> tuple[Files, int]:
    records: list = [_record(i, rng.randrange(3)) for i in range(4)]
    for _ in range(rng.choice([1, 3, 10])):
        record = rng.choice(records)
        if isinstance(record, dict):
            record[rng.choice([*record, "licence", "date", "json", "subjects"])] = values(rng, where)
    if rng.random() < 0.3:
        records[3] = values(rng, where)
    return _json(records, rng), 4


def _json_odd(rng: random.Random, where: Where) -> Files:
    good = json.dumps(_record(0, 2))
    text = rng.choice(
        [
            "[" * DEEP + good, "[" + good + "," + '{"a":' * DEEP, "[" + good + ',"' + "\\" * DEEP, good * 3000,
            "[" + good + "," + "[" * DEEP + "]" * DEEP + "]", "[" + good + ",1" * 30_000 + "]",
            "[" + good + "," * 30_000,
            '{"a":[' + good + '],"a":[' + good + "]}", '{"' + "k" * 50_000 + '":[' + good + "]}", good + "\0" * 1000,
            "[" + good + "]" * 3000, '{"a":{"b":[' + good + "]}}", "[" + good[:-1] + ',"n":' + "9" * 100_000 + "}]",
            "\ufeff[" + good + "]", "[" + good.replace('"', "'") + "]", "\n" * 100_000 + good, "// x\n" + good,
            "[" + good[:-1] + "," + ",".join(f'"k{i}":{i}' for i in range(50_000)) + "}]",
        ]
    )  # fmt: skip
    encoding = rng.choice(["utf-8", "utf-8", "utf-8", "utf-16", "utf-32"])
    return {rng.choice(["c.json", "c.jsonl"]): text.encode(encoding)} | images(1)


def _json_links(rng: random.Random, where: Where) -> tuple[Files, int]:
    files = _json([_record(i, 0) for i in range(4)], rng)
    name = rng.choice(["0.jpg", "1.jpg", "c.csv", "images"])
    files[name] = rng.choice([("link", str(where.canary)), ("link", name), ("fifo", ""), ("link", "/")])
    return files, 4


# CSV


def table(rows: list[list[str]], delimiter: str = ",") -> bytes:
    out = io.StringIO(newline="")
    csv.writer(out, delimiter=delimiter).writerows([["file", "caption", "patient", "licence", "date"], *rows])
    return out.getvalue().encode("utf-8", "replace")


def rows(n: int = 4) -> list[list[str]]:
    return [[f"{i}.jpg", f"Scan {i}, with a comma.", "p", "CC BY 4.0", "2020"] for i in range(n)]


def _bent_csv(bend):
    return lambda rng, where: {"c.csv": bend(table(rows(), rng.choice(",;\t|")), rng)} | images(4)


def _csv_values(rng: random.Random, where: Where) -> tuple[Files, int]:
    lines = rows()
    for _ in range(rng.choice([1, 3, 10])):
        value = values(rng, where)
        rng.choice(lines)[rng.randrange(5)] = value if isinstance(value, str) else str(value)
    if rng.random() < 0.3:
        lines.append(rng.choice([[], ["0.jpg"], ["x"] * 9000, ["0.jpg", "Again."], ["0", "No suffix."]]))
    return {"c.csv": table(lines)} | images(4), 4


def _csv_odd(rng: random.Random, where: Where) -> Files:
    data = rng.choice(
        [
            b"file,caption\n0.jpg,\"" + b"x" * 5_000_000, b"file,caption\n" + b"0.jpg,a\r" * 2000, b"file,caption",
            b"file,caption\n" + b"\0" * 100_000, b"file,caption,file,caption\n0.jpg,a,1.jpg,b\n",
            b"file,caption\r0.jpg,a\r",
            b"file," * 50_000 + b"caption\n0.jpg" + b"," * 50_000 + b"a\n", b"caption,file\n" + b"," * 1_000_000,
            b"file,caption\n" + b"\xff\x9d\x81,\x8f\n" * 300, b"file,caption\n" + b"\"\n" * 3001,
            b"file,caption\n" + b"\n" * 10**6,
            "file,caption\n0.jpg,a\n".encode("utf-16"), "file,caption\n0.jpg,a\n".encode("utf-32"),
            b"file;caption\tx|y\n0.jpg;a\n", b"\xef\xbb\xbffile,caption\n0.jpg,a\n",
            b"file,caption\n" + b"0.jpg,a\n" * 3000,
            b"file,caption\n0.jpg," + b"\"\"" * 600_000 + b"\n1.jpg,b\n",
            b"file,caption\n\"0.jpg\"x,\"a\"b\"c\n1.jpg,b\n",
        ]
    )  # fmt: skip
    return {rng.choice(["c.csv", "c.tsv", "C.CSV"]): data} | images(2)


def _csv_links(rng: random.Random, where: Where) -> tuple[Files, int]:
    name = rng.choice(["0.jpg", "1.jpg", "d", "0.dcm", "x"])
    special = rng.choice([("link", str(where.canary)), ("link", name), ("fifo", ""), ("link", "/"), ("link", "c.csv")])
    lines = [*rows(), [name, "This one.", "", "", ""], [f"{name}/c.csv", "That one.", "", "", ""]]
    return {"c.csv": table(lines)} | images(4) | {name: special}, 6


MAKERS = {
    f"{kind} {name}": bent(bend)
    for kind, bent in (
        ("json", _bent_json),
        ("csv", _bent_csv),
    )
    for name, bend in (("flip", flip), ("cut", cut), ("splice", splice))
} | {
    "json values": _json_values,
    "json odd": _json_odd,
    "json links": _json_links,
    "csv values": _csv_values,
    "csv odd": _csv_odd,
    "csv links": _csv_links,
}
