"""JATS bytes -> records: `jats.parse` beside lxml alone and pubmed_parser, on one core and the same files in memory.

    python benchmarks/read_articles.py ../shared/data/articles_xml.tar.xz [--repeat N] [--times N] [--json FILE]

The sides take turns at 50 files at a time; of the CPU seconds of each for these the least of N counts, since other
work on the machine only adds to them. pubmed_parser: its caption, paragraph and article functions; what they raise is
counted. `--times`: how often the files are read for the peak memory of a worker.
Needs the `bench` extra.
"""

import argparse
import contextlib
import io
import json
import os
import resource
import tarfile
import tempfile
import time
from collections import Counter
from collections.abc import Callable
from concurrent.futures import ProcessPoolExecutor
from multiprocessing import get_context
from pathlib import Path

from lxml import etree

from llavamed.corpus import jats
from llavamed.engine import map_shards

THEIRS = ("parse_pubmed_caption", "parse_pubmed_paragraph", "parse_pubmed_xml")
SHARD = 50  # files


def load(path: Path) -> list[bytes]:
    """The files of the archive."""
    with tarfile.open(path) as tar:
        return [tar.extractfile(member).read() for member in tar if member.isfile()]


def ours(files: list[bytes]) -> dict[str, int]:
    """What `jats.parse` finds."""
    found = {"figures": 0, "mentions": 0}
    for data in files:
        for article in jats.parse(data):
            found["figures"] += len(article.figures)
            found["mentions"] += sum(len(figure.in_text_mention) for figure in article.figures)
    return found


def lxml_alone(files: list[bytes]) -> dict[str, int]:
    """The trees, and nothing out of them."""
    return {"trees": sum(etree.fromstring(data) is not None for data in files)}


def theirs(files: list[bytes]) -> dict[str, int]:
    """What pubmed_parser finds; a stream is its fastest way to read what is in memory."""
    import pubmed_parser  # here: it is heavy, and no worker needs it

    found = {"failed": 0, "figures": 0}
    for data in files:
        for name in THEIRS:
            try:
                result = getattr(pubmed_parser, name)(io.BytesIO(data))
            except Exception:
                found["failed"] += 1
            else:
                found["figures"] += len(result or ()) if name == THEIRS[0] else 0
    return found


def seconds(side: Callable[[list[bytes]], dict[str, int]], files: list[bytes]) -> tuple[float, dict[str, int]]:
    """CPU seconds of one run, and what it found."""
    begin = time.process_time()
    with contextlib.redirect_stdout(io.StringIO()):
        found = side(files)
    return time.process_time() - begin, found


def read_shard(job: tuple[Path, int, int]) -> int:
    """Peak memory of this process in MB after the shard; its files are read from disk, as in a run."""
    folder, first, last = job
    for n in range(first, last):
        jats.parse((folder / str(n)).read_bytes())
    return resource.getrusage(resource.RUSAGE_SELF).ru_maxrss // 1024


def workers(folder: Path, count: int, times: int) -> dict[str, float]:
    """Two processes beside one, in seconds of the clock; and the peak memory of a process after many articles."""
    once = [(folder, n, min(n + SHARD, count)) for n in range(0, count, SHARD)]
    took, peaks = {}, {}
    for processes in (1, 2):
        begin = time.perf_counter()
        with ProcessPoolExecutor(processes, mp_context=get_context("spawn")) as pool:
            peaks[processes] = max(pool.map(read_shard, once * 2))
        took[processes] = time.perf_counter() - begin
    return {
        "one process / two": round(took[1] / took[2], 2),
        "peak MB of a worker": peaks[2],
        f"peak MB of a worker, articles x {times}": max(map_shards(read_shard, once * times, workers=2)),
    }


def main() -> None:
    """Print the ratios."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("archive", type=Path)
    parser.add_argument("--repeat", type=int, default=5)
    parser.add_argument("--times", type=int, default=10)
    parser.add_argument("--json", type=Path)
    options = parser.parse_args()
    files = load(options.archive)
    sides = {"ours": ours, "lxml": lxml_alone, "pubmed_parser": theirs}
    least: Counter[str] = Counter()
    found: dict[str, Counter[str]] = {name: Counter() for name in sides}
    theirs(files[:1])  # imports
    for first in range(0, len(files), SHARD):
        runs = [{name: seconds(side, files[first : first + SHARD]) for name, side in sides.items()}
                for _ in range(options.repeat)]  # fmt: skip
        for name in sides:
            least[name] += min(run[name][0] for run in runs)
            found[name].update(runs[0][name][1])
    result = {
        "files": len(files),
        "MB": round(sum(map(len, files)) / 1e6, 1),
        "cpu_seconds": {name: round(value, 3) for name, value in least.items()},
        "found": found,
        "ours / lxml": round(least["ours"] / least["lxml"], 2),
        "pubmed_parser / ours": round(least["pubmed_parser"] / least["ours"], 2),
        "cores": os.cpu_count(),
        "load": round(os.getloadavg()[0], 1),
    }
    with tempfile.TemporaryDirectory() as name:
        folder = Path(name)
        for n, data in enumerate(files):
            (folder / str(n)).write_bytes(data)
        del files
        result |= workers(folder, result["files"], options.times)
    print(json.dumps(result, indent=2))
    if options.json:
        options.json.write_text(json.dumps(result, indent=2) + "\n")


if __name__ == "__main__":
    main()
