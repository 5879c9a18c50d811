"""Rates from which docs/scale.md is computed. CPU seconds of one core where not said otherwise; ratios in one run.

    python benchmarks/scale.py ../shared/data [read images write workers memory engines] [--json FILE]

DATA holds `articles_xml.tar.xz` (JATS full texts) and `articles/` (packages with images).
"""

import argparse
import io
import json
import os
import platform
import re
import resource
import subprocess
import sys
import tarfile
import tempfile
import time
from collections.abc import Callable, Iterator
from datetime import UTC, datetime
from pathlib import Path
from typing import Any

import pyarrow.parquet as pq
from lxml import etree
from PIL import Image, ImageOps

from llavamed import storage
from llavamed.console import console
from llavamed.corpus import images, jats
from llavamed.corpus.build import build

_ID = re.compile(rb"(<article-id\b[^>]*>\s*)([^<]+?)(\s*</article-id>)")


def texts(data: Path) -> list[bytes]:
    """The JATS files of the archive."""
    with tarfile.open(data / "articles_xml.tar.xz") as tar:
        return [tar.extractfile(member).read() for member in tar if member.isfile()]


def timed(work: Callable[[], Any]) -> tuple[float, Any]:
    """(CPU seconds of this process, result)."""
    begin = time.process_time()
    result = work()
    return time.process_time() - begin, result


def read(data: Path) -> dict:
    """Bytes -> records."""
    articles = texts(data)
    parser = etree.XMLParser(huge_tree=True, resolve_entities=False, no_network=True)
    plain, _ = timed(lambda: [etree.fromstring(text, parser) is None for text in articles])
    seconds, figures = timed(lambda: sum(len(a.figures) for text in articles for a in jats.parse(text)))
    return {
        "articles": len(articles),
        "figures": figures,
        "bytes_an_article": sum(map(len, articles)) / len(articles),
        "articles_a_second": len(articles) / seconds,
        "times_lxml_alone": seconds / plain,
    }


def image_files(data: Path) -> list[bytes]:
    """The images of `articles/`."""
    return [p.read_bytes() for p in sorted((data / "articles").rglob("*")) if p.suffix.lower() in images.RANKS]


def lanczos(data: bytes, max_side: int) -> Image.Image:
    """The other way to do it: a copy turned upright, and Lanczos."""
    with Image.open(io.BytesIO(data)) as image:
        image.draft(None, (2 * max_side, 2 * max_side))
        plain = ImageOps.exif_transpose(image)
        plain = plain if plain.mode in ("L", "RGB") else plain.convert("RGB")
    plain.thumbnail((max_side, max_side), Image.Resampling.LANCZOS)
    return plain


def pictures(data: Path) -> dict:
    """Decode, resize, encode, perceptual hash."""
    files = image_files(data)
    sides = []
    for file in files:
        with Image.open(io.BytesIO(file)) as image:
            sides.append(max(image.size))
    whole, stored = timed(lambda: [images.picture(file, "x", 1024) for file in files])
    decoded, _ = timed(lambda: [images.decode(file, 1024) for file in files])
    other, _ = timed(lambda: [lanczos(file, 1024) for file in files])
    return {
        "images": len(files),
        "longer_than_1024": sum(side > 1024 for side in sides),
        "bytes_an_image": sum(map(len, files)) / len(files),
        "stored_bytes_an_image": sum(len(picture.data) for picture in stored) / len(files),
        "images_a_second": len(files) / whole,
        "ms_decode_and_resize": 1000 * decoded / len(files),
        "ms_encode_and_hash": 1000 * (whole - decoded) / len(files),
        "ms_decode_and_resize_lanczos": 1000 * other / len(files),
        "lanczos_to_this": other / decoded,
    }


def write(data: Path) -> dict:
    """Whole builds of articles with their images, and the writing of their table alone."""
    with tempfile.TemporaryDirectory() as scratch:
        out = Path(scratch, "corpus")
        build([data / "articles"], Path(scratch, "first"))  # imports and caches
        seconds, result = timed(lambda: build([data / "articles"], out))
        rows = [*storage.read_rows(out)]
        kept = len(rows)
        size = sum(path.stat().st_size for path in storage.tables(out))
        schema = pq.read_schema(storage.tables(out)[0])
        writing, _ = timed(lambda: storage.write_table(Path(scratch, "x.parquet"), rows * 5, schema))
    return {
        "articles": result["articles"],
        "figures": result["figures"],
        "figures_a_second": kept / seconds,
        "parquet_bytes_a_figure": size / kept,
        "parquet_mb_a_second": 5 * size / writing / 1e6,
        "parquet_ms_a_figure": 1000 * writing / kept / 5,
    }


