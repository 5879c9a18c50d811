"""A lineage of a million figures: seconds and peak memory of what reads it.

    python benchmarks/lineage.py                  # writes results/lineage.json; 6 GB of disk, under an hour
    python benchmarks/lineage.py --figures 20000  # prints alone

Files are as many as the steps write: about 256 figures a shard, each with a file for each split. Text and columns are
of the length that articles have. The pictures are a few bytes each: none of these commands reads one, but to hash its
file. Each command runs in a process of its own; memory is that process's peak.
"""

import argparse
import json
import os
import platform
import resource
import shutil
import subprocess
import sys
import tempfile
import time
from collections import Counter
from concurrent.futures import ProcessPoolExecutor
from functools import partial
from pathlib import Path

import pyarrow as pa
import pyarrow.parquet as pq

from llavamed import artifact, storage
from llavamed.corpus.schema import DOMAINS, FIGURES, KINDS, split_of
from llavamed.instruct.schema import CONVERSATIONS
from llavamed.storage import Json

RESULTS = Path(__file__).parent / "results" / "lineage.json"
SHARD, OF_ARTICLE = 256, 8
STAGES = {"alignment": ("align", 1, 1), "conversations": ("instruct", 3, 3)}  # stage, turns, times seen
LICENCES = ("CC-BY-4.0", "CC-BY-4.0", "CC-BY-NC-4.0", "CC0-1.0", "CC-BY-NC-ND-4.0")
CAPTION = "Axial contrast-enhanced CT of the chest shows a nodule in the left upper lobe with spiculated margins. " * 3
TEXT = ("What is seen here?", CAPTION.strip())
SEEN = pa.schema(
    [("id", pa.string()), ("stage", pa.string())]
    + [(name, pa.int32()) for name in ("times_seen", "text_tokens", "image_tokens")]
    + [("image_sha256", pa.string()), ("image_phash", pa.string()), ("questions", pa.list_(pa.string()))]
)
COMMANDS = {
    "gather": "from llavamed.summary.facts import gather; facts = gather(MODEL)\n"
    "done = {n: facts['seen.' + n].value for n in ('conversations', 'images', 'text_tokens', 'articles')}",
    "trace": "from llavamed.summary.trace import trace; done = trace(MODEL, output=MODEL.parent.parent / 'register')\n"
    "done = {n: done[n] for n in ('articles', 'figures', 'conversations')}",
    "impact": "from llavamed.summary.impact import impact; done = impact(MODEL, {'publisher:publisher 3'})\n"
    "done = {n: len(done[n]) for n in ('articles', 'figures', 'conversations')}",
    "verify": "from llavamed.verify import verify; done = verify(MODEL)\n"
    "done = {n: done[n] for n in ('ok', 'artifacts', 'files', 'bytes')}",
    "verify --recount": "from llavamed.verify import verify; done = verify(MODEL, recount=True)\n"
    "done = {n: done[n] for n in ('ok', 'artifacts', 'files', 'bytes')}",
}
MEASURE = """
import json, resource, sys, time
from pathlib import Path
from llavamed.console import console
console.quiet = True
MODEL, begun = Path(sys.argv[1]), time.monotonic()
{code}
seconds = time.monotonic() - begun
peak = resource.getrusage(resource.RUSAGE_SELF).ru_maxrss // 1024
print(json.dumps(done | dict(seconds=round(seconds, 1), cpu=round(time.process_time(), 1), peak_mb=peak)))
"""


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("--figures", type=int, default=10**6)
    parser.add_argument("--keep", type=Path, help="make the lineage in this folder, or use the one that is there")
    options = parser.parse_args()
    with tempfile.TemporaryDirectory() as place:
        folder = options.keep or Path(place)
        begun = time.monotonic()
        if not (folder / "run" / "assistant" / "manifest.json").exists():
            subprocess.run([sys.executable, __file__, "--make", folder / "run", str(options.figures)], check=True)
        print(f"made in {time.monotonic() - begun:.0f} s", flush=True)
        found = {name: measure(code, folder / "run" / "assistant") for name, code in COMMANDS.items()}
    machine = {"cores": len(os.sched_getaffinity(0)), "processor": platform.processor() or platform.machine()}
    machine["load"] = round(os.getloadavg()[1], 1)  # processes that waited for a core while this was measured
    versions = {"python": platform.python_version(), "pyarrow": pa.__version__}
    result = {"figures": options.figures, "machine": machine | versions, "commands": found}
    if options.figures == parser.get_default("figures"):
        RESULTS.write_text(json.dumps(result, indent=1) + "\n", encoding="utf-8")


