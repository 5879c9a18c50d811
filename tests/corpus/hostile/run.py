"""Builds a corpus of each of some hostile inputs, in this process: `python -m hostile.run SANDBOX URL N N N ...`.

A line of JSON each: {n, name, records, seconds (CPU), wall, peak (bytes), error, refused, articles, figures, leaked}.
"""

import json
import shutil
import sys
import time
from pathlib import Path

import pyarrow.parquet as pq

from hostile import CANARY, Where, make, write
from llavamed.console import console
from llavamed.corpus.build import build
from llavamed.errors import InputError


def main() -> None:
    sandbox, url, numbers = Path(sys.argv[1]), sys.argv[2], map(int, sys.argv[3:])
    console.quiet = True
    where = Where(sandbox / "canary.txt", sandbox / "outside", url)
    for n in numbers:
        print(json.dumps(_run(n, sandbox, where)), flush=True)


def _run(n: int, sandbox: Path, where: Where) -> dict:
    hostile = make(n, where)
    source, out = sandbox / "in" / str(n), sandbox / "out" / str(n)
    write(hostile, source)
    print(json.dumps({"begun": hostile.name}), flush=True)
    found = {"n": n, "name": hostile.name, "error": "", "refused": "", "leaked": False, "records": hostile.records}
    _forget_peak()
    cpu, wall = time.process_time(), time.monotonic()
    try:
        result = build([source], out)
    except InputError as error:
        found |= {"refused": str(error), "named": str(source) in str(error)}
    except Exception as error:
        found["error"] = f"{type(error).__name__}: {error}"[:500]
    else:
        found |= {
            "articles": result["articles"],
            "articles_excluded": result["articles_excluded"],
            "figures": result["figures"],
        }
    found |= {"seconds": time.process_time() - cpu, "wall": time.monotonic() - wall, "peak": _peak()}
    if not found["error"] and not found["refused"]:
        found["rows"] = {part: _rows(out / part) for part in ("data", "excluded")}
        found["leaked"] = any(CANARY in str(row) for part in ("data", "excluded") for row in _texts(out / part))
    shutil.rmtree(out, ignore_errors=True)
    shutil.rmtree(source)
    return found


def _rows(folder: Path) -> dict[str, int]:
    """Rows by kind of file: train, validation, test; figures, articles."""
    counts: dict[str, int] = {}
    for path in folder.glob("*.parquet"):
        kind = path.name.split("-")[0]
        counts[kind] = counts.get(kind, 0) + pq.read_metadata(path).num_rows
    return counts


def _texts(folder: Path) -> list:
    names = ("title", "journal", "fig_caption", "fig_label", "in_text_mention", "detail")
    tables = [pq.read_table(path) for path in folder.glob("*.parquet")]
    return [table.select([name for name in names if name in table.column_names]).to_pydict() for table in tables]


def _forget_peak() -> None:
    Path("/proc/self/clear_refs").write_text("5")


def _peak() -> int:
    status = Path("/proc/self/status").read_text()
    return int(status.split("VmHWM:")[1].split()[0]) * 1024


if __name__ == "__main__":
    main()
