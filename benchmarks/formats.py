"""Cleaning and export of 60,000 conversations as LLaVA's JSON, pictures left out, in one process on one core.

    python benchmarks/formats.py              # writes results/formats.json
    python benchmarks/formats.py --n 6000 --profile

The conversations are of two to five turns, drawn from the labelled ones of tests/instruct (one in ten turns is a bad
one), with words and numbers changed, so that no two are the same. Once with the captions and mentions that answers are
compared with, once without. Beside them the floor: `json.dumps` of the same records, and Parquet read into Python.
"""

import argparse
import cProfile
import json
import os
import pstats
import random
import shutil
import sys
import tempfile
import time
from collections.abc import Callable, Iterator
from pathlib import Path

ROOT = Path(__file__).parent.parent
sys.path.insert(0, str(ROOT / "tests"))
RESULTS = Path(__file__).parent / "results" / "formats.json"
IN_FILE = 256  # as `corpus build` and `instruct import` write
BAD = 0.1  # of turns
TURNS, SHARES = (2, 3, 4, 5), (40, 35, 15, 10)  # about three a conversation, as in the published sets
SIDES = ("left", "right", "upper", "lower", "anterior", "posterior", "medial", "lateral", "proximal", "distal")

import pyarrow as pa  # noqa: E402
import pyarrow.parquet as pq  # noqa: E402

from labelled_turns import GOOD, read  # noqa: E402
from llavamed import artifact, console, storage  # noqa: E402
from llavamed.corpus.schema import DOMAINS, FIGURES  # noqa: E402
from llavamed.instruct.clean.again import clean_set, messages  # noqa: E402
from llavamed.instruct.formats.exporting import export_set  # noqa: E402
from llavamed.instruct.schema import CONVERSATIONS  # noqa: E402


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("--n", type=int, default=60_000, help="conversations")
    parser.add_argument("--profile", action="store_true", help="where the time goes; writes no results")
    options = parser.parse_args()
    console.console.quiet = True
    pa.set_cpu_count(1)
    pa.set_io_thread_count(1)
    found = {}
    with tempfile.TemporaryDirectory() as folder:
        made, corpus = Path(folder, "made"), Path(folder, "corpus")
        make(made, corpus, options.n)
        for name, captions in (("with captions", corpus), ("without", None)):
            if options.profile:
                profile = cProfile.Profile(time.process_time)
                profile.runcall(both, made, captions, Path(folder, "out"))
                pstats.Stats(profile).sort_stats("tottime").print_stats(45)
            else:
                found[name] = both(made, captions, Path(folder, "out"))
                print(name, json.dumps(found[name]))
        if not options.profile:
            found["floor"] = floor(made)
            print("floor", json.dumps(found["floor"]))
            RESULTS.write_text(json.dumps({"conversations": options.n, **found}, indent=1) + "\n", encoding="utf-8")


def both(made: Path, corpus: Path | None, out: Path) -> dict[str, dict[str, float]]:
    """Conversations a second of CPU and of wall time: cleaning, export, and both."""
    shutil.rmtree(out, ignore_errors=True)
    n = artifact.read_manifest(made)["counts"]["conversations"]["in"]
    times = [timed(lambda: clean_set(made, out / "clean", corpus=corpus)),
             timed(lambda: export_set(out / "clean", out / "llava", form="llava", pictures=False))]  # fmt: skip
    told = {name: rates(n, *spent) for name, spent in zip(("clean", "export"), times, strict=True)}
    return {**told, "both": rates(n, *map(sum, zip(*times, strict=True)))}


def floor(made: Path) -> dict[str, dict[str, float]]:
    """What must be done whatever the rules are: read the table into Python, write JSON."""
    rows = [row for path in storage.tables(made) for row in pq.read_table(path).to_pylist()]
    records = [{name: row[name] for name in ("id", "domain", "conversations")} for row in rows]
    dumps = timed(lambda: [json.dumps(record, ensure_ascii=False) for record in records])
    read_in = timed(lambda: [pq.read_table(path).to_pylist() for path in storage.tables(made)])
    return {"json.dumps": rates(len(rows), *dumps), "to_pylist": rates(len(rows), *read_in)}


def timed(function: Callable[[], object]) -> tuple[float, float]:
    cpu, wall = time.process_time(), time.perf_counter()
    function()
    return time.process_time() - cpu, time.perf_counter() - wall


def rates(n: int, cpu: float, wall: float) -> dict[str, float]:
    return {"a_cpu_second": round(n / cpu), "a_second": round(n / wall)}


def make(made: Path, corpus: Path, n: int) -> None:
    """A set of conversations and the corpus that they were made from, without pictures."""
    texts = conversations(n)
    job, source = artifact.start(made, "conversations", {"set": "made"}), artifact.start(corpus, "corpus", {})
    for first in range(0, n, IN_FILE):
        part = [next(texts) for _ in range(min(IN_FILE, n - first))]
        name = f"data/train-{first // IN_FILE:05d}.parquet"
        storage.write_table(job.out / name, [row for row, _ in part], CONVERSATIONS)
        storage.write_table(source.out / name, [figure for _, figure in part], FIGURES)
    counts = {"in": n, "kept": n, "excluded": {}}
    artifact.publish(source, counts={"figures": counts})
    artifact.publish(job, counts={"conversations": counts}, splits={"train": {"conversations": n}})


def conversations(n: int) -> Iterator[tuple[dict, dict]]:
    """Rows of a set, each with its figure's."""
    chance = random.Random(0)
    figures = {row["figure"]: row for row in read("turn_figures.tsv")}
    by_figure: dict[str, dict[bool, list]] = {name: {True: [], False: []} for name in figures}
    for turn in read("turns.tsv"):
        by_figure[turn["figure"]][turn["labels"] == GOOD].append((turn["question"], turn["answer"]))
    names = [name for name, turns in by_figure.items() if len(turns[True]) >= 5 and turns[False]]
    for number in range(n):
        figure = figures[chance.choice(names)]
        turns = by_figure[figure["figure"]]
        said = chance.sample(turns[True], *chance.choices(TURNS, SHARES))
        said = [chance.choice(turns[False]) if chance.random() < BAD else turn for turn in said]
        said = [(question, vary(answer, chance)) for question, answer in said]
        pair_id, kind = f"{10_000_000 + number}_F1", chance.choice([*DOMAINS])
        row = {"id": f"{pair_id}_made", "pair_id": pair_id, "split": "train", "teacher": "made", "prompt_hash": "0"}
        about = {"pair_id": pair_id, "domain": {name: name == kind for name in DOMAINS}}
        words = {"fig_caption": vary(figure["caption"], chance), "in_text_mention": [vary(figure["mention"], chance)]}
        yield row | about | {"conversations": messages(said)}, about | words | {"split": "train"}


def vary(text: str, chance: random.Random) -> str:
    """The text with sides and numbers changed."""
    words = text.split(" ")
    for place, word in enumerate(words):
        if word in SIDES:
            words[place] = chance.choice(SIDES)
        elif word.isdigit():
            words[place] = str(chance.randint(2, 90))
    return " ".join(words)


if __name__ == "__main__":
    os.environ.setdefault("OMP_NUM_THREADS", "1")
    main()