def measure(code: str, model: Path) -> Json:
    said = subprocess.run(
        [sys.executable, "-c", MEASURE.format(code=code), model], check=True, capture_output=True, text=True
    ).stdout
    print(code.split(" import ")[1].split(";")[0], said.strip(), flush=True)
    return dict(json.loads(said))


def make(run: Path, n: int) -> None:
    """Articles of eight figures, a corpus, two sets, a training on each."""
    shutil.rmtree(run, ignore_errors=True)
    shards = [range(begin, min(begin + SHARD, n)) for begin in range(0, n, SHARD)]
    with ProcessPoolExecutor() as pool:
        corpus = artifact.start(run / "corpus", "corpus", {"max_side": 512}, inputs={"sources": "0" * 64})
        counts: dict[str, Counter[str]] = {name: Counter() for name in (*COUNTED, "modality")}
        for part in pool.map(partial(figures_shard, corpus.out), range(len(shards)), shards, chunksize=16):
            for name, count in part.items():
                counts[name].update(count)
        kept = {"in": n, "kept": n, "excluded": {}}
        artifact.publish(corpus, counts={"figures": kept}, histograms={k: dict(v) for k, v in counts.items()}, images=n)
        seen: list[pa.Table] = []
        parents: list[Path] = []
        for name, (stage, turns, times) in STAGES.items():
            seen.append(make_set(pool, shards, run, name, stage, turns, times))
            train(run / f"model-{stage}", [*parents, run / name], stage, seen)
            parents = [run / f"model-{stage}"]
    (run / "model-instruct").rename(run / "assistant")


def figures_shard(out: Path, index: int, numbers: range) -> dict[str, Counter[str]]:
    rows = [figure(number) for number in numbers]
    write(out, index, rows, FIGURES)
    counts = {name: Counter(str(row[name]) for row in rows) for name in COUNTED}
    return counts | {"modality": Counter(row["modality"][0]["name"] for row in rows)}


COUNTED = ("licence", "year", "language", "journal", "split", "collected")


def figure(number: int) -> Json:
    article = number // OF_ARTICLE
    kind = [*KINDS][number % len(KINDS)]
    return {
        "pair_id": f"{10**7 + article}_F{number % OF_ARTICLE}",
        "pmcid": f"PMC{10**7 + article}",
        "pmid": f"{3 * 10**7 + article}",
        "doi": f"10.{1000 + article % 50}/journal.{article:09d}",
        "version": "1",
        "title": f"A case of an uncommon finding and its course over {article} days: a report and review",
        "journal": f"Journal of Imaging {article % 900}",
        "publisher": f"Publisher {article % 60}",
        "year": 2004 + article % 20,
        "language": "en",
        "article_type": "case-report" if article % 3 else "research-article",
        "licence": LICENCES[article % len(LICENCES)],
        "licence_url": f"https://creativecommons.org/{article % len(LICENCES)}",
        "retracted": False,
        "notices": [],
        "hosts": [f"publisher{article % 60}.example.org"],
        "fig_id": f"F{number % OF_ARTICLE}",
        "fig_caption": CAPTION,
        "in_text_mention": [CAPTION[:100]],
        "mention_source": ["xref"],
        "image": {"bytes": number.to_bytes(8) * 8, "path": f"{number}.jpg"},
        "width": 512,
        "height": 400,
        "sha256": f"{number:064x}",
        "phash": f"{number:016x}",
        "modality": [{"name": kind, "confidence": 0.9, "source": "caption: words"}],
        "domain": {name: key == kind for name, key in DOMAINS.items()},
        "panels": [],
        "single_plot": True,
        "flags": [],
        "split": split_of(str(article)),
        "source": f"part-{article % 40}.parquet#{number}",
        "collected": f"2026-10-{1 + article % 28:02d}",
    }