def repeated(data: Path, folder: Path, n: int) -> None:
    """`n` articles, each with ids of its own."""
    articles = texts(data)
    folder.mkdir()
    for index in range(n):
        text = articles[index % len(articles)]
        times = str(index // len(articles)).encode()
        new = _ID.sub(rb"\g<1>\g<2>" + times + rb"\g<3>", text) if index >= len(articles) else text
        (folder / f"A{index:05d}.nxml").write_bytes(new)


def clock(source: Path, folder: Path, **options: Any) -> tuple[float, str]:
    """(seconds of the clock, content hash) of a build."""
    begin = time.monotonic()
    found = build([source], folder, **options)
    return time.monotonic() - begin, found["hash"]


def workers(data: Path) -> dict:
    """One process and two, in turn; the machine should have nothing else to do."""
    with tempfile.TemporaryDirectory() as scratch:
        source = Path(scratch, "src")
        repeated(data, source, 2000)
        took: dict[int, list[float]] = {1: [], 2: []}
        for turn in range(2):
            for n in took:
                took[n].append(clock(source, Path(scratch, f"{turn}-{n}"), workers=n)[0])
    one, two = min(took[1]), min(took[2])
    return {
        "articles": 2000,
        "one_process_s": one,
        "two_processes_s": two,
        "ratio": one / two,
        "load": os.getloadavg()[0],
    }


def memory(data: Path) -> dict:
    """Peak of a worker process (the largest of two) that builds 1,000 and 10,000 articles."""
    found = {}
    for n in (1000, 10_000):
        with tempfile.TemporaryDirectory() as scratch:
            repeated(data, Path(scratch, "src"), n)
            command = [sys.executable, __file__, str(data), "peak", "--scratch", scratch]
            said = subprocess.run(command, check=True, capture_output=True, text=True).stdout
            found[f"articles_{n}"] = json.loads(said)
    return found


def peak(scratch: Path) -> None:
    """Build with two workers; print the peaks of this process and of its largest worker in MB."""
    build([scratch / "src"], scratch / "out", workers=2)
    used = {"driver": resource.RUSAGE_SELF, "worker": resource.RUSAGE_CHILDREN}
    print(json.dumps({f"{name}_mb": resource.getrusage(who).ru_maxrss / 1000 for name, who in used.items()}))


def engines(data: Path) -> dict:
    """The local pool and Ray, two processes each, their start included."""
    with tempfile.TemporaryDirectory() as scratch:
        source = Path(scratch, "src")
        repeated(data, source, 2000)
        (local, first), (ray, second) = (
            clock(source, Path(scratch, engine), workers=2, engine=engine) for engine in ("local", "ray")
        )
    return {"articles": 2000, "local_s": local, "ray_s": ray, "local_to_ray": local / ray, "same_hash": first == second}


PARTS = {"read": read, "images": pictures, "write": write, "workers": workers, "memory": memory, "engines": engines}


def machine() -> dict:
    """Date, commit, processor."""
    model = re.search(r"model name\s*: (.*)", Path("/proc/cpuinfo").read_text())
    root = Path(__file__).parent
    commit = subprocess.run(["git", "rev-parse", "--short", "HEAD"], cwd=root, capture_output=True, text=True).stdout
    return {
        "date": datetime.now(UTC).date().isoformat(),
        "commit": commit.strip(),
        "processor": f"{os.cpu_count()} x {model[1] if model else platform.processor()}",
        "python": platform.python_version(),
    }


def rounded(value: Any) -> Any:
    """Four digits."""
    if isinstance(value, dict):
        return {key: rounded(inner) for key, inner in value.items()}
    return float(f"{value:.4g}") if isinstance(value, float) else value


def results(data: Path, parts: list[str]) -> Iterator[tuple[str, dict]]:
    """Each part as it is measured."""
    for part in parts or PARTS:
        yield part, rounded(PARTS[part](data))


def main() -> None:
    """Measure and print."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("data", type=Path)
    parser.add_argument("parts", nargs="*", choices=[*PARTS, "peak"], default=[])
    parser.add_argument("--json", type=Path, help="a file to keep the results in, by part")
    parser.add_argument("--scratch", type=Path, help=argparse.SUPPRESS)
    call = parser.parse_args()
    console.quiet = True
    if call.parts == ["peak"]:
        peak(call.scratch)
        return
    found = json.loads(call.json.read_text()) if call.json and call.json.exists() else {}
    for part, result in results(call.data, call.parts):
        print(part, json.dumps(result, indent=1), flush=True)
        found[part] = result | {"measured": machine()}
        if call.json:
            call.json.write_text(json.dumps(found, indent=1) + "\n")


if __name__ == "__main__":
    main()
