"""Killed at any moment and started again, a build ends with the same bytes."""

import os
import random
import signal
import subprocess
import sys
import time
from pathlib import Path

import pytest
from packages import package

from llavamed.corpus.build import build
from llavamed.verify import rehash

CODE = """
import sys
from pathlib import Path
from llavamed.corpus.build import build
if __name__ == "__main__":
    build([Path(sys.argv[1])], Path(sys.argv[2]), workers=int(sys.argv[3]))
"""


def _kill_and_finish(src: Path, tmp_path: Path, kills: int, rng: random.Random, whole: str) -> int:
    """How many of `kills` builds were killed before they had finished; all must end with the hash `whole`."""
    script = tmp_path / "build.py"
    script.write_text(CODE)
    cut = 0
    for attempt in range(kills):
        out, workers = tmp_path / f"out{attempt}", 1 + attempt % 2
        process = subprocess.Popen([sys.executable, script, src, out, str(workers)], start_new_session=True)
        started, delay = time.monotonic(), rng.uniform(0, 3)
        while time.monotonic() - started < 60 and not (out / ".job").exists() and process.poll() is None:
            time.sleep(0.01)
        try:
            process.wait(delay)
        except subprocess.TimeoutExpired:
            os.killpg(process.pid, signal.SIGKILL)
            process.wait()
        cut += not (out / "manifest.json").exists()
        assert build([src], out, workers=workers)["hash"] == whole
        assert rehash(out) == []
    return cut


@pytest.mark.parametrize("kills", [2, pytest.param(20, marks=pytest.mark.slow)])
def test_killed_at_random(tmp_path, kills):
    for n in range(1, 101):
        package(tmp_path / "src", f"PMC{n}", n=2)
    whole = build([tmp_path / "src"], tmp_path / "whole")["hash"]
    _kill_and_finish(tmp_path / "src", tmp_path, kills, random.Random(kills), whole)


@pytest.mark.slow
def test_killed_at_random_on_real_articles(data, tmp_path):
    whole = build([data / "articles"], tmp_path / "whole")["hash"]
    assert _kill_and_finish(data / "articles", tmp_path, 20, random.Random(), whole) > 0