def write(out: Path, index: int, rows: list[Json], schema: pa.Schema) -> None:
    """A file for each split, as a shard's are; not synced to disk one by one."""
    for split in sorted({row["split"] for row in rows}):
        path = out / "data" / f"{split}-{index:05d}.parquet"
        path.parent.mkdir(parents=True, exist_ok=True)
        own = [row for row in rows if row["split"] == split]
        table = pa.Table.from_pylist(own, schema=schema)
        pq.write_table(table, path, compression="zstd", row_group_size=storage.ROWS_IN_GROUP)


def make_set(
    pool: ProcessPoolExecutor, shards: list[range], run: Path, name: str, stage: str, turns: int, times: int
) -> pa.Table:
    """A set about every figure; the table of what is seen of it."""
    job = artifact.start(run / name, "conversations", {"set": name}, parents=[run / "corpus"])
    said = [part for _ in range(turns) for part in (("human", TEXT[0]), ("gpt", TEXT[1]))]
    splits: Json = {}
    seen: list[pa.RecordBatch] = []
    write_shard = partial(set_shard, job.out, name, stage, times, said)
    for part, batch in pool.map(write_shard, range(len(shards)), shards, chunksize=16):
        splits = artifact.add(splits, part)
        seen.append(batch)
    for split in splits.values():
        split["turns"] = turns * split["conversations"]
        split["words"] = sum(len(text.split()) for text in TEXT) * split["turns"]
        split["characters"] = sum(map(len, TEXT)) * split["turns"]
    n = sum(split["conversations"] for split in splits.values())
    models = [] if turns == 1 else [{"name": "template", "version": "2", "prompt_hash": "a" * 64, "ai": False}]
    artifact.publish(job, counts={"conversations": {"in": n, "kept": n, "excluded": {}}}, splits=splits, models=models)
    return pa.Table.from_batches(seen)


def set_shard(
    out: Path, name: str, stage: str, times: int, said: list[tuple[str, str]], index: int, numbers: range
) -> tuple[Json, pa.RecordBatch]:
    turns = [{"from": who, "value": text} for who, text in said]
    turns[0]["value"] = f"<image>\n{turns[0]['value']}"
    by = {"teacher": "caption" if len(turns) == 2 else "template", "prompt_hash": "a" * 64}
    rows, splits = [], {}
    for number in numbers:
        row = figure(number)
        about = {key: row[key] for key in ("pair_id", "image", "domain", "split")}
        rows.append({**about, "id": f"{row['pair_id']}_{name}", "conversations": turns, **by})
        values = {key: str(row[key]) for key in ("licence", "year", "language", "journal")}
        values["modality"] = row["modality"][0]["name"]
        part = splits.setdefault(row["split"], {"conversations": 0, "histograms": {key: Counter() for key in values}})
        part["conversations"] += 1
        for key, value in values.items():
            part["histograms"][key][value] += 1
    write(out, index, rows, CONVERSATIONS)
    return splits, seen_batch([row for row in rows if row["split"] == "train"], stage, times)


def seen_batch(rows: list[Json], stage: str, times: int) -> pa.RecordBatch:
    told = [
        {"id": row["id"], "stage": stage, "times_seen": times, "text_tokens": 100 + n % 50, "image_tokens": 256,
         "image_sha256": f"{int.from_bytes(row['image']['bytes'][:8]):064x}", "image_phash": "0" * 16,
         "questions": ["0123456789abcdef"]}
        for n, row in enumerate(rows)
    ]  # fmt: skip
    return pa.RecordBatch.from_pylist(told, schema=SEEN)


def train(folder: Path, parents: list[Path], stage: str, seen: list[pa.Table]) -> None:
    job = artifact.start(folder, "model", {"name": stage}, parents=parents)
    storage.write_text(job.out / "config.json", "{}")
    pq.write_table(pa.concat_tables(seen), job.out / "seen.parquet", compression="zstd", row_group_size=256)
    kept = len(seen[-1])
    artifact.publish(job, counts={"conversations": {"in": kept, "kept": kept, "excluded": {}}})


if __name__ == "__main__":
    if sys.argv[1:2] == ["--make"]:
        make(Path(sys.argv[2]), int(sys.argv[3]))
        print(f"making took {resource.getrusage(resource.RUSAGE_SELF).ru_maxrss // 1024} MB", flush=True)
    else:
        main()
