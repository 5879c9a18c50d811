"""A teacher that answers in 200 ms, 64 at once: how near to the ideal rate, at what CPU, in how much memory.

    python benchmarks/teacher.py [--records 1000 10000 60000] [--json FILE]

The corpus has as many figures (8 by 8 pixels, captions and mentions of the length that articles have), the server is
`chat_stub.py` in a process of its own, and `instruct generate` runs in another one for each number of records. Ideal:
64 / 0.2 s = 320 conversations a second while it asks; the writing of the set is told apart. The answers' tokens are the
stub's own count, against which the estimate is held.
"""

import argparse
import json
import os
import platform
import resource
import subprocess
import sys
import tempfile
import time
from datetime import date
from pathlib import Path
from typing import Any

DELAY, CONCURRENCY = 0.2, 64
SHARD = 256
WORDS = "axial section of the liver with a pale rounded lesion beside a vessel and bright rim".split()  # noqa: SIM905


def make_corpus(folder: Path, records: int) -> None:
    """One figure an article, of the five domains in turn; a caption of 20 to 120 words, up to three mentions."""
    sys.path.insert(0, str(Path(__file__).parent.parent / "tests"))
    from llavamed import artifact, storage
    from llavamed.corpus.schema import DOMAINS, FIGURES
    from small_corpus import figure

    kinds = list(DOMAINS.values())
    job = artifact.start(folder, "corpus", {"records": records})
    for first in range(0, records, SHARD):
        rows = []
        for number in range(first, min(first + SHARD, records)):
            caption = " ".join(WORDS[(number * 7 + i * i) % len(WORDS)] for i in range(20 + number * 37 % 101))
            mentions = [" ".join(WORDS[(number + i * j) % len(WORDS)] for i in range(30)) for j in range(number % 4)]
            rows.append(
                figure(number, "train", kinds[number % 5], f"{caption} {number}.") | {"in_text_mention": mentions}
            )
        storage.write_table(job.out / f"data/train-{first // SHARD:05d}.parquet", rows, FIGURES)
    artifact.publish(job, counts={"figures": {"in": records, "kept": records, "excluded": {}}})


def generate(corpus: str, folder: str, url: str) -> None:
    """In a process of its own: the rate of asking, CPU and memory."""
    from llavamed import endpoint as module
    from llavamed.console import console
    from llavamed.instruct import teacher

    console.quiet = True
    asked: dict[str, float] = {}
    inner = module._ask_all

    async def timed(*args: Any) -> None:
        begin, cpu = time.monotonic(), time.process_time()
        await inner(*args)
        asked.update(seconds=time.monotonic() - begin, cpu=time.process_time() - cpu, requests=len(args[1]))

    module._ask_all = timed  # of the sample, then of all
    begin = time.monotonic()
    place = module.Endpoint(url, "stub", CONCURRENCY)
    result = teacher.generate(Path(corpus), Path(folder), place, mentions=True)
    new = asked["requests"] - result["estimate"]["sample"]
    told, used = result["estimate"], result["tokens"]
    print(json.dumps({
        "records": result["conversations"]["in"],
        "kept": result["conversations"]["kept"],
        "requests_per_second": round(new / asked["seconds"], 1),
        "share_of_ideal": round(new / asked["seconds"] / (CONCURRENCY / DELAY), 3),
        "client_cpu_ms_per_request": round(asked["cpu"] / new * 1000, 3),
        "seconds_in_all": round(time.monotonic() - begin, 1),
        "peak_memory_mb": round(resource.getrusage(resource.RUSAGE_SELF).ru_maxrss / 1024, 1),
        "estimate_over_reported": {
            name: round(told[name] / used[name], 4) for name in ("prompt", "completion")
        } | {"both": round((told["prompt"] + told["completion"]) / sum(used.values()), 4)},
    }))  # fmt: skip


def measure(records: int) -> dict[str, Any]:
    """One size: corpus, stub and client in a temporary folder."""
    with tempfile.TemporaryDirectory() as folder:
        make_corpus(Path(folder) / "corpus", records)
        here = Path(__file__)
        command = [sys.executable, here.with_name("chat_stub.py"), "--delay", str(DELAY)]
        with subprocess.Popen(command, stdout=subprocess.PIPE, text=True) as stub:
            url = stub.stdout.readline().strip()  # type: ignore[union-attr]
            client = [sys.executable, here, "--client", f"{folder}/corpus", f"{folder}/set", url]
            said = subprocess.run(client, stdout=subprocess.PIPE, check=True, text=True).stdout
            before = resource.getrusage(resource.RUSAGE_CHILDREN)
            stub.terminate()
            stub.wait()
        after = resource.getrusage(resource.RUSAGE_CHILDREN)
        cpu = after.ru_utime + after.ru_stime - before.ru_utime - before.ru_stime
        return json.loads(said) | {"stub_cpu_ms_per_request": round(cpu / records * 1000, 3)}


def main() -> None:
    """Measure each size in turn, print a line for each, and keep them all."""
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--records", type=int, nargs="+", default=[1000, 10000])
    parser.add_argument("--json", type=Path)
    parser.add_argument("--client", nargs=3, help=argparse.SUPPRESS)
    options = parser.parse_args()
    if options.client:
        generate(*options.client)
        return
    runs = []
    for records in options.records:
        load = os.getloadavg()[0]
        runs.append(measure(records) | {"load_before": round(load, 1)})
        print(json.dumps(runs[-1]), flush=True)
    if options.json:
        machine = {"processor": platform.machine(), "cores": os.cpu_count(), "python": platform.python_version()}
        found = {
            "date": str(date.today()),
            "machine": machine,
            "delay": DELAY,
            "concurrency": CONCURRENCY,
            "runs": runs,
        }
        options.json.write_text(json.dumps(found, indent=1) + "\n")


if __name__ == "__main__":
    main()
